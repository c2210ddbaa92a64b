"""A log of each unit, in the folder `logs/<unit>`: one to read and one for programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cohortflow.core import layout, names, save
from cohortflow.core.outcome import Failure
from cohortflow.core.reporting import files, words
from cohortflow.core.reporting.judge import when
from cohortflow.core.reporting.state import (
    EARLIER,
    Attempt,
    BatchState,
    RunInfo,
    Status,
    UnitState,
)

EVENTS = "pipeline.jsonl"
TEXT = "pipeline.log"
BATCH = "batch_summary.log"


def write(out: Path, state: BatchState, also: Path | None = None) -> None:
    """Write the batch's log, and those of the units that a run worked on, or could not.

    A unit that was complete, or of which the run knew no more than an earlier one, keeps its logs.

    Parameters
    ----------
    out : Path
        Output folder; the logs are in ``logs/<unit>/`` of it.
    state : BatchState
    also : Path, optional
        Folder for the same files, in ``<unit>/`` of it.

    Raises
    ------
    OSError
        When a file cannot be written.
    """
    folders = [out / layout.LOGS, *([also] if also else [])]
    save.write_text(out / BATCH, "\n".join(batch(state)) + "\n")
    for unit in state.units:
        if not _has_news(unit):
            continue
        text = "\n".join(render(state.run, unit)) + "\n"
        for folder in folders:
            place = folder / unit.id
            place.mkdir(parents=True, exist_ok=True)
            files.write_events(place / EVENTS, files.unit_events(state.run, unit))
            save.write_text(place / TEXT, text)


def batch(state: BatchState) -> Iterator[str]:
    """Yield the lines of the batch's log: ✓ or ✗, and each unit."""
    counts = ", ".join(f"{count} {status}" for status, count in state.counts().items() if count)
    yield f"run {state.run.id} of lane {state.run.lane}: {counts or 'no units'}"
    yield ""
    width = max((len(unit.id) for unit in state.units), default=0)
    for unit in state.units:
        verdict = unit.verdict
        mark = "✓" if unit.complete else "✗"
        words_ = (f"{mark} {unit.id:<{width}}  {verdict.status}", verdict.category, verdict.message)
        yield "  ".join(str(word) for word in words_ if word)


def _has_news(unit: UnitState) -> bool:
    try:
        names.name(unit.id)
    except Failure:
        return False  # it was excluded for its name, which is none for a folder
    refused = unit.status is Status.INVALID and unit.reason not in {EARLIER, files.FAILED_BEFORE}
    return bool(unit.attempts) or refused


def render(run: RunInfo, unit: UnitState) -> Iterator[str]:
    """Yield the lines of a unit's log for people."""
    verdict = unit.verdict
    yield f"{unit.id}: {verdict.status}" + (f" ({verdict.category})" if verdict.category else "")
    yield f"run {run.id} of lane {run.lane}, {run.generated_by}"
    yield ""
    width = max((len(attempt.step) for attempt in unit.attempts), default=0)
    for attempt in unit.attempts:
        yield from _attempt(attempt, width)
    if not unit.attempts:
        yield f"{_clock(run.started)}  ✗ {verdict.status}"
        yield from _advice(verdict.message, verdict.remedy)
        for choice in unit.choices:
            yield "    - " + "  ".join(f"{key}={value}" for key, value in choice.items())


def _attempt(attempt: Attempt, width: int) -> Iterator[str]:
    """Yield how one try of a step went, and what its tool said."""
    word = "✗ failed" if attempt.category else "✓ ok    "
    line = (
        f"{_clock(attempt.started)}  {attempt.step:<{width}}  {word}  "
        f"{words.duration(attempt.seconds):>10}  {words.size(attempt.peak_memory_bytes):>10}"
    )
    again = f"attempt {attempt.number}" if attempt.number > 1 else ""
    yield "  ".join(filter(None, [line, str(attempt.category or ""), again])).rstrip()
    if attempt.category:
        yield from _advice(attempt.message, attempt.remedy)
    for said in (attempt.log or attempt.said).splitlines():
        yield f"    | {said}".rstrip()


def _advice(message: str | None, remedy: str | None) -> Iterator[str]:
    if message:
        yield f"    {message}"
    if remedy:
        yield f"    what to do: {remedy}"


def _clock(started: str | None) -> str:
    return f"{when(started):%Y-%m-%d %H:%M:%S}"

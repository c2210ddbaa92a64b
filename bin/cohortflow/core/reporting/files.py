"""The report's files for machines: summary, metrics table, rerun list, log."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from cohortflow.core import save
from cohortflow.core.manifest import Header
from cohortflow.core.outcome import Category
from cohortflow.core.reporting.judge import when
from cohortflow.core.reporting.state import (
    EARLIER,
    Attempt,
    BatchState,
    RunInfo,
    Status,
    UnitState,
    Value,
)

SCHEMA_VERSION = 1
FAILED_BEFORE = "failed before"
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@contextmanager
def stream(path: Path) -> Iterator[TextIO]:
    """Give a text file to write piece by piece; it takes its name when the block ends well."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        partial.chmod(0o666 & ~mask)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    save.fsync_path(path.parent)


def write_summary(path: Path, state: BatchState) -> None:
    """Write ``batch_summary.json``: the batch in one object (see its JSON Schema)."""
    save.write_json(path, summary(state))


def summary(state: BatchState) -> dict[str, Any]:
    """Return the batch in one object, as ``batch_summary.schema.json`` says."""
    run = state.run
    counts = {str(status): count for status, count in state.counts().items()}
    return {
        "schema_version": SCHEMA_VERSION,
        "lane": run.lane,
        "dataset": dataset_name(state),
        "run": run.id,
        "started": run.started,
        "finished": run.finished,
        "interrupted": run.interrupted,
        "counts": counts | {"total": len(state.units)},
        "versions": {"generated_by": run.generated_by, "engine": run.engine, "code": run.code},
        "parameters": run.parameters,
        "warnings": list(state.warnings),
        "units": [_summary_of(unit) for unit in state.units],
    }


def _summary_of(unit: UnitState) -> dict[str, Any]:
    verdict = unit.verdict
    return {
        "id": unit.id,
        "status": verdict.status,
        "category": verdict.category,
        "message": verdict.message,
        "remedy": verdict.remedy,
        "step": verdict.step,
        "seconds": unit.seconds,
        "reason": unit.reason,
        "choices": [dict(choice) for choice in unit.choices],
    }


def dataset_name(state: BatchState) -> str:
    """Return the study's own name, without the way to it."""
    return Path(state.run.dataset).name or state.run.dataset or "?"


def write_metrics(path: Path, state: BatchState) -> None:
    """Write ``batch_metrics.csv``: a row a unit; an unknown value is an empty cell."""
    entities = list(dict.fromkeys(key for unit in state.units for key in unit.entities))
    metrics, steps = state.metric_names(), state.step_names()
    fixed = ["unit", *entities, "status", "category"]
    timed = [f"seconds_{step}" for step in steps]
    taken = {*fixed, *timed}
    named = [f"metric_{name}" if name in taken else name for name in metrics]
    with stream(path) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([cell(name) for name in [*fixed, *named, *timed]])
        for unit in state.units:
            row: list[Value] = [unit.id, *(unit.entities.get(key) for key in entities)]
            row += [unit.status, unit.verdict.category]
            row += [unit.metrics.get(name) for name in metrics]
            row += [unit.timings.get(step) for step in steps]
            table.writerow([cell(value) for value in row])


def cell(value: Value) -> str:
    """Return a cell that a spreadsheet shows and does not run.

    Examples
    --------
    >>> cell("=1+1"), cell(-1.5), cell("-1.5"), cell(None), cell(0)
    ("'=1+1", '-1.5', '-1.5', '', '0')
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    text = value.replace("\x00", "")
    if text.lstrip(" ").startswith(FORMULA) and not _is_number(text):
        return f"'{text}"
    return text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and text.strip() == text


def write_rerun(path: Path, state: BatchState) -> None:
    """Write ``rerun.json``: a manifest of the units that are not complete."""
    run = state.run
    header = Header(lane=run.lane, dataset=run.dataset, generated_by=run.generated_by)
    with stream(path) as file:
        opening = json.dumps(header.model_dump(), ensure_ascii=False)[:-1]
        file.write(f'{opening}, "units": [')
        separator = "\n"
        for unit in state.units:
            if unit.planned is None:
                continue
            # What discovery refused stays refused until a person edits it; what a step refused,
            # now or in an earlier run, is tried again.
            again = unit.planned.model_dump(mode="json", exclude_none=True)
            if unit.status is not Status.INVALID or unit.reason == FAILED_BEFORE:
                again.pop("excluded", None)
            file.write(f"{separator}  {json.dumps(again, ensure_ascii=False)}")
            separator = ",\n"
        file.write("\n]}\n")


def write_log(path: Path, state: BatchState) -> None:
    """Write ``log.jsonl``: one event a line, in order of time."""
    write_events(path, _events(state))


def write_events(path: Path, events: Iterable[dict[str, Any]]) -> None:
    """Write events as JSON lines, in order of time."""
    ordered = sorted(events, key=lambda event: when(event["timestamp"]))
    with stream(path) as file:
        for event in ordered:
            file.write(json.dumps(event, ensure_ascii=False) + "\n")


def unit_events(run: RunInfo, unit: UnitState) -> Iterator[dict[str, Any]]:
    """Yield what the log of a run tells of one of its units."""
    if unit.status is Status.INVALID:
        verdict = unit.verdict
        yield _event(
            run.id, run.started, unit.id, action="exclude", status=unit.status,
            category=verdict.category, message=verdict.message,
        )  # fmt: skip
    else:
        action = "skip" if unit.status is Status.SKIPPED else "plan"
        yield _event(run.id, run.started, unit.id, action=action, message=unit.reason)
    yield from (_attempted(run.id, unit.id, attempt) for attempt in unit.attempts)


def _events(state: BatchState) -> Iterator[dict[str, Any]]:
    run = state.run
    yield _event(run.id, run.started, action="run started")
    for unit in state.units:
        if unit.reason != EARLIER:
            yield from unit_events(run, unit)
    if run.finished:
        ending = "interrupted" if run.interrupted else "ended"
        yield _event(run.id, run.finished, action=f"run {ending}")


def _attempted(run: str, unit: str, attempt: Attempt) -> dict[str, Any]:
    bug = attempt.category is Category.SOFTWARE
    action = "run" if attempt.number == 1 else f"run again ({attempt.number})"
    return _event(
        run, attempt.started, unit, attempt.step, action=action,
        status="failed" if attempt.category else "ok", category=attempt.category,
        duration=attempt.seconds, message=attempt.message or None,
        traceback=(traceback_of(attempt.log) or None) if bug else None,
    )  # fmt: skip


def traceback_of(log: str) -> str:
    """Return a log from its last traceback on; the whole log where there is none."""
    at = log.rfind("Traceback (most recent call last)")
    return log[at:] if at > 0 else log


def _event(
    run: str,
    timestamp: str | None,
    unit: str | None = None,
    step: str | None = None,
    *,
    action: str,
    status: str | None = None,
    category: Category | None = None,
    duration: float | None = None,
    message: str | None = None,
    traceback: str | None = None,
) -> dict[str, Any]:
    return {
        "timestamp": timestamp,
        "run": run,
        "unit": unit,
        "step": step,
        "action": action,
        "status": status,
        "category": category,
        "duration": duration,
        "message": message,
        "traceback": traceback,
    }

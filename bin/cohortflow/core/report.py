"""The report of a run: made from manifest, plan, records and markers, at any time again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from cohortflow.core import lanes, refused
from cohortflow.core.manifest import Unit
from cohortflow.core.marker import Marker
from cohortflow.core.outcome import Category, Failure, one_line
from cohortflow.core.reporting import clean as cleaning
from cohortflow.core.reporting import failures, files, judge, logs, page, read
from cohortflow.core.reporting.state import (
    COMPLETE,
    EARLIER,
    Attempt,
    BatchState,
    RunInfo,
    Status,
    UnitState,
    Verdict,
)


@dataclass(frozen=True)
class Summary:
    """What a report says in short.

    Attributes
    ----------
    run : str
    counts : dict
        Number of units by status.
    report : Path
        The page for people.
    problems : tuple of str
        One line a unit that is not complete.
    earlier : int
        How many of those no unit of this run is, but of an earlier one.
    warnings : tuple of str
        What could not be read.
    done : tuple of str
        Units that this run published.
    """

    run: str
    counts: dict[str, int]
    report: Path
    problems: tuple[str, ...] = ()
    earlier: int = 0
    warnings: tuple[str, ...] = ()
    done: tuple[str, ...] = ()

    @property
    def complete(self) -> int:
        """Number of units whose outputs are published and current."""
        return self.counts[Status.DONE] + self.counts[Status.SKIPPED]

    @property
    def total(self) -> int:
        """Number of units."""
        return sum(self.counts.values())

    def line(self) -> str:
        """Return one line for people, for example ``5 units: 3 done, 0 invalid, 2 failed``."""
        always = {Status.DONE, Status.INVALID, Status.FAILED}
        parts = [f"{n} {status}" for status, n in self.counts.items() if n or status in always]
        units = f"{self.total} unit{'s' * (self.total != 1)}"
        return f"{units}: {', '.join(parts)}"

    def as_json(self) -> dict[str, Any]:
        """Return the summary as a JSON value."""
        lists = {name: list(getattr(self, name)) for name in ("problems", "warnings", "done")}
        return asdict(self) | {"report": str(self.report)} | lists


def build(out: Path, run: str | None = None, also_logs: Path | None = None) -> Summary:
    """Write the group files and the page of a run, and for some lanes its units' logs.

    Parameters
    ----------
    out : Path
        Output folder of a ``cohortflow run``.
    run : str, optional
        Identifier of the run; the latest when left out.
    also_logs : Path, optional
        Folder for the units' logs, beside those in the output.

    Raises
    ------
    Failure
        INPUT_MISSING when there is no such folder or run; nothing is then written.
    OSError
        When a file cannot be written; each file is then the old or the new one, whole.
    """
    state = collect(out, run)
    files.write_metrics(out / "batch_metrics.csv", state)
    files.write_rerun(out / "rerun.json", state)
    files.write_log(out / "log.jsonl", state)
    page.write(out / "report.html", state)
    if state.run.lane in lanes.LANES and lanes.get(state.run.lane).unit_logs:
        logs.write(out, state, also_logs)
    files.write_summary(out / "batch_summary.json", state)
    return summary(out, state)


def summary(out: Path, state: BatchState) -> Summary:
    """Return a state in short."""
    counts = {str(status): count for status, count in state.counts().items()}
    problems = tuple(_problem(unit) for unit in state.incomplete())
    earlier = sum(unit.reason == EARLIER for unit in state.incomplete())
    page_file = out / "report.html"
    done = tuple(unit.id for unit in state.units if unit.status is Status.DONE)
    return Summary(state.run.id, counts, page_file, problems, earlier, state.warnings, done)


def _problem(unit: UnitState) -> str:
    """Return one line on a unit: what is wrong and what to do."""
    verdict = unit.verdict
    what = f"{verdict.category} {unit.id}" if verdict.category else f"NOT RUN {unit.id}"
    return one_line(f"{what} {verdict.message}: {verdict.remedy}")


def collect(out: Path, run: str | None = None) -> BatchState:
    """Read what is known of a run; nothing is written.

    Raises
    ------
    Failure
        INPUT_MISSING when the folder or the run is not there.
    """
    if not out.is_dir():
        raise Failure(Category.INPUT_MISSING, f"{out}: no such folder", "name the output folder")
    folder = read.run_folder(out, run)
    out = out.resolve()
    warnings: list[str] = []
    header = _header(folder, warnings)
    clean = cleaning.cleaner(out, str(header.get("dataset") or ""))
    info = read.run_info(folder, header, clean)
    records = read.attempts(folder, clean, warnings)
    planned = [
        _planned(out, unit, decision, reason, records.get(unit.id, ()), info, clean)
        for unit, decision, reason in read.units(folder, warnings)
    ]
    known = {unit.folder for unit in planned}
    others = [
        _earlier(out, relative, info, clean)
        for relative in read.published(out)
        if relative not in known
    ]
    found = [*planned, *(unit for unit in others if unit is not None)]
    found += failures.of_earlier_runs(out, {unit.id for unit in found}, clean)
    if not (folder / "run.json").is_file():
        info = replace(info, finished=_last_end(records))
    return BatchState(out, info, tuple(found), tuple(dict.fromkeys(warnings)))


def _header(folder: Path, warnings: list[str]) -> dict[str, Any]:
    """Return the plan's first line, or the manifest's where the plan has none."""
    for values in (
        read.plan_lines(folder, warnings),
        read.lines(folder / "manifest.jsonl", warnings),
    ):
        first = next(values, None)
        if first is not None and "lane" in first:
            return first
    warnings.append("the plan has no header: lane and dataset are unknown")
    return {}


def _planned(
    out: Path,
    unit: Unit,
    decision: str,
    reason: str,
    attempts: tuple[Attempt, ...],
    run: RunInfo,
    clean: cleaning.Clean,
) -> UnitState:
    folder = out / unit.folder
    marker = read.marker(folder, unit.id) if _inside(unit.folder) else None
    if decision == "invalid":
        verdict = judge.excluded(unit.excluded)
    else:
        verdict = judge.verdict(decision, reason, marker, attempts, run)
    verdict = replace(
        verdict, message=_clean(verdict.message, clean), remedy=_clean(verdict.remedy, clean)
    )
    complete = verdict.status in COMPLETE
    picture = None if complete else _picture(out, run.id, unit, verdict.step)
    timings = marker.timings if complete and isinstance(marker, Marker) else _timings(attempts)
    choices = unit.excluded.choices if unit.excluded and decision == "invalid" else []
    return UnitState(
        id=unit.id,
        folder=unit.folder,
        entities=unit.entities,
        verdict=verdict,
        reason=clean(reason) or None,
        choices=tuple(
            {
                clean(key): clean(value)
                for key, value in choice.items()
                if not cleaning.personal(key)
            }
            for choice in choices
        ),
        attempts=attempts,
        timings=timings,
        metrics=read.metrics(folder, clean) if complete else {},
        planned=None if complete else unit,
        picture=picture,
    )


def _picture(out: Path, run: str, unit: Unit, step: str | None) -> Path | None:
    message = unit.excluded.message if unit.excluded else ""
    return refused.find(out, run, unit.id, step=step, message=message)


def _clean(text: str | None, clean: cleaning.Clean) -> str | None:
    return clean(text).replace("\n", " ") if text else None


def _inside(folder: str) -> bool:
    """Tell whether a unit's folder stays below the output."""
    parts = Path(folder).parts
    return bool(parts) and not Path(folder).is_absolute() and ".." not in parts


def _earlier(out: Path, folder: str, run: RunInfo, clean: cleaning.Clean) -> UnitState | None:
    """Return a published unit that the plan does not name; None when another lane made it."""
    value = read.read_object(out / folder / read.MARKER) or {}
    if value.get("lane", run.lane) != run.lane:
        return None
    marker = read.marker(out / folder)
    entities = {
        key: label
        for part in folder.split("/")
        for prefix, key in (("sub-", "subject"), ("ses-", "session"))
        if (label := part.removeprefix(prefix)) != part
    }
    if not isinstance(marker, Marker):
        name = folder.replace("/", "_")
        verdict = judge.damaged(clean(marker or "its marker is gone"))
        return UnitState(name, folder, entities, verdict, EARLIER)
    return UnitState(
        id=clean(marker.unit),
        folder=folder,
        entities=entities,
        verdict=Verdict(Status.SKIPPED),
        reason=EARLIER,
        timings=marker.timings,
        metrics=read.metrics(out / folder, clean),
    )


def _timings(attempts: tuple[Attempt, ...]) -> dict[str, float]:
    """Return the seconds spent in each step, over all its attempts."""
    spent: dict[str, float] = {}
    for attempt in attempts:
        if attempt.seconds is not None:
            spent[attempt.step] = round(spent.get(attempt.step, 0.0) + attempt.seconds, 3)
    return spent


def _last_end(records: dict[str, tuple[Attempt, ...]]) -> str | None:
    """Return when the last record of a run ended, for a run that nobody watched."""
    ends = [
        judge.when(attempt.started) + timedelta(seconds=attempt.seconds or 0)
        for attempts in records.values()
        for attempt in attempts
        if attempt.started
    ]
    if not ends:
        return None
    return max(ends).isoformat(timespec="seconds").replace("+00:00", "Z")

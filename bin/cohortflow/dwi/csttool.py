"""Read the results of a csttool batch, wherever its versions put them.

The names of the numbers are csttool's own: side, scalar, statistic, as ``left_fa_mean``.
Lengths are in mm, volumes in mm³, diffusivities in mm²/s; a laterality index is
(left - right) / (left + right).
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cohortflow.core.outcome import Category, Failure
from cohortflow.core.reporting.read import read_object
from cohortflow.dwi.csttool_metrics import from_csv, from_json, without_empty_sides

NO_NUMBERS = "csttool says {}, no numbers"
_PASSED_OVER = {"_work", "_failed_attempts", "logs"}
Value = float | int | str


@dataclass(frozen=True)
class Result:
    """What csttool left of one subject or session.

    Attributes
    ----------
    subject, session : str
        Labels without ``sub-`` and ``ses-``; the session may be empty.
    status : str
        csttool's own word: ``success``, ``failed``, ``skipped``; empty when it says nothing.
    note : str
        What to know about it, above all when there are no numbers.
    file : str
        Where the numbers are, relative to the batch's folder; empty when there are none.
    version, preprocessing : str
        csttool's version, and what it says of its preprocessing.
    seconds : float or None
    metrics : dict of str to float, int or str
        Those of `csttool_metrics.METRICS` that are known.
    """

    subject: str
    session: str = ""
    status: str = ""
    note: str = ""
    file: str = ""
    version: str = ""
    preprocessing: str = ""
    seconds: float | None = None
    metrics: Mapping[str, Value] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """The id that the unit has in cohortflow."""
        return f"sub-{self.subject}" + (f"_ses-{self.session}" if self.session else "")


@dataclass(frozen=True)
class _Batch:
    """The files of a batch: markers by place, and metrics files by place."""

    folder: Path
    summary: dict[str, dict[str, Any]]
    table: dict[str, dict[str, str]]
    markers: dict[str, dict[str, Any]]
    files: dict[str, list[Path]]


def read(folder: Path) -> list[Result]:
    """Read the results of a batch: a result for each subject and session that it names.

    Parameters
    ----------
    folder : Path
        What ``csttool batch`` got as ``--out``.

    Returns
    -------
    list of Result
        By subject and session.

    Raises
    ------
    Failure
        INPUT_MISSING when the folder holds nothing of csttool.
    """
    batch = _look(folder)
    places = {*batch.summary, *batch.table, *batch.markers, *batch.files}
    if not places:
        raise Failure(
            Category.INPUT_MISSING,
            f"{folder} has no results of csttool",
            "name the folder that `csttool batch` got as --out",
        )
    found = [_result(batch, place) for place in sorted(places)]
    return sorted(_twice(found), key=lambda result: (result.subject, result.session))


def _look(folder: Path) -> _Batch:
    """Find what a batch left; folders of failed and unfinished attempts are passed over."""
    rows = (read_object(folder / "batch_summary.json") or {}).get("results")
    said = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    summary = {_place(row): row for row in said if _place(row)}
    table = {_place(row): row for row in _rows(folder / "batch_metrics.csv") if _place(row)}
    batch = _Batch(folder, summary, table, {}, {})
    metrics: list[Path] = []
    for root, folders, files in os.walk(folder):
        here = Path(root)
        place = here.relative_to(folder)
        folders[:] = sorted(n for n in folders if n not in _PASSED_OVER and not n.startswith("."))
        done = read_object(here / "_done.json") if "_done.json" in files else None
        if done and "csttool_version" in done and 0 < len(place.parts) <= 2:
            batch.markers[place.as_posix()] = done
        metrics += [here / name for name in sorted(files) if _holds_metrics(here.name, name)]
    known = {*summary, *table, *batch.markers}
    for path in metrics:
        batch.files.setdefault(_place_of(path.relative_to(folder), known), []).append(path)
    return batch


def _place(row: Mapping[str, Any]) -> str:
    """Return the folder that csttool gives a subject and session."""
    parts = [str(row.get(name) or "") for name in ("subject_id", "session_id")]
    place = "/".join(part for part in parts if part) if parts[0] else ""
    return place if place.isprintable() else ""


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            yield from csv.DictReader(file)
    except (OSError, csv.Error):
        return


def _holds_metrics(folder: str, name: str) -> bool:
    if name.endswith(("_bilateral_metrics.json", "_metrics_summary.csv")):
        return True
    return folder == "reports" and name.endswith(("_metrics.json", "_metrics.csv"))


def _place_of(path: Path, known: set[str]) -> str:
    """Return the subject's folder that a file belongs to: the deepest known one around it."""
    around = [parent.as_posix() for parent in path.parents]
    for parent in around:
        if parent in known:
            return parent
    subject, *rest = path.parts
    session = rest[0] if rest and rest[0].startswith("ses-") else ""
    return f"{subject}/{session}" if session else subject


def _result(batch: _Batch, place: str) -> Result:
    """Put together what the batch says of one subject and session."""
    subject, _, session = place.partition("/")
    row, done = batch.summary.get(place, {}), batch.markers.get(place, {})
    result = Result(
        subject.removeprefix("sub-"),
        session.removeprefix("ses-"),
        status=str(row.get("status") or ("success" if done else "")),
        version=str(done.get("csttool_version", "")),
        seconds=_number(done.get("duration_seconds", row.get("duration_seconds"))),
    )
    result, notes = _with_numbers(result, batch, place)
    if result.status == "failed":
        said = [str(row[key]) for key in ("error_category", "error") if row.get(key)]
        notes.insert(0, ": ".join(["csttool says failed", *said]))
    elif not result.metrics:
        why = _failed_steps(batch.folder / place)
        said_status = NO_NUMBERS.format(result.status or "nothing")
        notes.insert(0, f"{said_status} ({why})" if why else said_status)
    if batch.summary and not row:
        notes.append("not in batch_summary.json")
    return replace(result, note="; ".join(notes))


def _with_numbers(result: Result, batch: _Batch, place: str) -> tuple[Result, list[str]]:
    """Add the newest numbers of a subject: its own files', else those of the batch's table."""
    notes: list[str] = []
    found: list[tuple[str, Path, dict[str, Any], dict[str, Value]]] = []
    for path in batch.files.get(place, []):
        if path.suffix == ".json":
            report = read_object(path) or {}
            numbers = from_json(report)
        else:
            report = next(_rows(path), {})
            numbers = from_csv(report)
        if numbers:
            found.append((str(report.get("processing_date", "")), path, report, numbers))
        else:
            notes.append(f"{path.name} has no numbers that can be read")
    if len({path.parent for _, path, _, _ in found}) > 1:
        notes.append(f"{len(found)} files have numbers, the newest is shown")
    if found:
        # JSON before CSV of the same day: it has more.
        _, path, report, numbers = max(
            found, key=lambda one: (one[0][:10], one[1].suffix == ".json", one[0], str(one[1]))
        )
        result = replace(
            result,
            file=path.relative_to(batch.folder).as_posix(),
            version=str(report.get("csttool_version") or result.version),
            preprocessing=_preprocessing(report),
        )
    else:
        numbers = from_csv(batch.table.get(place, {}))
        result = replace(result, file="batch_metrics.csv" if numbers else "")
    metrics, empty = without_empty_sides(numbers)
    if empty:
        notes.append(f"no streamlines {' and '.join(empty)}: csttool's zeros are left out")
    return replace(result, metrics=metrics), notes


def _preprocessing(report: Mapping[str, Any]) -> str:
    processing = report.get("processing")
    said = processing.get("preprocessing") if isinstance(processing, dict) else None
    return str(said.get("status") or "") if isinstance(said, dict) else ""


def _failed_steps(folder: Path) -> str:
    """Return which steps failed, from the report of the pipeline that csttool moved along."""
    said = []
    for path in sorted(folder.glob("*_pipeline_report.json")):
        report = read_object(path) or {}
        steps, failed = report.get("step_results"), report.get("failed_steps")
        for step in failed if isinstance(failed, list) else []:
            one = steps.get(step) if isinstance(steps, dict) else None
            error = one.get("error") if isinstance(one, dict) else None
            said.append(f"{step}: {error}" if error else f"{step} failed")
    return "; ".join(said)


def _twice(results: list[Result]) -> Iterator[Result]:
    """Mark results that are one unit under two spellings (``01`` and ``sub-01``)."""
    units = Counter(result.unit for result in results)
    for result in results:
        if units[result.unit] > 1:
            note = "; ".join([result.note, "another row is of the same unit"]).lstrip("; ")
            yield replace(result, note=note)
        else:
            yield result


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None

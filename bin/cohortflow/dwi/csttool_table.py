"""A table of csttool's results, beside cohortflow's where an output folder is given."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cohortflow.core import marker, survey
from cohortflow.core.reporting.files import cell
from cohortflow.core.reporting.read import read_object
from cohortflow.dwi.csttool import Result
from cohortflow.dwi.csttool_metrics import METRICS

Cell = float | int | str | None
Row = dict[str, Cell]
ABOUT = (
    "unit",
    "subject",
    "session",
    "csttool_status",
    "note",
    "csttool_file",
    "csttool_version",
    "csttool_preprocessing",
    "csttool_seconds",
)


def ours(out: Path) -> dict[str, dict[str, float]]:
    """Read the numbers of every complete unit of an output folder.

    Parameters
    ----------
    out : Path

    Returns
    -------
    dict
        Unit to its metrics that are numbers.
    """
    found = {}
    for folder in survey.survey(out).folders:
        done = marker.read(out / folder)
        if isinstance(done, marker.Marker):
            values = read_object(out / folder / "metrics.json") or {}
            found[done.unit] = {k: float(v) for k, v in values.items() if _is_number(v)}
    return found


def _is_number(value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]


def rows(
    results: Sequence[Result], beside: Mapping[str, Mapping[str, float]] | None = None
) -> list[Row]:
    """Return a row for each result, and for each of our units that csttool does not have.

    Parameters
    ----------
    results : sequence of Result
    beside : mapping, optional
        What `ours` returned: adds ``cohortflow_status``, a column ``cohortflow_NAME`` for each
        of our numbers, and ``difference_NAME`` (cohortflow minus csttool) where both have it.

    Returns
    -------
    list of dict
        All with the same columns; what is unknown is None.
    """
    table = [_row(result) for result in results]
    if beside is None:
        return table
    known = {result.unit for result in results}
    table += [_only_ours(unit) for unit in sorted(beside) if unit not in known]
    names = list(dict.fromkeys(name for numbers in beside.values() for name in numbers))
    return [_with_ours(row, beside, names) for row in table]


def _row(result: Result) -> Row:
    about: tuple[Cell, ...] = (
        result.unit,
        result.subject,
        result.session or None,
        result.status or None,
        result.note or None,
        result.file or None,
        result.version or None,
        result.preprocessing or None,
        result.seconds,
    )
    numbers = {f"csttool_{name}": result.metrics.get(name) for name in METRICS}
    return {**dict(zip(ABOUT, about, strict=True)), **numbers}


def _only_ours(unit: str) -> Row:
    subject, _, session = unit.removeprefix("sub-").partition("_ses-")
    result = Result(subject, session, note="csttool has no such subject or session")
    return {**_row(result), "unit": unit}


def _with_ours(row: Row, beside: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> Row:
    """Put our number and the difference behind each of csttool's; the rest of ours at the end."""
    numbers = beside.get(str(row["unit"]), {})
    wide: Row = {}
    for column, value in row.items():
        wide[column] = value
        if column == "csttool_status":
            wide["cohortflow_status"] = "done" if str(row["unit"]) in beside else "not done"
        name = column.removeprefix("csttool_")
        if name in METRICS and name in names:
            mine = numbers.get(name)
            known = mine is not None and isinstance(value, (int, float))
            wide[f"cohortflow_{name}"] = mine
            wide[f"difference_{name}"] = mine - value if known else None  # type: ignore[operator]
    return {**wide, **{f"cohortflow_{n}": numbers.get(n) for n in names if n not in METRICS}}


def as_csv(table: Iterable[Row]) -> str:
    """Return a table as CSV that a spreadsheet shows and does not run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for number, row in enumerate(table):
        if number == 0:
            writer.writerow(row)
        writer.writerow([cell(value) for value in row.values()])
    return text.getvalue()


def as_json(table: Iterable[Row]) -> str:
    """Return a table as JSON: a list with an object a row; unknown is null."""
    return json.dumps(list(table), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

"""The ages of a file's cells: one row for each developmental stage, and numbers about them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cohortflow.cells import h5ad, obs, stages
from cohortflow.core import save
from cohortflow.core.outcome import Category, Failure

TABLE = "ages.tsv"
COLUMNS = ("development_stage", "age", "age_low", "age_high", "age_unit", "cells")


@dataclass(frozen=True, slots=True)
class AgeRow:
    """A developmental stage, the age that it names, and how many cells have it.

    Attributes
    ----------
    label : str or None
        As the file writes it; None for the cells without one.
    age, low, high : float or None
        As in `stages.Age`; all None, like the unit, for a label that is not read.
    unit : str or None
        One of `stages.UNITS`.
    cells : int
    """

    label: str | None
    age: float | None
    low: float | None
    high: float | None
    unit: str | None
    cells: int


@dataclass(frozen=True)
class Ages:
    """The ages of a file's cells.

    Attributes
    ----------
    rows : tuple of AgeRow
        One for each distinct label, sorted by it; that of the cells without a label is the last.
    """

    rows: tuple[AgeRow, ...]


def of_file(source: Path) -> Ages:
    """Read the ages of a file's cells from the column ``development_stage`` of obs.

    Raises
    ------
    Failure
        As `h5ad.opened` and `obs.cells` say.
    """
    with h5ad.opened(source) as file:
        cells = obs.cells(file)
        counts = obs.counted(cells.column(obs.STAGE), cells.rows)
        return tabulate(counts, obs.organism(file, cells))


def tabulate(counts: Mapping[str | None, int], organism: str | None = None) -> Ages:
    """Read the ages of counted labels.

    Parameters
    ----------
    counts : mapping of str or None to int
        Cells of each label. An empty label counts as none; labels without cells are left out.
    organism : str, optional
        As in `stages.of_label`: without it, names that human and mouse share are not read.

    Returns
    -------
    Ages
    """
    cells: dict[str | None, int] = {}
    for label, count in counts.items():
        if count > 0:
            cells[label or None] = cells.get(label or None, 0) + count
    ordered = sorted(cells, key=lambda label: (label is None, label or ""))
    return Ages(tuple(_row(label, cells[label], organism) for label in ordered))


def _row(label: str | None, cells: int, organism: str | None) -> AgeRow:
    age = None if label is None else stages.of_label(label, organism)
    if age is None:
        return AgeRow(label, None, None, None, None, cells)
    return AgeRow(label, age.age, age.low, age.high, age.unit, cells)


def metrics(ages: Ages) -> dict[str, float | int | None]:
    """Count the cells with and without an age, and describe the ages in years.

    The median is that of the cells whose age is in years; the bounds are those of all labels in
    years, where the highest leaves out ranges that are open above. What no cell has is None.
    """
    known = [row for row in ages.rows if row.age is not None]
    labels = [row for row in ages.rows if row.label is not None]
    years = [row for row in ages.rows if row.unit == stages.YEAR]
    with_age = sum(row.cells for row in known)
    return {
        "cells_with_age": with_age,
        "cells_without_age": sum(row.cells for row in ages.rows) - with_age,
        "development_stages": len(labels),
        "stages_not_read": sum(row.age is None for row in labels),
        "age_median": _median([(row.age, row.cells) for row in years if row.age is not None]),
        "age_low_min": min((row.low for row in years if row.low is not None), default=None),
        "age_high_max": max((row.high for row in years if row.high is not None), default=None),
    }


def _median(weighted: Iterable[tuple[float, int]]) -> float | None:
    """Return the median of values that each stand for a number of cells."""
    ordered = sorted(weighted)
    total = sum(cells for _, cells in ordered)
    if total == 0:
        return None
    return (_nth(ordered, (total - 1) // 2) + _nth(ordered, total // 2)) / 2


def _nth(ordered: Sequence[tuple[float, int]], position: int) -> float:
    for value, cells in ordered:
        if position < cells:
            return value
        position -= cells
    raise IndexError(position)


def write(folder: Path, ages: Ages) -> None:
    """Write ``ages.tsv`` and ``metrics.json`` into a step's folder.

    The table is UTF-8 with tabs, quoted as the csv module does it; an empty cell is unknown.

    Raises
    ------
    Failure
        DATA_INVALID when a label cannot be written as UTF-8.
    OSError
        When something cannot be written.
    """
    text = "".join(_line(line) for line in (COLUMNS, *map(_cells, ages.rows)))
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise Failure(
            Category.DATA_INVALID,
            f"development_stage: a label is not UTF-8 ({error.reason})",
            "correct the label",
        ) from error
    save.write_bytes(folder / TABLE, content)
    save.write_json(folder / "metrics.json", metrics(ages))


def _cells(row: AgeRow) -> tuple[str, ...]:
    numbers = (_text(row.age), _text(row.low), _text(row.high))
    return (row.label or "", *numbers, row.unit or "", str(row.cells))


def _text(number: float | None) -> str:
    return "" if number is None else repr(number).removesuffix(".0")


def _line(cells: Sequence[str]) -> str:
    """Return a line of the table, its label quoted where it must be."""
    # The csv module of Python 3.11 quotes a carriage return only when lines end with one.
    buffer = io.StringIO()
    csv.writer(buffer, delimiter="\t", lineterminator="\r\n").writerow(cells)
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def read(path: Path) -> Ages:
    """Read a table that `write` wrote.

    Raises
    ------
    Failure
        DATA_INVALID when the file is no such table.
    OSError
        When the file cannot be read.
    """
    try:
        text = path.read_bytes().decode()
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _refused(path, f"is no table of ages ({error})") from error
    if not lines or tuple(lines[0]) != COLUMNS:
        raise _refused(path, "is no table of ages: its first line is another")
    rows = tuple(_parsed(path, number, line) for number, line in enumerate(lines[1:], start=1))
    if len({row.label for row in rows}) != len(rows):
        raise _refused(path, "a developmental stage has two rows")
    return Ages(rows)


def _parsed(path: Path, number: int, line: Sequence[str]) -> AgeRow:
    try:
        label, age, low, high, unit, cells = line
        row = AgeRow(
            label or None, _number(age), _number(low), _number(high), unit or None, int(cells)
        )
    except ValueError as error:
        raise _refused(path, f"row {number} is not valid ({error})") from error
    if row.cells < 1 or not _sound(row):
        raise _refused(path, f"row {number} is not valid: its age or number of cells cannot be")
    return row


def _number(cell: str) -> float | None:
    value = float(cell) if cell else None
    if value is not None and not math.isfinite(value):
        raise ValueError(f"{cell} is no age")
    return value


def _sound(row: AgeRow) -> bool:
    """Say whether unit and bounds go with each other: none of them, or an age inside."""
    if row.unit is None or row.low is None:
        return (row.age, row.low, row.high, row.unit) == (None, None, None, None)
    below = row.age is None or row.low <= row.age
    above = row.high is None or (row.low if row.age is None else row.age) < row.high
    return row.unit in stages.UNITS and below and above


def _refused(path: Path, problem: str) -> Failure:
    return Failure(Category.DATA_INVALID, f"{path}: {problem}", "make it again with cells-age")

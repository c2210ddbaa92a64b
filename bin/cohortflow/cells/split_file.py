"""What a split is, and the files that hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cohortflow.core import save
from cohortflow.core.outcome import Category, Failure, failure_of

NAME = "split.json"


@dataclass(frozen=True)
class DonorPart:
    """Where a donor's cells go.

    Attributes
    ----------
    donor : str or None
        None for the cells without a donor.
    cells : int
    part : str
        ``train`` or ``test``.
    """

    donor: str | None
    cells: int
    part: str


@dataclass(frozen=True)
class Split:
    """A decision for every cell of a file.

    Attributes
    ----------
    by : str
        ``donor``, ``cell`` or ``age``.
    column : str or None
        Column of obs with the donors or ages; None by cell.
    seed : int
    test_size : float
        The share of cells that was asked for.
    cells, test_cells : int
        How many there are, and how many of them are test.
    note : str
        Why the split is not what was asked, one sentence; empty when it is.
    donors : tuple of DonorPart
        In the order of their names, None last; empty unless by donor.
    thresholds : mapping of str or None to int
        By stratum: a cell is test when its hash is not above the threshold; `NOTHING` for none.
        By cell there is one, of key None; empty by donor.
    """

    by: str
    column: str | None
    seed: int
    test_size: float
    cells: int
    test_cells: int
    note: str
    donors: tuple[DonorPart, ...]
    thresholds: Mapping[str | None, int]

    @property
    def deviation(self) -> float:
        """The share of test cells less the share that was asked for; 0 without a cell."""
        return self.test_cells / self.cells - self.test_size if self.cells else 0.0


def metrics(split: Split) -> dict[str, str | int | float | None]:
    """Return what ``metrics.json`` holds; the numbers of donors are unknown unless by donor."""
    test_donors = sum(part.part == "test" for part in split.donors)
    known = split.by == "donor"
    return {
        "split_by": split.by,
        "donors": len(split.donors) if known else None,
        "train_donors": len(split.donors) - test_donors if known else None,
        "test_donors": test_donors if known else None,
        "train_cells": split.cells - split.test_cells,
        "test_cells": split.test_cells,
        "test_fraction": round(split.test_cells / split.cells, 6) if split.cells else None,
        # + 0.0 makes of -0.0 a 0
        "test_deviation": round(split.deviation, 6) + 0.0 if split.cells else None,
    }


def write(folder: Path, split: Split) -> None:
    """Write ``split.json`` and ``metrics.json`` into a step's folder.

    Thresholds are written as text: many readers of JSON hold numbers as 64-bit floats.

    Raises
    ------
    OSError
        When something cannot be written.
    """
    thresholds = [
        {"stratum": stratum, "threshold": str(limit)} for stratum, limit in split.thresholds.items()
    ]
    fields = {
        "schema_version": 1,
        "by": split.by,
        "column": split.column,
        "seed": split.seed,
        "test_size": split.test_size,
        "cells": split.cells,
        "test_cells": split.test_cells,
        "note": split.note,
        "donors": [asdict(part) for part in split.donors],
        "thresholds": thresholds,
    }
    save.write_json(folder / NAME, fields)
    save.write_json(folder / "metrics.json", metrics(split))


def read(path: Path) -> Split:
    """Read a ``split.json`` as `write` makes it.

    Raises
    ------
    Failure
        INPUT_MISSING (or another reason of the system) when it cannot be read, DATA_INVALID when
        it is no split or its numbers contradict each other.
    """
    try:
        found = _File.model_validate_json(path.read_bytes())
    except OSError as error:
        raise failure_of(error, path) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key) for key in first["loc"])
        raise Failure(
            Category.DATA_INVALID,
            f"{path}: is not a split: {where + ': ' if where else ''}{first['msg']}",
            "make the split again",
        ) from error
    return Split(
        by=found.by,
        column=found.column,
        seed=found.seed,
        test_size=found.test_size,
        cells=found.cells,
        test_cells=found.test_cells,
        note=found.note,
        donors=tuple(DonorPart(part.donor, part.cells, part.part) for part in found.donors),
        thresholds={part.stratum: int(part.threshold) for part in found.thresholds},
    )


_Count = Annotated[int, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class _Donor(_Strict):
    donor: str | None
    cells: _Count
    part: Literal["train", "test"]


class _Stratum(_Strict):
    stratum: str | None
    threshold: Annotated[str, Field(pattern=r"^(-1|[0-9]{1,20})$")]

    @model_validator(mode="after")
    def _is_a_hash(self) -> Self:
        if int(self.threshold) >= 2**64:
            raise ValueError("the threshold is larger than any hash")
        return self


class _File(_Strict):
    schema_version: Literal[1]
    by: Literal["donor", "cell", "age"]
    column: str | None
    seed: int
    test_size: Annotated[float, Field(ge=0, lt=1)]
    cells: _Count
    test_cells: _Count
    note: str
    donors: list[_Donor]
    thresholds: list[_Stratum]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        donors = {part.donor for part in self.donors}
        strata = {part.stratum for part in self.thresholds}
        if len(donors) != len(self.donors) or len(strata) != len(self.thresholds):
            raise ValueError("a donor or a stratum stands twice")
        if self.by == "cell" and strata != {None}:
            raise ValueError("a split by cell has one threshold, without a stratum")
        if self.by == "donor":
            test = [part.cells for part in self.donors if part.part == "test"]
            every = [part.cells for part in self.donors]
            if (sum(every), sum(test)) != (self.cells, self.test_cells):
                raise ValueError("the donors' cells do not add up")
        if self.test_cells > self.cells:
            raise ValueError("there are more test cells than cells")
        return self

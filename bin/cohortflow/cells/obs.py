"""What the steps need to know of a file's cells: their names, donors, stages and organism."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cohortflow.cells import h5ad
from cohortflow.cells.frame import Column, Frame, frame, values
from cohortflow.core.outcome import Failure

STAGE = "development_stage"
#: Where a file may name the donor of a cell; the first that is there is used.
DONORS = ("donor_id", "donor", "subject_id", "individual")


def cells(file: h5py.File) -> Frame:
    """Return the table of cells.

    Raises
    ------
    Failure
        DATA_INVALID when there is none, or no cell in it.
    """
    found = frame(file, "obs", "cell")
    if found.rows == 0:
        raise h5ad.invalid(h5ad.path_of(file), "has no cells", "leave it out")
    return found


def donor_column(obs: Frame, wanted: str, file: h5py.File) -> Column | None:
    """Return the column that names donors.

    Parameters
    ----------
    obs : Frame
    wanted : str
        Its name; the first of `DONORS` that is there when empty.
    file : h5py.File
        For the message.

    Raises
    ------
    Failure
        DATA_INVALID when the column that was asked for is not there.
    """
    if not wanted:
        return next((c for c in map(obs.column, DONORS) if c is not None), None)
    found = obs.column(wanted)
    if found is None:
        names = ", ".join(column.name for column in obs.columns) or "none"
        raise h5ad.invalid(
            h5ad.path_of(file), f"obs has no column {wanted!r}", f"choose one of: {names}"
        )
    return found


def texts(column: Column, start: int, stop: int) -> list[str | None]:
    """Return a piece of a column as text; an empty text is a missing one."""
    found: list[str | None] = column.read(start, stop).cast(pa.string()).to_pylist()
    return [text or None for text in found]


def counted(column: Column | None, rows: int) -> dict[str | None, int]:
    """Count the cells of each text of a column; without a column all have none."""
    if column is None:
        return {None: rows}
    counts: Counter[str | None] = Counter()
    for piece in values(column, rows):
        found = piece.cast(pa.string()).value_counts()
        for text, count in zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True):
            counts[text or None] += count
    return dict(counts)


def coded(column: Column | None, rows: int) -> tuple[npt.NDArray[np.int32], list[str]]:
    """Return a number for the text of each cell, -1 for none, and the texts."""
    labels = [text for text in counted(column, rows) if text is not None]
    if column is None or not labels:
        return np.full(rows, -1, np.int32), []
    known = pa.array(labels)
    found = [pc.index_in(p.cast(pa.string()), value_set=known) for p in values(column, rows)]
    codes = pa.chunked_array(found).fill_null(-1).to_numpy()
    return codes.astype(np.int32), labels


def names(obs: Frame, block: int = 100_000) -> Iterator[list[str]]:
    """Yield the names of the cells, piece by piece; see `refuse_bad_names`."""
    for piece in values(obs.index, obs.rows, block):
        yield piece.to_pylist()


def refuse_bad_names(obs: Frame, file: h5py.File) -> None:
    """Refuse cells without a name or of the same one; 8 bytes a cell are used.

    Raises
    ------
    Failure
        DATA_INVALID that names one of them.
    """
    hashed = np.empty(obs.rows, np.int64)
    at = 0
    for piece in values(obs.index, obs.rows):
        if piece.null_count:
            cell = at + pc.index(piece.is_null(), value=True).as_py()
            raise h5ad.invalid(
                h5ad.path_of(file),
                f"cell {cell} of {obs.rows}, counted from 0, has no name",
                "name each cell in the index of obs",
            )
        hashed[at : at + len(piece)] = [hash(name) for name in piece.to_pylist()]
        at += len(piece)
    hashed.sort()
    twice = set(hashed[1:][hashed[1:] == hashed[:-1]].tolist())
    if not twice:
        return
    # Names of one hash may differ, so the few in question are compared themselves.
    seen: Counter[str] = Counter()
    for piece in names(obs):
        seen.update(name for name in piece if hash(name) in twice)
    same = [name for name, count in seen.items() if count > 1]
    if same:
        raise _duplicates(file, same, seen)


def _duplicates(file: h5py.File, same: list[str], seen: Counter[str]) -> Failure:
    more = f" and {len(same) - 1} more" if len(same) > 1 else ""
    return h5ad.invalid(
        h5ad.path_of(file),
        f"the cell id {same[0]!r} stands {seen[same[0]]} times{more}",
        "make them unique: adata.obs_names_make_unique()",
    )


def organism(file: h5py.File, obs: Frame) -> str | None:
    """Return the organism when the file names exactly one."""
    stored = file.get("uns/organism")
    if (
        isinstance(stored, h5py.Dataset)
        and stored.shape == ()
        and h5py.check_string_dtype(stored.dtype)
    ):
        with h5ad.reading(h5ad.path_of(file)):
            return str(stored.asstr()[()])
    column = obs.column("organism")
    found = [text for text in counted(column, obs.rows) if text is not None]
    return found[0] if len(found) == 1 else None

"""Turn a matrix that is stored by columns into blocks of rows, in one pass and bounded memory.

Each entry goes to the bucket of its row, a file; then one bucket after the other is sorted by row.
It is the distribution sort of Knuth, The Art of Computer Programming 3, 5.2.5.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cohortflow.cells.rows import BLOCK_CELLS, Rows
from cohortflow.core.compiled import compiled

_BUCKET_BYTES = 24 << 20
_LARGEST_ENTRY = 16


@dataclass(frozen=True)
class Entries:
    """Some entries of a matrix, column after column.

    Attributes
    ----------
    cells, columns : ndarray of int32, (entries,)
    values : ndarray of float32 or float64, (entries,)
    """

    cells: npt.NDArray[np.int32]
    columns: npt.NDArray[np.int32]
    values: npt.NDArray[Any]


def rows(pieces: Iterable[Entries], cells: int, entries: int, scratch: Path) -> Iterator[Rows]:
    """Yield blocks of rows of a matrix whose entries come column by column.

    Parameters
    ----------
    pieces : iterable of Entries
        All entries; those of a cell in rising order of columns.
    cells, entries : int
        How many there are in all.
    scratch : Path
        Folder of the bucket files, which are deleted.

    Raises
    ------
    OSError
        When the scratch folder is full.
    """
    buckets = max(1, -(-entries * _LARGEST_ENTRY // _BUCKET_BYTES))
    per_bucket = max(1, -(-cells // buckets))
    with tempfile.TemporaryDirectory(prefix=".spill-", dir=scratch) as folder:
        paths = [Path(folder, f"{n}") for n in range(-(-cells // per_bucket))]
        dtype = _distribute(pieces, paths, per_bucket)
        for number, path in enumerate(paths):
            start = number * per_bucket
            yield from _bucket(path, dtype, start, min(per_bucket, cells - start))
            path.unlink()


def _distribute(pieces: Iterable[Entries], paths: list[Path], per_bucket: int) -> np.dtype[Any]:
    """Append each entry to the file of its bucket; return how an entry is stored."""
    dtype = _record(np.dtype(np.float32))
    for path in paths:
        path.touch()
    for piece in pieces:
        dtype = _record(piece.values.dtype)
        packed = np.empty(len(piece.cells), dtype)
        ends = _sorted_by_bucket(
            piece.cells, piece.columns, piece.values, per_bucket, len(paths), packed
        )
        for number in np.flatnonzero(np.diff(ends)):
            # Opened each time: there may be more buckets than a process may have open files.
            with paths[number].open("ab", buffering=0) as file:
                _write(file.fileno(), packed[ends[number] : ends[number + 1]])
    return dtype


def _record(values: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype([("cell", np.int32), ("column", np.int32), ("value", values)])


def _write(descriptor: int, records: npt.NDArray[Any]) -> None:
    left = memoryview(records.view(np.uint8).data)
    while left:
        left = left[os.write(descriptor, left) :]


@compiled
def _sorted_by_bucket(
    cells: npt.NDArray[np.int32],
    columns: npt.NDArray[np.int32],
    values: npt.NDArray[Any],
    per_bucket: int,
    buckets: int,
    packed: npt.NDArray[Any],
) -> npt.NDArray[np.int64]:
    """Fill `packed` bucket by bucket, keeping the order within each; return where each begins."""
    ends = np.zeros(buckets + 1, np.int64)
    for at in range(cells.size):
        ends[cells[at] // per_bucket + 1] += 1
    for bucket in range(buckets):
        ends[bucket + 1] += ends[bucket]
    places = ends[:-1].copy()
    for at in range(cells.size):
        bucket = cells[at] // per_bucket
        place = places[bucket]
        places[bucket] += 1
        packed[place].cell = cells[at] % per_bucket
        packed[place].column = columns[at]
        packed[place].value = values[at]
    return ends


def _bucket(path: Path, dtype: np.dtype[Any], start: int, cells: int) -> Iterator[Rows]:
    """Yield the rows of one bucket."""
    packed = np.fromfile(path, dtype)
    pointers, columns, values = _sorted_by_cell(packed, cells)
    for first in range(0, cells, BLOCK_CELLS):
        edges = pointers[first : min(cells, first + BLOCK_CELLS) + 1]
        piece = slice(edges[0], edges[-1])
        yield Rows(start + first, edges - edges[0], columns[piece], values[piece])


@compiled
def _sorted_by_cell(
    packed: npt.NDArray[Any], cells: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[Any]]:
    """Sort a bucket by cell, keeping the order of columns."""
    pointers = np.zeros(cells + 1, np.int64)
    for at in range(packed.size):
        pointers[packed[at].cell + 1] += 1
    for cell in range(cells):
        pointers[cell + 1] += pointers[cell]
    places = pointers[:-1].copy()
    columns = np.empty(packed.size, np.int32)
    values = np.empty(packed.size, packed["value"].dtype)
    for at in range(packed.size):
        place = places[packed[at].cell]
        places[packed[at].cell] += 1
        columns[place] = packed[at].column
        values[place] = packed[at].value
    return pointers, columns, values

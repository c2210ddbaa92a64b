"""A matrix stored by columns comes out by rows, from many small buckets, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from cohortflow.cells import spill


def pieces(matrix: sparse.csc_matrix, size: int) -> Iterator[spill.Entries]:
    columns = np.repeat(np.arange(matrix.shape[1], dtype=np.int32), np.diff(matrix.indptr))
    for first in range(0, matrix.nnz, size):
        part = slice(first, first + size)
        yield spill.Entries(matrix.indices[part].astype(np.int32), columns[part], matrix.data[part])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("bucket_bytes", [16, 400, 10**6])
@pytest.mark.parametrize("size", [1, 7, 10**6])
def test_rows_are_those_of_the_matrix(
    dtype: str, bucket_bytes: int, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "_BUCKET_BYTES", bucket_bytes)
    matrix = sparse.random(53, 31, 0.2, "csc", dtype, random_state=3)
    found = list(spill.rows(pieces(matrix, size), 53, matrix.nnz, tmp_path))
    assert [rows.start for rows in found] == list(np.cumsum([0] + [r.cells for r in found[:-1]]))
    blocks = [
        sparse.csr_matrix((r.values, r.columns, r.pointers), (r.cells, 31)).toarray() for r in found
    ]
    assert np.array_equal(np.concatenate(blocks), matrix.toarray())
    assert all(r.values.dtype == dtype for r in found)
    ordered = [c for r in found for a, b in zip(r.pointers, r.pointers[1:], strict=False)
               for c in [np.diff(r.columns[a:b])]]  # fmt: skip
    assert all((steps > 0).all() for steps in ordered), "the columns of a row rise"
    assert not list(tmp_path.iterdir()), "no piece is left"


def test_a_matrix_without_entries_still_has_its_rows(tmp_path: Path) -> None:
    found = list(spill.rows([], 5, 0, tmp_path))
    assert sum(rows.cells for rows in found) == 5
    assert all(len(rows.values) == 0 for rows in found)


def test_pieces_are_gone_also_when_the_reader_stops(tmp_path: Path) -> None:
    matrix = sparse.random(53, 31, 0.2, "csc", "f4", random_state=3)
    reading = spill.rows(pieces(matrix, 10), 53, matrix.nnz, tmp_path)
    next(reading)
    assert list(tmp_path.iterdir())
    reading.close()
    assert not list(tmp_path.iterdir())

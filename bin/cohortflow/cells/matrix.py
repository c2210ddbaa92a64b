"""Read the expression matrix of an h5ad file in blocks of cells, whatever its layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt

from cohortflow.cells import h5ad, spill
from cohortflow.cells.heap import Room
from cohortflow.cells.rows import BLOCK_CELLS, Rows
from cohortflow.core.compiled import compiled
from cohortflow.core.outcome import Failure

# A block has fewer cells where their entries would take more than this.
_BLOCK_ENTRIES = 1_000_000
_DENSE_BYTES = 16 << 20

Layout = Literal["csr", "csc", "dense"]


@dataclass(frozen=True)
class Matrix:
    """An expression matrix: cells × genes.

    Attributes
    ----------
    name : str
        ``X``, ``raw`` or ``layers/NAME``.
    layout : {"csr", "csc", "dense"}
    cells, genes : int
    item : h5py.Group or h5py.Dataset
        Where it is stored.
    genes_table : str
        The table that names its genes.
    """

    name: str
    layout: Layout
    cells: int
    genes: int
    item: Any
    genes_table: str


def choose(file: h5py.File, name: str) -> Matrix:
    """Find a matrix and understand how it is stored.

    Parameters
    ----------
    file : h5py.File
    name : str
        ``X``, ``raw`` or ``layers/NAME``.

    Raises
    ------
    Failure
        DATA_INVALID when the file has no such matrix, or one that is not consistent.
    """
    path = h5ad.path_of(file)
    with h5ad.reading(path):
        item, table = _find(file, name)
        if item is None:
            others = ", ".join(f"--matrix {one}" for one in available(file) if one != name)
            way = f"use {others}" if others else "write the counts into it with anndata"
            raise h5ad.invalid(path, f"has no matrix {name}", way)
        layout, shape = _form(path, name, item)
        matrix = Matrix(name, layout, *shape, item, table)
        if layout != "dense":
            _check_sparse(path, matrix)
        return matrix


def available(file: h5py.File) -> list[str]:
    """List the matrices of a file as `choose` names them."""
    layers = file.get("layers")
    names = ["X", "raw", *(f"layers/{n}" for n in (layers if layers is not None else ()))]
    return [name for name in names if _find(file, name)[0] is not None]


def others(matrix: Matrix) -> str:
    """Say which other matrices the file of a matrix has, as the remedy of a refusal."""
    names = [name for name in available(matrix.item.file) if name != matrix.name]
    if not names:
        return "counts stored in the file, as adata.raw or a layer, with --matrix"
    return " or ".join(f"--matrix {name}" for name in names)


def _find(file: h5py.File, name: str) -> tuple[Any, str]:
    if name == "raw":
        if "raw.X" in file:  # anndata before 0.7
            return file.get("raw.X"), "raw.var"
        return file.get("raw/X"), "raw/var"
    return file.get(name), "var"


def _form(path: Path, name: str, item: Any) -> tuple[Layout, tuple[int, int]]:  # noqa: ANN401
    """Return layout and shape of a stored matrix."""
    if isinstance(item, h5py.Dataset):
        if len(item.shape or ()) != 2 or item.dtype.kind not in "biuf":
            raise h5ad.invalid(path, f"{name} is no matrix of numbers: {item.dtype} {item.shape}")
        return "dense", (int(item.shape[0]), int(item.shape[1]))
    kind = str(h5ad.attribute(item, "encoding-type") or "").removesuffix("_matrix")
    kind = kind or str(h5ad.attribute(item, "h5sparse_format") or "")
    shape = h5ad.attribute(item, "shape") or h5ad.attribute(item, "h5sparse_shape")
    if kind not in {"csr", "csc"} or not isinstance(shape, list) or len(shape) != 2:
        raise h5ad.invalid(path, f"{name} is stored in an unknown way ({kind or 'no encoding'})")
    return ("csr" if kind == "csr" else "csc"), (int(shape[0]), int(shape[1]))


def _check_sparse(path: Path, matrix: Matrix) -> None:
    """Refuse parts that do not fit together, before anything is read from them."""
    parts = [matrix.item.get(name) for name in ("data", "indices", "indptr")]
    if not all(isinstance(part, h5py.Dataset) and len(part.shape) == 1 for part in parts):
        raise h5ad.invalid(path, f"{matrix.name} lacks data, indices or indptr")
    data, indices, pointers = parts
    major = matrix.cells if matrix.layout == "csr" else matrix.genes
    if data.dtype.kind not in "biuf" or indices.dtype.kind not in "iu":
        raise h5ad.invalid(path, f"{matrix.name} holds no numbers: {data.dtype}")
    if len(pointers) != major + 1 or len(data) != len(indices):
        raise h5ad.invalid(path, f"{matrix.name} is not consistent: its parts differ in length")


def blocks(matrix: Matrix, scratch: Path) -> Iterator[Rows]:
    """Yield the matrix in blocks of cells, in their order.

    Memory does not grow with the number of cells, but for the row pointers (8 bytes a cell). A
    block lasts until the next one is asked for.

    Parameters
    ----------
    matrix : Matrix
    scratch : Path
        A folder for the pieces of a column-wise matrix (12 to 16 bytes an entry that is not
        zero); they are deleted.

    Raises
    ------
    Failure
        DATA_INVALID when the matrix is not consistent.
    """
    if matrix.layout == "csr":
        return _csr(matrix)
    if matrix.layout == "csc":
        return spill.rows(_columns(matrix), matrix.cells, len(matrix.item["data"]), scratch)
    if _is_tall(matrix):
        return spill.rows(_tiles(matrix), matrix.cells, matrix.cells * matrix.genes, scratch)
    return _dense(matrix)


def _pointers(matrix: Matrix) -> npt.NDArray[np.int64]:
    stored = matrix.item["indptr"]
    found = h5ad.read(stored, 0, len(stored)).astype(np.int64)
    rising = found.size > 0 and found[0] == 0 and bool((np.diff(found) >= 0).all())
    if not rising or found[-1] != len(matrix.item["data"]):
        raise _broken(matrix, "its indptr does not fit its data")
    return found


def _broken(matrix: Matrix, what: str) -> Failure:
    return h5ad.invalid(h5ad.path_of(matrix.item), f"{matrix.name} is not consistent: {what}")


def _csr(matrix: Matrix) -> Iterator[Rows]:
    pointers = _pointers(matrix)
    rooms = Room(), Room()
    start = 0
    while start < matrix.cells:
        limit = int(np.searchsorted(pointers, pointers[start] + _BLOCK_ENTRIES, "right")) - 1
        stop = min(matrix.cells, start + BLOCK_CELLS, max(limit, start + 1))
        first, last = int(pointers[start]), int(pointers[stop])
        yield Rows(
            start,
            pointers[start : stop + 1] - first,
            _indices(matrix, first, last, matrix.genes, rooms[0]),
            _values(matrix.item["data"], first, last, rooms[1]),
        )
        start = stop


def _indices(
    matrix: Matrix, first: int, last: int, limit: int, room: Room
) -> npt.NDArray[np.int32]:
    found = h5ad.read_into(room, matrix.item["indices"], first, last)
    if found.size and (found.min() < 0 or found.max() >= limit):
        raise _broken(matrix, f"an index is outside of 0 to {limit - 1}")
    return found.astype(np.int32, copy=False)


def _values(data: h5py.Dataset, first: int, last: int, room: Room) -> npt.NDArray[Any]:
    """Read entries as float32 where that is exact for every value of the type, else float64."""
    return h5ad.read_into(room, data, first, last).astype(_exact(data.dtype), copy=False)


def _exact(dtype: np.dtype[Any]) -> type[np.float32] | type[np.float64]:
    small = dtype.itemsize <= (4 if dtype.kind == "f" else 2)
    return np.float32 if small else np.float64


def _dense(matrix: Matrix) -> Iterator[Rows]:
    dtype = _exact(matrix.item.dtype)
    step = _dense_cells(matrix)
    for start in range(0, matrix.cells, step):
        found = h5ad.read(matrix.item, start, min(matrix.cells, start + step))
        yield Rows(start, *_non_zero(np.ascontiguousarray(found, dtype)))


def _dense_cells(matrix: Matrix) -> int:
    """Return how many cells to read at once: whole chunks, so that none is read twice."""
    fit = max(1, min(BLOCK_CELLS, _DENSE_BYTES // _row_bytes(matrix)))
    chunk = matrix.item.chunks[0] if matrix.item.chunks else 1
    return int(max(1, fit // chunk) * chunk)


def _row_bytes(matrix: Matrix) -> int:
    return max(1, matrix.genes * int(matrix.item.dtype.itemsize))


def _is_tall(matrix: Matrix) -> bool:
    """Tell whether a dense matrix is cut into chunks of so many cells that rows of them are large.

    To read it by rows each chunk would be read and decompressed again and again.
    """
    chunks = matrix.item.chunks
    cells = min(chunks[0], matrix.cells) if chunks else 0
    return cells * _row_bytes(matrix) > 4 * _DENSE_BYTES


def _tiles(matrix: Matrix) -> Iterator[spill.Entries]:
    """Yield the entries of a tall matrix by tiles of whole chunks, column after column."""
    tall, wide = matrix.item.chunks
    wide *= max(1, _DENSE_BYTES // (tall * wide * matrix.item.dtype.itemsize))
    for gene in range(0, matrix.genes, wide):
        for start in range(0, matrix.cells, tall):
            with h5ad.reading(h5ad.path_of(matrix.item)):
                found = matrix.item[start : start + tall, gene : gene + wide]
            tile = np.ascontiguousarray(found, _exact(matrix.item.dtype))
            pointers, columns, values = _non_zero(tile)
            cells = np.repeat(
                np.arange(start, start + len(tile), dtype=np.int32), np.diff(pointers)
            )
            yield spill.Entries(cells, columns + np.int32(gene), values)


@compiled
def _non_zero(
    dense: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[Any]]:
    """Return pointers, columns and values of the entries that are not zero."""
    cells, genes = dense.shape
    pointers = np.zeros(cells + 1, np.int64)
    for cell in range(cells):
        count = 0
        for gene in range(genes):
            count += dense[cell, gene] != 0
        pointers[cell + 1] = pointers[cell] + count
    columns = np.empty(pointers[cells], np.int32)
    values = np.empty(pointers[cells], dense.dtype)
    at = 0
    for cell in range(cells):
        for gene in range(genes):
            if dense[cell, gene] != 0:
                columns[at] = gene
                values[at] = dense[cell, gene]
                at += 1
    return pointers, columns, values


def _columns(matrix: Matrix) -> Iterator[spill.Entries]:
    """Yield the entries of a column-wise matrix in the order they are stored."""
    pointers = _pointers(matrix)
    rooms = Room(), Room()
    gene, first, total = 0, 0, int(pointers[-1])
    while first < total:
        last = min(total, first + _BLOCK_ENTRIES)
        upto = int(np.searchsorted(pointers, last, "left"))
        edges = np.clip(pointers[gene : upto + 1], first, last)
        columns = np.repeat(np.arange(gene, upto, dtype=np.int32), np.diff(edges))
        cells = _indices(matrix, first, last, matrix.cells, rooms[0])
        values = _values(matrix.item["data"], first, last, rooms[1])
        yield spill.Entries(cells, columns, values)
        gene, first = max(upto - 1, 0), last

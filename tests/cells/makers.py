"""Tiny h5ad files that hold exactly a given matrix, and the same files with one fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cohortflow.example import h5ad


def tiny(
    path: Path,
    matrix: np.ndarray,
    *,
    layout: str = "csr",
    names: list[str] | None = None,
    obs: dict[str, Any] | None = None,
    cell_ids: list[str] | None = None,
    index_dtype: str = "int32",
    pointer_dtype: str = "int64",
    dtype: str = "f4",
    compression: str | None = None,
    raw: np.ndarray | tuple[np.ndarray, list[str]] | None = None,
    layers: dict[str, np.ndarray] | None = None,
) -> Path:
    """Write a dense matrix in a layout (`csr`, `csc`, `dense`) of today's encoding; return `path`.

    Columns of `obs` are arrays, lists of str, ``("categorical", codes, categories)`` or
    ``("nullable-integer", values, mask)``. `raw` is a matrix, or one with its own names of genes.
    Layers and raw have X's layout and type.
    """
    cells, genes = matrix.shape
    options: dict[str, Any] = {
        "layout": layout,
        "dtype": dtype,
        "index_dtype": index_dtype,
        "pointer_dtype": pointer_dtype,
        "compression": compression,
    }
    names = names or numbered("gene", genes)
    columns = {key: _column(value) for key, value in (obs or {}).items()}
    with h5ad.create(path) as file:
        h5ad.matrix(file, "X", np.asarray(matrix), **options)
        for key, values in (layers or {}).items():
            h5ad.matrix(file["layers"], key, np.asarray(values), **options)
        if raw is not None:
            values, of_raw = raw if isinstance(raw, tuple) else (raw, None)
            of_raw = of_raw or (names if values.shape[1] == genes else None)
            of_raw = of_raw or numbered("gene", values.shape[1])
            h5ad.raw(file, np.asarray(values), of_raw, layout=layout, dtype=dtype)
        h5ad.dataframe(file, "obs", cell_ids or numbered("cell", cells), columns)
        h5ad.dataframe(file, "var", names, {})
    return path


def numbered(word: str, count: int) -> list[str]:
    """Return ``word0``, ``word1``, and so on."""
    return [f"{word}{number}" for number in range(count)]


def without_X(path: Path) -> Path:
    """Take the matrix out."""
    with h5py.File(path, "a") as file:
        del file["X"]
    return path


def without_var_names(path: Path) -> Path:
    """Take the names of the genes out; ``var`` still refers to them."""
    with h5py.File(path, "a") as file:
        del file["var"][file["var"].attrs["_index"]]
    return path


def truncated(path: Path, fraction: float = 0.6) -> Path:
    """Keep the first part of the bytes only."""
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    return path


def _column(value: Any) -> h5ad.Column:
    """Make a column of obs of what a test wrote."""
    if not isinstance(value, tuple):
        return value
    kind, first, second = value
    if kind == "categorical":
        return h5ad.Categorical(np.asarray(first, np.int8), tuple(second))
    assert kind == "nullable-integer"
    return h5ad.NullableInteger(np.asarray(first), np.asarray(second, bool))

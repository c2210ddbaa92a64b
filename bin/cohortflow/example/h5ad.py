"""Write the parts of an h5ad file as anndata 0.8 and later do, with h5py alone.

After the specification "On-disk format" of anndata's documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

TEXT = h5py.string_dtype()

Numbers = NDArray[np.number | np.bool_]


@dataclass(frozen=True)
class Categorical:
    """A column of few different values.

    Attributes
    ----------
    codes : ndarray (n,) of int
        Place among the categories; -1 where there is no value.
    categories : tuple of str
    """

    codes: NDArray[np.integer]
    categories: tuple[str, ...]


@dataclass(frozen=True)
class NullableInteger:
    """A column of whole numbers, some of which are not known.

    Attributes
    ----------
    values : ndarray (n,) of int
    mask : ndarray (n,) of bool
        True where the value is not known.
    """

    values: NDArray[np.integer]
    mask: NDArray[np.bool_]


#: A list of str is written as a string-array.
Column = Numbers | list[str] | Categorical | NullableInteger


@contextmanager
def create(path: Path) -> Iterator[h5py.File]:
    """Give a new file to fill, with the empty groups that every h5ad file has."""
    with h5py.File(path, "w") as file:
        encode(file, "anndata", "0.1.0")
        for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
            encode(file.create_group(name), "dict", "0.1.0")
        yield file


def encode(item: h5py.Group | h5py.Dataset, kind: str, version: str) -> None:
    """Say what an item is, as anndata reads it."""
    item.attrs["encoding-type"] = kind
    item.attrs["encoding-version"] = version


def dataframe(
    parent: h5py.Group, name: str, index: Iterable[str], columns: Mapping[str, Column]
) -> None:
    """Write ``obs`` or ``var`` (encoding 0.2.0)."""
    group = parent.create_group(name)
    encode(group, "dataframe", "0.2.0")
    group.attrs["_index"] = "_index"
    group.attrs.create("column-order", list(columns), dtype=TEXT, shape=(len(columns),))
    strings(group, "_index", index)
    for key, column in columns.items():
        _write_column(group, key, column)


def strings(parent: h5py.Group, name: str, values: Iterable[str]) -> None:
    """Write an array of strings."""
    dataset = parent.create_dataset(name, data=np.array(list(values), dtype=object), dtype=TEXT)
    encode(dataset, "string-array", "0.2.0")


def dense(
    parent: h5py.Group,
    name: str,
    shape: tuple[int, int],
    dtype: DTypeLike = "f4",
    compression: str | None = None,
) -> h5py.Dataset:
    """Make a dense matrix to fill."""
    dataset = parent.create_dataset(name, shape=shape, dtype=dtype, compression=compression)
    encode(dataset, "array", "0.2.0")
    return dataset


def sparse(
    parent: h5py.Group,
    name: str,
    shape: tuple[int, int],
    sizes: NDArray[np.integer],
    *,
    layout: str = "csr",
    dtype: DTypeLike = "f4",
    index_dtype: DTypeLike = "int32",
    pointer_dtype: DTypeLike = "int64",
    compression: str | None = None,
) -> h5py.Group:
    """Make a sparse matrix whose ``data`` and ``indices`` are to be filled.

    Parameters
    ----------
    parent : h5py.Group
    name : str
    shape : (int, int)
        Cells, genes.
    sizes : ndarray (cells,) or (genes,)
        Entries of each row (csr) or column (csc).
    layout : str
        ``csr`` or ``csc``.
    dtype, index_dtype, pointer_dtype : dtype
        Of ``data``, ``indices``, ``indptr``.
    compression : str, optional
        As h5py names it. The arrays are chunked without one too, as anndata makes them: they can
        grow.
    """
    group = parent.create_group(name)
    encode(group, f"{layout}_matrix", "0.1.0")
    group.attrs["shape"] = np.array(shape, np.int64)
    pointer = np.concatenate([[0], np.cumsum(sizes)])
    size = (int(pointer[-1]),)
    options = {"compression": compression, "maxshape": (None,)}
    group.create_dataset("data", shape=size, dtype=dtype, **options)
    group.create_dataset("indices", shape=size, dtype=index_dtype, **options)
    group.create_dataset("indptr", data=pointer.astype(pointer_dtype), **options)
    return group


def matrix(
    parent: h5py.Group,
    name: str,
    values: Numbers,
    *,
    layout: str = "csr",
    dtype: DTypeLike | None = None,
    index_dtype: DTypeLike = "int32",
    pointer_dtype: DTypeLike = "int64",
    compression: str | None = None,
) -> None:
    """Write a matrix that is in memory, dense, in any layout (``csr``, ``csc``, ``dense``)."""
    shape, kind = (values.shape[0], values.shape[1]), dtype or values.dtype
    if layout == "dense":
        dense(parent, name, shape, kind, compression)[...] = values
        return
    rows = values if layout == "csr" else values.T
    line, place = np.nonzero(rows)
    group = sparse(
        parent,
        name,
        shape,
        np.bincount(line, minlength=len(rows)),
        layout=layout,
        dtype=kind,
        index_dtype=index_dtype,
        pointer_dtype=pointer_dtype,
        compression=compression,
    )
    group["data"][...] = rows[line, place]
    group["indices"][...] = place


def raw(
    file: h5py.File,
    values: Numbers,
    names: Iterable[str],
    *,
    layout: str = "csr",
    dtype: DTypeLike | None = None,
) -> None:
    """Write ``raw``: another matrix of the same cells, with its own genes."""
    group = file.create_group("raw")
    encode(group, "raw", "0.1.0")
    matrix(group, "X", values, layout=layout, dtype=dtype)
    dataframe(group, "var", names, {})
    encode(group.create_group("varm"), "dict", "0.1.0")


def _write_column(group: h5py.Group, name: str, column: Column) -> None:
    """Write one column of a dataframe."""
    if isinstance(column, Categorical):
        part = group.create_group(name)
        encode(part, "categorical", "0.2.0")
        part.attrs["ordered"] = False
        encode(part.create_dataset("codes", data=column.codes), "array", "0.2.0")
        strings(part, "categories", column.categories)
    elif isinstance(column, NullableInteger):
        part = group.create_group(name)
        encode(part, "nullable-integer", "0.1.0")
        encode(part.create_dataset("values", data=column.values), "array", "0.2.0")
        encode(part.create_dataset("mask", data=column.mask), "array", "0.2.0")
    elif isinstance(column, list):
        strings(group, name, column)
    else:
        encode(group.create_dataset(name, data=column), "array", "0.2.0")

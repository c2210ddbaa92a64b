"""Write h5ad files as anndata 0.5 and 0.7 did: their readers still meet such files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from cohortflow.example.h5ad import TEXT, Categorical, Column, Numbers, encode, matrix

COMPRESSION_05, COMPRESSION_07 = "gzip", "lzf"  # what those versions used by default


def write_05(
    path: Path,
    values: Numbers,
    raw: Numbers,
    cells: Sequence[str],
    genes: Sequence[str],
    obs: Mapping[str, Column],
) -> None:
    """Write the layout of anndata 0.5.

    ``obs`` and ``var`` are compound datasets, categories are in ``uns``, ``raw.X`` and ``raw.var``
    are items of the root, sparse matrices say so by ``h5sparse_format``. The indices of a row are
    in descending order, as they are in files of that time.

    Parameters
    ----------
    path : Path
    values : ndarray (cells, genes of X)
        X, written dense. Its genes are the first ones of `genes`.
    raw : ndarray (cells, genes)
        ``raw.X``, written as CSR.
    cells, genes : sequence of str
        ASCII.
    obs : mapping of str to column
        Numbers and categories; this layout has no other.
    """
    with h5py.File(path, "w") as file:
        options = {"compression": COMPRESSION_05}
        file.create_dataset("X", data=values, **options)
        file.create_dataset("obs", data=_records(cells, obs), **options)
        matrix(file, "raw.X", raw, pointer_dtype="int32", compression=COMPRESSION_05)
        group = file["raw.X"]
        _descend(group)
        for key in list(group.attrs):
            del group.attrs[key]
        group.attrs["h5sparse_format"] = "csr"
        group.attrs["h5sparse_shape"] = np.array(raw.shape, np.int64)
        file.create_dataset("raw.var", data=_records(genes, {}), **options)
        file.create_group("uns")
        for key, column in obs.items():
            if isinstance(column, Categorical):
                categories = np.array([text.encode() for text in column.categories])
                file.create_dataset(f"uns/{key}_categories", data=categories, **options)
        kept = genes[: values.shape[1]]
        columns = {"n_counts": values.sum(axis=0, dtype=np.float32)}
        file.create_dataset("var", data=_records(kept, columns), **options)


def write_07(
    path: Path,
    values: Numbers,
    raw: Numbers,
    cells: Sequence[str],
    genes: Sequence[str],
    obs: Mapping[str, Column],
) -> None:
    """Write the layout of anndata 0.7.

    Dataframes are groups of encoding 0.1.0, their categories in a group ``__categories`` that each
    column of codes refers to; dense arrays have no encoding. Parameters as of `write_05`; X is
    written as CSR, and `obs` may hold strings too.
    """
    with h5py.File(path, "w") as file:
        kept = genes[: values.shape[1]]
        _matrix_07(file, values)
        _dataframe_07(file, "obs", cells, obs)
        _dataframe_07(file, "var", kept, {"n_counts": values.sum(axis=0, dtype=np.float32)})
        for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
            file.create_group(name)
        group = file.create_group("raw")
        encode(group, "raw", "0.1.0")
        group.attrs["shape"] = np.array(raw.shape, np.int64)
        _matrix_07(group, raw)
        _dataframe_07(group, "var", genes, {})
        group.create_group("varm")


def _records(index: Sequence[str], columns: Mapping[str, Column]) -> np.ndarray:
    """Make the compound array of a dataframe: fixed-length names, codes of categories."""
    fields: dict[str, np.ndarray] = {"index": np.array([text.encode() for text in index])}
    for key, column in columns.items():
        if isinstance(column, Categorical):
            fields[key] = column.codes
        elif isinstance(column, np.ndarray):
            fields[key] = column
        else:
            raise TypeError(f"{key}: this layout has no column of {type(column).__name__}")
    records = np.empty(len(index), [(key, values.dtype) for key, values in fields.items()])
    for key, values in fields.items():
        records[key] = values
    return records


def _descend(group: h5py.Group) -> None:
    """Turn the order of the indices within each row."""
    indices, pointer = group["indices"][...], group["indptr"][...]
    row = np.repeat(np.arange(len(pointer) - 1), np.diff(pointer))
    order = np.lexsort((-indices, row))
    group["indices"][...] = indices[order]
    group["data"][...] = group["data"][...][order]


def _matrix_07(parent: h5py.Group, values: Numbers) -> None:
    """Write ``X`` as CSR."""
    matrix(parent, "X", values, pointer_dtype="int32", compression=COMPRESSION_07)


def _dataframe_07(
    parent: h5py.Group, name: str, index: Sequence[str], columns: Mapping[str, Column]
) -> None:
    """Write a dataframe of encoding 0.1.0."""
    group = parent.create_group(name)
    encode(group, "dataframe", "0.1.0")
    group.attrs["_index"] = "_index"
    group.attrs.create("column-order", list(columns), dtype=TEXT, shape=(len(columns),))
    texts = {"_index": list(index)}
    for key, column in columns.items():
        if isinstance(column, Categorical):
            place = group.require_group("__categories")
            categories = np.array(column.categories, dtype=object)
            options = {"dtype": TEXT, "compression": COMPRESSION_07}
            dataset = place.create_dataset(key, data=categories, **options)
            dataset.attrs["ordered"] = False
            codes = group.create_dataset(key, data=column.codes, compression=COMPRESSION_07)
            codes.attrs["categories"] = dataset.ref
        elif isinstance(column, np.ndarray):
            group.create_dataset(key, data=column)
        elif isinstance(column, list):
            texts[key] = column
        else:
            raise TypeError(f"{key}: this layout has no column of {type(column).__name__}")
    for key, values in texts.items():
        array = np.array(values, dtype=object)
        group.create_dataset(key, data=array, dtype=TEXT, compression=COMPRESSION_07)

"""Read the tables of an h5ad file, `obs` and `var`, column by column and piece by piece.

All layouts that anndata has written are read: groups of columns with categories as groups (0.8 and
newer), as `__categories` (0.7), nullable columns, and the compound datasets of older versions,
whose categories are in ``uns/<column>_categories``.
See https://anndata.readthedocs.io/en/stable/fileformat-prose.html.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa

from cohortflow.cells import h5ad
from cohortflow.core.outcome import Failure

Reader = Callable[[int, int], pa.Array]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    name : str
    type : pyarrow.DataType
        Of the values; that of the categories where it is categorical.
    read : callable
        ``read(start, stop)`` returns these rows; missing values are null.
    """

    name: str
    type: pa.DataType
    read: Reader


@dataclass(frozen=True)
class Frame:
    """A table.

    Attributes
    ----------
    rows : int
    index : Column
        Names of the rows, as text.
    columns : tuple of Column
        In the file's order, without the index unless a column has its name.
    """

    rows: int
    index: Column
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column | None:
        """Return a column by its name, None when there is none."""
        return next((column for column in self.columns if column.name == name), None)


def frame(file: h5py.File, name: str, what: str) -> Frame:
    """Understand a table of a file; values are read later.

    Parameters
    ----------
    file : h5py.File
    name : str
        Path in the file: ``obs``, ``var``, ``raw/var``, ``raw.var``.
    what : str
        What its rows are, for messages: ``cell``, ``gene``.

    Raises
    ------
    Failure
        DATA_INVALID when the table, its index or a column cannot be understood.
    """
    path = h5ad.path_of(file)
    with h5ad.reading(path):
        table = file.get(name)
        if isinstance(table, h5py.Dataset) and table.dtype.names:
            found = _compound(file, table)
        elif isinstance(table, h5py.Group):
            found = _group(table)
        else:
            raise h5ad.invalid(path, f"has no table {name}: its {what} names are not there")
        if found is None:
            raise h5ad.invalid(path, f"{name} has no index: its {what} names are not there")
        return found


def values(column: Column, rows: int, block: int = 100_000) -> Iterator[pa.Array]:
    """Yield a column piece by piece."""
    for start in range(0, rows, block):
        yield column.read(start, min(rows, start + block))


def ahead(column: Column, rows: int, size: int) -> Column:
    """Return a column that reads ahead, for who reads it in small pieces from begin to end.

    Parameters
    ----------
    column : Column
    rows : int
        Of the table.
    size : int
        Rows to read at once; a piece that lies in two of these reads is read by itself.
    """
    held: dict[int, pa.Array] = {}

    def read(start: int, stop: int) -> pa.Array:
        first = start - start % size
        if stop > first + size:
            return column.read(start, stop)
        if first not in held:
            held.clear()
            held[first] = column.read(first, min(rows, first + size))
        return held[first].slice(start - first, stop - start)

    return Column(column.name, column.type, read)


def _group(group: h5py.Group) -> Frame | None:
    named = h5ad.attribute(group, "_index")
    name = next((n for n in (named, "_index", "index") if isinstance(n, str) and n in group), None)
    if name is None:
        return None
    index = _text(_column(group, name))
    rows = _length(group[name])
    order = h5ad.attribute(group, "column-order")
    # A list may name the index, too: then a column of the same name and values is stored once.
    others = [n for n in group if n != name and not n.startswith("__")]
    listed = [str(n) for n in order] if isinstance(order, list) else others
    for other in listed:
        _check_length(group, other, rows)
    return Frame(rows, index, tuple(_column(group, other) for other in listed))


def _check_length(group: h5py.Group, name: str, rows: int) -> None:
    item = group.get(name)
    if item is None or _length(item) != rows:
        found = "is missing" if item is None else f"has {_length(item)} values, not {rows}"
        raise _bad(group, name, found)


def _length(item: Any) -> int:  # noqa: ANN401 - a group or dataset
    if isinstance(item, h5py.Group):
        item = item["codes"] if "codes" in item else item["values"]
    return int(item.shape[0]) if item.shape else 0


def _bad(group: h5py.Group, name: str, what: str) -> Failure:
    table = str(group.name).strip("/")
    return h5ad.invalid(
        h5ad.path_of(group),
        f"column {name!r} of {table} {what}",
        f"write it with one type, or leave it out: del adata.{table.split('/')[-1]}[{name!r}]",
    )


def _column(group: h5py.Group, name: str) -> Column:
    """Understand one column of a table that is a group."""
    item = group[name]
    if isinstance(item, h5py.Group):
        if {"codes", "categories"} <= item.keys():
            return _categorical(name, item["codes"], _all(group, name, item["categories"]))
        if {"values", "mask"} <= item.keys():
            return _nullable(group, name, item["values"], item["mask"])
        kind = h5ad.attribute(item, "encoding-type") or "unknown"
        raise _bad(group, name, f"is of a kind that is not read: {kind}")
    reference = item.attrs.get("categories")
    if isinstance(reference, h5py.Reference):
        return _categorical(name, item, _all(group, name, group.file[reference]))
    return _plain(group, name, item)


def _plain(group: h5py.Group, name: str, item: h5py.Dataset) -> Column:
    kind = _type(item.dtype)
    if kind is None or len(item.shape) != 1:
        raise _bad(group, name, f"holds mixed or unknown values ({item.dtype}, {item.shape})")

    def read(start: int, stop: int) -> pa.Array:
        with h5ad.reading(h5ad.path_of(group)):
            return _array(h5ad.read(item, start, stop), kind)

    return Column(name, kind, read)


def _nullable(group: h5py.Group, name: str, item: h5py.Dataset, mask: h5py.Dataset) -> Column:
    column = _plain(group, name, item)

    def read(start: int, stop: int) -> pa.Array:
        with h5ad.reading(h5ad.path_of(group)):
            hidden = h5ad.read(mask, start, stop).astype(bool)
            return _array(h5ad.read(item, start, stop), column.type, hidden)

    return Column(name, column.type, read)


def _all(group: h5py.Group, name: str, item: h5py.Dataset | h5py.Group) -> pa.Array:
    """Read all categories of a column."""
    if isinstance(item, h5py.Group):  # nullable strings
        item = item["values"]
    return _plain(group, name, item).read(0, _length(item))


def _categorical(name: str, codes: h5py.Dataset, categories: pa.Array) -> Column:
    path = h5ad.path_of(codes)

    def read(start: int, stop: int) -> pa.Array:
        return _chosen(path, name, h5ad.read(codes, start, stop), categories)

    return Column(name, categories.type, read)


def _chosen(path: Path, name: str, codes: h5ad.Array, categories: pa.Array) -> pa.Array:
    """Return the categories that codes stand for; -1 is a missing value."""
    codes = codes.astype(np.int64)
    if codes.size and (codes.min() < -1 or codes.max() >= len(categories)):
        raise h5ad.invalid(path, f"column {name!r} has codes without a category")
    return categories.take(pa.array(codes, mask=codes < 0))


def _compound(file: h5py.File, table: h5py.Dataset) -> Frame | None:
    fields: tuple[str, ...] = table.dtype.names
    name = next((n for n in ("index", "_index") if n in fields), None)
    if name is None:
        return None
    rows = int(table.shape[0])
    columns = tuple(_field(file, table, other) for other in fields if other != name)
    return Frame(rows, _text(_field(file, table, name)), columns)


def _field(file: h5py.File, table: h5py.Dataset, name: str) -> Column:
    """Understand one field of a table that is a compound dataset."""
    path = h5ad.path_of(file)
    field = table.fields(name)
    kind = _type(table.dtype[name])
    if kind is None:
        raise h5ad.invalid(path, f"column {name!r} of {table.name} holds mixed or unknown values")

    def read(start: int, stop: int) -> pa.Array:
        with h5ad.reading(path):
            return _array(np.asarray(field[start:stop]), kind)

    listed = file.get(f"uns/{name}_categories")
    if not isinstance(listed, h5py.Dataset) or not pa.types.is_integer(kind):
        return Column(name, kind, read)
    of_all = _type(listed.dtype)
    if of_all is None:
        raise h5ad.invalid(path, f"column {name!r} of {table.name} has categories of no one type")
    categories = _array(h5ad.read(listed, 0, _length(listed)), of_all)

    def chosen(start: int, stop: int) -> pa.Array:
        return _chosen(path, name, read(start, stop).to_numpy(), categories)

    return Column(name, of_all, chosen)


def _type(dtype: np.dtype[Any]) -> pa.DataType | None:
    """Return the Arrow type of a stored one; None when its values may be of any kind."""
    if h5py.check_string_dtype(dtype) is not None or dtype.kind in "SU":
        return pa.string()
    if dtype.kind == "f":
        return pa.float64() if dtype.itemsize > 4 else pa.float32()
    if dtype.kind in "biu":
        return pa.from_numpy_dtype(dtype.newbyteorder("="))
    return None


def _array(found: h5ad.Array, kind: pa.DataType, hidden: h5ad.Array | None = None) -> pa.Array:
    """Make an Arrow array of values as they were read; ``hidden`` ones are null."""
    if pa.types.is_string(kind):
        return pa.array(found.tolist(), pa.binary(), mask=hidden).cast(pa.string())
    native = found.astype(kind.to_pandas_dtype(), copy=False)
    # A missing number is NaN in h5ad, and null in parquet.
    if found.dtype.kind == "f" and hidden is None:
        hidden = np.isnan(native)
    return pa.array(native, kind, mask=hidden)


def _text(column: Column) -> Column:
    """Return a column as text: row names may be stored as numbers."""
    if pa.types.is_string(column.type):
        return column
    return Column(column.name, pa.string(), lambda a, b: column.read(a, b).cast(pa.string()))

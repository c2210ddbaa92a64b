"""The rows of the dataset: what parquet holds of a block of cells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cohortflow.cells import genes, obs, sentences, split
from cohortflow.cells.age import Ages
from cohortflow.cells.frame import Column, Frame
from cohortflow.cells.rank import Ranked
from cohortflow.cells.rows import Rows
from cohortflow.cells.settings import Decided, Options

AGES = {"age": pa.float64(), "age_low": pa.float64(), "age_high": pa.float64(),
        "age_unit": pa.string()}  # fmt: skip
#: Columns that conversion adds; one of obs that has such a name becomes ``obs_<name>``.
ADDED = ("cell_id", "cell_sentence", "gene_ids", *AGES)


@dataclass(frozen=True)
class Maker:
    """All that is needed to make the rows of any block of cells.

    Attributes
    ----------
    cells : Frame
    columns : mapping of str to Column
        Columns of obs by the names that they have in parquet.
    schema : pyarrow.Schema
    symbols : list of str
    known : Vocabulary
        The same, ready to be written.
    first : ndarray of int32, (symbols,)
        The first row of genes.tsv with each symbol.
    stage : Column or None
        Stages of development.
    stages : pyarrow.Array
        Those with known ages.
    ages : dict of str to pyarrow.Array
        Columns of `AGES` for each of them.
    decided : split.Split
    group : Column or None
        Donor or stage, where the split asks for it.
    """

    cells: Frame
    columns: Mapping[str, Column]
    schema: pa.Schema
    symbols: list[str]
    symbol_of: npt.NDArray[np.int32]
    known: sentences.Vocabulary
    first: npt.NDArray[np.int32]
    stage: Column | None
    stages: pa.Array
    ages: Mapping[str, pa.Array]
    decided: split.Split
    group: Column | None

    @property
    def renamed(self) -> list[str]:
        """Columns of obs that have another name in parquet."""
        return [column.name for name, column in self.columns.items() if name != column.name]


def maker(
    cells: Frame,
    decided: Decided,
    options: Options,
    provenance: Mapping[str, Any],
) -> Maker:
    """Prepare to make rows.

    Parameters
    ----------
    cells : Frame
    decided : Decided
    options : Options
    provenance : mapping
        Facts that each parquet file carries in its metadata, as JSON.
    """
    columns = _columns(cells)
    symbols, symbol_of = genes.columns(decided.genes)
    first = np.full(len(symbols), -1, np.int32)
    first[symbol_of[::-1]] = np.arange(len(symbol_of), dtype=np.int32)[::-1]
    wanted = decided.split.column
    group = cells.column(wanted) if wanted else None
    stages, ages = _ages(decided.ages)
    return Maker(
        cells,
        columns,
        _schema(columns, options.gene_ids, provenance),
        symbols,
        symbol_of,
        sentences.vocabulary(symbols),
        first,
        cells.column(obs.STAGE),
        stages,
        ages,
        decided.split,
        group,
    )


def _columns(cells: Frame) -> dict[str, Column]:
    taken = {column.name for column in cells.columns}
    columns: dict[str, Column] = {}
    for column in cells.columns:
        name = column.name
        while name in ADDED or name in columns or (name != column.name and name in taken):
            name = f"obs_{name}"
        columns[name] = column
    return columns


def _schema(
    columns: Mapping[str, Column], gene_ids: bool, provenance: Mapping[str, Any]
) -> pa.Schema:
    fields = [pa.field("cell_id", pa.string()), pa.field("cell_sentence", pa.string())]
    if gene_ids:
        fields.append(pa.field("gene_ids", pa.list_(pa.int32())))
    fields += [pa.field(name, kind) for name, kind in AGES.items()]
    fields += [pa.field(name, column.type) for name, column in columns.items()]
    text = json.dumps(provenance, ensure_ascii=False, sort_keys=True)
    return pa.schema(fields, metadata={"cohortflow": text})


def _ages(ages: Ages) -> tuple[pa.Array, dict[str, pa.Array]]:
    known = [row for row in ages.rows if row.label is not None]
    columns = {
        "age": [row.age for row in known],
        "age_low": [row.low for row in known],
        "age_high": [row.high for row in known],
        "age_unit": [row.unit for row in known],
    }
    arrays = {name: pa.array(columns[name], kind) for name, kind in AGES.items()}
    return pa.array([row.label for row in known], pa.string()), arrays


def batch(made: Maker, rows: Rows, ranked: Ranked) -> pa.RecordBatch:
    """Make the rows of a block of cells.

    Parameters
    ----------
    made : Maker
    rows : Rows
    ranked : Ranked
        Of the same cells.
    """
    start, stop = rows.start, rows.stop
    arrays = [made.cells.index.read(start, stop), sentences.sentences(ranked, made.known)]
    if "gene_ids" in made.schema.names:
        numbers = pa.array(made.first[ranked.symbols])
        ends = pa.array(ranked.pointers.astype(np.int32))
        arrays.append(pa.ListArray.from_arrays(ends, numbers))
    arrays += _ages_of(made, start, stop)
    arrays += [column.read(start, stop) for column in made.columns.values()]
    return pa.RecordBatch.from_arrays(arrays, schema=made.schema)


def _ages_of(made: Maker, start: int, stop: int) -> list[pa.Array]:
    if made.stage is None:
        return [pa.nulls(stop - start, kind) for kind in AGES.values()]
    found = made.stage.read(start, stop).cast(pa.string())
    places = pc.index_in(found, value_set=made.stages)
    return [made.ages[name].take(places) for name in AGES]


def tests(made: Maker, batch: pa.RecordBatch, start: int) -> npt.NDArray[np.bool_]:
    """Tell which rows of a batch are for testing.

    Parameters
    ----------
    made : Maker
    batch : pyarrow.RecordBatch
    start : int
        Number of its first cell in the file.
    """
    stop = start + batch.num_rows
    groups = obs.texts(made.group, start, stop) if made.group else [None] * batch.num_rows
    ids = batch.column(0).to_pylist() if made.decided.by != "donor" else [""] * batch.num_rows
    return split.is_test(made.decided, ids, groups)

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

from cohortflow.cells import frame, genes, obs, sentences, split
from cohortflow.cells.age import Ages
from cohortflow.cells.frame import Column, Frame
from cohortflow.cells.rank import Ranked
from cohortflow.cells.rows import Rows
from cohortflow.cells.settings import Decided, Options

AGES = {"age": pa.float64(), "age_low": pa.float64(), "age_high": pa.float64(),
        "age_unit": pa.string()}  # fmt: skip
# Cells whose columns of obs are read at once.
_AHEAD = 5000
#: Columns that conversion adds; one of obs that has such a name becomes ``obs_<name>``.
ADDED = ("cell_id", "cell_sentence", "gene_ids", *AGES)


@dataclass(frozen=True)
class Maker:
    """All that is needed to make the rows of any block of cells.

    Attributes
    ----------
    index : Column
        Names of the cells.
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

    index: Column
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
    def renamed(self) -> dict[str, str]:
        """Columns of obs that have another name in parquet, with that name."""
        names = {column.name: name for name, column in self.columns.items()}
        return {own: name for own, name in names.items() if own != name}


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
    columns = {name: frame.ahead(c, cells.rows, _AHEAD) for name, c in _columns(cells).items()}
    own = {column.name: column for column in columns.values()}
    symbols, symbol_of = genes.columns(decided.genes)
    first = np.full(len(symbols), -1, np.int32)
    first[symbol_of[::-1]] = np.arange(len(symbol_of), dtype=np.int32)[::-1]
    wanted = decided.split.column
    group = own.get(wanted) if wanted else None
    stages, ages = _ages(decided.ages)
    return Maker(
        frame.ahead(cells.index, cells.rows, _AHEAD),
        columns,
        _schema(columns, options.gene_ids, provenance),
        symbols,
        symbol_of,
        sentences.vocabulary(symbols),
        first,
        own.get(obs.STAGE),
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


def batches(made: Maker, rows: Rows, ranked: Ranked) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Make the rows of a block of cells, those for training and those for testing.

    Parameters
    ----------
    made : Maker
    rows : Rows
    ranked : Ranked
        Of the same cells.
    """
    start, stop = rows.start, rows.stop
    ids = made.index.read(start, stop)
    is_test = _tests(made, ids, start, stop)
    # Cells are put in order before there are sentences: those are long, and not copied again.
    order = np.argsort(is_test, kind="stable")
    small = {"cell_id": ids, **_ages_of(made, start, stop)}
    small |= {name: column.read(start, stop) for name, column in made.columns.items()}
    arrays = {name: array.take(pa.array(order)) for name, array in small.items()}
    arrays["cell_sentence"] = sentences.sentences(ranked, made.known, order)
    if "gene_ids" in made.schema.names:
        arrays["gene_ids"] = _gene_ids(made, ranked).take(pa.array(order))
    both = pa.RecordBatch.from_arrays([arrays[n] for n in made.schema.names], schema=made.schema)
    train = len(order) - int(is_test.sum())
    return both.slice(0, train), both.slice(train)


def _gene_ids(made: Maker, ranked: Ranked) -> pa.ListArray:
    numbers = pa.array(made.first[ranked.symbols])
    return pa.ListArray.from_arrays(pa.array(ranked.pointers.astype(np.int32)), numbers)


def _ages_of(made: Maker, start: int, stop: int) -> dict[str, pa.Array]:
    if made.stage is None:
        return {name: pa.nulls(stop - start, kind) for name, kind in AGES.items()}
    found = made.stage.read(start, stop).cast(pa.string())
    places = pc.index_in(found, value_set=made.stages)
    return {name: made.ages[name].take(places) for name in AGES}


def _tests(made: Maker, ids: pa.Array, start: int, stop: int) -> npt.NDArray[np.bool_]:
    """Tell which cells are for testing."""
    groups = obs.texts(made.group, start, stop) if made.group else [None] * len(ids)
    names = ids.to_pylist() if made.decided.by != "donor" else [""] * len(ids)
    return split.is_test(made.decided, names, groups)

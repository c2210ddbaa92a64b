"""The names of a matrix's genes, as the file has them."""

from __future__ import annotations

from dataclasses import dataclass

import h5py
import pyarrow as pa

from cohortflow.cells import h5ad
from cohortflow.cells.frame import Frame, frame
from cohortflow.cells.matrix import Matrix

#: Columns that may hold Ensembl identifiers or symbols; the first that is there is used.
IDENTIFIERS = ("gene_ids", "gene_id", "ensembl_id", "feature_id", "ensembl")
SYMBOLS = ("feature_name", "gene_symbols", "gene_symbol", "gene_name", "symbol")


@dataclass(frozen=True)
class Names:
    """What a file calls the genes of a matrix, in the order of its columns.

    Attributes
    ----------
    index : list of str
    identifiers, symbols : list of str or None
        Of a column of `IDENTIFIERS` or `SYMBOLS`, where there is one.
    """

    index: list[str]
    identifiers: list[str] | None
    symbols: list[str] | None


def names(file: h5py.File, matrix: Matrix) -> Names:
    """Read the names of a matrix's genes.

    Raises
    ------
    Failure
        DATA_INVALID when they are not there, or not as many as the matrix has genes.
    """
    var = frame(file, matrix.genes_table, "gene")
    if var.rows != matrix.genes:
        raise h5ad.invalid(
            h5ad.path_of(file),
            f"{matrix.name} has {matrix.genes} genes, {matrix.genes_table} names {var.rows}",
        )
    index = ["" if name is None else name for name in var.index.read(0, var.rows).to_pylist()]
    return Names(index, _first(var, IDENTIFIERS), _first(var, SYMBOLS))


def _first(var: Frame, wanted: tuple[str, ...]) -> list[str] | None:
    for name in wanted:
        column = var.column(name)
        if column is not None and pa.types.is_string(column.type):
            return ["" if v is None else v for v in column.read(0, var.rows).to_pylist()]
    return None

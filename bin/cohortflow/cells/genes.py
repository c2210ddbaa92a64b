"""The genes of a matrix: the symbol that stands for each column in a cell's sentence."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cohortflow.cells import h5ad, hgnc, var
from cohortflow.cells import matrix as matrices
from cohortflow.cells.hgnc import Table
from cohortflow.core import save
from cohortflow.core.outcome import Category, Failure, failure_of

CLASSES = ("ensembl", "approved", "previous", "alias", "none")
"""How a symbol was found, surest first; "none": it was not, the file's own name stands."""

_HEADER = ["name", "symbol", "class"]


@dataclass(frozen=True)
class GeneMap:
    """The symbols of a matrix's columns, in the columns' order.

    Attributes
    ----------
    names : tuple of str, length n
        The file's own names.
    symbols : tuple of str, length n
        What stands in a sentence: never empty, without white space. Several columns may have one.
    classes : tuple of str, length n
        Of `CLASSES`.
    """

    names: tuple[str, ...]
    symbols: tuple[str, ...]
    classes: tuple[str, ...]


def of_file(source: Path, matrix: str, table: Table) -> GeneMap:
    """Map the genes of a file's matrix.

    Parameters
    ----------
    source : Path
        An h5ad file.
    matrix : str
        ``X``, ``raw`` or ``layers/NAME``.
    table : Table

    Raises
    ------
    Failure
        As `h5ad.opened`, `matrix.choose`, `var.names` and `map_genes` say.
    """
    with h5ad.opened(source) as file:
        found = var.names(file, matrices.choose(file, matrix))
    return map_genes(found.index, found.identifiers, found.symbols, table)


def map_genes(
    names: Sequence[str],
    identifiers: Sequence[str] | None,
    other_names: Sequence[str] | None,
    table: Table,
) -> GeneMap:
    """Find the approved symbol of each gene, and never guess.

    The first of these that leads to one gene decides: the Ensembl gene that `names` holds, else
    the one of `identifiers`; then the name, else the other name, as an approved symbol, as a
    previous symbol of one gene, as an alias of one gene. A previous symbol that several genes had
    ends the search for that name, though it may be an alias of one. Letters' case counts; white
    space around a name does not. A gene without symbol keeps its name, in which each white space
    inside becomes ``_``, since a sentence is divided at white space; names that are alike then
    count as one.

    Parameters
    ----------
    names : sequence of str, length n
        The index of var.
    identifiers : sequence of str, length n, optional
        A column such as gene_ids; what is no Ensembl gene in it is passed over.
    other_names : sequence of str, length n, optional
        A column such as feature_name.
    table : Table

    Raises
    ------
    Failure
        DATA_INVALID when a name is empty or no UTF-8, or a column is not as long as `names`.
    """
    for title, column in (("identifiers", identifiers), ("other names", other_names)):
        if column is not None and len(column) != len(names):
            raise Failure(
                Category.DATA_INVALID,
                f"var: {len(names)} genes but {len(column)} {title}",
                "write the h5ad file again",
            )
    blank = [""] * len(names)
    rows = zip(names, identifiers or blank, other_names or blank, strict=True)
    found = []
    for position, (name, identifier, other) in enumerate(rows, start=1):
        own = _word(name, position, len(names))
        symbol, kind = (
            _identified(name, table)
            or _identified(identifier, table)
            or _named(name, table)
            or _named(other, table)
            or (own, "none")
        )
        found.append((symbol, kind))
    return GeneMap(
        tuple(names), tuple(symbol for symbol, _ in found), tuple(kind for _, kind in found)
    )


def columns(genes: GeneMap) -> tuple[list[str], NDArray[np.int32]]:
    """Say which columns share a symbol: their expression is summed before genes are ranked.

    Returns
    -------
    symbols : list of str
        Each symbol once, in order of first appearance, which also decides ties of rank.
    index : ndarray of int32, shape (n,)
        For each column of the matrix, where its symbol is in `symbols`.
    """
    places: dict[str, int] = {}
    index = [places.setdefault(symbol, len(places)) for symbol in genes.symbols]
    return list(places), np.array(index, dtype=np.int32)


def metrics(genes: GeneMap, table: Table) -> dict[str, int | str]:
    """Return the numbers for ``metrics.json``: how many genes were found in which way."""
    counts = Counter(genes.classes)
    return {
        "genes": len(genes.names),
        **{f"genes_{kind}": counts[kind] for kind in CLASSES},
        "gene_symbols": len(set(genes.symbols)),
        "hgnc_sha256": table.sha256[:12],
        "hgnc_genes": table.genes,
    }


def told(genes: GeneMap) -> str:
    """Say in one line how the genes were found."""
    counts = Counter(genes.classes)
    classes = ", ".join(f"{counts[kind]:,} {kind}" for kind in CLASSES)
    return f"{len(genes.names):,} genes: {classes}"


def write(folder: Path, genes: GeneMap, table: Table) -> None:
    """Write genes.tsv and metrics.json into a step's folder.

    Raises
    ------
    OSError
        When something cannot be written.
    """
    # older Pythons do not quote a carriage return by themselves, and then cannot read it
    odd = any("\r" in name for name in genes.names)
    with save.file(folder / "genes.tsv") as writer:
        text = io.TextIOWrapper(writer, encoding="utf-8", newline="")
        lines = csv.writer(
            text,
            delimiter="\t",
            lineterminator="\n",
            quoting=csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL,
        )
        lines.writerow(_HEADER)
        lines.writerows(zip(genes.names, genes.symbols, genes.classes, strict=True))
        text.detach()  # flushes; the file is closed by its owner
    save.write_json(folder / "metrics.json", metrics(genes, table))


def read(path: Path) -> GeneMap:
    """Read a genes.tsv as `write` made it.

    Raises
    ------
    Failure
        DATA_INVALID when it is not one; INPUT_MISSING or PERMISSION when it cannot be opened.
    """
    try:
        rows = list(_rows(path))
    except OSError as error:
        raise failure_of(error, path) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise _bad(f"{path}: is no table of genes ({error})") from error
    return GeneMap(*(tuple(row[place] for row in rows) for place in range(3)))


def _rows(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8", newline="") as reader:
        lines = csv.reader(reader, delimiter="\t", strict=True)
        if next(lines, None) != _HEADER:
            raise _bad(f"{path}: does not begin with the columns {', '.join(_HEADER)}")
        for row in lines:
            usable = len(row) == 3 and row[0].strip() and row[2] in CLASSES
            if not usable or row[1].split() != [row[1]]:
                raise _bad(f"{path}: line {lines.line_num} is no name, symbol and class")
            yield row


def _identified(text: str, table: Table) -> tuple[str, str] | None:
    gene = hgnc.ensembl_gene(text)
    symbol = table.by_ensembl.get(gene) if gene else None
    return (symbol, "ensembl") if symbol else None


def _named(text: str, table: Table) -> tuple[str, str] | None:
    name = hgnc.ensembl_gene(text) or text.strip()  # an old identifier may be an alias
    if name in table.symbols:
        return name, "approved"
    if name in table.previous:
        return table.previous[name], "previous"
    if name in table.aliases:
        return table.aliases[name], "alias"
    return None


def _word(name: str, position: int, count: int) -> str:
    """Make a name one word, or refuse it."""
    word = re.sub(r"\s", "_", name.strip())
    if not word:
        raise _unnamed(f"var: gene {position} of {count} has an empty name")
    try:
        word.encode()
    except UnicodeEncodeError as error:
        raise _unnamed(f"var: gene {position} of {count} has a name that is no UTF-8") from error
    return word


def _unnamed(message: str) -> Failure:
    return Failure(Category.DATA_INVALID, message, "name each gene in the index of var")


def _bad(message: str) -> Failure:
    return Failure(Category.DATA_INVALID, message, "make it again with cells-genes")

"""Made-up genes: an HGNC table of the real one's form, and names as data sets use them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

HEADER = ("hgnc_id", "symbol", "name", "status", "alias_symbol", "prev_symbol", "ensembl_gene_id")


@dataclass(frozen=True)
class Name:
    """How a column of a matrix is named.

    Attributes
    ----------
    text : str
        The name in the file.
    kind : str
        ``approved``, ``previous``, ``alias``, ``ensembl`` (its version as in the file),
        ``ambiguous`` (the previous symbol or alias of two genes) or ``unknown``.
    symbol : str
        The approved symbol that it stands for; an ambiguous or unknown name stands for itself.
    """

    text: str
    kind: str
    symbol: str


def names(genes: int) -> list[Name]:
    """Name the columns of a matrix: most by approved symbols, one in seven by something else.

    Column 13 has an Ensembl identifier with a version, and column 23 the previous symbol of the
    gene whose approved symbol names column 22: both stand for one gene.
    """
    return [_name(column) for column in range(genes)]


def table(genes: int) -> str:
    """Return the table that `names` of as many genes are to be looked up in.

    Tab-separated with a header; several values of a field are joined by ``|`` and quoted, as HGNC
    does. It has traps that name no column: a previous symbol, and an alias, that is another gene's
    approved symbol.
    """
    previous, alias = defaultdict[int, list[str]](list), defaultdict[int, list[str]](list)
    for column in range(genes):
        name, block = _name(column), column // 50
        if name.kind == "previous":
            previous[_gene_of(column)].append(name.text)
        elif name.kind == "alias":
            alias[column] += [f"{name.text}A", name.text]
        elif name.kind == "ambiguous":
            for gene in (column, column + 1):
                (previous if column % 50 == 17 else alias)[gene].append(name.text)
        if column % 50 == 31:
            previous[column] += [symbol(column - 1), f"RETIRED{block}"]
            alias[column].append(symbol(column - 2))
    lines = ["\t".join(HEADER)]
    for gene in range(genes + 2):  # an ambiguous name of the last column has its second gene
        lines.append(
            "\t".join(
                (
                    f"HGNC:{900000 + gene}",
                    symbol(gene),
                    f"toy gene {gene}",
                    "Approved",
                    _several(alias[gene]),
                    _several(previous[gene]),
                    _ensembl(gene),
                )
            )
        )
    return "\n".join(lines) + "\n"


def symbol(gene: int) -> str:
    """Return the approved symbol of a gene."""
    return f"TOY{gene}"


def _name(column: int) -> Name:
    """Name one column; the choice goes by its place among fifty."""
    own, block = symbol(column), column // 50
    if column == 13:
        return Name(f"{_ensembl(column)}.7", "ensembl", own)
    if column == 23:
        return Name(f"OLDTOY{column - 1}", "previous", symbol(column - 1))
    match column % 50:
        case 3 | 33:
            return Name(f"OLDTOY{column}", "previous", own)
        case 7:
            return Name(f"T{column}", "alias", own)
        case 11:
            return Name(f"RP11-{column}.1", "unknown", f"RP11-{column}.1")
        case 17:
            return Name(f"SHAREDOLD{block}", "ambiguous", f"SHAREDOLD{block}")
        case 19:
            return Name(f"SHARED{block}", "ambiguous", f"SHARED{block}")
    return Name(own, "approved", own)


def _gene_of(column: int) -> int:
    """Return the gene that a column holds."""
    return 22 if column == 23 else column


def _ensembl(gene: int) -> str:
    """Return a gene's Ensembl identifier, of a range that has none yet."""
    return f"ENSG{90000000000 + gene:011d}"


def _several(values: list[str]) -> str:
    """Write a field that may have several values."""
    return f'"{"|".join(values)}"' if len(values) > 1 else "".join(values)

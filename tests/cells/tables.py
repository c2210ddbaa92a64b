"""Small HGNC tables for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

HEADER = ("hgnc_id", "symbol", "status", "alias_symbol", "prev_symbol", "ensembl_gene_id")

Genes = Sequence[dict[str, str]]


def gene(
    symbol: str, *, ensembl: str = "", previous: str = "", alias: str = "", status: str = "Approved"
) -> dict[str, str]:
    """Return a row; several values are separated by ``|``."""
    return {
        "hgnc_id": f"HGNC:{symbol}",
        "symbol": symbol,
        "status": status,
        "alias_symbol": alias,
        "prev_symbol": previous,
        "ensembl_gene_id": ensembl,
    }


def text(genes: Genes, header: Sequence[str] = HEADER, *, quoted: bool = False) -> str:
    """Return a TSV, as HGNC writes it or with fields of several values in quotes."""

    def cell(value: str) -> str:
        return f'"{value}"' if quoted and "|" in value else value

    lines = ["\t".join(header)]
    lines += ["\t".join(cell(row[name]) for name in header) for row in genes]
    return "\n".join(lines) + "\n"


def written(path: Path, genes: Genes) -> Path:
    """Write a TSV."""
    path.write_text(text(genes))
    return path

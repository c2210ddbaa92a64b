"""What is decided before a conversion: taken from earlier steps, or decided now."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohortflow.cells import age, genes, hgnc, split, split_file
from cohortflow.cells.settings import Decided
from cohortflow.core.outcome import Category, Failure

SPLIT = "split.json"


@dataclass(frozen=True)
class Basis:
    """Where the decisions come from.

    Attributes
    ----------
    genes, age, split : Path or None
        Folders of earlier steps; None decides from the file itself.
    table : hgnc.Table or None
        To map genes with, where there is no folder of them.
    """

    genes: Path | None
    age: Path | None
    split: Path | None
    table: hgnc.Table | None

    def provenance(self) -> dict[str, str]:
        """Return the hash of the gene table, for the files' metadata."""
        if self.table is not None:
            return {"hgnc_sha256": self.table.sha256[:12]}
        assert self.genes is not None  # noqa: S101 - one of the two, see basis
        facts = json.loads((self.genes / "metrics.json").read_text(encoding="utf-8"))
        return {"hgnc_sha256": str(facts.get("hgnc_sha256", ""))}


def basis(genes: Path | None, age: Path | None, split: Path | None, table: Path | None) -> Basis:
    """Read the gene table where it is needed.

    Raises
    ------
    Failure
        USAGE when there is neither a table nor what was made with one; else as `hgnc.read` says.
    """
    if (genes is None) == (table is None):
        raise Failure(
            Category.USAGE, "genes cannot be mapped", "give either --hgnc TABLE or --genes FOLDER"
        )
    return Basis(genes, age, split, None if table is None else hgnc.read(table))


def decide(source: Path, matrix: str, basis: Basis, wish: split.Wish) -> Decided:
    """Return the decisions for one file.

    Raises
    ------
    Failure
        As the steps say.
    """
    return Decided(
        _genes(source, matrix, basis),
        age.of_file(source) if basis.age is None else age.read(basis.age / age.TABLE),
        split.of_file(source, wish) if basis.split is None else split.read(basis.split / SPLIT),
    )


def _genes(source: Path, matrix: str, basis: Basis) -> genes.GeneMap:
    if basis.table is not None:
        return genes.of_file(source, matrix, basis.table)
    assert basis.genes is not None  # noqa: S101 - one of the two, see basis
    return genes.read(basis.genes / "genes.tsv")


def write(folder: Path, basis: Basis, decided: Decided) -> dict[str, Any]:
    """Write what was decided here, as the steps do; return its numbers."""
    numbers: dict[str, Any] = {}
    if basis.table is not None:
        genes.write(folder, decided.genes, basis.table)
        numbers |= genes.metrics(decided.genes, basis.table)
    if basis.age is None:
        age.write(folder, decided.ages)
        numbers |= age.metrics(decided.ages)
    if basis.split is None:
        split.write(folder, decided.split)
        numbers |= split_file.metrics(decided.split)
    return numbers

"""What a conversion is asked to do, and what was decided before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cohortflow.cells.age import Ages
from cohortflow.cells.genes import GeneMap
from cohortflow.cells.shards import Form
from cohortflow.cells.split_file import Split


@dataclass(frozen=True)
class Decided:
    """What was decided before the pass over the matrix.

    Attributes
    ----------
    genes : GeneMap
        Of the matrix's columns.
    ages : Ages
        Of each stage of development.
    split : Split
    """

    genes: GeneMap
    ages: Ages
    split: Split


@dataclass(frozen=True)
class Options:
    """What a user may choose.

    Attributes
    ----------
    matrix : str
        ``X``, ``raw`` or ``layers/NAME``.
    top_genes : int
        Genes of a sentence, at most.
    chunk_size : int
        Cells of a chunk, which always stands in one file.
    gene_ids : bool
        Add a list of the rows of genes.tsv, counted from 0, beside the sentence.
    form : Form
    provenance : mapping of str to str
        Facts for the files' metadata, beside those that conversion knows.
    """

    matrix: str = "X"
    top_genes: int = 2000
    chunk_size: int = 10_000
    gene_ids: bool = False
    form: Form = field(default_factory=Form)
    provenance: Mapping[str, str] = field(default_factory=dict)

"""Write single-cell data of made-up people: one h5ad file of any size, or a folder to try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from cohortflow.core import save
from cohortflow.core.outcome import Category, Failure
from cohortflow.example import annotation, counts, genes, h5ad, legacy

LAYOUTS, VALUES = ("csr", "csc", "dense"), ("counts", "integers", "lognormal")
TARGET_SUM = 10_000.0  # of a cell's counts before the logarithm
KEPT = 200  # genes of X where raw has all

README = """\
Example study of cohortflow: single cells
=========================================

Made-up counts of made-up cells and genes: no person was measured. hgnc_complete_set.txt is a table
of the genes in the form of HGNC's; it knows no real gene.

Files that are complete:

pbmc-csr.h5ad      counts by cell (CSR), as anndata writes today
marrow csc.h5ad    counts by gene (CSC); a space in its name
lung-dense.h5ad    counts as a dense matrix
retina-gzip.h5ad   log-normalised values, compressed
legacy-0.5.h5ad    the layout of anndata 0.5; raw has more genes than X
legacy-0.7.h5ad    the layout of anndata 0.7; raw has more genes than X

Files that are broken, or need a choice:

scaled.h5ad        X is scaled to z-scores and has negatives; the counts are in raw
truncated.h5ad     cut at 60 % of its bytes, as a broken transfer does
tumor a.h5ad       } both names become tumor_a
tumor@a.h5ad       }

A donor has one development stage. One donor's is not given, one's is the word "unknown".
Columns of genes have approved symbols, previous ones, aliases, an Ensembl identifier with its
version, ambiguous names and unknown ones; two columns stand for one gene (TOY22).
"""


@dataclass(frozen=True)
class Recipe:
    """What a file holds.

    Attributes
    ----------
    cells, genes : int
    per_cell : float
        Genes seen in a cell, on average; up to nine tenths of `genes`.
    layout : str
        ``csr``, ``csc`` or ``dense``. The numbers do not depend on it.
    values : str
        ``counts`` (whole numbers as float32), ``integers`` (the same as int32) or ``lognormal``
        (float32: logarithm of 1 + counts that were scaled to a sum of 10,000 a cell).
    compression : str, optional
        ``gzip`` or ``lzf``.
    index_dtype, pointer_dtype : str
        Of ``indices`` and ``indptr``.
    donors : int
    seed : int
        From 0.
    """

    cells: int = 200
    genes: int = 300
    per_cell: float = 60
    layout: str = "csr"
    values: str = "counts"
    compression: str | None = None
    index_dtype: str = "int32"
    pointer_dtype: str = "int64"
    donors: int = 8
    seed: int = 1


def write_h5ad(path: Path, recipe: Recipe) -> None:
    """Write a file as anndata does today, in blocks: memory grows with the sides, not the entries.

    The random numbers are drawn twice, first for the size of each row and column. A table of its
    genes is what `genes.table` gives for as many.

    Raises
    ------
    ValueError
        When the recipe names an unknown layout or kind of values, or more entries than fit.
    """
    if recipe.layout not in LAYOUTS or recipe.values not in VALUES:
        raise ValueError(f"no such layout or values: {recipe.layout}, {recipe.values}")
    plan = counts.plan(recipe.cells, recipe.genes, recipe.per_cell, recipe.seed)
    totals = counts.totals(plan)
    with h5ad.create(path) as file:
        if recipe.layout == "dense":
            _fill_dense(file, recipe, plan, totals)
        else:
            _fill_sparse(file, recipe, plan, totals)
        obs = annotation.observations(totals, recipe.donors, recipe.seed)
        h5ad.dataframe(file, "obs", annotation.barcodes(recipe.cells, recipe.seed), obs)
        cells_of_gene = {"n_cells": totals.cells_of_gene}
        h5ad.dataframe(file, "var", gene_names(recipe.genes), cells_of_gene)


def gene_names(count: int) -> list[str]:
    """Return the names of a file's genes."""
    return [name.text for name in genes.names(count)]


def write_study(folder: Path, seed: int = 1) -> None:
    """Write the example study: ten h5ad files, a table of genes and a README; all or nothing.

    Parameters
    ----------
    folder : Path
        Is made; may exist when it is empty.
    seed : int
        From 0; study of other cells for another seed.

    Raises
    ------
    Failure
        USAGE when the folder is there and not empty, or the seed is negative.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Failure(
            Category.USAGE, f"{folder} exists and is not empty", "name a new or empty folder"
        )
    if seed < 0:
        raise Failure(Category.USAGE, f"seed {seed} is negative", "use a seed from 0")
    with save.folder(folder) as partial:
        for name, recipe in recipes(seed).items():
            write_h5ad(partial / name, recipe)
        first = Recipe(seed=_seed(seed, 5))
        _write_legacy(partial / "legacy-0.5.h5ad", first)
        _write_legacy(partial / "legacy-0.7.h5ad", replace(first, seed=_seed(seed, 6)))
        _write_scaled(partial / "scaled.h5ad", replace(first, seed=_seed(seed, 7)))
        _truncate(partial / "truncated.h5ad", 0.6)
        (partial / "hgnc_complete_set.txt").write_text(genes.table(first.genes), encoding="utf-8")
        (partial / "README.txt").write_text(README, encoding="utf-8")


def recipes(seed: int) -> Mapping[str, Recipe]:
    """Say what is in the study's files of today's layout; `truncated.h5ad` is cut afterwards."""
    several = {
        "pbmc-csr.h5ad": Recipe(),
        "marrow csc.h5ad": Recipe(layout="csc"),
        "lung-dense.h5ad": Recipe(layout="dense"),
        "retina-gzip.h5ad": Recipe(values="lognormal", compression="gzip"),
        "truncated.h5ad": Recipe(),
        "tumor a.h5ad": Recipe(cells=60),
        "tumor@a.h5ad": Recipe(cells=60),
    }
    places = (1, 2, 3, 4, 8, 9, 10)
    return {
        name: replace(recipe, seed=_seed(seed, place))
        for place, (name, recipe) in zip(places, several.items(), strict=True)
    }


def _seed(study: int, file: int) -> int:
    """Give each file of each study its own numbers."""
    return 1000 * study + file


def _values(
    recipe: Recipe, block: counts.Block, totals: counts.Totals
) -> NDArray[np.float32] | NDArray[np.int32]:
    """Make of the counts what the recipe wants."""
    if recipe.values == "lognormal":
        share = block.counts / totals.counts_of_cell[block.cells]
        return np.log1p(TARGET_SUM * share).astype(np.float32)
    return block.counts.astype(np.int32) if recipe.values == "integers" else block.counts


def _fill_sparse(file: h5py.File, recipe: Recipe, plan: counts.Plan, totals: counts.Totals) -> None:
    """Write X by cell or by gene."""
    by_cell = recipe.layout == "csr"
    group = h5ad.sparse(
        file,
        "X",
        (recipe.cells, recipe.genes),
        totals.genes_of_cell if by_cell else totals.cells_of_gene,
        layout=recipe.layout,
        dtype=_dtype(recipe),
        index_dtype=recipe.index_dtype,
        pointer_dtype=recipe.pointer_dtype,
        compression=recipe.compression,
    )
    start = 0
    for block in (counts.by_cell if by_cell else counts.by_gene)(plan, totals):
        stop = start + len(block.counts)
        group["data"][start:stop] = _values(recipe, block, totals)
        group["indices"][start:stop] = block.indices
        start = stop


def _fill_dense(file: h5py.File, recipe: Recipe, plan: counts.Plan, totals: counts.Totals) -> None:
    """Write X with its zeros."""
    shape = recipe.cells, recipe.genes
    dataset = h5ad.dense(file, "X", shape, _dtype(recipe), recipe.compression)
    for block in counts.by_cell(plan, totals):
        rows = np.zeros((block.stop - block.start, recipe.genes), dataset.dtype)
        rows[block.cells - block.start, block.indices] = _values(recipe, block, totals)
        dataset[block.start : block.stop] = rows


def _dtype(recipe: Recipe) -> str:
    """Return the type of X."""
    return "int32" if recipe.values == "integers" else "float32"


def _in_memory(recipe: Recipe) -> tuple[NDArray[np.float32], list[str], dict[str, h5ad.Column]]:
    """Return counts, barcodes and annotations of a small recipe."""
    plan = counts.plan(recipe.cells, recipe.genes, recipe.per_cell, recipe.seed)
    totals = counts.totals(plan)
    values = np.zeros((recipe.cells, recipe.genes), np.float32)
    for block in counts.by_cell(plan, totals):
        values[block.cells, block.indices] = block.counts
    obs = annotation.observations(totals, recipe.donors, recipe.seed)
    return values, annotation.barcodes(recipe.cells, recipe.seed), obs


def _write_legacy(path: Path, recipe: Recipe) -> None:
    """Write an old layout, by the version in the file's name, with the columns that it can hold."""
    values, cells, obs = _in_memory(recipe)
    del obs["sort_gate"]
    names = gene_names(recipe.genes)
    if path.stem.endswith("0.5"):
        del obs["library"]
        legacy.write_05(path, values[:, :KEPT], values, cells, names, obs)
    else:
        legacy.write_07(path, values[:, :KEPT], values, cells, names, obs)


def _write_scaled(path: Path, recipe: Recipe) -> None:
    """Write z-scores of the first genes as X, as scanpy's scale does, and the counts as raw."""
    values, cells, obs = _in_memory(recipe)
    logarithm = np.log1p(TARGET_SUM * values / values.sum(axis=1, keepdims=True))[:, :KEPT]
    spread = logarithm.std(axis=0)
    spread[spread == 0] = 1
    scores = np.minimum((logarithm - logarithm.mean(axis=0)) / spread, 10)
    names = gene_names(recipe.genes)
    with h5ad.create(path) as file:
        h5ad.matrix(file, "X", scores, layout="dense", dtype="float32")
        h5ad.raw(file, values, names)
        h5ad.dataframe(file, "obs", cells, obs)
        h5ad.dataframe(file, "var", names[:KEPT], {})


def _truncate(path: Path, fraction: float) -> None:
    """Cut a file, as a broken transfer does."""
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])

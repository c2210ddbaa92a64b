"""Convert a file of cells to parquet in one pass: sentences, ages, train and test.

A cell's sentence lists its genes from the most to the least expressed, as Cell2Sentence (Levine et
al., 2024, https://doi.org/10.1101/2023.09.11.557287) does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from cohortflow.cells import card, h5ad, matrix, obs, picture, rank, shards, table, var
from cohortflow.cells.frame import Frame
from cohortflow.cells.matrix import Matrix
from cohortflow.cells.rows import Rows
from cohortflow.cells.settings import Decided, Options
from cohortflow.cells.shards import Part
from cohortflow.core import save
from cohortflow.core.outcome import Failure

TIE_RULE = "one symbol summed, descending value, ties by the order of genes, zeros left out"


@dataclass(frozen=True)
class Converted:
    """What was made.

    Attributes
    ----------
    lengths : ndarray of int64, (longest + 1,)
        Cells by the number of genes in their sentence, up to the longest that there can be.
    train, test : int
        Cells of each part.
    files : tuple of Path
    renamed : dict of str to str
        Columns of obs that have another name in parquet, with that name.
    provenance : dict
        What each file's metadata says.
    """

    lengths: npt.NDArray[np.int64]
    train: int
    test: int
    files: tuple[Path, ...]
    renamed: dict[str, str]
    provenance: dict[str, Any] = field(default_factory=dict)


def convert(
    source: Path,
    folder: Path,
    decided: Decided,
    options: Options,
    say: Callable[[str], Any] = lambda _line: None,
) -> Converted:
    """Convert one file.

    Parameters
    ----------
    source : Path
        An h5ad file.
    folder : Path
        Where ``data/`` is made.
    decided : Decided
    options : Options
    say : callable
        Called with a line after each chunk.

    Raises
    ------
    Failure
        DATA_INVALID when the matrix is missing, scaled, negative, not finite or not consistent, or
        what was decided is of another file; TEMPORARY when the file changes meanwhile.
    OSError
        When the folder cannot be written.
    """
    with h5ad.opened(source) as file:
        chosen = matrix.choose(file, options.matrix)
        cells = obs.cells(file)
        _check(file, chosen, cells, decided)
        provenance = _provenance(source, chosen, decided, options)
        made = table.maker(cells, decided, options, provenance)
        data = folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        train, test = (Part(data, n, made.schema, options.form) for n in ("train", "test"))
        lengths = _pass(chosen, made, options, (train, test), say)
    return Converted(
        lengths,
        train.cells,
        test.cells,
        (*train.named(), *test.named()),
        made.renamed,
        provenance,
    )


def _pass(
    chosen: Matrix,
    made: table.Maker,
    options: Options,
    parts: tuple[Part, Part],
    say: Callable[[str], Any],
) -> npt.NDArray[np.int64]:
    """Go over the matrix once, write both parts; count the lengths of sentences."""
    top = min(options.top_genes, len(made.symbols))
    lengths = np.zeros(top + 1, np.int64)
    ranker = rank.ranker(made.symbol_of, len(made.symbols), top)
    with shards.writing(*parts):
        for rows in _by_chunk(matrix.blocks(chosen, parts[0].folder), options.chunk_size):
            ranked = _ranked(chosen, ranker, rows)
            lengths += np.bincount(np.diff(ranked.pointers), minlength=len(lengths))
            for part, batch in zip(parts, table.batches(made, rows, ranked), strict=True):
                part.add(batch)
            if rows.stop % options.chunk_size == 0:
                for part in parts:
                    part.end_chunk()
                say(f"{rows.stop} of {chosen.cells} cells")
    if rank.scaled(ranker, chosen.cells):
        raise _scaled(chosen, "most genes have the variance 1")
    return lengths


def _check(file: h5py.File, chosen: Matrix, cells: Frame, decided: Decided) -> None:
    """Refuse what does not fit together before anything is written."""
    source = h5ad.path_of(file)
    if chosen.cells != cells.rows:
        what = f"{chosen.name} has {chosen.cells} cells, obs names {cells.rows}"
        raise h5ad.invalid(source, what)
    if var.names(file, chosen).index != list(decided.genes.names):
        what = f"the genes of {chosen.name} are not the {len(decided.genes.names)} that were mapped"
        raise h5ad.invalid(source, what, "map the genes of the same matrix")
    with_ages = sum(row.cells for row in decided.ages.rows)
    for step, count in (("age", with_ages), ("split", decided.split.cells)):
        if count != cells.rows:
            what = f"has {cells.rows} cells, the {step} step saw {count}"
            raise h5ad.invalid(source, what, f"make it again with cells-{step}")


def _provenance(source: Path, chosen: Matrix, decided: Decided, options: Options) -> dict[str, Any]:
    split = decided.split
    return {
        "source": source.name,
        "source_bytes": source.stat().st_size,
        "source_sha256": sha256(source),
        "matrix": chosen.name,
        "cells": chosen.cells,
        "genes": chosen.genes,
        "top_genes": options.top_genes,
        "order": TIE_RULE,
        "split": {"by": split.by, "seed": split.seed, "test_size": split.test_size},
        **options.provenance,
    }


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _by_chunk(blocks: Iterator[Rows], size: int) -> Iterator[Rows]:
    """Divide blocks of cells where a chunk ends in the middle of one."""
    for rows in blocks:
        start = rows.start
        while start < rows.stop:
            stop = min(rows.stop, start - start % size + size)
            yield rows.piece(start, stop)
            start = stop


def _ranked(chosen: Matrix, ranker: rank.Ranker, rows: Rows) -> rank.Ranked:
    ranked = ranker.rank(rows)
    cell = rows.start + ranked.cell
    if ranked.trouble == rank.NEGATIVE:
        raise _scaled(chosen, f"cell {cell} has a negative one")
    if ranked.trouble == rank.NOT_FINITE:
        raise h5ad.invalid(
            _path(chosen),
            f"{chosen.name} has a value that is no finite number, in cell {cell}",
            f"correct it, or use {matrix.others(chosen)}",
        )
    return ranked


def _scaled(chosen: Matrix, what: str) -> Failure:
    return h5ad.invalid(
        _path(chosen),
        f"{chosen.name} holds scaled values, whose order means nothing ({what})",
        f"use {matrix.others(chosen)}",
    )


def _path(chosen: Matrix) -> Path:
    item: h5py.Group | h5py.Dataset = chosen.item
    return h5ad.path_of(item)


def metrics(made: Converted) -> dict[str, Any]:
    """Return the numbers for ``metrics.json``."""
    cells = int(made.lengths.sum())
    upto = np.cumsum(made.lengths)
    used = np.flatnonzero(made.lengths)
    return {
        "cells": cells,
        "cells_empty": int(made.lengths[0]),
        "sentence_length_min": int(used[0]),
        "sentence_length_median": int(np.searchsorted(upto, (cells + 1) // 2)),
        "sentence_length_mean": round(float(made.lengths @ np.arange(len(upto))) / cells, 3),
        "sentence_length_max": int(used[-1]),
        "matrix": made.provenance["matrix"],
        "parquet_files": len(made.files),
        "parquet_bytes": sum(path.stat().st_size for path in made.files),
    }


def told(made: Converted) -> str:
    """Say in one line what was made."""
    numbers = metrics(made)
    return (
        f"{numbers['cells']:,} cells, {made.train:,} train and {made.test:,} test, "
        f"{numbers['sentence_length_median']} genes in a sentence at the median, "
        f"{len(made.files)} files"
    )


def write(
    folder: Path, name: str, made: Converted, decided: Decided, others: Mapping[str, Any]
) -> None:
    """Write what stands beside the data: the card, the picture and the numbers.

    Parameters
    ----------
    folder : Path
        That of `convert`.
    name : str
        The dataset's.
    made : Converted
    decided : Decided
    others : mapping
        Numbers of what was decided with it.
    """
    card_text = card.text(name, made.provenance, decided.split, made.renamed, made.test > 0)
    save.write_text(folder / "README.md", card_text)
    picture.draw(
        folder / "figures" / f"{name}_desc-overview.png",
        name,
        decided.genes,
        made.lengths,
        decided.ages,
        decided.split,
    )
    save.write_json(folder / "metrics.json", {**metrics(made), **others})

"""Draw a dataset at a glance: genes by class, lengths of sentences, ages, train and test."""

from __future__ import annotations

import logging
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cohortflow.cells import stages
from cohortflow.cells.age import Ages
from cohortflow.cells.genes import CLASSES, GeneMap
from cohortflow.cells.split_file import Split

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Two colours that differ for everybody, and a hatch for who sees none.
TRAIN, TEST = "#4c78a8", "#f58518"
_HATCH = "////"
_MOST_DONORS = 30
_DAYS = {"day": 1.0, "week": 7.0, "month": 30.4375, "year": 365.25}
_BINS = 12


def draw(
    path: Path, name: str, genes: GeneMap, lengths: npt.NDArray[np.int64], ages: Ages, split: Split
) -> None:
    """Write the picture of a dataset as PNG; the same numbers give the same bytes.

    What the user has set for Matplotlib does not matter, nor whether it can keep its cache.

    Parameters
    ----------
    path : Path
    name : str
        The dataset's.
    genes : GeneMap
    lengths : ndarray of int64
        Cells by the number of genes in their sentence.
    ages : Ages
    split : Split
    """
    # It warns where it cannot keep the list of fonts, as in a container.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib import style

    with style.context("default"):
        _draw(path, name, genes, lengths, ages, split)


def _draw(
    path: Path, name: str, genes: GeneMap, lengths: npt.NDArray[np.int64], ages: Ages, split: Split
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    (upper_left, upper_right), (lower_left, lower_right) = figure.subplots(2, 2)
    figure.suptitle(f"{_plain(name)}: {int(lengths.sum()):,} cells")
    _genes(upper_left, genes)
    _lengths(upper_right, lengths)
    _ages(lower_left, ages)
    _split(lower_right, split)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", metadata={"Software": None})


def _genes(axes: Axes, genes: GeneMap) -> None:
    counts = Counter(genes.classes)
    bars = axes.barh(CLASSES[::-1], [counts[kind] for kind in CLASSES[::-1]], color=TRAIN)
    axes.bar_label(bars, labels=[f"{counts[kind]:,}" for kind in CLASSES[::-1]], padding=3)
    axes.set_title("Genes, by how their symbol was found")
    axes.set_xlabel("genes")
    axes.margins(x=0.15)


def _lengths(axes: Axes, lengths: npt.NDArray[np.int64]) -> None:
    used = np.flatnonzero(lengths)
    top = int(used[-1]) + 1 if used.size else 1
    edges = np.unique(np.linspace(0, top, min(40, top) + 1).round().astype(int))
    heights = [int(lengths[a:b].sum()) for a, b in pairwise(edges)]
    axes.bar(edges[:-1], heights, np.diff(edges), align="edge", color=TRAIN, edgecolor="white")
    axes.set_title("Length of the sentences")
    axes.set_xlabel("genes in a sentence")
    axes.set_ylabel("cells")


def _ages(axes: Axes, ages: Ages) -> None:
    days = [
        (row.age * _DAYS[row.unit], row.cells)
        for row in ages.rows
        if row.age is not None and row.unit in _DAYS
    ]
    unborn = sum(r.cells for r in ages.rows if r.age is not None and r.unit not in _DAYS)
    unknown = sum(row.cells for row in ages.rows if row.age is None)
    labels, heights = _binned(days)
    for word, count in (("before birth", unborn), ("unknown", unknown)):
        if count:
            labels.append(word)
            heights.append(count)
    axes.bar(labels, heights, color=[TRAIN if word != "unknown" else "#bbbbbb" for word in labels])
    axes.tick_params(axis="x", labelrotation=45 if len(labels) > 6 else 0)
    axes.set_title("Age")
    axes.set_ylabel("cells")


def _binned(days: list[tuple[float, int]]) -> tuple[list[str], list[int]]:
    """Count cells in ranges of years, or of months where all are young."""
    if not days:
        return [], []
    oldest = max(age for age, _ in days)
    unit = stages.YEAR if oldest >= 3 * _DAYS["year"] else "month"
    scale = _DAYS[unit]
    width = max(1, -(-int(oldest / scale + 1) // _BINS))
    width = next(w for w in (1, 2, 5, 10, 20, 50, 100, width) if w >= width)
    counts: Counter[int] = Counter()
    for age, cells in days:
        counts[int(age / scale // width)] += cells
    bins = range(min(counts), max(counts) + 1)
    ending = "" if unit == stages.YEAR else " months"
    labels = [
        f"{b * width}{ending}" if width == 1 else f"{b * width}–{b * width + width - 1}{ending}"
        for b in bins
    ]
    return labels, [counts[b] for b in bins]


def _split(axes: Axes, split: Split) -> None:
    share = split.test_cells / split.cells if split.cells else 0.0
    axes.set_title(f"Train and test: {share:.2%} is test, {split.test_size:.2%} was asked")
    axes.set_xlabel("cells")
    if not split.donors:
        parts = (("train", split.cells - split.test_cells), ("test", split.test_cells))
        rows = [(word, cells, word) for word, cells in parts]
    else:
        rows = [(str(p.donor or "no donor"), p.cells, p.part) for p in split.donors]
        rows.sort(key=lambda row: (row[2] == "test", row[1]))
        rows = rows[-_MOST_DONORS:]
        axes.set_ylabel("donor" if len(split.donors) <= _MOST_DONORS else "donor (the largest)")
    bars = axes.barh(
        range(len(rows)),
        [cells for _, cells, _ in rows],
        color=[TEST if part == "test" else TRAIN for _, _, part in rows],
    )
    for bar, (_, _, part) in zip(bars, rows, strict=True):
        bar.set_hatch(_HATCH if part == "test" else "")
    names = [_plain(name) + " (test)" * (part == "test" != name) for name, _, part in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=8)


def _plain(name: str) -> str:
    """Return a name short, and such that Matplotlib sees no formula in it."""
    return name[:24].replace("\\", "/").replace("$", r"\$")

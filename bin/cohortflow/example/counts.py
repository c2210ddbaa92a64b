"""Random counts of single cells, made tile by tile so that rows or columns can be streamed.

The matrix is cut into tiles of `BAND` cells by `STRIP` genes. Each tile is drawn from its own
seed, so a row of tiles (for CSR) and a column of tiles (for CSC) hold the same numbers, and memory
does not grow with the matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Cells and genes of a tile. A gene's place in its strip fits a byte, a cell's in its band 16 bits,
#: which NumPy sorts by radix.
BAND, STRIP = 2048, 256

_SPREAD_OF_GENES, _SPREAD_OF_CELLS = 1.5, 0.4  # of log-normal distributions
_LIKELIEST = 5.0  # hazard at which a gene is seen in 99 of 100 cells
_SLOTS = 1 << 16  # of the table by which a random number chooses a cell
_QUANTILES = 1024  # columns of the table of counts
_HAZARDS = np.geomspace(0.005, _LIKELIEST, 16)  # its rows: genes that are seen often count more


@dataclass(frozen=True)
class Plan:
    """What decides every number of the matrix.

    Attributes
    ----------
    cells, genes, seed : int
    hazard : ndarray (genes,)
        A gene is seen in a cell of mean depth with probability ``1 - exp(-hazard)``.
    level : ndarray (genes,) intp
        Row of the table of counts: how high a gene's counts are where it is seen.
    """

    cells: int
    genes: int
    seed: int
    hazard: NDArray[np.float64]
    level: NDArray[np.intp]

    @property
    def bands(self) -> range:
        """Number the rows of tiles."""
        return range(-(-self.cells // BAND))

    @property
    def strips(self) -> range:
        """Number the columns of tiles."""
        return range(-(-self.genes // STRIP))


@dataclass(frozen=True)
class Totals:
    """Sums over the matrix, which a file's layout needs before its first entry.

    Attributes
    ----------
    genes_of_cell : ndarray (cells,) int64
        Genes seen in a cell.
    cells_of_gene : ndarray (genes,) int64
        Cells a gene is seen in.
    counts_of_cell : ndarray (cells,) float64
    """

    genes_of_cell: NDArray[np.int64]
    cells_of_gene: NDArray[np.int64]
    counts_of_cell: NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """All entries of some rows (or columns), in their order.

    Attributes
    ----------
    start, stop : int
        Which rows (columns).
    indices : ndarray (n,) int32
        Column (row) of each entry, ascending within a row (column).
    counts : ndarray (n,) float32
        Whole numbers from 1.
    cells : ndarray (n,) int32
        Row of each entry.
    """

    start: int
    stop: int
    indices: NDArray[np.int32]
    counts: NDArray[np.float32]
    cells: NDArray[np.int32]


def plan(cells: int, genes: int, per_cell: float, seed: int) -> Plan:
    """Decide how often and how strongly each gene is seen.

    Parameters
    ----------
    cells, genes : int
    per_cell : float
        Genes seen in a cell, on average.
    seed : int
        From 0.

    Raises
    ------
    ValueError
        When `per_cell` is above nine tenths of `genes`, or not above 0.
    """
    if not 0 < per_cell <= 0.9 * genes:
        raise ValueError(f"{per_cell} genes a cell cannot be drawn from {genes}")
    rng = np.random.default_rng([seed, cells, genes])
    weight = rng.lognormal(0, _SPREAD_OF_GENES, genes)
    depth = np.exp(_SPREAD_OF_CELLS * np.linspace(-2, 2, 9))
    share = np.exp(-(np.linspace(-2, 2, 9) ** 2) / 2)
    depth, share = depth * share.sum() / (depth @ share), share / share.sum()
    low, high = 1e-9, 1e9
    for _ in range(60):
        middle = np.sqrt(low * high)
        hazard = np.minimum(middle * weight, _LIKELIEST)
        seen = genes - sum(s * np.exp(-hazard * d).sum() for d, s in zip(depth, share, strict=True))
        low, high = (middle, high) if seen < per_cell else (low, middle)
    return Plan(cells, genes, seed, hazard, np.searchsorted(_HAZARDS[1:], hazard, "right"))


def totals(of: Plan) -> Totals:
    """Go through the whole matrix once and add up."""
    genes_of_cell = np.zeros(of.cells, np.int64)
    cells_of_gene = np.zeros(of.genes, np.int64)
    counts_of_cell = np.zeros(of.cells)
    for band in of.bands:
        rows = slice(band * BAND, min((band + 1) * BAND, of.cells))
        height = rows.stop - rows.start
        choice = _choice(of, band)
        for strip in of.strips:
            row, column, count = _tile(of, band, strip, choice)
            columns = slice(strip * STRIP, min((strip + 1) * STRIP, of.genes))
            genes_of_cell[rows] += np.bincount(row, minlength=height)
            counts_of_cell[rows] += np.bincount(row, count, minlength=height)
            cells_of_gene[columns] += np.bincount(column, minlength=columns.stop - columns.start)
    return Totals(genes_of_cell, cells_of_gene, counts_of_cell)


def by_cell(of: Plan, sums: Totals) -> Iterator[Block]:
    """Give all entries of `BAND` cells after the other, as CSR wants them."""
    for band in of.bands:
        start, stop = band * BAND, min((band + 1) * BAND, of.cells)
        sizes = sums.genes_of_cell[start:stop]
        free = np.cumsum(sizes) - sizes
        block = _empty(start, stop, int(sizes.sum()))
        choice = _choice(of, band)
        for strip in of.strips:
            row, column, count = _tile(of, band, strip, choice)
            at = _take_places(free, row)
            block.indices[at] = column + np.int32(strip * STRIP)
            block.counts[at] = count
            block.cells[at] = row + np.int32(start)
        yield block


def by_gene(of: Plan, sums: Totals) -> Iterator[Block]:
    """Give all entries of `STRIP` genes after the other, as CSC wants them."""
    choices = [_choice(of, band) for band in of.bands]
    for strip in of.strips:
        start, stop = strip * STRIP, min((strip + 1) * STRIP, of.genes)
        sizes = sums.cells_of_gene[start:stop]
        free = np.cumsum(sizes) - sizes
        block = _empty(start, stop, int(sizes.sum()))
        for band in of.bands:
            row, column, count = _tile(of, band, strip, choices[band])
            order = column.argsort(kind="stable")
            at = _take_places(free, column[order])
            block.counts[at] = count[order]
            block.cells[at] = row[order] + np.int32(band * BAND)
        yield Block(start, stop, block.cells, block.counts, block.cells)


def _empty(start: int, stop: int, size: int) -> Block:
    """Make a block to fill."""
    return Block(
        start, stop, np.empty(size, np.int32), np.empty(size, np.float32), np.empty(size, np.int32)
    )


def _take_places(free: NDArray[np.int64], key: NDArray[np.integer]) -> NDArray[np.int64]:
    """Give entries that are sorted by key the next free places of their key, and move those on."""
    sizes = np.bincount(key, minlength=len(free))
    first = free - (np.cumsum(sizes) - sizes)
    free += sizes
    return np.asarray(first[key] + np.arange(len(key)))


def _choice(of: Plan, band: int) -> NDArray[np.uint16]:
    """Make the table by which a random number of 16 bits chooses a cell, deep ones more often."""
    height = min(BAND, of.cells - band * BAND)
    rng = _random(of, band, 0)
    edges = np.cumsum(rng.lognormal(0, _SPREAD_OF_CELLS, height))
    edges = np.rint(edges / edges[-1] * _SLOTS).astype(np.int64)
    return np.repeat(np.arange(height, dtype=np.uint16), np.diff(edges, prepend=0))


def _tile(
    of: Plan, band: int, strip: int, choice: NDArray[np.uint16]
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.float32]]:
    """Draw the entries of one tile, sorted by row, then column (both within the tile)."""
    rng = _random(of, band, strip + 1)
    columns = slice(strip * STRIP, min((strip + 1) * STRIP, of.genes))
    height = min(BAND, of.cells - band * BAND)
    # Poisson events fall on cells; an entry is where at least one fell: 1 - exp(-hazard).
    events = rng.poisson(of.hazard[columns] * height)
    column = np.repeat(np.arange(len(events)), events)
    row = choice[rng.integers(0, _SLOTS, len(column), np.uint16)]
    seen = np.zeros(height * STRIP, bool)
    seen[row.astype(np.intp) * STRIP + column] = True
    flat = np.flatnonzero(seen)
    rows, places = (flat // STRIP).astype(np.uint16), flat.astype(np.uint8)
    quantile = rng.integers(0, _SLOTS, len(flat), np.uint16) % _QUANTILES
    return rows, places, _TABLE[of.level[columns][places], quantile]


def _random(of: Plan, *place: int) -> np.random.Generator:
    """Give the source of numbers of one place of the matrix."""
    seeds = np.random.SeedSequence([of.seed, of.cells, of.genes, *place])
    return np.random.Generator(np.random.SFC64(seeds))


def _table() -> NDArray[np.float32]:
    """Tabulate geometric distributions from 1 by quantile, a row a level of expression."""
    mean_above_one = 4 * _HAZARDS
    decay = np.log(mean_above_one / (1 + mean_above_one))[:, None]
    survival = 1 - (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    return np.asarray(1 + np.floor(np.log(survival) / decay), np.float32)


_TABLE = _table()

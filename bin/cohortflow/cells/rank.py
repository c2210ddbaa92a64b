"""Rank the genes of each cell by expression.

Values of one symbol are summed first. Then genes go by descending value, ties by the order of
their symbols; a gene without expression never stands in the result. The order is made by a radix
sort (Knuth, The Art of Computer Programming 3, 5.2.5), whose cost grows with the number of digits
that differ: one pass for ordinary counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cohortflow.cells.heap import Room
from cohortflow.cells.rows import Rows
from cohortflow.core.compiled import compiled

_BITS = np.uint64(11)
_DIGITS = 1 << 11
_MASK = np.uint64(_DIGITS - 1)

#: What `Ranker.rank` says of a block: fine, or what a value is.
FINE, NEGATIVE, NOT_FINITE = 0, 1, 2


@dataclass(frozen=True)
class Ranked:
    """The genes of a block of cells, the highest first.

    Attributes
    ----------
    pointers : ndarray of int64, (cells + 1,)
        Cell ``i`` has ``symbols[pointers[i]:pointers[i + 1]]``.
    symbols : ndarray of int32
        Numbers of symbols.
    trouble : int
        FINE, NEGATIVE or NOT_FINITE; the result is of use only when FINE.
    cell : int
        Number of the cell in the block that is not fine.
    """

    pointers: npt.NDArray[np.int64]
    symbols: npt.NDArray[np.int32]
    trouble: int = FINE
    cell: int = 0


@dataclass(frozen=True)
class Ranker:
    """Ranks blocks of cells, and sums what each gene is expressed.

    Attributes
    ----------
    symbol_of : ndarray of int32, (genes,)
        Number of each gene's symbol.
    symbols : int
        How many symbols there are.
    top : int
        Genes of a cell that are kept.
    sums, squares : ndarray of float64, (genes,)
        Sum of the values of each gene that are no integers, and of their squares, over all blocks
        so far. (Counts are never scaled, and to add them up would take time.)
    fractions : ndarray of int64, (1,)
        How many values were no integers.
    room : Room
        For the result.
    """

    symbol_of: npt.NDArray[np.int32]
    symbols: int
    top: int
    sums: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]
    fractions: npt.NDArray[np.int64]
    room: Room = field(default_factory=Room)

    def rank(self, rows: Rows) -> Ranked:
        """Rank one block of cells.

        Parameters
        ----------
        rows : Rows
            Entries of one gene in one cell may occur more than once; they are summed.

        Returns
        -------
        Ranked
            Its symbols last until the next call.
        """
        pointers = np.zeros(rows.cells + 1, np.int64)
        symbols = self.room.array(len(rows.columns), np.int32)
        trouble, cell = _rank(
            rows.pointers, rows.columns, rows.values, self.symbol_of, self.symbols, self.top,
            self.sums, self.squares, self.fractions, pointers, symbols,
        )  # fmt: skip
        return Ranked(pointers, symbols[: pointers[-1]], trouble, cell)


def ranker(symbol_of: npt.NDArray[np.int32], symbols: int, top: int) -> Ranker:
    """Return a ranker that has seen nothing yet."""
    genes = len(symbol_of)
    return Ranker(
        symbol_of, symbols, top, np.zeros(genes), np.zeros(genes), np.zeros(1, np.int64)
    )  # fmt: skip


def scaled(ranker: Ranker, cells: int) -> bool:
    """Tell whether the matrix was scaled gene by gene: then ranks within a cell mean nothing.

    Of a matrix scaled to unit variance without centring (with centring it has negative values),
    most genes have the variance 1. Counts and log-normalised values never do.
    """
    expressed = ranker.squares > 0
    if cells < 20 or not ranker.fractions[0] or not expressed.any():
        return False
    mean = ranker.sums[expressed] / cells
    variance = (ranker.squares[expressed] - cells * mean**2) / (cells - 1)
    return bool(np.mean(np.abs(variance - 1) < 0.02) > 0.5)


@compiled
def _rank(
    pointers: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int32],
    values: npt.NDArray[np.float32],
    symbol_of: npt.NDArray[np.int32],
    count: int,
    top: int,
    sums: npt.NDArray[np.float64],
    squares: npt.NDArray[np.float64],
    fractions: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.int32],
) -> tuple[int, int]:
    """Fill `ends` and `chosen` with each cell's symbols; return what is wrong and where."""
    # (Unsigned indices save the compiler a look whether they count from the end.)
    place_of = np.full(count, -1, np.int32)
    found = np.empty(count, np.int32)
    spare = np.empty(count, np.int32)
    held = np.empty(count, np.float64)
    keys = np.empty(count, np.uint64)
    other = np.empty(count, np.uint64)
    places = np.zeros(_DIGITS + 1, np.int64)
    at = 0
    for cell in range(pointers.size - 1):
        size = 0
        last = -1
        rising = True
        for entry in range(pointers[cell], pointers[cell + 1]):
            value = np.float64(values[entry])
            if value == 0:
                continue
            if not value < np.inf:
                return 2, cell
            if value < 0:
                return 1, cell
            gene = columns[entry]
            if value != np.floor(value):
                fractions[0] += 1
                sums[gene] += value
                squares[gene] += value * value
            symbol = np.uint32(symbol_of[np.uint32(gene)])
            place = place_of[symbol]
            if place >= 0:
                held[place] += value
                continue
            place_of[symbol] = size
            found[size] = symbol
            held[size] = value
            size += 1
            rising &= int(symbol) > last
            last = int(symbol)
        if not rising:
            _put_in_order(found, held, place_of, size)
        for place in range(size):
            place_of[np.uint32(found[place])] = -1
        _keys(held, size, keys)
        ordered = _sort(keys, found, other, spare, size, places)
        for place in range(min(size, top)):
            chosen[at] = ordered[place]
            at += 1
        ends[cell + 1] = at
    return 0, 0


@compiled
def _put_in_order(
    found: npt.NDArray[np.int32],
    held: npt.NDArray[np.float64],
    place_of: npt.NDArray[np.int32],
    size: int,
) -> None:
    """Sort symbols that came in another order, their values with them."""
    before = held[:size].copy()
    found[:size].sort()
    for place in range(size):
        held[place] = before[place_of[found[place]]]


@compiled
def _keys(
    values: npt.NDArray[np.float64],
    size: int,
    keys: npt.NDArray[np.uint64],
) -> None:
    """Give each value a key that falls as it rises, with as few digits as can be.

    Of positive numbers the bits of IEEE 754, read as an integer, rise with the number.
    """
    highest = 0.0
    integral = True
    for place in range(size):
        value = values[place]
        highest = value if value > highest else highest
        integral &= value == np.floor(value)
    if integral and highest < 2.0**53:
        for place in range(size):
            keys[place] = np.int64(highest - values[place])
        return
    single = True
    for place in range(size):
        single &= np.float64(np.float32(values[place])) == values[place]
    if single:
        short = values[:size].astype(np.float32).view(np.uint32)
        largest = np.float32(highest)
        top = np.array([largest], np.float32).view(np.uint32)[0]
        for place in range(size):
            keys[place] = np.uint64(top - short[place])
    else:
        long = values[:size].view(np.uint64)
        top_long = np.array([highest], np.float64).view(np.uint64)[0]
        for place in range(size):
            keys[place] = top_long - long[place]


@compiled
def _sort(
    keys: npt.NDArray[np.uint64],
    found: npt.NDArray[np.int32],
    other: npt.NDArray[np.uint64],
    spare: npt.NDArray[np.int32],
    size: int,
    places: npt.NDArray[np.int64],
) -> npt.NDArray[np.int32]:
    """Sort symbols by their keys, stable; return the array that holds them."""
    largest = np.uint64(0)
    for place in range(size):
        largest = max(largest, keys[place])
    shift = np.uint64(0)
    while size > 1 and shift < 64 and (largest >> shift) > 0:
        digits = min(_MASK, largest >> shift) + np.uint64(1)
        places[: digits + np.uint64(1)] = 0
        for place in range(size):
            places[((keys[place] >> shift) & _MASK) + np.uint64(1)] += 1
        for digit in range(np.uint64(1), digits):
            places[digit] += places[digit - np.uint64(1)]
        for place in range(size):
            digit = (keys[place] >> shift) & _MASK
            target = np.uint64(places[digit])
            places[digit] += 1
            other[target] = keys[place]
            spare[target] = found[place]
        keys, other = other, keys
        found, spare = spare, found
        shift += _BITS
    return found

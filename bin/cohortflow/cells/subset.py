"""Which of several sizes add up nearest to a target: subset sum, by dynamic programming."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor, gcd

import numpy as np
from numpy.typing import NDArray

MOST_SUMS = 2**25
"""Up to so many sums are held exactly (in about 200 MB for 65,535 sizes)."""


def nearest(sizes: Sequence[int], target: Fraction) -> set[int]:
    """Choose at least one size, and not all, so that their sum is nearest to a target.

    Exact (Bellman 1957, over a set of sums held as the bits of a number) while the target is not
    above ``MOST_SUMS / 2`` times the sizes' greatest common divisor. Above that the sizes are
    rounded to the unit that fits, and the sum is nearest up to half a unit a size.

    Parameters
    ----------
    sizes : sequence of int
        Two or more, each at least 1. Of sets that are equally near, the one is taken that is
        found first when the sizes are looked at in this order.
    target : Fraction
        Above 0 and below the sum of all.

    Returns
    -------
    set of int
        Indices into `sizes`; of two sums at equal distance that of the larger.
    """
    smallest = min(range(len(sizes)), key=sizes.__getitem__)
    if sizes[smallest] >= target:
        return {smallest}  # every set has at least this sum
    unit = max(gcd(*sizes), ceil(2 * target / MOST_SUMS))
    if unit > 1:
        rounded = [max(1, (2 * size + unit) // (2 * unit)) for size in sizes]
        return nearest(rounded, target / unit)
    # A set that may be chosen is known: the sizes that fit, one after the other. What is farther
    # from the target than that is not nearest, so no sum above `limit` can be, and none that is
    # nearest goes through a larger one, for sums only grow. The sum of all is that of no other set.
    known = 0
    for size in sizes:
        known += size if known + size <= target else 0
    limit = min(floor(2 * target - known), sum(sizes) - 1)
    best = min(floor(target + Fraction(1, 2)), limit)
    reached, newest = _reach(sizes, limit, best)
    return _taken(sizes, newest, _nearest_bit(reached, target))


def _reach(sizes: Sequence[int], limit: int, best: int) -> tuple[int, NDArray[np.unsignedinteger]]:
    """Find the sums that can be reached, until the best is.

    Returns
    -------
    reached : int
        Bit n is set when sizes add up to n.
    newest : ndarray of unsigned int, shape (more than limit,)
        For each sum the size (its index) with which it was first reached: the rest of the sum
        was reached before, with sizes of lower index.
    """
    newest = np.zeros((limit // 8 + 1, 8), dtype=np.min_scalar_type(len(sizes)))
    mask = (1 << (limit + 1)) - 1
    reached = 1
    for index, size in enumerate(sizes):
        if size > limit:
            continue
        union = ((reached << size) & mask) | reached
        if union == reached:
            continue
        start, packed = _bytes(union ^ reached)
        rows = np.flatnonzero(packed)
        bits = np.unpackbits(packed[rows], bitorder="little").view(np.bool_)
        rows += start
        block = newest[rows]
        block[bits.reshape(-1, 8)] = index
        newest[rows] = block
        reached = union
        if reached >> best & 1:
            break
    return reached, newest.ravel()


def _bytes(number: int) -> tuple[int, NDArray[np.uint8]]:
    """Return a number's bytes, the lowest first, from the first that is not 0, and its place."""
    start = ((number & -number).bit_length() - 1) // 8
    rest = number >> (8 * start)
    packed = rest.to_bytes((rest.bit_length() + 7) // 8, "little")
    return start, np.frombuffer(packed, dtype=np.uint8)


def _nearest_bit(reached: int, target: Fraction) -> int:
    whole = floor(target)
    below = (reached & ((1 << (whole + 1)) - 1)).bit_length() - 1
    more = reached >> (whole + 1)
    if not more:
        return below
    above = whole + (more & -more).bit_length()
    return above if above - target <= target - below else below


def _taken(sizes: Sequence[int], newest: NDArray[np.unsignedinteger], total: int) -> set[int]:
    taken = set()
    while total:
        index = int(newest[total])
        taken.add(index)
        total -= sizes[index]
    return taken

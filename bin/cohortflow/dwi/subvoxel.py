"""Remove Gibbs ringing from slices by local subvoxel shifts (Kellner et al. 2016).

Ringing comes from k-space that ends: next to an edge the voxels sample a sinc. Sampled at its
zeros, a line does not ring. For each voxel the shift is sought with which its neighbourhood on
one side varies least, and the shifted line is interpolated back (doi:10.1002/mrm.26054).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from cohortflow.core import threads as pool
from cohortflow.core.compiled import compiled

Values = NDArray[np.float32]

STEPS = 20
"""Shifts to each side; a shift is a 41st of a voxel, so the largest is just below a half."""
NEAREST, FARTHEST = 1, 3
"""The neighbourhood that is looked at: from so many to so many voxels away."""


def unring(data: Values, axis: int = 2, threads: int = 1) -> Values:
    """Remove ringing within the slices of a series.

    Parameters
    ----------
    data : ndarray of float32, shape (x, y, z, n)
        Magnitude images of whole k-space, not interpolated; finite.
    axis : int
        The slices' axis, 0 to 2.
    threads : int
        The result is the same for any number.

    Returns
    -------
    ndarray of float32, shape (x, y, z, n)
        In the memory order of `data`. Slices of one value are as they were; what the method
        leaves below 0 is 0, if nothing was below 0 before.
    """
    result = np.empty_like(data)
    first, second = (size for place, size in enumerate(data.shape[:3]) if place != axis)
    shifts, tables = shift_sizes(), (shift_matrices(first), shift_matrices(second))
    low = np.float32(0 if data.min() >= 0 else -np.inf)

    def volume(index: int) -> None:
        slices = np.ascontiguousarray(np.moveaxis(data[..., index], axis, 0), np.float32)
        flat = slices.min(axis=(1, 2)) == slices.max(axis=(1, 2))
        done = np.maximum(_volume(slices, shifts, *tables), low)
        done[flat] = slices[flat]
        result[..., index] = np.moveaxis(done, 0, axis)

    pool.each(volume, range(data.shape[3]), threads)
    return result


def shift_sizes() -> Values:
    """Return the shifts in voxels, shape (41,): none first, then the smaller ones."""
    sizes = np.arange(1, STEPS + 1) / (2 * STEPS + 1)
    return np.concatenate([[0.0], np.stack([sizes, -sizes], 1).ravel()]).astype(np.float32)


def shift_matrices(size: int) -> Values:
    """Return the matrices that shift a line, shape (41, size, size).

    A line of real values is a sum of waves up to half the sampling rate; row u of matrix j
    gives its value at ``u + shift[j]``. Of an even number of values the fastest wave stands for
    its two halves of opposite frequency: shifted by s, it is multiplied by cos(pi s).
    """
    waves = np.arange(-(size // 2), size // 2 + 1)
    share = np.where((size % 2 == 0) & (np.abs(waves) == size // 2), 0.5, 1.0) / size
    apart = np.arange(size)[:, None] - np.arange(size)
    made = np.empty((2 * STEPS + 1, size, size), np.float32)
    for row, shift in enumerate(shift_sizes().astype(np.float64)):
        phases = 2 * np.pi * (np.arange(1 - size, size) + shift)[:, None] * waves / size
        made[row] = (np.cos(phases) @ share)[apart + size - 1]
    return made


def _volume(slices: Values, shifts: Values, along: Values, across: Values) -> Values:
    """Unring the slices (n, a, b) of a volume along both of their axes."""
    first, second = slices.shape[1:]
    size = (first, second)
    spectrum = fft.rfft2(slices)
    # What rings along an axis is kept, what rings across it is damped: the parts add up to all.
    spectrum *= _share(first, second)
    part = fft.irfft2(spectrum, s=size)
    rest = np.ascontiguousarray((slices - part).swapaxes(1, 2))
    result = _lines(part, shifts, along)
    result += _lines(rest, shifts, across).swapaxes(1, 2)
    return result


def _share(first: int, second: int) -> Values:
    """Return the share of each wave (first, second // 2 + 1) that is unringed along the first."""
    a = 1 + np.cos(2 * np.pi * np.arange(first) / first)[:, None]
    b = 1 + np.cos(2 * np.pi * np.arange(second // 2 + 1) / second)[None]
    both = a + b
    share = np.divide(b, both, out=np.full(both.shape, 0.5), where=both > 1e-9)
    return np.asarray(share, np.float32)


def _lines(slices: Values, shifts: Values, matrices: Values) -> Values:
    """Unring slices (n, size, lines) along their first axis, all lines of a slice side by side."""
    result = np.empty(slices.shape, np.float32)
    shifted = np.empty((len(shifts), *slices.shape[1:]), np.float32)
    room = np.empty((2, *slices.shape[1:]), np.float32)
    for plain, made in zip(slices, result, strict=True):
        np.matmul(matrices, plain, out=shifted)
        room[1] = np.inf
        _choose(shifted, shifts, room, made)
    return result


@compiled
def _choose(shifted: Values, shifts: Values, room: Values, made: Values) -> None:
    """Take at each place the shifted line (j, size, lines) that varies least, interpolated back.

    The inner loops run over lines, whose values lie side by side in memory. `room` is for the
    steps from place to place, and the least variation so far, at first infinite.
    """
    rows, size, lines = shifted.shape
    steps, least = room[0], room[1]
    ahead, behind = np.empty(lines, np.float32), np.empty(lines, np.float32)
    for j in range(rows):
        for u in range(size):
            after = (u + 1) % size
            for line in range(lines):
                steps[u, line] = abs(shifted[j, after, line] - shifted[j, u, line])
        weight = abs(shifts[j])
        for u in range(size):
            ahead[:] = 0
            behind[:] = 0
            for t in range(NEAREST, FARTHEST + 1):
                right, left = (u + t) % size, (u - 1 - t) % size
                for line in range(lines):
                    ahead[line] += steps[right, line]
                    behind[line] += steps[left, line]
            other = (u - 1 if shifts[j] > 0 else u + 1) % size
            for line in range(lines):
                varies = min(ahead[line], behind[line])
                value = shifted[j, u, line]
                value += weight * (shifted[j, other, line] - value)
                better = varies < least[u, line]
                least[u, line] = varies if better else least[u, line]
                made[u, line] = value if better else made[u, line]

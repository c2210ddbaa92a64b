"""Peaks of orientation distributions: the directions in which fibres run."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.compiled import compiled
from cohortflow.dwi import harmonics

Array = NDArray[np.float64]

LEAST = 0.1
"""Amplitude below which a peak is none, as MRtrix3 ends its tracts by default."""

SHARE = 0.25
"""Share of the largest peak's amplitude below which another one counts as noise."""

APART = 25.0
"""Degrees: of two peaks that are closer, the larger one is kept."""

_DIRECTIONS = 362  # of a half sphere, about 7.5 degrees apart
_STEPS = 5  # of Newton; the start is less than 5 degrees off
_TINY = 1e-3  # radians, for differences


def peaks(
    coefficients: NDArray[np.floating],
    *,
    number: int = 3,
    least: float = LEAST,
    share: float = SHARE,
    apart: float = APART,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Find the largest peaks in each voxel.

    Parameters
    ----------
    coefficients : ndarray, shape (voxels, count)
        Even spherical harmonics, see `cohortflow.dwi.harmonics`.
    number : int
        How many at most.
    least : float
        Smallest amplitude.
    share : float
        Smallest amplitude, relative to the voxel's largest.
    apart : float
        Smallest angle between two of them, degrees.

    Returns
    -------
    directions : ndarray of float32, shape (voxels, number, 3)
        Unit vectors in the frame of the coefficients, largest amplitude first; 0 where there is no
        peak. The sign of a direction means nothing.
    amplitudes : ndarray of float32, shape (voxels, number)
    """
    voxels, size = coefficients.shape
    lmax = harmonics.degree(size)
    sphere, values, beside = _sphere(lmax)
    factors = _factors(lmax)
    directions = np.zeros((voxels, number, 3), np.float32)
    amplitudes = np.zeros((voxels, number), np.float32)
    rows = np.ascontiguousarray(coefficients, dtype=np.float64)
    limit = math.cos(math.radians(apart))
    find_rows(rows, sphere, values, beside, *factors, least, share, limit, directions, amplitudes)
    return directions, amplitudes


@lru_cache(maxsize=8)
def _sphere(lmax: int) -> tuple[Array, Array, NDArray[np.int64]]:
    """Return directions, the harmonics there (count, n), and each one's neighbours (n, 8)."""
    sphere = harmonics.half_sphere(_DIRECTIONS)
    cosines = np.abs(sphere @ sphere.T)
    np.fill_diagonal(cosines, -1)
    beside = np.argsort(-cosines, axis=1, kind="stable")[:, :8]
    values = np.ascontiguousarray(harmonics.basis(sphere, lmax).T)
    return sphere, values, np.ascontiguousarray(beside)


@lru_cache(maxsize=8)
def _factors(lmax: int) -> tuple[Array, Array, Array]:
    """Return what the recurrence of `amplitude` needs: P(m, m), and a and b of each (l, m)."""
    first = np.array([harmonics.legendre(np.zeros(1), m, m)[0][1][0] for m in range(lmax + 1)])
    first[1:] *= math.sqrt(2)
    one, other = np.zeros((2, lmax + 1, lmax + 1))
    for order in range(1, lmax + 1):
        for m in range(order):
            one[order, m], other[order, m] = harmonics.recurrence(order, m)
    return first, one, other


@compiled
def find_rows(
    rows: Array,
    sphere: Array,
    values: Array,
    beside: NDArray[np.int64],
    first: Array,
    one: Array,
    other: Array,
    least: float,
    share: float,
    limit: float,
    directions: NDArray[np.float32],
    amplitudes: NDArray[np.float32],
) -> None:
    """Fill the peaks of each voxel; see `peaks`."""
    size, many = values.shape
    field, heights = np.empty(many), np.empty(many)
    found = np.empty((many, 3))
    for voxel in range(len(rows)):
        coefficients = rows[voxel]
        field[:] = 0.0
        for i in range(size):
            for k in range(many):
                field[k] += coefficients[i] * values[i, k]
        highest = field[0]
        for k in range(1, many):
            highest = max(highest, field[k])
        bound = 0.8 * max(least, share * highest)
        count = 0
        for k in range(many):
            if field[k] >= bound and is_top(field, k, beside):
                for i in range(3):
                    found[count, i] = sphere[k, i]
                heights[count] = climb(coefficients, found[count], first, one, other)
                count += 1
        choose(found, heights, count, least, share, limit, directions[voxel], amplitudes[voxel])


@compiled
def is_top(field: Array, place: int, beside: NDArray[np.int64]) -> bool:
    """Tell whether no neighbour has a higher value."""
    for n in beside[place]:  # noqa: SIM110 - Numba knows no generators
        if field[n] > field[place]:
            return False
    return True


@compiled
def choose(
    found: Array,
    heights: Array,
    count: int,
    least: float,
    share: float,
    limit: float,
    directions: NDArray[np.float32],
    amplitudes: NDArray[np.float32],
) -> None:
    """Keep the highest of `count` peaks that are apart from each other; see `peaks`."""
    kept = 0
    for _ in range(count):
        best = 0
        for k in range(1, count):
            if heights[k] > heights[best]:
                best = k
        height = heights[best]
        heights[best] = -1.0
        if kept == len(amplitudes) or height < max(least, share * amplitudes[0]):
            break
        apart = True
        for k in range(kept):
            cosine = 0.0
            for i in range(3):
                cosine += directions[k, i] * found[best, i]
            if abs(cosine) > limit:
                apart = False
        if apart:
            amplitudes[kept] = height
            for i in range(3):
                directions[kept, i] = found[best, i]
            kept += 1


@compiled
def climb(coefficients: Array, direction: Array, first: Array, one: Array, other: Array) -> float:
    """Move a direction onto the peak beside it; return the amplitude there.

    Newton's steps in the tangent plane, each at most 4 degrees and only upwards.
    """
    height = amplitude(coefficients, direction, first, one, other)
    side, up, trial = np.empty(3), np.empty(3), np.empty(3)
    for _ in range(_STEPS):
        tangents(direction, side, up)
        values = np.empty((3, 3))
        for i in range(3):
            for j in range(3):
                shifted(direction, side, up, (i - 1) * _TINY, (j - 1) * _TINY, trial)
                values[i, j] = amplitude(coefficients, trial, first, one, other)
        gx = (values[2, 1] - values[0, 1]) / (2 * _TINY)
        gy = (values[1, 2] - values[1, 0]) / (2 * _TINY)
        hx = (values[2, 1] - 2 * values[1, 1] + values[0, 1]) / (_TINY * _TINY)
        hy = (values[1, 2] - 2 * values[1, 1] + values[1, 0]) / (_TINY * _TINY)
        hxy = (values[2, 2] - values[2, 0] - values[0, 2] + values[0, 0]) / (4 * _TINY * _TINY)
        determinant = hx * hy - hxy * hxy
        if hx < 0 and determinant > 0:
            x = -(hy * gx - hxy * gy) / determinant
            y = -(hx * gy - hxy * gx) / determinant
        else:  # not yet where it is curved downwards
            size = math.sqrt(gx * gx + gy * gy) + 1e-300
            x, y = 0.05 * gx / size, 0.05 * gy / size
        length = math.sqrt(x * x + y * y)
        if length > 0.07:
            x, y = x * 0.07 / length, y * 0.07 / length
        moved = False
        for _ in range(3):
            shifted(direction, side, up, x, y, trial)
            value = amplitude(coefficients, trial, first, one, other)
            if value > height:
                height = value
                for i in range(3):  # an array in one line takes two seconds longer to compile
                    direction[i] = trial[i]
                moved = True
                break
            x, y = x / 3, y / 3
        if not moved or length < 1e-4:
            break
    return height


@compiled
def tangents(direction: Array, side: Array, up: Array) -> None:
    """Fill two unit vectors across a direction and each other."""
    least = 0
    for i in range(1, 3):
        if abs(direction[i]) < abs(direction[least]):
            least = i
    length = math.sqrt(1.0 - direction[least] * direction[least])
    for i in range(3):
        side[i] = ((1.0 if i == least else 0.0) - direction[least] * direction[i]) / length
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        up[i] = direction[j] * side[k] - direction[k] * side[j]


@compiled
def shifted(direction: Array, side: Array, up: Array, x: float, y: float, out: Array) -> None:
    """Fill the unit vector of direction + x side + y up."""
    length = math.sqrt(1.0 + x * x + y * y)
    for i in range(3):
        out[i] = (direction[i] + x * side[i] + y * up[i]) / length


@compiled
def amplitude(
    coefficients: Array, direction: Array, first: Array, one: Array, other: Array
) -> float:
    """Evaluate a sum of even harmonics in a direction."""
    lmax = len(first) - 1
    x, y, z = direction[0], direction[1], direction[2]
    real, imaginary, total = 1.0, 0.0, 0.0
    for m in range(lmax + 1):
        before, now = 0.0, first[m]
        for order in range(m, lmax + 1):
            if order > m:
                before, now = now, one[order, m] * (z * now - other[order, m] * before)
            if order % 2 == 0:
                place = order * (order + 1) // 2
                if m == 0:
                    total += now * coefficients[place]
                else:
                    both = real * coefficients[place + m] + imaginary * coefficients[place - m]
                    total += now * both
        real, imaginary = real * x - imaginary * y, real * y + imaginary * x
    return total

"""The N4 estimate of a smooth field that multiplies an image (Tustison et al. 2010).

What a coil sees more strongly is brighter. Of the logarithm of an image the field is a smooth
part that is added; it blurs the histogram, which a sharper one explains better. N3 (Sled,
Zijdenbos, Evans 1998, doi:10.1109/42.668698) sharpens the histogram, takes the difference of the
image to the sharper one, and keeps its smooth part. N4 (doi:10.1109/TMI.2010.2046908) smooths
with a B-spline over ever finer meshes (Lee, Wolberg, Shin 1997, doi:10.1109/2945.620490) and
adds up what each round finds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 200
"""Bins of the histogram."""
BLUR = 0.15
"""Full width at half maximum of a round's blur of the histogram, in units of the log image."""
NOISE = 0.01
"""Of the Wiener filter that takes the blur out."""
MESH_MM = (200.0, 100.0, 50.0, 25.0)
"""Spacing of the B-spline's mesh, one level after the other."""
ROUNDS = 50
"""The most rounds a level."""
CHANGE = 1e-3
"""A level ends when a round changes the field by a smaller coefficient of variation."""
SAMPLE_MM = 4.0
"""Voxels are left out of the estimate so that the rest lies about this far apart."""

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class _Axis:
    """The cubic B-splines of a level along an axis, for the voxels that are used and for all.

    Attributes
    ----------
    some, every : ndarray, shape (voxels, splines)
        The splines' values. Those at a voxel sum up to 1.
    """

    some: Array
    every: Array


def estimate(image: NDArray[np.floating], mask: Mask, voxel_mm: Array) -> tuple[Array, int]:
    """Estimate the field that multiplies an image.

    Parameters
    ----------
    image : ndarray, shape (x, y, z)
        A magnitude image with few tissues.
    mask : ndarray of bool, shape (x, y, z)
        What the field is estimated from; voxels without signal in it are left out.
    voxel_mm : ndarray, shape (3,)

    Returns
    -------
    field : ndarray of float64, shape (x, y, z)
        Its geometric mean within the mask is 1. Outside the B-spline goes on, and is kept
        within the range that the field has inside.
    rounds : int
        How many were done.
    """
    step = np.maximum(1, np.floor(SAMPLE_MM / np.asarray(voxel_mm) + 1e-6).astype(int))
    used = tuple(slice(int(s) // 2 if n > s else 0, None, int(s)) for s, n in zip(
        step, mask.shape, strict=True))  # fmt: skip
    inside = mask[used] & (image[used] > 0)
    log_field, rounds = np.zeros(mask.shape), 0
    if inside.any():
        values = np.log(image[used].astype(np.float64)[inside])
        for spacing in MESH_MM:
            axes = [
                _axis(size, float(mm), spacing, part)
                for size, mm, part in zip(mask.shape, voxel_mm, used, strict=True)
            ]
            found, done = _level(values, log_field[used][inside], inside, axes)
            log_field += _evaluate(found, [axis.every for axis in axes])
            rounds += done
    known = log_field[mask]
    log_field -= known.mean()
    known = log_field[mask]
    return np.exp(np.clip(log_field, known.min(), known.max())), rounds


def _level(values: Array, start: Array, inside: Mask, axes: list[_Axis]) -> tuple[Array, int]:
    """Add up what the rounds of a level find.

    Parameters
    ----------
    values : ndarray, shape (n,)
        The log image.
    start : ndarray, shape (n,)
        The field of the levels before.
    inside : ndarray of bool, shape (x, y, z)
        Where the n voxels are.
    axes : list of _Axis

    Returns
    -------
    heights : ndarray
        The control points of what the level adds to the field.
    rounds : int
    """
    some = [axis.some for axis in axes]
    heights = np.zeros([matrix.shape[1] for matrix in some])
    room = np.zeros(inside.shape)
    left = values - start
    for number in range(1, ROUNDS + 1):
        room[inside] = left - sharpen(left)
        more = _fit(room, inside, some)
        heights += more
        added = _evaluate(more, some)[inside]
        left = left - added
        ratio = np.exp(added)
        if float(ratio.std() / ratio.mean()) < CHANGE:
            return heights, number
    return heights, ROUNDS


def sharpen(values: Array) -> Array:
    """Return the values expected where the histogram was sharper before a blur.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Of a log image.

    Returns
    -------
    ndarray, shape (n,)
        The values themselves when they are all alike.
    """
    low, high = float(values.min()), float(values.max())
    width = (high - low) / (BINS - 1)
    if not width > 1e-9:
        return values
    place = (values - low) / width
    below = np.minimum(place.astype(np.int64), BINS - 2)
    part = place - below
    counts = np.bincount(below, 1 - part, BINS) + np.bincount(below + 1, part, BINS)
    size = 4 * BINS  # room at both ends: the transform is periodic
    first = (size - BINS) // 2
    padded = np.zeros(size)
    padded[first : first + BINS] = counts
    distance = np.minimum(np.arange(size), size - np.arange(size)) * width
    blur = np.exp(-4 * np.log(2) * (distance / BLUR) ** 2)
    waves = np.fft.rfft(blur / blur.sum()).real
    sharp = np.fft.irfft(np.fft.rfft(padded) * waves / (waves * waves + NOISE), size)
    sharp = np.maximum(sharp, 0)
    centres = low + (np.arange(size) - first) * width
    above = np.fft.irfft(np.fft.rfft(sharp * centres) * waves, size)
    under = np.fft.irfft(np.fft.rfft(sharp) * waves, size)
    # A bin that the blur does not reach says nothing: its values stay.
    reached = under > 1e-9 * under.max()
    expected = np.where(reached, above / np.where(reached, under, 1), centres)
    return np.interp(values, centres, expected)


def _axis(size: int, voxel_mm: float, spacing: float, part: slice) -> _Axis:
    """Lay a level's mesh along an axis: whole elements over the grid, about `spacing` wide."""
    elements = max(1, round(size * voxel_mm / spacing))
    every = _splines((np.arange(size) + 0.5) / size * elements, elements)
    return _Axis(np.ascontiguousarray(every[part]), every)


def _splines(places: Array, elements: int) -> Array:
    """Return the values of uniform cubic B-splines, shape (n, elements + 3)."""
    element = np.minimum(places.astype(np.int64), elements - 1)
    t = places - element
    found = np.zeros((len(places), elements + 3))
    rows = np.arange(len(places))
    for offset, value in enumerate((
        (1 - t) ** 3 / 6,
        2 / 3 - t * t + t**3 / 2,
        (1 + 3 * t + 3 * t * t - 3 * t**3) / 6,
        t**3 / 6,
    )):  # fmt: skip
        found[rows, element + offset] = value
    return found


def _fit(values: Array, inside: Mask, splines: list[Array]) -> Array:
    """Return control points of a smooth surface near scattered values (Lee, Wolberg, Shin 1997).

    Their equations (3) to (5): each value asks its control points for heights, and each control
    point takes the mean of what it is asked, weighted by its spline squared. On a grid all
    their sums are products of the axes'.

    Parameters
    ----------
    values : ndarray, shape (x, y, z)
        0 where not `inside`.
    inside : ndarray of bool, shape (x, y, z)
    splines : list of ndarray, shape (n, m) an axis
    """
    asked = [matrix**3 / (matrix**2).sum(axis=1, keepdims=True) for matrix in splines]
    above = _project(values, asked)
    under = _project(inside.astype(np.float64), [matrix**2 for matrix in splines])
    known = under > 0
    return np.where(known, above / np.where(known, under, 1), 0)


def _project(values: Array, matrices: list[Array]) -> Array:
    """Sum values (x, y, z) times a matrix (n, m) along each axis.

    Without BLAS, whose sums could depend on its threads.
    """
    made = np.einsum("xa,xyz->ayz", matrices[0], values)
    made = np.einsum("yb,ayz->abz", matrices[1], made)
    return np.asarray(np.einsum("zc,abz->abc", matrices[2], made))


def _evaluate(heights: Array, splines: list[Array]) -> Array:
    """Evaluate a B-spline of control points (a, b, c) on a grid (x, y, z)."""
    return _project(heights, [np.ascontiguousarray(matrix.T) for matrix in splines])

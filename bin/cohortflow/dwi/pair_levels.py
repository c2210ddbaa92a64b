"""The resolutions at which a pair is registered, from coarse to fine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.dwi.pair_solver import STILL, Level, Movement, Pair, Strength

SMOOTH = 0.02
"""Weight of the squared slope of the displacement (mm a mm), tissue's signal being about 1."""
BARRIER = 0.02
"""Weight of what keeps the slope along the phase-encode axis between -1 and 1."""
BLUR = 0.7
"""Standard deviation of the Gaussian that smooths both images, voxels of each resolution."""
STRENGTH = Strength(SMOOTH, BARRIER)
COARSEST_MM, FINEST_MM = 8.0, 1.5
"""Voxels are at least so large at the first resolution; at the last no smaller."""
STEPS = 8
"""Most Gauss-Newton steps at each resolution."""

Values = NDArray[np.float32]


def factors(shape: tuple[int, ...], sizes: NDArray[np.float64]) -> list[tuple[int, int, int]]:
    """Return by how much each axis is coarsened at each resolution, coarse to fine.

    Parameters
    ----------
    shape : tuple of int
    sizes : ndarray, shape (3,)
        mm of a voxel.

    Examples
    --------
    >>> factors((96, 96, 30), np.array([2.0, 2.0, 4.0]))
    [(4, 4, 2), (2, 2, 1), (1, 1, 1)]
    """
    least = float(sizes.min())
    steps = [1]
    while least * steps[-1] < COARSEST_MM:
        steps.append(2 * steps[-1])
    wanted = [step for step in reversed(steps) if least * step >= FINEST_MM]
    made = []
    for step in wanted:
        x, y, z = (
            max(1, min(round(least * step / size), count // 2))
            for size, count in zip(sizes, shape, strict=True)
        )
        made.append((x, y, z))
    return made


def coarse_to_fine(
    images: tuple[Values, Values],
    sizes: NDArray[np.float64],
    signs: tuple[float, float],
    moves: bool,
) -> tuple[Values, Movement]:
    """Register at each resolution, starting from what the one before found."""
    shape = images[0].shape
    steps = factors(shape, sizes)
    movement, before = STILL, steps[0]
    found = np.zeros([-(-n // f) for n, f in zip(shape, before, strict=True)], np.float32)
    for factor in steps:
        made = Level(level(images, factor, sizes, signs, moves, BLUR), STRENGTH)
        found = _finer(found, before, factor, made.pair.up.shape)
        found, movement = made.register(found, movement, STEPS)
        before = factor
    return _finer(found, before, (1, 1, 1), shape), movement


def level(
    images: tuple[Values, Values],
    factor: tuple[int, int, int],
    sizes: NDArray[np.float64],
    signs: tuple[float, float],
    moves: bool,
    blur: float,
) -> Pair:
    """Coarsen a pair by means over blocks of voxels, and smooth it."""
    made = []
    for image in images:
        pad = [(0, -n % f) for n, f in zip(image.shape, factor, strict=True)]
        grown = np.pad(image, pad, mode="edge")
        x, y, z = (n // f for n, f in zip(grown.shape, factor, strict=True))
        blocks = grown.reshape(x, factor[0], y, factor[1], z, factor[2])
        small = blocks.mean(axis=(1, 3, 5), dtype=np.float64)
        made.append(np.asarray(ndimage.gaussian_filter(small, blur), np.float32))
    coarser = np.array(factor)
    middle = (np.array(images[0].shape) - 1) / 2
    to_mm = np.column_stack([np.diag(coarser * sizes), ((coarser - 1) / 2 - middle) * sizes])
    return Pair(made[0], made[1], signs, to_mm, moves)


def _finer(
    displacement: Values,
    before: tuple[int, int, int],
    factor: tuple[int, int, int],
    shape: tuple[int, ...],
) -> Values:
    """Interpolate a displacement to a finer resolution, in its voxels."""
    if before == factor:
        return displacement
    axes = [
        ((np.arange(n) + 0.5) * new - 0.5 - (old - 1) / 2) / old
        for n, new, old in zip(shape, factor, before, strict=True)
    ]
    places = np.meshgrid(*axes, indexing="ij")
    values = ndimage.map_coordinates(displacement, places, order=1, mode="nearest")
    return np.asarray(values * (before[2] / factor[2]), np.float32)

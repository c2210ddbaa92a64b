"""Susceptibility distortion of a phantom: a field off resonance, and images that it displaces.

Along the phase-encode axis the signal of a point x is seen at ``x + d(x)``, and none of it is
lost: where the displacement d falls along the axis the image is brighter, where it rises darker.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import PchipInterpolator

from cohortflow.core.outcome import Category, Failure
from cohortflow.example import head

Array = NDArray[np.floating]

#: Places of air beside the brain in template mm, the width of what they do (mm), and its share:
#: the frontal sinus pushes one way, the petrous bones at both ears half as far the other way.
_AIR = (
    (np.array([0.0, 58.0, -22.0]), 17.0, 1.0),
    (np.array([54.0, -18.0, -32.0]), 15.0, -0.5),
    (np.array([-54.0, -18.0, -32.0]), 15.0, -0.5),
)
_WAVES = 6


def field(
    seed: int,
    affine: Array,
    mask: NDArray[np.bool_],
    *,
    peak: float = 4.0,
    shape: str = "head",
) -> NDArray[np.float32]:
    """Draw a smooth field of displacements.

    Parameters
    ----------
    seed : int
    affine : ndarray (4, 4)
        Voxel indices to world mm.
    mask : ndarray (x, y, z) bool
        Where the largest displacement is measured: the brain.
    peak : float
        The largest displacement within `mask`, voxels.
    shape : {"head", "waves"}
        Peaks beside the air of the frontal sinus and the ears, and waves; or waves alone.

    Returns
    -------
    ndarray (x, y, z) float32
        Displacement in voxels along whichever axis is the phase-encode axis.
    """
    rng = np.random.default_rng([seed, 303])
    index = np.stack(np.meshgrid(*map(np.arange, mask.shape), indexing="ij"), axis=-1)
    points = index @ affine[:3, :3].T + affine[:3, 3] - head.CENTRE
    found = np.zeros(mask.shape)
    for _ in range(_WAVES):
        wave = rng.normal(size=3)
        wave *= 2 * np.pi / rng.uniform(90, 220) / np.linalg.norm(wave)
        found += rng.normal(0, 0.12) * np.sin(points @ wave + rng.uniform(0, 2 * np.pi))
    if shape == "head":
        for place, width, share in _AIR:
            middle = place - head.CENTRE + rng.normal(0, 3, 3)
            reach = width * rng.uniform(0.9, 1.15)
            away = ((points - middle) ** 2).sum(axis=-1)
            found += share * rng.uniform(0.85, 1.1) * np.exp(-away / (2 * reach**2))
    return np.asarray(found * (peak / np.abs(found[mask]).max()), np.float32)


def distort(
    volume: Array, displacement: Array, axis: int = 1, sign: float = 1.0
) -> NDArray[np.float32]:
    """Displace a volume's signal along an axis, none of it lost.

    The object is even within each voxel. Its signal summed up to a point is the same before and
    after; each voxel of the image is the difference of that sum at its two edges. Nothing is
    resampled backwards, so that a method which does cannot be right by sharing its errors.

    Parameters
    ----------
    volume : ndarray (x, y, z)
        What an undistorted scan shows.
    displacement : ndarray (x, y, z)
        Voxels along `axis`, on the undistorted grid.
    axis : int
        The phase-encode axis.
    sign : float
        Polarity, times the readout time in relation to the field's.

    Returns
    -------
    ndarray (x, y, z) float32
        The signal that leaves the image is lost.

    Raises
    ------
    Failure
        USAGE when the displacement folds space over.
    """
    lines = np.moveaxis(np.asarray(volume, np.float64), axis, -1)
    moves = np.moveaxis(np.asarray(displacement, np.float64), axis, -1) * sign
    count = lines.shape[-1]
    edges = np.arange(count + 1) - 0.5
    # cubic interpolation to the voxels' edges
    padded = ndimage.spline_filter1d(moves, 3, axis=-1, mode="nearest")
    at = np.clip(edges, 0, count - 1)
    made = np.empty(lines.shape, np.float32)
    for place in np.ndindex(lines.shape[:-1]):
        shift = ndimage.map_coordinates(padded[place], [at], order=3, mode="nearest",
                                        prefilter=False)  # fmt: skip
        seen = edges + shift
        if (np.diff(seen) <= 0).any():
            raise Failure(
                Category.USAGE, "the displacement folds the image", "ask for a smaller field"
            )
        total = np.concatenate([[0.0], np.cumsum(lines[place])])
        back = PchipInterpolator(seen, edges, extrapolate=False)(edges)
        back = np.where(np.isnan(back), np.where(edges < seen[0], edges[0], edges[-1]), back)
        made[place] = np.diff(np.interp(back, edges, total))
    return np.moveaxis(made, -1, axis)

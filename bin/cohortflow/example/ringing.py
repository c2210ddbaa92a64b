"""A phantom whose images ring as a scanner's do: the k-space of a finer object, cut off.

What is known of it is the object's mean over each voxel, an image that does not ring.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.example.head import Tissue
from cohortflow.example.phantom import S0, make_phantom

Array = NDArray[np.floating]

FINER = 3
"""Points of the object along each side of a voxel."""
EDGE, FLAT = 0.3, 0.1
"""An edge's and a flat part's range of values, as a share of the mean signal of the brain."""
REACH = 4
"""Voxels from an edge within which ringing is measured."""


@dataclass(frozen=True)
class Ringing:
    """A scan that rings, and its truth; all on the grid (x, y, z), slices along z.

    Attributes
    ----------
    data : ndarray (x, y, z, n) float32
        Magnitude image with noise.
    truth : ndarray (x, y, z, n) float32
        The object's mean over each voxel, without noise.
    near : ndarray (x, y, z, n) bool
        Where ringing is measured: in the brain, up to `REACH` voxels from an edge within the
        slice, and flat: over the voxel and its eight neighbours the object itself hardly varies,
        so that what differs from the truth is ringing, not the edge.
    mask : ndarray (x, y, z) bool
        The inside of the skull.
    affine : ndarray (4, 4)
    bvals : ndarray (n,)
    bvecs : ndarray (n, 3)
    sigma : float
        Noise a channel.
    """

    data: NDArray[np.float32]
    truth: NDArray[np.float32]
    near: NDArray[np.bool_]
    mask: NDArray[np.bool_]
    affine: Array
    bvals: Array
    bvecs: Array
    sigma: float


def scan(
    seed: int,
    *,
    shape: tuple[int, int, int] = (60, 72, 4),
    voxel_size: float = 3.0,
    waves: tuple[int, int] | None = None,
    snr: float = math.inf,
    directions: int = 6,
) -> Ringing:
    """Scan the head phantom at rest, k-space cut off within the slices.

    Parameters
    ----------
    seed : int
        The person, as for `make_phantom`.
    shape : tuple of int
        Voxels; the slices are thin and lie side by side about the middle of the head.
    voxel_size : float
        mm within the slice; a slice is a third of it thick.
    waves : tuple of int, optional
        Waves that are measured along both axes of a slice, if fewer than voxels: the rest is
        filled with zeros, as scanners interpolate.
    snr : float
        Signal of white matter without weighting over the noise of a channel, before zeros are
        filled in.
    directions : int
        Weighted volumes.
    """
    fine = make_phantom(
        seed,
        snr=math.inf,
        motion=0,
        directions=directions,
        voxel_size=voxel_size / FINER,
        shape=(shape[0] * FINER, shape[1] * FINER, shape[2]),
    )
    grid = shape[0], shape[1]
    sigma = S0[Tissue.WHITE] / snr
    truth, low, high = (_blocks(fine.data, what) for what in (np.mean, np.min, np.max))
    mask = _blocks(fine.mask, np.mean) > 0.5
    measured = truncate(fine.data, waves or grid)
    measured += sigma * _noise(measured.shape, np.random.default_rng([seed, 77]))
    affine = fine.affine.copy()
    affine[:3, :2] *= FINER
    affine[:3, 3] += fine.affine[:3, :2].sum(axis=1) * (FINER - 1) / 2
    return Ringing(
        data=np.abs(refill(measured, grid)).astype(np.float32),
        truth=truth,
        near=_near(truth, low, high, mask),
        mask=mask,
        affine=affine,
        bvals=fine.bvals,
        bvecs=fine.bvecs,
        sigma=sigma,
    )


def truncate(fine: Array | NDArray[np.integer], waves: tuple[int, int]) -> NDArray[np.complex64]:
    """Measure the middle of the k-space of an image (x, y, ...) along its first two axes.

    Of an even number of waves the fastest one is measured on one side only, as scanners do; this
    makes the image slightly complex.

    Parameters
    ----------
    fine : ndarray (x, y, ...)
    waves : tuple of int
        How many along x and y, at most as many as points.

    Returns
    -------
    ndarray of complex64 (waves x, waves y, ...)
        The image on the coarser grid, voxels centred in equal parts of the field of view.
    """
    return _resized(fine, waves)


def refill(image: NDArray[np.complex64], grid: tuple[int, int]) -> NDArray[np.complex64]:
    """Interpolate an image (x, y, ...) to a finer grid by filling k-space with zeros."""
    return _resized(image, grid)


def _resized(image: NDArray[np.generic], sizes: tuple[int, int]) -> NDArray[np.complex64]:
    """Cut k-space off, or fill it with zeros, along the first two axes."""
    made = image.astype(np.complex64)
    for axis, new in enumerate(sizes):
        old = made.shape[axis]
        least = min(old, new)
        waves = np.arange(-(least // 2), least - least // 2)
        # The first voxel's centre moves by half the difference of the voxels' sizes.
        phase = np.exp(1j * np.pi * waves * (1 / new - 1 / old)) * (new / old)
        found = np.moveaxis(np.fft.fft(made, axis=axis), axis, -1)
        space = np.zeros((*found.shape[:-1], new), np.complex64)
        space[..., waves] = found[..., waves] * phase
        made = np.moveaxis(np.fft.ifft(space), -1, axis).astype(np.complex64)
    return made


def _blocks(fine: NDArray[np.generic], what: object) -> NDArray[np.float32]:
    """Apply a reduction to the points of each voxel."""
    x, y, *rest = fine.shape
    parts = fine.reshape(x // FINER, FINER, y // FINER, FINER, *rest)
    return np.asarray(what(parts, axis=(1, 3)), np.float32)  # type: ignore[operator]


def _near(
    truth: NDArray[np.float32],
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    mask: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Find the flat voxels near edges, see `Ringing.near`."""
    level = truth[mask].mean(axis=0)
    beside = (3, 3, 1, 1)
    reach = (2 * REACH + 1, 2 * REACH + 1, 1, 1)
    span = ndimage.maximum_filter(high, beside) - ndimage.minimum_filter(low, beside)
    edge = ndimage.maximum_filter(high - low > EDGE * level, reach)
    return np.asarray(mask[..., None] & edge & (span < FLAT * level))


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.complex64]:
    parts = rng.standard_normal((2, *shape), np.float32)
    return np.asarray(parts[0] + 1j * parts[1], np.complex64)

"""The tensor's orientation distribution: for series with too few directions to see crossings.

The distribution of a Gaussian diffusion process within a solid angle is proportional to
``(u' D^-1 u)^(-3/2)`` (Aganj et al. 2010, doi:10.1002/mrm.22365). Its power is sharper; it still
has one ridge or one peak at most, so two fibres that cross look like one or like a disc.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from cohortflow.core import threads as pool
from cohortflow.dwi import fit, harmonics, tensor
from cohortflow.dwi.series import Series

Array = NDArray[np.float64]
Map = NDArray[np.float32]

LEAST = 0.05
"""um2/ms: smaller eigenvalues are taken as this, or the distribution would be without bounds."""

_DIRECTIONS = 500  # of a half sphere, on which the harmonics are fitted


def compute(data: Series, mask: NDArray[np.bool_], lmax: int, power: int, threads: int = 1) -> Map:
    """Return the harmonics of the distribution in each voxel, integral 1, in world axes.

    Parameters
    ----------
    data : Series
    mask : ndarray of bool, shape (x, y, z)
    lmax : int
    power : int
        1 is the distribution itself.
    threads : int

    Returns
    -------
    ndarray of float32, shape (x, y, z, count)
    """
    lengths = np.linalg.norm(data.gradients.bvecs, axis=1, keepdims=True)
    world = tensor.to_world(data.gradients.bvecs / np.where(lengths > 0, lengths, 1), data.affine)
    matrix = fit.design(data.gradients.bvals, world)
    result = np.zeros((*mask.shape, harmonics.count(lmax)), np.float32)
    levels = np.flatnonzero(mask.any(axis=(0, 1))).tolist()
    pool.each(partial(_level, data.data, mask, matrix, lmax, power, result), levels, threads)
    return result


def _level(
    data: Map,
    mask: NDArray[np.bool_],
    matrix: Array,
    lmax: int,
    power: int,
    result: Map,
    level: int,
) -> None:
    xs, ys = np.nonzero(mask[:, :, level])
    parameters = fit.fit(np.ascontiguousarray(data[:, :, level][xs, ys]), matrix)
    parameters[~np.isfinite(parameters).all(axis=1)] = 0
    result[xs, ys, level] = expand(fit.tensors(parameters), lmax, power)


def expand(tensors: Array, lmax: int, power: int) -> Array:
    """Return the harmonics of tensors' distributions.

    Parameters
    ----------
    tensors : ndarray, shape (voxels, 3, 3)
        um2/ms.
    lmax, power : int
        See `compute`.

    Returns
    -------
    ndarray of float64, shape (voxels, count)
    """
    values, vectors = np.linalg.eigh(tensors)
    values = np.maximum(values, LEAST)
    sphere = harmonics.half_sphere(_DIRECTIONS)
    along = (sphere @ vectors) ** 2  # voxels, directions, 3
    field = np.einsum("vdi,vi->vd", along, 1 / values)
    # the smallest is 1 / the largest eigenvalue: in its units nothing over- or underflows
    field = (field * values[:, 2:]) ** (-1.5 * power)
    coefficients = field @ np.linalg.pinv(harmonics.basis(sphere, lmax)).T
    return np.asarray(coefficients / (coefficients[:, :1] * np.sqrt(4 * np.pi)))

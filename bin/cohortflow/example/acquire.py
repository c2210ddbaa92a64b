"""How the phantom is scanned: gradient directions, diffusion signal, motion and noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.example.head import rotation

Array = NDArray[np.floating]


def sphere_directions(count: int, rng: np.random.Generator) -> Array:
    """Spread directions over the whole sphere by electrostatic repulsion.

    Parameters
    ----------
    count : int
        Number of directions.
    rng : numpy.random.Generator
        Gives the start.

    Returns
    -------
    ndarray (count, 3)
        Unit vectors. A direction and its opposite measure the same, so each repels both
        (Jones, Horsfield, Simmons 1999), then half of them are turned round.
    """
    points = rng.normal(size=(count, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    for step in np.geomspace(0.3, 0.002, 300):
        both = np.concatenate([points, -points])
        gap = points[:, None] - both[None]
        distance = np.linalg.norm(gap, axis=2)
        distance[distance < 1e-9] = np.inf
        force = (gap / distance[..., None] ** 3).sum(axis=1)
        force -= (force * points).sum(axis=1, keepdims=True) * points
        points = points + step * force / np.linalg.norm(force, axis=1).max()
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(points * rng.permutation(np.resize([1.0, -1.0], count))[:, None])


def protocol(
    directions: int, b_value: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lay out a scan: one to three volumes with b = 0, first, then between the directions.

    Returns
    -------
    bvals : ndarray (n,)
        s/mm2.
    gradients : ndarray (n, 3)
        Unit vectors in world axes (right, anterior, superior); zero where b is 0.
    """
    zeros = 1 + (directions >= 6) + (directions >= 12)
    total = directions + zeros
    places = [round(k * total / zeros) for k in range(zeros)]
    weighted = np.setdiff1d(np.arange(total), places)
    bvals, gradients = np.zeros(total), np.zeros((total, 3))
    bvals[weighted] = b_value
    gradients[weighted] = sphere_directions(directions, rng)
    return bvals, gradients


def random_poses(volumes: int, motion: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw a rigid pose a volume: standard deviation `motion` in mm and in degrees an axis.

    The first volume is the reference and does not move.

    Returns
    -------
    turns : ndarray (volumes, 3, 3)
    shifts : ndarray (volumes, 3)
        A point x of the still head lies at ``turn @ (x - centre) + centre + shift``.
    """
    angles, shifts = rng.normal(0, motion, (2, volumes, 3))
    angles[0], shifts[0] = 0, 0
    return np.stack([rotation(a) for a in angles]), shifts


def signal(s0: Array, tensors: Array, bval: float, gradient: Array) -> NDArray[np.float32]:
    """Evaluate the single-tensor signal (Basser, Mattiello, LeBihan 1994).

    Parameters
    ----------
    s0 : ndarray (...,)
    tensors : ndarray (..., 6)
        Dxx, Dxy, Dxz, Dyy, Dyz, Dzz in world axes, mm2/s.
    bval : float
        s/mm2.
    gradient : ndarray (3,)
        Unit vector in world axes.
    """
    x, y, z = gradient
    weights = np.array([x * x, 2 * x * y, 2 * x * z, y * y, 2 * y * z, z * z], np.float32)
    return np.asarray(s0 * np.exp(-np.float32(bval) * (tensors @ weights)), np.float32)


def moved(
    volume: Array, affine: Array, turn: Array, shift: Array, centre: Array, where: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Resample a volume of a head that has moved rigidly (cubic interpolation).

    Parameters
    ----------
    volume : ndarray (x, y, z)
    affine : ndarray (4, 4)
        Voxel indices to mm.
    turn : ndarray (3, 3)
    shift, centre : ndarray (3,)
        See `random_poses`, mm.
    where : ndarray (x, y, z) bool
        Voxels to compute; the rest is 0.
    """
    linear, origin = affine[:3, :3], affine[:3, 3]
    back = np.linalg.inv(linear) @ turn.T
    offset = back @ (origin - centre - shift) + np.linalg.inv(linear) @ (centre - origin)
    index = back @ linear @ np.stack(np.nonzero(where)) + offset[:, None]
    out = np.zeros(volume.shape, np.float32)
    out[where] = ndimage.map_coordinates(volume, index, order=3, mode="nearest")
    return np.clip(out, 0, None)


def rician(clean: Array, sigma: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Add noise of a magnitude image (Gudbjartsson, Patz 1995): sigma a channel."""
    real = clean + sigma * rng.standard_normal(clean.shape, np.float32)
    imaginary = sigma * rng.standard_normal(clean.shape, np.float32)
    return np.asarray(np.sqrt(real**2 + imaginary**2), np.float32)

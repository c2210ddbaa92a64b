"""Where streamlines are started: points spread over the voxels of a region."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Seeds:
    """Points that streamlines start from.

    Attributes
    ----------
    points : ndarray of float64, shape (n, 3)
        World mm.
    voxel : ndarray of int32, shape (n,)
        Number of each point's voxel, in the order of the grid.
    """

    points: NDArray[np.float64]
    voxel: NDArray[np.int32]


def in_mask(
    mask: NDArray[np.bool_], affine: NDArray[np.float64], per_voxel: int, random_seed: int
) -> Seeds:
    """Spread seeds evenly at random over the voxels of a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
    affine : ndarray, shape (4, 4)
        Voxel indices to world mm.
    per_voxel : int
    random_seed : int
        A voxel's points depend on it and on the voxel's place alone.
    """
    where = np.argwhere(mask)
    place = np.flatnonzero(mask).tolist()
    jitter = np.stack([
        np.random.default_rng([random_seed, number]).uniform(-0.5, 0.5, (per_voxel, 3))
        for number in place
    ]) if len(where) else np.zeros((0, per_voxel, 3))  # fmt: skip
    index = (where[:, np.newaxis, :] + jitter).reshape(-1, 3)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    voxel = np.repeat(np.arange(len(where), dtype=np.int32), per_voxel)
    return Seeds(points, voxel)

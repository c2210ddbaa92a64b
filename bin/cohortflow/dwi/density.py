"""How dense a tract is for its level: visits against what is typical at the same height."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SPREAD = 3.0
"""Standard deviation, in template mm, of the heights that make a level."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Levels:
    """The levels of some voxels.

    Attributes
    ----------
    near : ndarray of float64, shape (levels, voxels)
        How much a voxel counts for a level, by its distance in height.
    between : ndarray of float64, shape (levels, voxels)
        How much a level counts for a voxel: linear between the two next to it.
    """

    near: Array
    between: Array


def levels(height: NDArray[np.floating]) -> Levels:
    """Lay a level at every mm of height.

    Parameters
    ----------
    height : ndarray, shape (voxels,)
        Template z, mm.
    """
    exact = height.astype(np.float64)
    grid = np.arange(np.floor(exact.min()), np.ceil(exact.max()) + 1)
    apart = grid[:, np.newaxis] - exact
    near = np.exp(-(apart**2) / (2 * SPREAD**2))
    return Levels(near, np.maximum(0, 1 - np.abs(apart)))


def dense(visits: Array, where: Levels, share: float) -> NDArray[np.bool_]:
    """Tell where visits are at least a share of what is typical at their level.

    Typical is the density that streamlines meet, the mean of the visits weighted by themselves: it
    does not depend on how many voxels at the rim hold a few.

    Parameters
    ----------
    visits : ndarray of float64, shape (samples, voxels)
    where : Levels
        Of the voxels.
    share : float

    Returns
    -------
    ndarray of bool, shape (samples, voxels)
    """
    typical = (visits**2 @ where.near.T) / np.maximum(visits @ where.near.T, 1e-12)
    return np.asarray((visits > 0) & (visits >= share * (typical @ where.between)))

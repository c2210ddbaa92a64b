"""How much of a voxel a tract fills, by the orientation distribution along the tract.

The integral of a fibre orientation distribution's lobe is the share of the voxel's signal that
fibres in its direction give (apparent fibre density: Raffelt et al. 2012). Where a tract ends
within a voxel, or crosses another, it is less than one; so a volume made of it does not depend on
whole voxels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortflow.dwi import harmonics
from cohortflow.dwi.streamlines import Streamlines

CONE = 30.0
"""Degrees around the tract's direction that its lobe is summed over."""

_DIRECTIONS = 400  # of a half sphere


def directions(
    tract: Streamlines, affine: NDArray[np.float64], grid: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Return the mean direction of a tract in each voxel, from its lower to its upper end.

    Parameters
    ----------
    tract : Streamlines
        All turned one way.
    affine : ndarray, shape (4, 4)
        Voxel indices to world mm.
    grid : tuple of int

    Returns
    -------
    ndarray of float32, shape (x, y, z, 3)
        Unit vectors in world axes; 0 where no segment has its middle.
    """
    points = tract.points.astype(np.float64)
    own = np.ones(max(len(points) - 1, 0), bool)
    own[tract.offsets[1:-1] - 1] = False  # from one streamline to the next
    steps, middles = np.diff(points, axis=0)[own], ((points[1:] + points[:-1]) / 2)[own]
    inverse = np.linalg.inv(affine)
    index = np.rint(middles @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.intp)
    inside = ((index >= 0) & (index < grid)).all(axis=1)
    place = np.ravel_multi_index(tuple(index[inside].T), grid)
    size = int(np.prod(grid))
    total = np.stack(
        [np.bincount(place, weights=steps[inside, axis], minlength=size) for axis in range(3)],
        axis=1,
    )
    length = np.linalg.norm(total, axis=1, keepdims=True)
    unit = np.divide(total, length, out=np.zeros_like(total), where=length > 0)
    return np.asarray(unit.reshape(*grid, 3), np.float32)


def shares(coefficients: NDArray[np.floating], along: NDArray[np.floating]) -> NDArray[np.float64]:
    """Integrate distributions around a direction.

    Parameters
    ----------
    coefficients : ndarray, shape (voxels, n)
        Even harmonics in world axes; one fibre's distribution has the integral 1.
    along : ndarray, shape (voxels, 3)
        Unit vectors.

    Returns
    -------
    ndarray of float64, shape (voxels,)
        Both ends of the lobe; negative amplitudes count as 0.
    """
    sphere = harmonics.half_sphere(_DIRECTIONS)
    basis = harmonics.basis(sphere, harmonics.degree(coefficients.shape[1]))
    heights = np.maximum(coefficients.astype(np.float64) @ basis.T, 0)
    near = np.abs(along.astype(np.float64) @ sphere.T) >= np.cos(np.deg2rad(CONE))
    return np.asarray((heights * near).sum(axis=1) * 4 * np.pi / _DIRECTIONS)

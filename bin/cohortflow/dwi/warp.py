"""Bend the template onto a brain: symmetric diffeomorphic registration (Avants et al. 2008).

The cross-correlation of FA in small windows is maximised by DIPY, on a grid of equal steps along
the image's own axes, from the affine map on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.dwi.atlas import Atlas
from cohortflow.dwi.coordinates import pull
from cohortflow.dwi.grids import Grid

STEP_MM = 2.5
"""Distance of the grid's points."""
WINDOW = 2
"""Radius of the windows of the cross-correlation, in points."""
SMOOTHNESS = 3.0
"""Standard deviation in points that each update is smoothed with."""
ITERATIONS = (30, 25, 12)
"""At most as many a level, the coarsest first."""

_ROOM_MM = 10.0
_TEMPLATE_BLUR_MM = 1.0  # the template is finer than the grid
_LEAST_POINTS = 16

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Displacement:
    """How far the affine map is off, on a grid of its own.

    Attributes
    ----------
    field : ndarray of float32, shape (i, j, k, 3)
        World mm to add to a point before the affine map.
    affine : ndarray of float64, shape (4, 4)
        Indices of `field` to world mm.
    """

    field: NDArray[np.float32]
    affine: Array

    def at(self, points: Array) -> Array:
        """Return the displacement at points in world mm, shape (n, 3); the nearest outside."""
        inverse = np.linalg.inv(self.affine)
        index = (points @ inverse[:3, :3].T + inverse[:3, 3]).T
        parts = [
            ndimage.map_coordinates(self.field[..., axis], index, order=1, mode="nearest")
            for axis in range(3)
        ]
        return np.stack(parts, axis=-1).astype(np.float64)


def bend(
    fa: NDArray[np.float32],
    mask: NDArray[np.bool_],
    grid: Grid,
    atlas: Atlas,
    to_template: Array,
) -> Displacement:
    """Find the displacement that takes a brain to the template, after an affine map.

    Parameters
    ----------
    fa : ndarray of float32, shape (x, y, z)
    mask : ndarray of bool, shape (x, y, z)
    grid : Grid
    atlas : Atlas
    to_template : ndarray, shape (4, 4)
        World mm to template mm.
    """
    from dipy.align import VerbosityLevels
    from dipy.align.imwarp import SymmetricDiffeomorphicRegistration
    from dipy.align.metrics import CCMetric

    index, affine = _points(mask, grid)
    own = ndimage.map_coordinates(
        np.where(mask, fa, 0), np.moveaxis(index, -1, 0), order=1, mode="nearest"
    )
    placed = _moved(index, to_template @ grid.affine)
    spacing = np.linalg.norm(atlas.affine[:3, :3], axis=0)
    smooth = ndimage.gaussian_filter(atlas.fa, _TEMPLATE_BLUR_MM / spacing)
    template = pull(placed, smooth, atlas.affine)
    metric = CCMetric(3, sigma_diff=SMOOTHNESS, radius=WINDOW)
    search = SymmetricDiffeomorphicRegistration(metric, level_iters=list(ITERATIONS))
    search.verbosity = VerbosityLevels.NONE
    found = search.optimize(
        own.astype(np.float32),
        template.astype(np.float32),
        static_grid2world=affine,
        moving_grid2world=affine,
    )
    return Displacement(np.asarray(found.get_forward_field(), np.float32), affine)


def _points(mask: NDArray[np.bool_], grid: Grid) -> tuple[Array, Array]:
    """Return indices of points with equal steps around the brain, and their own affine."""
    sizes = np.linalg.norm(grid.affine[:3, :3], axis=0)
    axes, steps = [], []
    for axis, size in enumerate(sizes):
        where = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        room = _ROOM_MM / size
        low = max(-0.5, where[0] - room - 0.5)
        high = min(mask.shape[axis] - 0.5, where[-1] + room + 0.5)
        count = max(_LEAST_POINTS, round((high - low) * size / STEP_MM))
        step = (high - low) / count
        axes.append(low + (np.arange(count) + 0.5) * step)
        steps.append(step)
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    own = np.diag([*steps, 1.0])
    own[:3, 3] = [places[0] for places in axes]
    return index, np.asarray(grid.affine @ own)


def _moved(points: Array, matrix: Array) -> Array:
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])

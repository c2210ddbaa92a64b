"""Register a brain to the template, and refuse what cannot be trusted.

The result says for each voxel of the series where it lies in the template. Gates, in this order:
the affine map fits at all, brainstem and motor cortex are in the image, the final map fits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import affine, field_of_view, warp
from cohortflow.dwi.affine import Affine
from cohortflow.dwi.atlas import Atlas
from cohortflow.dwi.coordinates import pull
from cohortflow.dwi.field_of_view import FieldOfView
from cohortflow.dwi.grids import Grid

METHODS = ("syn", "affine")

AFFINE_CORRELATION_LEAST = 0.6
"""Correlation of smoothed FA after the affine map below which nothing else is believed."""

CORRELATION_LEAST = {"syn": 0.75, "affine": 0.6}
"""Correlation of FA with the template inside the brain, least for each method."""

_BLUR_MM = 1.5
"""The template is a mean of many brains: the subject's FA is smoothed a little to compare."""

Map = NDArray[np.float32]


@dataclass(frozen=True)
class Registration:
    """Where a brain lies in the template, as far as it was found.

    Attributes
    ----------
    method : str
        Of `METHODS`.
    coordinates : ndarray of float32, shape (x, y, z, 3)
        Template mm of each voxel's centre.
    template : ndarray of float32, shape (x, y, z)
        The template's FA there.
    affine : Affine
    seen : FieldOfView
    correlation : float or None
        Of FA with `template` in the brain; None when the search ended before.
    moved_mm : float or None
        Mean distance in the brain between the affine map and the final one.
    refused : Failure or None
        Why the map must not be used.
    """

    method: str
    coordinates: Map
    template: Map
    affine: Affine
    seen: FieldOfView
    correlation: float | None
    moved_mm: float | None
    refused: Failure | None


def compute(
    fa: Map,
    mask: NDArray[np.bool_],
    grid: Grid,
    atlas: Atlas,
    method: str = "syn",
    threads: int = 1,
) -> Registration:
    """Register a map of FA to the template.

    Parameters
    ----------
    fa : ndarray of float32, shape (x, y, z)
    mask : ndarray of bool, shape (x, y, z)
        The brain.
    grid : Grid
        Of both.
    atlas : Atlas
    method : str
        ``affine``, or ``syn`` to bend after it.
    threads : int
        The result is the same for any number.

    Returns
    -------
    Registration
        Its field `refused` says what a gate has found, see the module.
    """
    first = affine.align(fa, mask, grid, atlas, threads)
    seen = field_of_view.measure(first.matrix, mask, grid, atlas)
    points = _centres(grid)
    flat = points @ first.matrix[:3, :3].T + first.matrix[:3, 3]
    refused = _rough(first, seen)
    if refused is not None:
        placed = flat.reshape(*mask.shape, 3).astype(np.float32)
        template = pull(placed, atlas.fa, atlas.affine)
        return Registration(method, placed, template, first, seen, None, None, refused)
    moved = 0.0
    if method == "syn":
        shift = warp.bend(fa, mask, grid, atlas, first.matrix).at(points) @ first.matrix[:3, :3].T
        flat = flat + shift
        moved = float(np.linalg.norm(shift[mask.ravel()], axis=1).mean())
    placed = flat.reshape(*mask.shape, 3).astype(np.float32)
    template = pull(placed, atlas.fa, atlas.affine)
    sizes = np.linalg.norm(grid.affine[:3, :3], axis=0)
    smooth = ndimage.gaussian_filter(np.where(mask, fa, 0), _BLUR_MM / sizes)
    found = affine.correlation(smooth[mask], template[mask])
    least = CORRELATION_LEAST[method]
    refused = None if found >= least else _unlike(found, least)
    return Registration(method, placed, template, first, seen, found, moved, refused)


def _rough(first: Affine, seen: FieldOfView) -> Failure | None:
    """Return what the affine map already shows to be unusable."""
    if first.correlation < AFFINE_CORRELATION_LEAST:
        return _unlike(first.correlation, AFFINE_CORRELATION_LEAST)
    try:
        field_of_view.check(seen)
    except Failure as failure:
        return failure
    return None


def _unlike(found: float, least: float) -> Failure:
    shown = math.floor(100 * found) / 100  # what is below a limit must not look like it
    return Failure(
        Category.DATA_INVALID,
        f"FA correlates {shown:.2f} with the template, {least:.2f} is needed",
        "exclude the series, or give it a better mask or an atlas that fits",
    )


def _centres(grid: Grid) -> NDArray[np.float64]:
    """Return the world mm of every voxel's centre, shape (voxels, 3)."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    return np.asarray(index.reshape(-1, 3) @ grid.affine[:3, :3].T + grid.affine[:3, 3])

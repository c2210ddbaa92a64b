"""Template coordinates on a series' grid: the map that ``dwi-register`` makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import grids, image
from cohortflow.dwi.grids import Grid

SPACE = "MNI152NLin6Asym"
"""Space of the template, as BIDS names it; RAS mm, the patient's left is x < 0."""

ENDING = f"from-orig_to-{SPACE}_mode-points_xfm.nii.gz"
"""How the file's name ends."""


class OnGrid(Protocol):
    """Something on a grid: a map, an image, a series."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels along each axis."""

    @property
    def affine(self) -> Any:  # noqa: ANN401 - nibabel's images have no types
        """Voxel indices to world mm, shape (4, 4)."""


def read(path: Path, like: OnGrid) -> NDArray[np.float32]:
    """Read a map of template coordinates.

    Parameters
    ----------
    path : Path
        As ``dwi-register`` writes it.
    like : object with shape and affine
        What the map has to fit: a map or series of the same grid.

    Returns
    -------
    ndarray of float32, shape (x, y, z, 3)
        Template mm (right, anterior, superior) of each voxel's centre.

    Raises
    ------
    Failure
        As `image.load`; DATA_INVALID when the grid is another, or values are no coordinates.
    """
    values, loaded = image.load(path)
    check(path, Grid(values.shape[:3], np.asarray(loaded.affine, np.float64)), like)
    if values.shape[3] != 3 or not np.isfinite(values).all():
        raise Failure(
            Category.DATA_INVALID,
            f"{path}: holds no template coordinates, three finite numbers a voxel",
            "give the file that dwi-register made",
        )
    return values


def check(path: Path, grid: Grid, like: OnGrid) -> None:
    """See that a file has the grid of something else.

    Raises
    ------
    Failure
        DATA_INVALID, saying in which way the two differ.
    """
    other = Grid(tuple(like.shape[:3]), np.asarray(like.affine, np.float64))
    apart = grids.difference(grid, other)
    if apart:
        raise Failure(
            Category.DATA_INVALID,
            f"{path}: does not fit the other images of the series ({apart})",
            "give files that were made of one series",
        )


def pull(
    to_template: NDArray[np.floating],
    volume: NDArray[Any],
    affine: NDArray[np.float64],
    *,
    order: Literal[0, 1] = 1,
) -> NDArray[Any]:
    """Look up a volume of template space at template coordinates.

    Parameters
    ----------
    to_template : ndarray, shape (..., 3)
        Template mm.
    volume : ndarray, shape (i, j, k)
    affine : ndarray, shape (4, 4)
        Indices of `volume` to template mm.
    order : {0, 1}
        0 takes the nearest voxel, 1 interpolates linearly.

    Returns
    -------
    ndarray, shape (...)
        Of the volume's data type; 0 outside of it.
    """
    inverse = np.linalg.inv(affine)
    index = to_template @ inverse[:3, :3].T.astype(np.float32) + inverse[:3, 3].astype(np.float32)
    return np.asarray(
        ndimage.map_coordinates(
            volume, np.moveaxis(index, -1, 0), order=order, mode="constant", prefilter=False
        )
    )

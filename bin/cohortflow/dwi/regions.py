"""Regions of the corticospinal tract on a series' grid: the labels that ``dwi-rois`` makes."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import image
from cohortflow.dwi.coordinates import OnGrid, check
from cohortflow.dwi.grids import Grid

ENDING = "space-orig_desc-rois_dseg.nii.gz"
"""How the file's name ends."""


class Region(IntEnum):
    """A label; the capsule is the posterior limb of the internal capsule."""

    NONE = 0
    BRAINSTEM = 1
    CAPSULE_LEFT = 2
    CAPSULE_RIGHT = 3
    MOTOR_LEFT = 4
    MOTOR_RIGHT = 5
    CALLOSUM = 6
    THALAMUS_LEFT = 7
    THALAMUS_RIGHT = 8
    CEREBELLUM = 9


def read(path: Path, like: OnGrid) -> NDArray[np.uint8]:
    """Read the labels of regions.

    Parameters
    ----------
    path : Path
        As ``dwi-rois`` writes it.
    like : object with shape and affine
        What the labels have to fit: a map or series of the same grid.

    Returns
    -------
    ndarray of uint8, shape (x, y, z)
        See `Region`.

    Raises
    ------
    Failure
        As `image.load`; DATA_INVALID when the grid is another, or a label is none of `Region`.
    """
    values, loaded = image.load(path, dimensions=3)
    check(path, Grid(values.shape, np.asarray(loaded.affine, np.float64)), like)
    if not np.isin(values, [int(label) for label in Region]).all():
        raise Failure(
            Category.DATA_INVALID,
            f"{path}: holds labels that are none of 0 to {max(Region)}",
            "give the file that dwi-rois made",
        )
    return np.asarray(values, np.uint8)

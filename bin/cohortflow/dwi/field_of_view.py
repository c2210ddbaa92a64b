"""How much of the regions that the corticospinal tract needs an image shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi.atlas import Atlas
from cohortflow.dwi.grids import Grid

BRAINSTEM_LEAST = 0.7
"""Share of the template's brainstem that must be inside."""

BRAINSTEM_DOWN_TO = -50.0
"""Template z in mm where the pons has ended: what is below need not be inside."""

MOTOR_LEAST = 0.7
"""Share of the template's motor cortex that must be inside, on each side."""

BEYOND_MASK_MM = 6.0
"""How far outside the brain mask a point still counts as inside: an affine map is rough."""


@dataclass(frozen=True)
class FieldOfView:
    """Shares of regions inside an image, 0 to 1.

    Attributes
    ----------
    brainstem, motor_left, motor_right : float
    """

    brainstem: float
    motor_left: float
    motor_right: float


def measure(
    to_template: NDArray[np.float64], mask: NDArray[np.bool_], grid: Grid, atlas: Atlas
) -> FieldOfView:
    """Measure how much of the template's regions lies inside a brain.

    Parameters
    ----------
    to_template : ndarray, shape (4, 4)
        World mm to template mm.
    mask : ndarray of bool, shape (x, y, z)
        The brain; its surroundings count as well, see `BEYOND_MASK_MM`, within the image.
    grid : Grid
    atlas : Atlas
    """
    sizes = np.linalg.norm(grid.affine[:3, :3], axis=0)
    brain = ndimage.distance_transform_edt(~mask, sampling=sizes) <= BEYOND_MASK_MM
    to_voxel = np.linalg.inv(to_template @ grid.affine)
    brainstem, motor = atlas.points("brainstem"), atlas.points("motor")
    brainstem = brainstem[brainstem[:, 2] > BRAINSTEM_DOWN_TO]
    left = motor[:, 0] < 0
    return FieldOfView(
        _share(brainstem, to_voxel, brain),
        _share(motor[left], to_voxel, brain),
        _share(motor[~left], to_voxel, brain),
    )


def _share(
    points: NDArray[np.float64], to_voxel: NDArray[np.floating], brain: NDArray[np.bool_]
) -> float:
    index = np.rint(points @ to_voxel[:3, :3].T + to_voxel[:3, 3]).astype(np.intp)
    inside = ((index >= 0) & (index < brain.shape)).all(axis=1)
    return float(brain[tuple(index[inside].T)].sum()) / max(1, len(points))


def check(found: FieldOfView) -> None:
    """Refuse an image that does not show what the tract needs.

    Raises
    ------
    Failure
        DATA_INVALID, with the shares and what is needed.
    """
    if found.brainstem < BRAINSTEM_LEAST:
        raise _outside(
            f"brainstem outside the field of view: {_percent(found.brainstem)} of it is inside, "
            f"{_percent(BRAINSTEM_LEAST)} are needed"
        )
    if min(found.motor_left, found.motor_right) < MOTOR_LEAST:
        raise _outside(
            f"motor cortex outside the field of view (left {_percent(found.motor_left)}, right "
            f"{_percent(found.motor_right)} of it is inside, {_percent(MOTOR_LEAST)} are needed)"
        )


def _percent(share: float) -> str:
    return f"{int(100 * share)} %"


def _outside(message: str) -> Failure:
    return Failure(
        Category.DATA_INVALID,
        message,
        "the tract cannot be measured here; exclude the series, or leave tracking out",
    )

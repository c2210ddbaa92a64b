"""Compare the voxel grids of two images."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cohortflow.dwi.image import Header

_SIZE_TOLERANCE = 0.01  # mm; headers hold rounded numbers
_PLACE_TOLERANCE = 0.05  # of a voxel, at any corner of the image


@dataclass(frozen=True)
class Grid:
    """Where an image's voxels lie.

    Attributes
    ----------
    shape : tuple of int
        Voxels along the first three axes.
    affine : ndarray of float64, shape (4, 4)
        Voxel indices to world mm.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]


def of_header(path: Path) -> Grid:
    """Read an image's grid from its header.

    Raises
    ------
    Failure
        As `nifti.header`.
    """
    import nibabel as nib
    import numpy as np

    from cohortflow.dwi import nifti

    declared = nifti.header(path)
    with nifti.failures(path):
        affine = np.asarray(nib.load(path).affine, dtype=np.float64)
        return Grid((*declared.shape, 1, 1)[:3], affine)


def of_content(declared: Header, content: bytearray) -> Grid:
    """Read a grid from a NIfTI file's uncompressed bytes."""
    import numpy as np

    from cohortflow.dwi import image

    head = image.voxels(declared, content)[1]
    return Grid(declared.shape[:3], np.asarray(head.get_best_affine(), dtype=np.float64))


def difference(one: Grid, other: Grid) -> str | None:
    """Say in which way two grids differ; None when they are the same.

    Grids are the same with equal matrices, voxel sizes equal to 0.01 mm, and no corner of the
    image further away than a twentieth of a voxel.

    Examples
    --------
    >>> import numpy as np
    >>> difference(Grid((4, 4, 2), np.eye(4)), Grid((4, 4, 3), np.eye(4)))
    '4 x 4 x 2 voxels and 4 x 4 x 3'
    """
    import numpy as np

    if one.shape != other.shape:
        return f"{_times(one.shape)} voxels and {_times(other.shape)}"
    sizes = [np.linalg.norm(grid.affine[:3, :3], axis=0) for grid in (one, other)]
    if np.abs(sizes[0] - sizes[1]).max() > _SIZE_TOLERANCE:
        first, second = (_times(tuple(np.round(size, 3))) for size in sizes)
        return f"voxels of {first} mm and {second} mm"
    corners = np.array([(*c, 1) for c in itertools.product(*((0, n - 1) for n in one.shape))])
    apart = np.linalg.norm((corners @ (one.affine - other.affine).T)[:, :3], axis=1).max()
    if apart > _PLACE_TOLERANCE * sizes[0].min():
        return f"their places or orientations are up to {apart:.3g} mm apart"
    return None


def _times(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:g}" for value in values)

"""What earlier steps made of a unit: found by name in their folders, or in the published unit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.outcome import Category, Failure, failure_of
from cohortflow.dwi import coordinates, image, regions, series
from cohortflow.dwi.grids import Grid


@dataclass(frozen=True)
class Volume:
    """A map on the series' grid.

    Attributes
    ----------
    path : Path
    data : ndarray of float32, shape (x, y, z)
    affine : ndarray of float64, shape (4, 4)
        Voxel indices to world mm.
    head : nibabel.Nifti1Header or Nifti2Header
    """

    path: Path
    data: NDArray[np.float32]
    affine: NDArray[np.float64]
    head: Any

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each axis."""
        x, y, z = self.data.shape[:3]
        return x, y, z


@dataclass(frozen=True)
class Made:
    """Folders of steps, or a published unit's.

    Attributes
    ----------
    folders : sequence of Path
    """

    folders: Sequence[Path]

    def find(self, ending: str) -> Path | None:
        """Return the file in ``dwi/`` whose name ends so; None when there is none.

        Raises
        ------
        Failure
            USAGE when there are several.
        """
        # By what a link leads to, two paths may be one file; its name is that of the link.
        named = {path.resolve(): path.absolute() for folder in self.folders
                 for path in folder.glob(f"dwi/*_{ending}")}  # fmt: skip
        found = sorted(named.values())
        if len(found) > 1:
            raise Failure(
                Category.USAGE,
                f"{found[0].name} and {found[1].name}: two files of one kind",
                "name the folders of one unit",
            )
        return found[0] if found else None

    def need(self, ending: str) -> Path:
        """Return the file in ``dwi/`` whose name ends so.

        Raises
        ------
        Failure
            As `find`; INPUT_MISSING when there is none.
        """
        path = self.find(ending)
        if path is None:
            folders = ", ".join(str(folder) for folder in self.folders)
            raise Failure(
                Category.INPUT_MISSING,
                f"no file dwi/*_{ending} in {folders}",
                "name the folders of all steps before, or the published unit",
            )
        return path

    def volume(self, ending: str) -> Volume:
        """Read a map.

        Raises
        ------
        Failure
            As `need` and `image.load`.
        """
        path = self.need(ending)
        data, loaded = image.load(path, dimensions=3)
        return Volume(path, data, np.asarray(loaded.affine, np.float64), loaded.header)

    def regions(self, like: Volume) -> NDArray[np.uint8]:
        """Read the labels of regions, see `regions.read`."""
        return regions.read(self.need("desc-rois_dseg.nii.gz"), like)

    def coordinates(self, like: Volume) -> NDArray[np.float32]:
        """Read template coordinates, see `coordinates.read`."""
        return coordinates.read(self.need("mode-points_xfm.nii.gz"), like)

    def prefix(self) -> str:
        """Return the unit's name, as its FA map has it."""
        return self.need("param-FA_dwimap.nii.gz").name.split("_space-")[0]

    def mask(self, path: Path, like: Volume) -> NDArray[np.bool_]:
        """Read a brain mask, and see that it fits a map.

        Raises
        ------
        Failure
            As `image.load`; DATA_INVALID when it lies on another grid or is empty.
        """
        values, loaded = image.load(path, dimensions=3)
        affine = np.asarray(loaded.affine, np.float64)
        coordinates.check(path, Grid(values.shape, affine), like)
        if not (values > 0).any():
            raise Failure(
                Category.DATA_INVALID,
                f"{path}: the mask is empty",
                "use the mask that dwi-mask made of this series",
            )
        return np.asarray(values > 0)

    def sources(self, endings: Sequence[str]) -> list[str]:
        """Return BIDS URIs of files in ``dwi/``, by the ends of their names."""
        prefix = self.prefix()
        return [series.uri(prefix, f"dwi/{self.need(ending).name}") for ending in endings]

    def fields(self, ending: str) -> dict[str, Any]:
        """Read a JSON file in ``dwi/``.

        Raises
        ------
        Failure
            As `need`; DATA_INVALID when it is not JSON.
        """
        return _object(self.need(ending))

    def metrics(self) -> dict[str, Any]:
        """Return the numbers of all steps.

        Raises
        ------
        Failure
            DATA_INVALID when a file of them is not JSON.
        """
        found: dict[str, Any] = {}
        for folder in self.folders:
            if (folder / "metrics.json").is_file():
                found |= _object(folder / "metrics.json")
        return found


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise failure_of(error, path) from None
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Failure(Category.DATA_INVALID, f"{path}: not a JSON object", "make it again")
    return value

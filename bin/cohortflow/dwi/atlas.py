"""The template of FA and the regions in its space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import image
from cohortflow.dwi.atlas_input import FILES
from cohortflow.dwi.coordinates import pull

NAMES = ("brainstem", "motor", "capsule", "callosum", "thalamus", "cerebellum")
"""Regions of an atlas. Each has both sides in one; the side is that of the template's world x."""


@dataclass(frozen=True)
class Atlas:
    """A template of FA with regions on its grid.

    Attributes
    ----------
    name : str
        For sidecars and pictures.
    fa : ndarray of float32, shape (i, j, k)
        Fractional anisotropy of the template; 0 outside the brain.
    affine : ndarray of float64, shape (4, 4)
        Indices to template mm (right, anterior, superior); the patient's left is x < 0.
    regions : mapping of str to ndarray of bool, shape (i, j, k)
        One for each of `NAMES`.
    """

    name: str
    fa: NDArray[np.float32]
    affine: NDArray[np.float64]
    regions: Mapping[str, NDArray[np.bool_]]

    def points(self, name: str) -> NDArray[np.float64]:
        """Return a region's voxel centres in template mm, shape (n, 3)."""
        index = np.argwhere(self.regions[name])
        return np.asarray(index @ self.affine[:3, :3].T + self.affine[:3, 3])


def of_option(folder: Path | None) -> Atlas:
    """Return a user's atlas, or that of the packages when none is given.

    Raises
    ------
    Failure
        As `read` and `atlas_files.builtin`.
    """
    from cohortflow.dwi import atlas_files

    return atlas_files.builtin() if folder is None else read(folder)


def read(folder: Path) -> Atlas:
    """Read a user's atlas.

    Parameters
    ----------
    folder : Path
        With these files, all in one space of RAS mm whose x = 0 is the midline:

        - ``template_FA.nii.gz``: fractional anisotropy of a group, 0 to 1;
        - ``regions.nii.gz``: whole numbers on any grid of that space;
        - ``regions.tsv``: columns ``index`` and ``name``; a name of `NAMES` may stand for several
          numbers, one a side for example. Numbers that it does not list are left out.

    Raises
    ------
    Failure
        INPUT_MISSING when a file is not there; DATA_INVALID when one cannot be used, naming it.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise Failure(
            Category.INPUT_MISSING,
            f"{folder}: holds no {', no '.join(missing)}",
            f"give --atlas a folder with {', '.join(FILES)}, or leave it out",
        )
    template, labels, table = (folder / name for name in FILES)
    fa, loaded = _image(template)
    if not np.isfinite(fa).all() or fa.min() < 0 or not 0.2 < fa.max() <= 1.5:
        raise _bad(f"{template}: is no map of FA, its values are not within 0 to 1")
    affine = np.asarray(loaded.affine, np.float64)
    values, placed = _image(labels)
    names = _names(table)
    found = _on_grid(values, np.asarray(placed.affine, np.float64), fa.shape, affine)
    regions = {}
    for name in NAMES:
        regions[name] = np.isin(found, [index for index, one in names.items() if one == name])
        if not regions[name].any():
            raise _bad(f"{labels}: no voxel of the region {name} lies within {template.name}")
    return Atlas(folder.resolve().name, fa, affine, regions)


def _image(path: Path) -> tuple[NDArray[np.float32], Any]:
    """Read a file of an atlas, see `image.load`; what is said of it is what to do with an atlas."""
    try:
        return image.load(path, dimensions=3)
    except Failure as failure:
        raise _bad(failure.message) from None


def _on_grid(
    values: NDArray[np.float32],
    affine: NDArray[np.float64],
    shape: tuple[int, ...],
    wanted: NDArray[np.float64],
) -> NDArray[np.int32]:
    """Take labels to the template's grid, each voxel its nearest."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    points = index @ wanted[:3, :3].T + wanted[:3, 3]
    return np.asarray(pull(points, values, affine, order=0), np.int32)


def _names(table: Path) -> dict[int, str]:
    """Read which number means which region.

    Raises
    ------
    Failure
        DATA_INVALID when it is no such table, or a region of `NAMES` is not in it.
    """
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise _bad(f"{table}: cannot be read as text") from None
    rows = [[cell.strip() for cell in line.split("\t")] for line in lines if line.strip()]
    if not rows or not {"index", "name"} <= set(rows[0]):
        raise _bad(f"{table}: has no columns index and name, separated by tabs")
    index, name = rows[0].index("index"), rows[0].index("name")
    found: dict[int, str] = {}
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(rows[0]) or not row[index].isdecimal() or int(row[index]) in found:
            raise _bad(f"{table}: line {number} is not a number of its own and a name")
        found[int(row[index])] = row[name]
    absent = [one for one in NAMES if one not in found.values()]
    if absent:
        raise _bad(f"{table}: names no {', no '.join(absent)}")
    return found


def _bad(message: str) -> Failure:
    return Failure(
        Category.DATA_INVALID,
        message,
        f"correct the atlas ({', '.join(FILES)}; regions {', '.join(NAMES)}), or leave it out",
    )

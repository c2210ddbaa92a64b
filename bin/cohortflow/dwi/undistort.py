"""Undo a series' susceptibility distortion with the reversed images that dwi-convert kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import alignment, grids, image, pair_scheme, series, spline, susceptibility
from cohortflow.dwi import pose as poses
from cohortflow.dwi import sidecar as sidecars
from cohortflow.dwi.gradients import Gradients
from cohortflow.dwi.mask import brain
from cohortflow.dwi.series import Series
from cohortflow.dwi.susceptibility import Field

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Reversed:
    """Volumes without weighting of reversed phase encoding.

    Attributes
    ----------
    path : Path
    data : ndarray of float32, shape (x, y, z, n)
    fields : mapping
        The sidecar.
    """

    path: Path
    data: Values
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Distortion:
    """The distortion of a series.

    Attributes
    ----------
    field : susceptibility.Field
    shift : ndarray of float32, shape (x, y, z)
        Displacement of the series in voxels along the field's axis, on the undistorted grid.
    pair : tuple of ndarray of float32, shape (x, y, z)
        The mean images that it was found from: of the series, and reversed.
    source : str
        BIDS URI of the reversed image.
    """

    field: Field
    shift: Values
    pair: tuple[Values, Values]
    source: str


def read(folder: Path, data: Series) -> Reversed | None:
    """Read the reversed image of a folder that dwi-convert made; None when it has none.

    Raises
    ------
    Failure
        As `image.load` and `sidecar.read`; DATA_INVALID when the image is not on the series' grid.
    """
    path = folder / "dwi" / f"{data.prefix}_desc-reverse_epi.nii.gz"
    if not path.is_file():
        return None
    dimensions = 4 if len(image.header(path).shape) > 3 else 3
    values, loaded = image.load(path, dimensions)
    values = values.reshape((*values.shape, 1)[:4])
    own = grids.Grid(data.data.shape[:3], data.affine)
    apart = grids.difference(own, grids.Grid(values.shape[:3], loaded.affine))
    if apart:
        raise Failure(
            Category.DATA_INVALID,
            f"{data.path.name} and {path.name}: are not on one grid, {apart}",
            "give as --reverse the folder that the series was converted to",
        )
    beside = path.with_name(path.name.replace(".nii.gz", ".json"))
    return Reversed(path, values, sidecars.read(beside) if beside.is_file() else {})


def find(data: Series, given: Reversed, still: Values, axis: int, threads: int) -> Distortion:
    """Find the distortion of a series.

    Parameters
    ----------
    data : Series
    given : Reversed
    still : ndarray of float32, shape (x, y, z)
        Mean of the series' volumes without weighting, aligned with the reference.
    axis : int
        The slices' axis.
    threads : int

    Raises
    ------
    Failure
        As `pair_scheme.scheme` and `susceptibility.estimate`.
    """
    names = data.path.name, given.path.name
    scheme = pair_scheme.scheme(data.fields, given.fields, names)
    reverse = _mean(data, given, axis, threads)
    size = series.voxel_size(data.affine)
    field = susceptibility.estimate(still, reverse, scheme.axis, size, scheme.sign, scheme.ratio)
    source = series.uri(data.prefix, f"dwi/{given.path.name}")
    shift = susceptibility.shift(field, scheme.sign)
    return Distortion(field, shift, (still, reverse), source)


def _mean(data: Series, given: Reversed, axis: int, threads: int) -> Values:
    """Return the mean of the reversed volumes, aligned with the first of them."""
    count = given.data.shape[3]
    if count == 1:
        return np.ascontiguousarray(given.data[..., 0])
    table = Gradients(np.zeros(count), np.zeros((count, 3)))
    all_still = dataclasses.replace(data, path=given.path, data=given.data, gradients=table)
    frame = poses.frame(data.affine, given.data.shape, "none")
    region = brain(all_still.b0, series.voxel_size(data.affine))
    found = alignment.estimate(all_still, region, frame, axis, threads)
    total = np.zeros(given.data.shape[:3], np.float32)
    for volume, pose in enumerate(found.poses):
        matrix = poses.to_voxels(frame, pose)
        total += spline.resample(np.ascontiguousarray(given.data[..., volume]), matrix)
    return total / np.float32(count)

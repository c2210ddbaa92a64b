"""Correct a diffusion series for head motion, eddy currents, lost slices and susceptibility."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortflow.core import threads as pool
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import alignment, mask, phase, predict, series, spline, tensor, undistort
from cohortflow.dwi import pose as poses
from cohortflow.dwi.alignment import Estimate
from cohortflow.dwi.gradients import Gradients
from cohortflow.dwi.series import Series
from cohortflow.dwi.undistort import Distortion, Reversed
from cohortflow.dwi.unring import axis_of

METHODS = ("eddy", "motion")
MOST = 0.5
"""A series of whose judged volumes more than this share are outliers is refused."""
FEWEST = 500
"""Voxels of the head without which volumes cannot be aligned."""
NO_PAIR = "not corrected: no series with reversed phase encoding"

Array = NDArray[np.float64]
Values = NDArray[np.float32]


@dataclass(frozen=True)
class Corrected:
    """A corrected series.

    Attributes
    ----------
    data : ndarray of float32, shape (x, y, z, n)
        In the place of the first volume without weighting.
    gradients : Gradients
        Turned with the head.
    estimate : alignment.Estimate
    axis : int
        The slices' axis.
    replaced : bool
        Whether lost slices were replaced.
    distortion : undistort.Distortion or None
        Of susceptibility; None without a reversed image.
    brain : ndarray of bool, shape (x, y, z)
        About the brain, where the series was.
    warnings : tuple of str
        What limits the correction, a sentence each.
    """

    data: Values
    gradients: Gradients
    estimate: Estimate
    axis: int
    replaced: bool
    distortion: Distortion | None
    brain: NDArray[np.bool_]
    warnings: tuple[str, ...]

    @property
    def outliers(self) -> NDArray[np.bool_]:
        """Which volumes are outliers as a whole, shape (n,)."""
        return self.estimate.slices.volumes

    @property
    def hopeless(self) -> bool:
        """Whether more than `MOST` of the judged volumes are outliers."""
        judged = self.estimate.slices.judged.any(axis=0)
        return bool(self.outliers.sum() > MOST * judged.sum())


def compute(
    data: Series,
    reverse: Reversed | None = None,
    method: str = "eddy",
    outliers: str = "replace",
    threads: int = 1,
) -> Corrected:
    """Correct a series with one interpolation.

    A voxel x of the result is read, in each volume, where the head's motion takes x, then its
    susceptibility displaces it, then eddy currents do; the signal is multiplied by how much the
    displacements stretch it.

    Parameters
    ----------
    data : Series
        Denoised and without ringing, if at all: this step resamples.
    reverse : undistort.Reversed, optional
    method : {"eddy", "motion"}
        ``motion`` leaves eddy currents alone.
    outliers : {"replace", "keep"}
        What to do with lost slices: ``replace`` puts predictions by the other volumes of the shell.
    threads : int

    Raises
    ------
    Failure
        DATA_INVALID for values that are not finite, or too little of a head to align; as
        `unring.axis_of` and `undistort.find`.
    """
    if not np.isfinite(data.data).all():
        raise Failure(
            Category.DATA_INVALID,
            f"{data.path}: has values that are not finite numbers",
            "convert the series again",
        )
    axis = axis_of(data.fields)
    brain = mask.brain(data.b0, series.voxel_size(data.affine))
    if brain.sum() < FEWEST:
        raise Failure(
            Category.DATA_INVALID,
            f"{data.path}: {int(brain.sum())} voxels look like a head, too few to align volumes",
            "look at the series; leave the correction out if it shows no head",
        )
    warnings: list[str] = []
    along = _along(data) if method == "eddy" else "none"
    if along == "any":
        warnings.append(
            "the phase-encode axis is not known: eddy currents may stretch along any axis"
        )
    frame = poses.frame(data.affine, data.data.shape, along)
    found = alignment.estimate(data, brain, frame, axis, threads)
    small = [g for g in predict.shells(data.gradients.bvals, ~data.gradients.b0)
             if len(g) < predict.SMALLEST]  # fmt: skip
    if small:
        warnings.append("too few weighted volumes to tell which slices lost signal")
    distortion = None
    if reverse is not None:
        still = _still(data, found, threads)
        distortion = undistort.find(data, reverse, still, axis, threads)
    return Corrected(
        data=resampled(data, found, distortion, replace=outliers == "replace", threads=threads),
        gradients=turned(data, found),
        estimate=found,
        axis=axis,
        replaced=outliers == "replace",
        distortion=distortion,
        brain=brain,
        warnings=tuple(warnings),
    )


def _along(data: Series) -> str:
    """Return the image axis of phase encoding, ``any`` when the sidecar does not tell it."""
    value = phase.told(data.fields) or data.fields.get("PhaseEncodingAxis")
    known = isinstance(value, str) and value.removesuffix("-") in ("i", "j", "k")
    return str(value)[0] if known else "any"


def _still(data: Series, found: Estimate, threads: int) -> Values:
    """Return the mean of the volumes without weighting in the place of the first of them."""
    volumes = np.flatnonzero(data.gradients.b0).tolist()
    total = np.zeros(data.data.shape[:3], np.float32)
    for part in pool.each(lambda volume: _one(data, found, None, volume), volumes, threads):
        total += part
    return total / np.float32(len(volumes))


def resampled(
    data: Series, found: Estimate, distortion: Distortion | None, *, replace: bool, threads: int
) -> Values:
    """Bring all volumes to the place of the reference, distortions undone, (x, y, z, n)."""
    out = np.empty(data.data.shape, np.float32, order="F")

    def one(volume: int) -> None:
        given = found.replaced.get(volume) if replace else None
        out[..., volume] = _one(data, found, distortion, volume, given)

    pool.each(one, range(data.data.shape[3]), threads)
    return out


def _one(
    data: Series,
    found: Estimate,
    distortion: Distortion | None,
    volume: int,
    given: Values | None = None,
) -> Values:
    image = data.data[..., volume] if given is None else given
    matrix = poses.to_voxels(found.frame, found.poses[volume])
    if distortion is None:
        return spline.resample(image, matrix)
    return spline.resample(image, matrix, distortion.shift, distortion.field.axis)


def turned(data: Series, found: Estimate) -> Gradients:
    """Return the gradients as the head, in the place of the reference, saw them.

    Leemans, Jones 2009 (doi:10.1002/mrm.21890): without this, motion biases directions.
    """
    to_world = tensor.to_world(np.eye(3), data.affine)
    world = found.directions(data.gradients.bvecs @ to_world)
    return Gradients(data.gradients.bvals, world @ np.linalg.inv(to_world) + 0.0)

"""Slices that lost signal: the head moved while the diffusion gradients were on.

Found as Andersson et al. 2016 (doi:10.1016/j.neuroimage.2016.06.058) do: each slice's mean is
compared with what the other volumes predict for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortflow.dwi import pose as poses
from cohortflow.dwi import spline
from cohortflow.dwi.pose import Frame

Array = NDArray[np.float64]
Values = NDArray[np.float32]
Flags = NDArray[np.bool_]

SPREADS = 4.0
"""A lost slice's mean is lower than expected by at least so many standard deviations, of all slices
and of its own in other volumes ..."""
LEAST = 0.12
"""... and by at least this share."""
SURE = 0.3
"""A slice that lacks this share is lost, whatever the spread: many others may be lost, too."""
SMALLEST_MM2 = 1000.0
"""Slices with less of the head in them are not judged."""
MANY = 0.25
"""A volume of which more than this share of the judged slices is lost is an outlier volume."""


@dataclass(frozen=True)
class Slices:
    """What became of the slices of a series.

    Attributes
    ----------
    lost : ndarray of bool, shape (slices, n)
    judged : ndarray of bool, shape (slices, n)
        Those of weighted volumes with enough of the head in them.
    loss : ndarray of float64, shape (slices, n)
        Share of the expected signal that is missing, 0 where not judged.
    """

    lost: Flags
    judged: Flags
    loss: Array

    @property
    def volumes(self) -> Flags:
        """Which volumes are outliers as a whole, see `MANY`, shape (n,)."""
        judged = self.judged.sum(axis=0)
        return np.asarray(self.lost.sum(axis=0) > MANY * np.maximum(judged, 1))


def none(slices: int, volumes: int) -> Slices:
    """Return what is known before anything was judged."""
    empty = np.zeros((slices, volumes), dtype=bool)
    return Slices(empty, empty.copy(), np.zeros((slices, volumes)))


def expected(image: Values, pose: Array, given: Frame, points: NDArray[np.int32]) -> Values:
    """Return what an image of the reference looks like at voxels of a volume.

    Parameters
    ----------
    image : ndarray of float32, shape (x, y, z)
        On the reference; as `spline.sample` takes it.
    pose : ndarray, shape (6 + m,)
        Of the volume.
    given : Frame
    points : ndarray of int32, shape (k, 3)
        Voxels of the volume.
    """
    back = np.linalg.inv(poses.to_voxels(given, pose))
    # where eddy currents squeezed the signal together it is brighter
    bright = np.float32(abs(np.linalg.det(back[:3, :3])))
    return spline.sample(image, np.asarray(back), points) * bright


def sums(
    volume: Values, wanted: Values, points: NDArray[np.int32], axis: int, slices: int
) -> tuple[Array, Array, Array]:
    """Sum a volume and what is wanted of it in each slice; and count the voxels.

    Parameters
    ----------
    volume : ndarray of float32, shape (x, y, z)
    wanted : ndarray of float32, shape (k,)
        At `points`.
    points : ndarray of int32, shape (k, 3)
    axis : int
        Of the slices.
    slices : int
    """
    at = points[:, axis]
    own = volume[points[:, 0], points[:, 1], points[:, 2]]
    counted = np.bincount(at, minlength=slices).astype(np.float64)
    found, expected = (np.asarray(np.bincount(at, w, slices), np.float64) for w in (own, wanted))
    return found, expected, counted


def judge(found: Array, wanted: Array, counted: Array, area_mm2: float) -> Slices:
    """Judge the slices of a shell.

    Parameters
    ----------
    found, wanted : ndarray, shape (slices, n)
        Sums of the volumes over the head's voxels, and of their predictions.
    counted : ndarray, shape (slices, n)
        Number of these voxels.
    area_mm2 : float
        Of a voxel within the slice.
    """
    judged = (counted * area_mm2 >= SMALLEST_MM2) & (wanted > 0)
    if not judged.any():
        return none(*found.shape)
    ratio = np.where(judged, found / np.where(judged, wanted, 1), np.nan)
    with np.errstate(all="ignore"):
        # a volume may be brighter as a whole; its upper quartile is not touched by lost slices
        ratio = ratio / _quantile(ratio, 0.75, axis=0)
        # what all volumes share is no loss; most of them may be lost, which says nothing of it
        sure = ratio < (1 - SURE) * _quantile(ratio, 0.75, axis=1)
        ratio = ratio / _quantile(np.where(sure, np.nan, ratio), 0.5, axis=1)
    loss = np.where(judged, 1 - np.nan_to_num(ratio, nan=1.0), 0)
    # noise of a mean falls with the square root of the voxels
    weight = np.sqrt(counted / counted.max())
    # how much brighter than expected slices are tells their spread, however many are lost
    gain = np.where(judged & (loss <= 0), -loss, np.nan)
    spread = 1.4826 * float(np.nanmedian(gain * weight))
    # the head's top is shown or not as the head moves
    own = 1.4826 * _quantile(gain, 0.5, axis=1)
    lost = (
        judged
        & (loss > LEAST)
        & (loss > np.minimum(SPREADS * spread / np.maximum(weight, 1e-9), SURE))
        & (loss > np.minimum(SPREADS * own, SURE))
    )
    return Slices(lost, judged, loss)


def _quantile(ratio: Array, share: float, axis: int) -> Array:
    """Return quantiles along an axis, 1 where nothing was judged."""
    some = np.isfinite(ratio).any(axis=axis, keepdims=True)
    filled = np.where(some, ratio, 1.0)
    return np.asarray(np.nanquantile(filled, share, axis=axis, keepdims=True))

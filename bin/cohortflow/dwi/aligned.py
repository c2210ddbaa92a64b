"""What is known of a series while its volumes are aligned with each other."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cohortflow.core import threads as pool
from cohortflow.dwi import motion, outliers, predict, series, spline, tensor
from cohortflow.dwi import pose as poses
from cohortflow.dwi.motion import Region
from cohortflow.dwi.outliers import Slices
from cohortflow.dwi.pose import Frame
from cohortflow.dwi.series import Series

Array = NDArray[np.float64]
Values = NDArray[np.float32]
Group = NDArray[np.intp]

SAMPLES = 4000
"""Voxels from which the smoothness of the prediction is learnt."""


@dataclass
class State:
    """What changes while volumes are aligned.

    Attributes
    ----------
    data : Series
    frame : Frame
    axis : int
        The slices' axis, 0 to 2.
    threads : int
    region : Region
        Where images are compared.
    poses : ndarray, shape (n, 6 + m)
    images : list of ndarray of float32
        The volumes as they are compared: smoothed, or as measured.
    slices : Slices
    repaired : dict
        The volumes that have lost slices, predictions put into these.
    """

    data: Series
    frame: Frame
    axis: int
    threads: int
    region: Region
    poses: Array
    images: list[Values] = field(default_factory=list)
    slices: Slices = field(init=False)
    repaired: dict[int, Values] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.data.data.shape
        self.slices = outliers.none(shape[self.axis], shape[3])
        self.images = [np.empty((0, 0, 0), np.float32)] * shape[3]

    @property
    def voxel(self) -> Array:
        """Length of a voxel along each image axis in mm, shape (3,)."""
        return series.voxel_size(self.data.affine)

    def raw(self, volume: int) -> Values:
        """Return a volume, lost slices as they should be."""
        repaired = self.repaired.get(volume)
        return self.data.data[..., volume] if repaired is None else repaired

    def smooth(self, deviation_mm: float, volumes: list[int]) -> None:
        """Smooth volumes with a Gaussian."""

        def one(volume: int) -> Values:
            made = motion.smooth(self.raw(volume), deviation_mm, self.voxel)
            return np.ascontiguousarray(made)

        for volume, image in zip(volumes, pool.each(one, volumes, self.threads), strict=True):
            self.images[volume] = image

    def sampled(self, volume: int) -> Values:
        """Return a volume's image at all points of the region."""
        matrix = poses.to_voxels(self.frame, self.poses[volume])
        return spline.sample(self.images[volume], matrix, self.region.points)

    def weights(self, volume: int) -> tuple[int, Values]:
        """Return the slices' axis, and 0 for slices that are lost, 1 for others."""
        return self.axis, np.where(self.slices.lost[:, volume], 0, 1).astype(np.float32)

    def predicted(self, group: Group, *, alike: bool) -> tuple[Values, Array]:
        """Return all volumes of a shell at the region's points, (voxels, n), and their mixing.

        Parameters
        ----------
        group : ndarray of int
        alike : bool
            Mix the mean of the others, whatever their directions.
        """
        columns = pool.each(self.sampled, group.tolist(), self.threads)
        values = np.stack(columns, axis=1)
        if alike or len(group) < predict.SMALLEST:
            return values, predict.average(len(group))
        step = max(1, len(values) // SAMPLES)
        return values, predict.mixing(self.directions(group), values[::step])

    def directions(self, group: Group) -> Array:
        """Return unit gradients of a shell in the head's axes."""
        given = tensor.to_world(self.data.gradients.bvecs[group], self.data.affine)
        given /= np.linalg.norm(given, axis=1, keepdims=True)
        turns = np.stack([poses.rotation(pose[3:6]) for pose in self.poses[group]])
        return np.asarray(np.einsum("nji,nj->ni", turns, given))

"""Register a volume to what it should look like: Gauss-Newton least squares of the pose.

The derivatives are those of the expected image, which has little noise, as in the
inverse-compositional algorithm of Baker, Matthews 2004 (doi:10.1023/B:VISI.0000011205.11775.fd).
Images are sampled with the cubic B-spline itself, without its prefilter: this smooths a little and
nearly alike wherever a sample falls, where linear interpolation would draw poses towards half
voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.core.compiled import compiled
from cohortflow.dwi import pose as poses
from cohortflow.dwi.pose import Frame
from cohortflow.dwi.spline import inside

Array = NDArray[np.float64]
Values = NDArray[np.float32]

ENOUGH_MM = 0.003
"""A registration ends when a step moves points by less."""
STEPS = 8
LONGEST_MM = 8.0
"""A step moves no farther: where the expected image is wrong it could fly away."""
_SCALE = 1 / 50  # of coordinates in mm, so that all columns are about alike


@dataclass(frozen=True)
class Region:
    """Voxels of the reference that registration looks at.

    Attributes
    ----------
    points : ndarray of int32, shape (voxels, 3)
        All voxels in which images are expected.
    inner : ndarray of int64, shape (fewer,)
        Those of `points` that are compared.
    beside : ndarray of int64, shape (fewer, 6)
        For each of `inner` the places in `points` of its neighbours: after and before it along
        each axis.
    """

    points: NDArray[np.int32]
    inner: NDArray[np.int64]
    beside: NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """A registered volume.

    Attributes
    ----------
    pose : ndarray, shape (6 + m,)
    gain : float
        Of the volume over the expected image.
    """

    pose: Array
    gain: float


def region(mask: NDArray[np.bool_], most: int) -> Region:
    """Choose at most about `most` voxels of a mask to be compared, evenly over it."""
    points = np.argwhere(mask).astype(np.int32)
    place = np.full(mask.shape, -1, np.int64)
    place[tuple(points.T)] = np.arange(len(points))
    cross = ndimage.generate_binary_structure(3, 1)
    inside = ndimage.binary_erosion(mask, cross)
    every = max(1, -(-int(inside.sum()) // most))
    first, second, third = (np.arange(size) for size in mask.shape)
    # odd factors spread the chosen voxels in all directions, whatever the spacing
    inside &= (first[:, None, None] + 3 * second[:, None] + 5 * third) % every == 0
    chosen = np.argwhere(inside)
    beside = np.empty((len(chosen), 6), np.int64)
    for axis in range(3):
        for side, step in enumerate((1, -1)):
            other = chosen.copy()
            other[:, axis] += step
            beside[:, 2 * axis + side] = place[tuple(other.T)]
    return Region(points, place[tuple(chosen.T)], beside)


def smooth(volume: Values, deviation_mm: float, voxel_mm: Array) -> Values:
    """Smooth with a Gaussian of a standard deviation in mm."""
    made: Values = ndimage.gaussian_filter(
        volume, deviation_mm / voxel_mm, mode="nearest", truncate=3.0
    )
    return made


def register(
    volume: Values,
    expected: Values,
    start: Array,
    given: Frame,
    where: Region,
    slices: tuple[int, Values],
    trust: Values,
    free: int,
) -> Found:
    """Find the pose in which a volume looks most like an expected image, up to gain and offset.

    Parameters
    ----------
    volume : ndarray of float32, shape (x, y, z), contiguous
    expected : ndarray of float32, shape (voxels,)
        At the points of `where`, smoothed and sampled as the volume is, see `spline.sample`.
    start : ndarray, shape (6 + m,)
    given : Frame
    where : Region
    slices : (int, ndarray of float32)
        The slices' axis, and the weight of each slice of the volume.
    trust : ndarray of float32, shape (fewer,)
        Weight of each voxel that is compared.
    free : int
        How many parameters may change: 6 or all.
    """
    world = given.affine[:3, :3]
    steps = expected[where.beside]
    slope = (steps[:, ::2] - steps[:, 1::2]).astype(np.float64) / 2 @ np.linalg.inv(world)
    points = where.points[where.inner]
    places = (points @ world.T + given.affine[:3, 3] - given.centre) * _SCALE
    features = np.empty((len(points), 14), np.float32)
    for axis in range(3):
        features[:, 4 * axis : 4 * axis + 3] = slope[:, axis, None] * places
        features[:, 4 * axis + 3] = slope[:, axis]
    level = float(np.abs(expected[where.inner]).mean()) or 1.0
    features[:, 12] = expected[where.inner] / level
    features[:, 13] = 1
    current, gain = start.copy(), 1.0
    best, least = current, np.inf
    for _ in range(STEPS):
        matrix = poses.to_voxels(given, current)
        normal, right, squares = _moments(
            volume, matrix[:3], points, features, trust, slices[0], slices[1]
        )
        chosen = _columns(given, current, free)
        left = chosen.T @ normal @ chosen
        solved = np.linalg.lstsq(left, chosen.T @ right, rcond=1e-10)[0]
        only = np.linalg.lstsq(normal[12:, 12:], right[12:], rcond=1e-10)[0]
        cost = (squares - only @ right[12:]) / max(normal[13, 13], 1.0)
        if cost > least * 1.0001:  # the step went too far
            current = (current + best) / 2
            continue
        best, least, gain = current, cost, solved[-2] / level
        if gain <= 0.05:  # nothing of the expected image is in the volume
            break
        change = np.zeros_like(current)
        change[:free] = -solved[:free] / gain
        far = poses.size(given, change)
        current = current + change * min(1.0, LONGEST_MM / max(far, 1e-9))
        if far < ENOUGH_MM:
            best = current
            break
    return Found(best, float(gain))


def _columns(given: Frame, current: Array, free: int) -> Array:
    """Return how the features combine to the derivative by each parameter, (14, free + 2)."""
    back = np.linalg.inv(poses.centred(given, current)[:, :3])
    made = np.zeros((14, free + 2))
    for column, slope in enumerate(poses.slopes(given, current)[:free]):
        change = back @ slope
        change[:, :3] /= _SCALE
        made[:12, column] = change.ravel()
    made[12, free] = made[13, free + 1] = 1
    return made


@compiled
def _moments(
    volume: Values,
    matrix: Array,
    points: NDArray[np.int32],
    features: Values,
    trust: Values,
    axis: int,
    weights: Values,
) -> tuple[Array, Array, float]:
    """Sum products of the features with each other and with the volume, and its squares.

    Points whose sample needs voxels beyond the grid are left out.
    """
    nx, ny, nz = volume.shape
    count = features.shape[1]
    normal, right, squares = np.zeros((count, count)), np.zeros(count), 0.0
    wx, wy, wz, row = np.empty(4), np.empty(4), np.empty(4), np.empty(count)
    for p in range(len(points)):
        i, j, k = points[p, 0], points[p, 1], points[p, 2]
        x = matrix[0, 0] * i + matrix[0, 1] * j + matrix[0, 2] * k + matrix[0, 3]
        y = matrix[1, 0] * i + matrix[1, 1] * j + matrix[1, 2] * k + matrix[1, 3]
        z = matrix[2, 0] * i + matrix[2, 1] * j + matrix[2, 2] * k + matrix[2, 3]
        if not (1 <= x < nx - 2 and 1 <= y < ny - 2 and 1 <= z < nz - 2):
            continue
        at = x if axis == 0 else (y if axis == 1 else z)
        weight = weights[int(np.floor(at + 0.5))] * trust[p]
        if weight <= 0:
            continue
        value = inside(volume, x, y, z, wx, wy, wz)
        for f in range(count):
            row[f] = features[p, f]
        squares += weight * value * value
        for f in range(count):
            scaled = weight * row[f]
            right[f] += scaled * value
            for g in range(f, count):
                normal[f, g] += scaled * row[g]
    for f in range(count):
        for g in range(f):
            normal[f, g] = normal[g, f]
    return normal, right, squares

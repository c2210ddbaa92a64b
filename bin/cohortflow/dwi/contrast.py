"""Align images of different contrast rigidly by their mutual information.

Viola, Wells 1997 (doi:10.1023/A:1007958904918) and Maes et al. 1997 (doi:10.1109/42.563664): the
joint histogram of two images is sharpest where they lie on each other. The maximum is searched by
Powell's method.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from cohortflow.core.compiled import compiled
from cohortflow.dwi import pose as poses
from cohortflow.dwi.motion import Region
from cohortflow.dwi.pose import Frame
from cohortflow.dwi.spline import inside

Array = NDArray[np.float64]
Values = NDArray[np.float32]

BINS = 32
_SHARE = 0.5  # per cent of the voxels beyond the histogram's ends, which count as the end


def align(moving: Values, still: Values, given: Frame, where: Region) -> Array:
    """Find the rigid motion that takes points of one image to those of another.

    Parameters
    ----------
    moving : ndarray of float32, shape (x, y, z), contiguous
    still : ndarray of float32, shape (voxels,)
        The other image at the points `where.inner`, sampled as `spline.sample` does it.
    given : Frame
    where : Region

    Returns
    -------
    ndarray, shape (6,)
        Where a point of `still` is found in `moving`: mm and radians, as a pose.
    """
    points = np.ascontiguousarray(where.points[where.inner])
    columns = _binned(still, still)
    own = moving[tuple(points.T)]
    ends = np.percentile(own, (_SHARE, 100 - _SHARE))
    scale = (BINS - 1) / max(float(ends[1] - ends[0]), 1e-6)
    units = np.array([1, 1, 1, 1 / poses.RADIUS_MM, 1 / poses.RADIUS_MM, 1 / poses.RADIUS_MM])

    def cost(trial: Array) -> float:
        matrix = poses.to_voxels(given, np.append(trial * units, np.zeros(len(given.terms))))
        joint = _joint(moving, matrix[:3], points, columns, float(ends[0]), scale)
        return -_information(joint)

    found = optimize.minimize(
        cost,
        np.zeros(6),
        method="Powell",
        bounds=[(-20.0, 20.0)] * 6,
        options={"xtol": 0.01, "ftol": 1e-9, "maxiter": 6},
    )
    return np.asarray(found.x * units)


def _binned(values: Values, like: Values) -> Values:
    low, high = np.percentile(like, (_SHARE, 100 - _SHARE))
    scale = (BINS - 1) / max(float(high - low), 1e-6)
    return np.asarray(np.clip((values - low) * scale, 0, BINS - 1 - 1e-3), np.float32)


def _information(joint: Array) -> float:
    """Return the mutual information of a joint histogram."""
    share = joint / joint.sum()
    apart = np.outer(share.sum(axis=1), share.sum(axis=0))
    some = share > 0
    return float((share[some] * np.log(share[some] / apart[some])).sum())


@compiled
def _joint(
    moving: Values,
    matrix: Array,
    points: NDArray[np.int32],
    columns: Values,
    low: float,
    scale: float,
) -> Array:
    """Fill a joint histogram, each sample shared linearly among neighbouring bins."""
    nx, ny, nz = moving.shape
    joint = np.zeros((BINS, BINS))
    wx, wy, wz = np.empty(4), np.empty(4), np.empty(4)
    for p in range(len(points)):
        i, j, k = points[p, 0], points[p, 1], points[p, 2]
        x = matrix[0, 0] * i + matrix[0, 1] * j + matrix[0, 2] * k + matrix[0, 3]
        y = matrix[1, 0] * i + matrix[1, 1] * j + matrix[1, 2] * k + matrix[1, 3]
        z = matrix[2, 0] * i + matrix[2, 1] * j + matrix[2, 2] * k + matrix[2, 3]
        if not (1 <= x < nx - 2 and 1 <= y < ny - 2 and 1 <= z < nz - 2):
            continue
        value = inside(moving, x, y, z, wx, wy, wz)
        one = min(max((value - low) * scale, 0.0), BINS - 1.001)
        two = columns[p]
        first, second = int(one), int(two)
        up, right = one - first, two - second
        joint[first, second] += (1 - up) * (1 - right)
        joint[first + 1, second] += up * (1 - right)
        joint[first, second + 1] += (1 - up) * right
        joint[first + 1, second + 1] += up * right
    return joint

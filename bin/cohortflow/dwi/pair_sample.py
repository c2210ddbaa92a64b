"""Sample an image and its gradient at displaced places, with cubic B-splines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.compiled import compiled

Values = NDArray[np.float32]
Numbers = NDArray[np.float64]


@compiled
def sample(
    coefficients: Values, matrix: Numbers, displacement: Values, scale: float
) -> tuple[Values, Values, NDArray[np.bool_]]:
    """Interpolate an image and its gradient by cubic B-splines at displaced places.

    Parameters
    ----------
    coefficients : ndarray (p, q, n)
        Of the splines, mirrored at the image's outer voxels.
    matrix : ndarray of float64 (3, 4)
        Voxel indices to the image's indices, before the displacement.
    displacement : ndarray (p, q, n)
        Voxels along the last axis, added after `matrix`.
    scale : float
        Times the displacement.

    Returns
    -------
    values : ndarray (p, q, n)
    gradient : ndarray (3, p, q, n)
        A voxel along each axis of the image.
    inside : ndarray of bool (p, q, n)
        Whether the place lies in the image; values outside are those of its rim.
    """
    size = coefficients.shape
    values = np.zeros(displacement.shape, np.float32)
    gradient = np.zeros((3, *displacement.shape), np.float32)
    inside = np.zeros(displacement.shape, np.bool_)
    base = np.zeros(3, np.int64)
    weight, slope = np.zeros((3, 4)), np.zeros((3, 4))
    where = np.zeros((3, 4), np.int64)
    for i in range(displacement.shape[0]):
        for j in range(displacement.shape[1]):
            for k in range(displacement.shape[2]):
                within = True
                for axis in range(3):
                    place = (
                        matrix[axis, 0] * i + matrix[axis, 1] * j + matrix[axis, 2] * k
                    ) + matrix[axis, 3]
                    if axis == 2:
                        place += scale * displacement[i, j, k]
                    last = size[axis] - 1
                    if place < -0.5 or place > last + 0.5:
                        within = False
                    place = min(max(place, 0.0), float(last))
                    base[axis] = int(np.floor(place))
                    t = place - base[axis]
                    u = 1 - t
                    weight[axis, 0] = u * u * u / 6
                    weight[axis, 1] = 2 / 3 - t * t + t * t * t / 2
                    weight[axis, 2] = 2 / 3 - u * u + u * u * u / 2
                    weight[axis, 3] = t * t * t / 6
                    slope[axis, 0] = -u * u / 2
                    slope[axis, 1] = -2 * t + 1.5 * t * t
                    slope[axis, 2] = 2 * u - 1.5 * u * u
                    slope[axis, 3] = t * t / 2
                    for tap in range(4):
                        index = abs(base[axis] - 1 + tap)
                        if index > last:
                            index = 2 * last - index
                        where[axis, tap] = max(index, 0)
                inside[i, j, k] = within
                total, first, second, third = 0.0, 0.0, 0.0, 0.0
                for a in range(4):
                    for b in range(4):
                        row, along = 0.0, 0.0
                        for c in range(4):
                            value = coefficients[where[0, a], where[1, b], where[2, c]]
                            row += weight[2, c] * value
                            along += slope[2, c] * value
                        total += weight[0, a] * weight[1, b] * row
                        first += slope[0, a] * weight[1, b] * row
                        second += weight[0, a] * slope[1, b] * row
                        third += weight[0, a] * weight[1, b] * along
                values[i, j, k] = total
                gradient[0, i, j, k] = first
                gradient[1, i, j, k] = second
                gradient[2, i, j, k] = third
    return values, gradient, inside

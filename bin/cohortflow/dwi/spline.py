"""Sample volumes with cubic B-splines (Unser 1999, doi:10.1109/79.799930)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.core.compiled import compiled

Array = NDArray[np.float64]
Values = NDArray[np.float32]


def resample(
    volume: Values,
    affine_transform: Array,
    field: Values | None = None,
    axis: int | None = None,
) -> Values:
    """Bring a volume onto the reference's grid with one cubic interpolation.

    A voxel u of the result is read at ``affine_transform @ u``, and `field` voxels farther along
    `axis`. Its value is multiplied by how much the displacement along the phase-encode axis
    stretches there: signal that was squeezed together is spread again.

    Parameters
    ----------
    volume : ndarray of float32, shape (x, y, z)
        Magnitude image; what interpolation makes negative becomes 0.
    affine_transform : ndarray, shape (4, 4)
        Voxels of the reference to voxels of the volume. The determinant is that of the eddy
        currents' displacement, since rotations have 1.
    field : ndarray of float32, shape (x, y, z), optional
        Displacement by the susceptibility of tissue, in voxels along `axis`, on the reference.
    axis : int, optional
        0 to 2; needed with a field.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        0 where the volume was not measured: more than half a voxel beyond its grid.

    Raises
    ------
    ValueError
        For a field without an axis.
    """
    if (field is None) != (axis is None):
        raise ValueError("a field needs an axis, and an axis a field")
    if field is None and np.allclose(affine_transform, np.eye(4), atol=1e-9):
        return volume.copy()
    matrix = np.ascontiguousarray(affine_transform[:3], dtype=np.float64)
    out = np.empty(volume.shape, np.float32)
    shift = np.zeros((1, 1, 1), np.float32) if field is None else np.ascontiguousarray(field)
    _resample(coefficients(volume), matrix, shift, -1 if axis is None else axis, out)
    factor = np.float32(abs(np.linalg.det(matrix[:, :3])))
    out *= factor
    if field is not None and axis is not None:
        out *= np.clip(1 + np.gradient(field, axis=axis), 0, None)
    return np.clip(out, 0, None, out=out)


def coefficients(volume: Values) -> Values:
    """Return the coefficients whose spline goes through a volume's values."""
    made: Values = ndimage.spline_filter(volume, order=3, output=np.float32, mode="mirror")
    return np.ascontiguousarray(made)


def sample(volume: Values, matrix: Array, points: NDArray[np.int32]) -> Values:
    """Evaluate the spline of coefficients at voxels of the reference; beyond, the edge goes on.

    Parameters
    ----------
    volume : ndarray of float32, shape (x, y, z), contiguous
        Coefficients; an image itself gives that image smoothed by the spline.
    matrix : ndarray, shape (4, 4)
        Voxels of the reference to voxels of the volume.
    points : ndarray of int32, shape (n, 3)
    """
    out = np.empty(len(points), np.float32)
    _sample(volume, np.ascontiguousarray(matrix[:3]), points, out)
    return out


@compiled
def weights(part: float, out: Array) -> None:
    """Evaluate the cubic B-spline at a part of a voxel, for four neighbours."""
    rest = 1.0 - part
    out[0] = rest * rest * rest / 6.0
    out[1] = 2.0 / 3.0 - 0.5 * part * part * (2.0 - part)
    out[2] = 2.0 / 3.0 - 0.5 * rest * rest * (2.0 - rest)
    out[3] = part * part * part / 6.0


@compiled
def inside(volume: Values, x: float, y: float, z: float, wx: Array, wy: Array, wz: Array) -> float:
    """Evaluate a spline where all its 64 neighbours are on the grid; the last three are room."""
    bx, by, bz = int(x), int(y), int(z)
    weights(x - bx, wx)
    weights(y - by, wy)
    weights(z - bz, wz)
    total = 0.0
    for a in range(4):
        plane = 0.0
        for b in range(4):
            line = 0.0
            for c in range(4):
                line += wz[c] * volume[bx - 1 + a, by - 1 + b, bz - 1 + c]
            plane += wy[b] * line
        total += wx[a] * plane
    return total


@compiled
def _mirrored(index: int, size: int) -> int:
    """Reflect an index at the grid's outer voxels."""
    if index < 0:
        index = -index
    if index >= size:
        index = 2 * size - 2 - index
    return min(max(index, 0), size - 1)


@compiled
def _anywhere(
    volume: Values, x: float, y: float, z: float, wx: Array, wy: Array, wz: Array
) -> float:
    """Evaluate a spline anywhere; beyond the grid its edge goes on."""
    nx, ny, nz = volume.shape
    if 1 <= x < nx - 2 and 1 <= y < ny - 2 and 1 <= z < nz - 2:
        return inside(volume, x, y, z, wx, wy, wz)
    x = min(max(x, 0.0), nx - 1.0)
    y = min(max(y, 0.0), ny - 1.0)
    z = min(max(z, 0.0), nz - 1.0)
    bx, by, bz = int(x), int(y), int(z)
    weights(x - bx, wx)
    weights(y - by, wy)
    weights(z - bz, wz)
    total = 0.0
    for a in range(4):
        ia = _mirrored(bx - 1 + a, nx)
        for b in range(4):
            ib = _mirrored(by - 1 + b, ny)
            for c in range(4):
                ic = _mirrored(bz - 1 + c, nz)
                total += wx[a] * wy[b] * wz[c] * volume[ia, ib, ic]
    return total


@compiled
def _sample(volume: Values, matrix: Array, points: NDArray[np.int32], out: Values) -> None:
    """Evaluate at a list of voxels."""
    wx, wy, wz = np.empty(4), np.empty(4), np.empty(4)
    for row in range(len(points)):
        i, j, k = points[row, 0], points[row, 1], points[row, 2]
        x = matrix[0, 0] * i + matrix[0, 1] * j + matrix[0, 2] * k + matrix[0, 3]
        y = matrix[1, 0] * i + matrix[1, 1] * j + matrix[1, 2] * k + matrix[1, 3]
        z = matrix[2, 0] * i + matrix[2, 1] * j + matrix[2, 2] * k + matrix[2, 3]
        out[row] = _anywhere(volume, x, y, z, wx, wy, wz)


@compiled
def _resample(volume: Values, matrix: Array, field: Values, axis: int, out: Values) -> None:
    """Evaluate at every voxel of the reference; 0 beyond the grid. Without a field axis is -1."""
    nx, ny, nz = volume.shape
    wx, wy, wz = np.empty(4), np.empty(4), np.empty(4)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                x = matrix[0, 0] * i + matrix[0, 1] * j + matrix[0, 2] * k + matrix[0, 3]
                y = matrix[1, 0] * i + matrix[1, 1] * j + matrix[1, 2] * k + matrix[1, 3]
                z = matrix[2, 0] * i + matrix[2, 1] * j + matrix[2, 2] * k + matrix[2, 3]
                if axis == 0:
                    x += field[i, j, k]
                elif axis == 1:
                    y += field[i, j, k]
                elif axis == 2:
                    z += field[i, j, k]
                there = -0.5 <= x <= nx - 0.5 and -0.5 <= y <= ny - 0.5 and -0.5 <= z <= nz - 0.5
                out[i, j, k] = _anywhere(volume, x, y, z, wx, wy, wz) if there else 0.0

"""Principal components of overlapping patches of a series, those of noise left out (MP-PCA).

The signal of a patch of voxels lies in few components; the eigenvalues of noise alone follow the
Marchenko-Pastur distribution. Its edge tells both apart, and the noise level with it: Veraart et
al. 2016 (doi:10.1016/j.neuroimage.2016.08.016), with the degrees of freedom of Cordero-Grande et
al. 2019 (doi:10.1016/j.neuroimage.2019.06.039). Patches overlap, and each voxel's estimates are
averaged with the weight 1/(1 + components kept), as Manjon et al. 2013 do
(doi:10.1371/journal.pone.0073021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortflow.core import threads as pool
from cohortflow.core.compiled import compiled

Values = NDArray[np.float32]
Numbers = NDArray[np.int64]
Matrix = NDArray[np.float64]

STRIDE = 2
"""Voxels from a patch to the next: each voxel is in some patches, an eighth of them is computed."""

_ROUNDING = 1e-12  # of the largest eigenvalue: what is smaller is no noise but no volume of its own
_AHEAD = 4  # slabs a thread that are computed before they are added up


@dataclass(frozen=True)
class Denoised:
    """What is left of a series, and what was found out.

    Attributes
    ----------
    data : ndarray of float32, shape (x, y, z, n)
    sigma : ndarray of float32, shape (x, y, z)
        Standard deviation of the noise, in the series' own units; 0 where there is none.
    components : ndarray of float32, shape (x, y, z)
        Components of signal, the mean over the patches that hold a voxel.
    edges : tuple of int
        Extent of a patch along x, y, z in voxels.
    """

    data: Values
    sigma: Values
    components: Values
    edges: tuple[int, int, int]


def denoise(data: Values, window: int, threads: int = 1) -> Denoised:
    """Denoise a series patch by patch.

    Voxels that are 0 in every volume (a background that was filled) take no part, and stay 0.
    Patches in which less than half of the voxels have signal are left out; a voxel that lies in
    no other patch stays as it is, with a noise of 0.

    Parameters
    ----------
    data : ndarray of float32, shape (x, y, z, n)
        Finite values.
    window : int
        Edge of a patch in voxels; along a shorter axis of the image, that axis.
    threads : int
        The result is the same for any number.
    """
    series = np.ascontiguousarray(data)
    alive = np.asarray(series.any(axis=3))
    shape = series.shape[:3]
    edges = np.minimum(window, shape).astype(np.int64)
    starts = [_starts(size, edge) for size, edge in zip(shape, edges.tolist(), strict=True)]
    total = np.zeros(series.shape, np.float32)
    sums = np.zeros((*shape, 3), np.float32)  # of weights, of weighted sigma, of weighted counts

    def slab(low: int) -> tuple[Values, Values]:
        place = slice(low, low + edges[0])
        part = series[place]
        room = np.zeros(part.shape, np.float32), np.zeros((*part.shape[:3], 3), np.float32)
        _slab(part, alive[place], starts[1], starts[2], edges, *room)
        return room

    levels = starts[0].tolist()
    ahead = _AHEAD * max(threads, 1)
    for begin in range(0, len(levels), ahead):
        some = levels[begin : begin + ahead]
        for low, (part, numbers) in zip(some, pool.each(slab, some, threads), strict=True):
            total[low : low + edges[0]] += part
            sums[low : low + edges[0]] += numbers
    reached = sums[..., 0] > 0
    weights = np.where(reached, sums[..., 0], 1).astype(np.float32)
    total /= weights[..., np.newaxis]
    total[~reached] = series[~reached]
    sums[..., 1:] /= weights[..., np.newaxis]
    x, y, z = edges.tolist()
    return Denoised(total, sums[..., 1].copy(), sums[..., 2].copy(), (x, y, z))


def _starts(size: int, edge: int) -> Numbers:
    """Return where patches begin along an axis, so that the last ends with the image."""
    last = size - edge
    return np.unique(np.append(np.arange(0, last, STRIDE), last)).astype(np.int64)


@compiled
def _slab(
    part: Values,
    alive: NDArray[np.bool_],
    ys: Numbers,
    zs: Numbers,
    edges: Numbers,
    total: Values,
    sums: Values,
) -> None:
    """Add the estimates of all patches of a slab (edge, y, z, n) to `total` and `sums`."""
    volumes = part.shape[3]
    voxels = edges[0] * edges[1] * edges[2]
    where = np.empty((voxels, 3), np.int64)
    room = np.empty(voxels * volumes)
    for y in ys:
        for z in zs:
            count = _find(alive, y, z, edges, where)
            if 2 * count < voxels:
                continue
            longer, shorter = max(count, volumes), min(count, volumes)
            matrix = room[: longer * shorter].reshape(longer, shorter)
            turned = count < volumes
            for row in range(count):
                i, j, k = where[row]
                for v in range(volumes):
                    if turned:
                        matrix[v, row] = part[i, j, k, v]
                    else:
                        matrix[row, v] = part[i, j, k, v]
            kept, sigma = _estimate(matrix)
            weight = np.float32(1.0 / (1.0 + kept))
            for row in range(count):
                i, j, k = where[row]
                for v in range(volumes):
                    value = matrix[v, row] if turned else matrix[row, v]
                    total[i, j, k, v] += weight * np.float32(value)
                sums[i, j, k, 0] += weight
                sums[i, j, k, 1] += weight * np.float32(sigma)
                sums[i, j, k, 2] += weight * np.float32(kept)


@compiled
def _find(alive: NDArray[np.bool_], y: int, z: int, edges: Numbers, where: Numbers) -> int:
    """List the voxels of a patch that have signal in `where` (voxels, 3); return their number."""
    count = 0
    for i in range(edges[0]):
        for j in range(y, y + edges[1]):
            for k in range(z, z + edges[2]):
                if alive[i, j, k]:
                    where[count, 0], where[count, 1], where[count, 2] = i, j, k
                    count += 1
    return count


@compiled
def _estimate(matrix: Matrix) -> tuple[int, float]:
    """Replace a matrix (longer, shorter) by its components of signal.

    Returns their number and the standard deviation of the noise.
    """
    longer, shorter = matrix.shape
    values, vectors = np.linalg.eigh(_gram(matrix))
    noise, variance = marchenko_pastur(values, longer)
    kept = shorter - noise
    if noise > 0:
        _project(matrix, np.ascontiguousarray(vectors.T[noise:]))
    return kept, np.sqrt(variance)


@compiled
def _gram(matrix: Matrix) -> Matrix:
    """Return the product of a matrix's transpose with it; four rows at once are faster."""
    rows, columns = matrix.shape
    gram = np.zeros((columns, columns))
    whole = rows - rows % 4
    for row in range(0, whole, 4):
        for a in range(columns):
            p, q = matrix[row, a], matrix[row + 1, a]
            r, s = matrix[row + 2, a], matrix[row + 3, a]
            for b in range(a + 1):
                gram[a, b] += (
                    p * matrix[row, b]
                    + q * matrix[row + 1, b]
                    + r * matrix[row + 2, b]
                    + s * matrix[row + 3, b]
                )
    for row in range(whole, rows):
        for a in range(columns):
            for b in range(a + 1):
                gram[a, b] += matrix[row, a] * matrix[row, b]
    for a in range(columns):
        for b in range(a):
            gram[b, a] = gram[a, b]
    return gram


@compiled
def _project(matrix: Matrix, basis: Matrix) -> None:
    """Project each row of a matrix to the span of orthonormal rows (kept, columns)."""
    rows, columns = matrix.shape
    kept = len(basis)
    shares = np.empty((kept, 4))
    for begin in range(0, rows, 4):
        # four sums that do not wait for each other; at the end the last row stands for the others
        last = rows - 1
        second, third, fourth = min(begin + 1, last), min(begin + 2, last), min(begin + 3, last)
        for c in range(kept):
            p = q = r = s = 0.0
            for a in range(columns):
                weight = basis[c, a]
                p += matrix[begin, a] * weight
                q += matrix[second, a] * weight
                r += matrix[third, a] * weight
                s += matrix[fourth, a] * weight
            shares[c, 0], shares[c, 1], shares[c, 2], shares[c, 3] = p, q, r, s
        for row in range(begin, min(begin + 4, rows)):
            for a in range(columns):
                matrix[row, a] = 0.0
            for c in range(kept):
                weight = shares[c, row - begin]
                for a in range(columns):
                    matrix[row, a] += weight * basis[c, a]


@compiled
def marchenko_pastur(values: Matrix, longer: int) -> tuple[int, float]:
    """Count the eigenvalues that are noise, and estimate its variance.

    The smallest p eigenvalues are noise as long as their spread is not wider than the
    distribution's: 4 sigma^2 sqrt(p / (longer - r + p)), where sigma^2 is their mean. The
    r - p components of signal take their part of the noise with them: what is left of it has
    p (longer - r + p) degrees of freedom.

    Parameters
    ----------
    values : ndarray, shape (r,)
        Ascending eigenvalues of the product of a matrix (r, `longer`) with its transpose. Those
        that are 0 but for rounding, of volumes that depend on others, do not count.
    longer : int
        The longer side of the matrix.

    Returns
    -------
    noise : int
        How many of them are noise, those that are 0 among them.
    variance : float
        Of the noise; 0 when no eigenvalue is noise.
    """
    size = len(values)
    floor = _ROUNDING * values[size - 1]
    empty = 0
    while empty < size and values[empty] <= floor:
        empty += 1
    noise, variance, total = 0, 0.0, 0.0
    for index in range(empty, size):
        total += values[index]
        count = index + 1 - empty
        freedom = longer - (size - 1 - index)
        narrow = values[index] - values[empty] < 4.0 * total / np.sqrt(count * freedom)
        # noise leaves few volumes that depend on others; where most do, what is small is signal
        if narrow and count > empty:
            noise, variance = index + 1, total / (count * freedom)
    return noise, variance

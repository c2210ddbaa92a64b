"""Principal components of overlapping patches of a series, those of noise left out (MP-PCA).

The signal of a patch of voxels lies in few components; the eigenvalues of noise alone follow the
Marchenko-Pastur distribution. Its edge tells both apart, and the noise level with it: Veraart et
al. 2016 (doi:10.1016/j.neuroimage.2016.08.016). Patches overlap, and each voxel's estimates are
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

STRIDE = 2
"""Voxels from a patch to the next: each voxel is in some patches, an eighth of them is computed."""


@dataclass(frozen=True)
class Denoised:
    """What is left of a series, and what was found out.

    Attributes
    ----------
    data : ndarray of float32, shape (x, y, z, n)
    sigma : ndarray of float32, shape (x, y, z)
        Standard deviation of the noise, in the series' own units; 0 where a patch has none.
    components : ndarray of float32, shape (x, y, z)
        Components of signal, the mean over the patches that hold a voxel.
    """

    data: Values
    sigma: Values
    components: Values


def denoise(data: Values, window: int, threads: int = 1) -> Denoised:
    """Denoise a series patch by patch.

    Parameters
    ----------
    data : ndarray of float32, shape (x, y, z, n)
    window : int
        Edge of a patch in voxels; along a shorter axis of the image, that axis.
    threads : int
        The result is the same for any number.
    """
    series = np.ascontiguousarray(data)
    shape = series.shape[:3]
    edges = np.minimum(window, shape)
    starts = [_starts(size, edge) for size, edge in zip(shape, edges, strict=True)]
    total = np.zeros(series.shape, np.float32)
    sums = np.zeros((*shape, 3), np.float32)  # weight, weighted sigma, weighted components

    def slab(low: int) -> tuple[Values, Values]:
        part = series[:, :, low : low + edges[2]]
        room = np.zeros(part.shape, np.float32), np.zeros((*part.shape[:3], 3), np.float32)
        _slab(part, starts[0], starts[1], edges, *room)
        return room

    levels = starts[2].tolist()
    for begin in range(0, len(levels), max(threads, 1)):
        some = levels[begin : begin + max(threads, 1)]
        for low, (part, numbers) in zip(some, pool.each(slab, some, threads), strict=True):
            total[:, :, low : low + edges[2]] += part
            sums[:, :, low : low + edges[2]] += numbers
    total /= sums[..., :1]
    sums[..., 1:] /= sums[..., :1]
    return Denoised(total, sums[..., 1].copy(), sums[..., 2].copy())


def _starts(size: int, edge: int) -> NDArray[np.int64]:
    """Return where patches begin along an axis, so that the last ends with the image."""
    last = size - edge
    return np.unique(np.append(np.arange(0, last, STRIDE), last)).astype(np.int64)


@compiled
def _slab(
    part: Values,
    xs: NDArray[np.int64],
    ys: NDArray[np.int64],
    edges: NDArray[np.int64],
    total: Values,
    sums: Values,
) -> None:
    """Add the estimates of all patches of a slab (x, y, edge, n) to `total` and `sums`."""
    volumes = part.shape[3]
    voxels = edges[0] * edges[1] * edges[2]
    patch = np.empty((voxels, volumes))
    for x in xs:
        for y in ys:
            row = 0
            for i in range(x, x + edges[0]):
                for j in range(y, y + edges[1]):
                    for k in range(edges[2]):
                        for v in range(volumes):
                            patch[row, v] = part[i, j, k, v]
                        row += 1
            kept, sigma = _estimate(patch)
            weight = np.float32(1.0 / (1.0 + kept))
            row = 0
            for i in range(x, x + edges[0]):
                for j in range(y, y + edges[1]):
                    for k in range(edges[2]):
                        for v in range(volumes):
                            total[i, j, k, v] += weight * np.float32(patch[row, v])
                        sums[i, j, k, 0] += weight
                        sums[i, j, k, 1] += weight * np.float32(sigma)
                        sums[i, j, k, 2] += weight * np.float32(kept)
                        row += 1


@compiled
def _estimate(patch: NDArray[np.float64]) -> tuple[int, float]:
    """Replace a patch (voxels, n) by its components of signal; return their number and sigma."""
    voxels, volumes = patch.shape
    wide = volumes > voxels
    gram = np.dot(patch, patch.T) if wide else np.dot(patch.T, patch)
    if not gram.any():
        return 0, 0.0
    values, vectors = np.linalg.eigh(gram)
    noise, variance = marchenko_pastur(values, max(voxels, volumes))
    kept = len(values) - noise
    if noise == 0:
        return kept, 0.0
    base = np.ascontiguousarray(vectors[:, noise:])
    if wide:
        patch[:] = np.dot(base, np.dot(base.T, patch))
    else:
        patch[:] = np.dot(np.dot(patch, base), base.T)
    return kept, np.sqrt(variance)


@compiled
def marchenko_pastur(values: NDArray[np.float64], longer: int) -> tuple[int, float]:
    """Count the eigenvalues that are noise, and estimate its variance.

    The smallest p eigenvalues are noise as long as their spread is not wider than the
    distribution's: 4 sigma^2 sqrt(p / (longer - r + p)), where sigma^2 is their mean.

    Parameters
    ----------
    values : ndarray, shape (r,)
        Ascending eigenvalues of the product of a matrix (r, `longer`) with its transpose.
    longer : int
        The longer side of the matrix.

    Returns
    -------
    noise : int
        How many of them are noise.
    variance : float
    """
    size = len(values)
    noise, variance, total = 0, 0.0, 0.0
    least = max(values[0], 0.0) / longer
    for index in range(size):
        value = max(values[index], 0.0) / longer
        total += value
        count = index + 1
        mean = total / count
        spread = 4.0 * np.sqrt(count / (longer - size + count))
        if value - least < mean * spread:
            noise, variance = count, mean
    return noise, variance

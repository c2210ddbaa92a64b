"""Denoise a diffusion series: MP-PCA, with a map of the noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortflow.core import save
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import compare, mosaic, patch_pca, series
from cohortflow.dwi.mask import brain
from cohortflow.dwi.patch_pca import Denoised
from cohortflow.dwi.series import Series

MINIMUM_VOLUMES = 6
"""With fewer, the signal's three to five components leave no eigenvalues of noise alone."""
MINIMUM_VOXELS = MINIMUM_VOLUMES
"""Of a patch, which has no more eigenvalues than voxels."""
WINDOWS = (3, 15)
"""The least and the greatest edge of a patch in voxels."""
CORRELATED = 0.1
"""Correlation of what was removed between neighbours above which a warning is given."""

Numbers = dict[str, float | str | None]


def window_of(volumes: int, shape: tuple[int, ...]) -> int:
    """Return the edge of a patch: the least odd number whose cube has enough voxels.

    Enough are half as many again as volumes: on phantoms with 8 to 93 volumes this removed more
    noise, and less of anything else, than as many as volumes or twice as many.

    Parameters
    ----------
    volumes : int
    shape : tuple of int
        Of the image; an axis shorter than the edge cuts the cube.

    Examples
    --------
    >>> [window_of(n, (96, 96, 60)) for n in (18, 33, 126)]
    [3, 5, 7]
    >>> window_of(33, (96, 96, 1))
    9
    """
    edge, greatest = WINDOWS
    while edge < greatest and 2 * np.prod(np.minimum(edge, shape[:3])) < 3 * volumes:
        edge += 2
    return edge


def check(data: Series, window: int = 0) -> int:
    """See that a series can be denoised; return the edge of a patch.

    Parameters
    ----------
    data : Series
    window : int
        Edge of a patch in voxels, odd; 0 for `window_of` the series.

    Raises
    ------
    Failure
        USAGE for a window that is even or out of `WINDOWS`; DATA_INVALID for a series with fewer
        than `MINIMUM_VOLUMES` volumes, less than `MINIMUM_VOXELS` voxels or values that are not
        finite.
    """
    *shape, volumes = data.data.shape
    least, greatest = WINDOWS
    if window and (window % 2 == 0 or not least <= window <= greatest):
        raise Failure(
            Category.USAGE,
            f"a window of {window} voxels",
            f"use an odd number from {least} to {greatest}, or 0 to derive it from the volumes",
        )
    if volumes < MINIMUM_VOLUMES:
        raise Failure(
            Category.DATA_INVALID,
            f"{data.path}: {volumes} volumes, denoising needs {MINIMUM_VOLUMES}",
            "leave the step out with --denoise none, or use the complete series",
        )
    edge = window or window_of(volumes, tuple(shape))
    voxels = int(np.prod(np.minimum(edge, shape)))
    if voxels < MINIMUM_VOXELS:
        raise Failure(
            Category.DATA_INVALID,
            f"{data.path}: {voxels} voxels, denoising needs {MINIMUM_VOXELS}",
            "leave the step out with --denoise none, or use the complete image",
        )
    if not np.isfinite(data.data).all():
        raise Failure(
            Category.DATA_INVALID,
            f"{data.path}: has values that are not finite numbers",
            "convert the series again",
        )
    return edge


def compute(data: Series, window: int = 0, threads: int = 1) -> Denoised:
    """Denoise a series.

    Parameters
    ----------
    data : Series
        As the scanner gave it: interpolation or smoothing before it breaks the assumption of
        noise that is independent from voxel to voxel.
    window : int
        As in `check`.
    threads : int
        The result is the same for any number.

    Raises
    ------
    Failure
        As `check`.
    """
    return patch_pca.denoise(data.data, check(data, window), threads)


def metrics(data: Series, result: Denoised) -> Numbers:
    """Return the numbers for ``metrics.json``, taken over the brain; None where not known."""
    region = brain(data.b0, series.voxel_size(data.affine))
    sigma = result.sigma[region]
    noisy = sigma > 0
    level = float(np.median(sigma[noisy])) if noisy.any() else None
    ratio = float(np.median(data.b0[region][noisy] / sigma[noisy])) if level else None
    correlation = autocorrelation(data.data, result.data, region)
    return {
        "noise_sigma": _rounded(level),
        "noise_snr_b0": _rounded(ratio),
        "noise_snr_gain": _rounded(gain(result, region) if level else None),
        "noise_components": _rounded(
            float(result.components[region].mean(dtype=np.float64)) if level else None
        ),
        "noise_autocorrelation": _rounded(correlation),
        "denoise_warning": warning(correlation),
    }


def gain(result: Denoised, region: NDArray[np.bool_]) -> float:
    """Return the factor by which the signal-to-noise ratio rose, expected from the components.

    Of the noise of a patch (n voxels, m volumes), k components of signal keep the share
    k (n + m - k) / (n m) of its variance. The factor is one over the square root of its mean.
    It does not know of signal that was lost.

    Parameters
    ----------
    result : Denoised
    region : ndarray of bool, shape (x, y, z)
        Not empty.
    """
    voxels, volumes = int(np.prod(result.edges)), result.data.shape[3]
    kept = np.minimum(result.components[region].astype(np.float64), min(voxels, volumes))
    share = kept * (voxels + volumes - kept) / (voxels * volumes)
    return float(1 / np.sqrt(max(share.mean(), 1 / (voxels * volumes))))


def autocorrelation(
    before: NDArray[np.float32], after: NDArray[np.float32], region: NDArray[np.bool_]
) -> float | None:
    """Correlate what was removed with itself one voxel further along each axis.

    Noise alone was removed when it is near 0. It is above 0 when the noise itself is correlated,
    in images that were interpolated or filtered, and when anatomy was removed.

    Parameters
    ----------
    before, after : ndarray of float32, shape (x, y, z, n)
    region : ndarray of bool, shape (x, y, z)

    Returns
    -------
    float or None
        The one of the three axes that is farthest from 0; None when nothing was removed.
    """
    inside = region.astype(np.float64)
    pairs = _products(inside) * before.shape[3]
    products, square = np.zeros(3), 0.0
    for volume in range(before.shape[3]):
        removed = (before[..., volume] - after[..., volume]) * inside
        removed -= inside * removed.sum() / max(inside.sum(), 1)
        square += float((removed * removed).sum())
        products += _products(removed)
    if square == 0 or not pairs.any():
        return None
    found = products / np.maximum(pairs, 1) * inside.sum() * before.shape[3] / square
    return float(found[np.argmax(np.abs(found))])


def _products(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum the products of voxels with their next ones along each axis, shape (3,)."""
    turned = [np.moveaxis(values, axis, 0) for axis in range(3)]
    return np.array([float((axis[1:] * axis[:-1]).sum()) for axis in turned])


def warning(correlation: float | None) -> str | None:
    """Say when what was removed is not noise as the method assumes it."""
    if correlation is None or correlation <= CORRELATED:
        return None
    return (
        f"what was removed is correlated between neighbours ({correlation:.2f}): the images were "
        "interpolated or filtered before, noise that is left and its level are less certain"
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def write(folder: Path, data: Series, result: Denoised, numbers: Numbers) -> None:
    """Write series, noise map, picture and metrics into a step's folder.

    Parameters
    ----------
    folder : Path
    data : Series
    result : Denoised
        Of `compute`.
    numbers : dict
        Of `metrics`.

    Raises
    ------
    OSError
        When something cannot be written.
    """
    told = numbers["denoise_warning"]
    step = {
        "Name": "denoise",
        "Method": "MP-PCA of overlapping patches (Veraart et al. 2016)",
        "Window": list(result.edges),
        "Stride": patch_pca.STRIDE,
        "NoiseLevel": numbers["noise_sigma"],
        "Warnings": [told] if told else [],
    }
    series.write(folder, data, "denoised", result.data, step=step)
    stem = folder / "dwi" / f"{data.prefix}_space-orig_param-noise_dwimap"
    series.save(stem.with_suffix(".nii.gz"), result.sigma, data)
    fields = series.sidecar(
        Description="Standard deviation of the noise, estimated from the eigenvalues of patches; "
        "0 where it is not known",
        Units="arbitrary",
        Window=list(result.edges),
        Sources=[data.source],
    )
    save.write_json(stem.with_suffix(".json"), fields)
    (folder / "figures").mkdir()
    picture = _draw(data, result, numbers)
    mosaic.save(folder / "figures" / f"{data.prefix}_desc-denoise_dwi.png", picture)
    save.write_json(folder / "metrics.json", numbers)


def _draw(data: Series, result: Denoised, numbers: Numbers) -> Any:  # noqa: ANN401 - a PIL image
    top = float(1.1 * np.percentile(result.sigma, 99)) or 1.0
    said = ["no noise found"]
    if numbers["noise_sigma"] is not None:
        said = [f"noise {numbers['noise_sigma']:.4g}, SNR of b=0 {numbers['noise_snr_b0']:.3g}"]
        said += [f"expected gain {numbers['noise_snr_gain']:.2f}"]
    said += ["noise is correlated: see metrics.json"] if numbers["denoise_warning"] else []
    ends = ("0", f"{top:.3g}")
    more = mosaic.Row("standard deviation of the noise", result.sigma, top, ends, palette="heat")
    return compare.draw("denoising", " · ".join(said), data, result.data, [more])

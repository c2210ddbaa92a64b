"""Denoise a diffusion series: MP-PCA, with a map of the noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cohortflow.core import save
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import compare, mosaic, patch_pca, series
from cohortflow.dwi.mask import brain, snr
from cohortflow.dwi.patch_pca import Denoised
from cohortflow.dwi.series import Series

MINIMUM_VOLUMES = 6
"""With fewer volumes there are too few eigenvalues to see the edge of their distribution."""


def window_of(volumes: int) -> int:
    """Return the edge of a patch: the least odd number whose cube is no less than the volumes.

    Examples
    --------
    >>> window_of(13), window_of(33), window_of(126)
    (3, 5, 7)
    """
    edge = 3
    while edge**3 < volumes:
        edge += 2
    return edge


def compute(data: Series, window: int = 0, threads: int = 1) -> Denoised:
    """Denoise a series.

    Parameters
    ----------
    data : Series
        As the scanner gave it: interpolation or smoothing before it breaks the assumption of
        noise that is independent from voxel to voxel.
    window : int
        Edge of a patch in voxels, odd; 0 for `window_of` the volumes.
    threads : int

    Raises
    ------
    Failure
        USAGE for a window that is even or negative; DATA_INVALID for a series with fewer than
        `MINIMUM_VOLUMES` volumes or values that are not finite.
    """
    volumes = data.data.shape[3]
    if window < 0 or (window and window % 2 == 0):
        raise Failure(Category.USAGE, f"window {window} is not odd", "use 3, 5, 7 or 0")
    if volumes < MINIMUM_VOLUMES:
        raise Failure(
            Category.DATA_INVALID,
            f"{data.path}: {volumes} volumes, denoising needs {MINIMUM_VOLUMES}",
            "leave the step out with --denoise none, or use the complete series",
        )
    if not np.isfinite(data.data).all():
        raise Failure(
            Category.DATA_INVALID,
            f"{data.path}: has values that are not finite numbers",
            "convert the series again",
        )
    return patch_pca.denoise(data.data, window or window_of(volumes), threads)


def metrics(data: Series, result: Denoised) -> dict[str, float | None]:
    """Return the numbers for ``metrics.json``: medians over the brain, None without one."""
    region = brain(data.b0, series.voxel_size(data.affine))
    if not region.any():
        return dict.fromkeys(("noise_sigma", "snr_b0_raw", "snr_b0_denoised", "components"))
    b0 = data.gradients.b0
    return {
        "noise_sigma": _rounded(float(np.median(result.sigma[region]))),
        "snr_b0_raw": _rounded(snr(data.data[..., b0], region)),
        "snr_b0_denoised": _rounded(snr(result.data[..., b0], region)),
        "components": _rounded(float(result.components[region].mean(dtype=np.float64))),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def write(folder: Path, data: Series, result: Denoised, window: int = 0) -> None:
    """Write series, noise map, picture and metrics into a step's folder.

    Raises
    ------
    OSError
        When something cannot be written.
    """
    edge = window or window_of(data.data.shape[3])
    numbers = metrics(data, result)
    step = {
        "Name": "denoise",
        "Method": "MP-PCA of overlapping patches (Veraart et al. 2016)",
        "Window": edge,
        "Stride": patch_pca.STRIDE,
        "NoiseLevel": numbers["noise_sigma"],
    }
    series.write(folder, data, "denoised", result.data, step=step)
    stem = folder / "dwi" / f"{data.prefix}_space-orig_param-noise_dwimap"
    series.save(stem.with_suffix(".nii.gz"), result.sigma, data)
    fields = series.sidecar(
        Description="Standard deviation of the noise, estimated from the eigenvalues of patches",
        Units="arbitrary",
        Window=edge,
        Sources=[data.source],
    )
    save.write_json(stem.with_suffix(".json"), fields)
    (folder / "figures").mkdir()
    picture = _draw(data, result, numbers)
    mosaic.save(folder / "figures" / f"{data.prefix}_desc-denoise_dwi.png", picture)
    save.write_json(folder / "metrics.json", numbers)


def _draw(data: Series, result: Denoised, numbers: dict[str, float | None]) -> Any:  # noqa: ANN401 - a PIL image
    top = float(np.percentile(result.sigma, 99)) or 1.0
    said = [f"noise {numbers['noise_sigma']}, {numbers['components']} components kept on average"]
    said += ["what was taken away should show no anatomy"]
    more = mosaic.Row("standard deviation of the noise", result.sigma, top, ("0", f"{top:.3g}"))
    return compare.draw("denoising", " · ".join(said), data, result.data, [more])

"""Brain mask of a diffusion series: Otsu's threshold on the mean b=0 image, then shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.core import save
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import mosaic, series
from cohortflow.dwi.series import Series

SMOOTHING_MM = 4.5
"""Radius of the median filter."""
OPENING_MM = 7.5
"""Radius of the opening: bridges to eyes and scalp up to twice as thick are cut."""
_FLOOR = 0.02  # of the maximum: what is darker is air
PLAUSIBLE_ML = (200.0, 2500.0)

_METHOD = (
    "median filter, Otsu threshold of the mean b=0 image clipped at the foreground's median, "
    "erosion, largest component, dilation, filled holes"
)

_WHOLE = "every voxel with signal in the mean b=0 image"

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Result:
    """A mask with its numbers.

    Attributes
    ----------
    mask : ndarray of bool, shape (x, y, z)
    metrics : dict
        For ``metrics.json``.
    method : str
        How it was found.
    """

    mask: Mask
    metrics: dict[str, float | str | None]
    method: str = _METHOD


def compute(data: Series, *, whole: bool = False) -> Result:
    """Make the brain mask of a series and describe it.

    Parameters
    ----------
    data : Series
    whole : bool
        Take every voxel in which a b=0 volume has signal, without a search for the brain.

    Raises
    ------
    Failure
        DATA_INVALID when the image is flat, no brain is found, or a volume has NaN in it.
    """
    found = data.b0 > 0 if whole else brain(data.b0, series.voxel_size(data.affine))
    if not found.any():
        raise Failure(
            Category.DATA_INVALID,
            f"{data.path}: no brain is found in the mean b=0 image",
            "look at the image; exclude the series or give it a b=0 volume with signal",
        )
    bad = int((~np.isfinite(data.data[found])).any(axis=-1).sum())
    if bad:
        raise Failure(
            Category.DATA_INVALID,
            f"{data.path}: {bad} voxels of the brain are not finite numbers",
            "convert or correct the series again",
        )
    volume = float(found.sum()) * series.voxel_ml(data.affine)
    metrics = {
        "mask_volume_ml": round(volume, 1),
        "mask_warning": warning(volume),
        "snr_b0": _rounded(snr(data.data[..., data.gradients.b0], found)),
    }
    return Result(found, metrics, _WHOLE if whole else _METHOD)


def brain(b0: NDArray[np.floating], voxel_mm: NDArray[np.floating]) -> Mask:
    """Find the brain in a T2-weighted image without diffusion weighting.

    Otsu's threshold (1979) is taken twice, since cerebrospinal fluid and eyes can be so bright
    that it divides fluid from tissue. The first is taken of the logarithm, which divides head
    from air; the second of the image clipped at the median of that head. Eroding cuts the bridges
    to eyes and scalp; the largest component is kept and dilated by as much.

    Parameters
    ----------
    b0 : ndarray, shape (x, y, z)
        Mean of the b=0 volumes; values that are not finite count as 0.
    voxel_mm : ndarray, shape (3,)

    Returns
    -------
    ndarray of bool, shape (x, y, z)
        All False for an image without contrast.
    """
    from dipy.segment.threshold import otsu

    values = np.nan_to_num(b0, nan=0.0, posinf=0.0, neginf=0.0)
    smooth = ndimage.median_filter(values, footprint=ball(SMOOTHING_MM, voxel_mm))
    if not np.ptp(smooth) > 0:
        return np.zeros(b0.shape, dtype=bool)
    level = np.log(np.maximum(smooth, _FLOOR * smooth.max()))
    clipped = np.minimum(smooth, np.median(smooth[level > otsu(level)]))
    bright = clipped > otsu(clipped)
    reach = ball(OPENING_MM, voxel_mm)
    # the image's edge does not erode: a slab keeps its outer slices
    core = _largest(ndimage.binary_erosion(bright, reach, border_value=1))
    opened = ndimage.binary_dilation(core, reach) & bright
    return np.asarray(ndimage.binary_fill_holes(opened))


def ball(radius_mm: float, voxel_mm: NDArray[np.floating]) -> Mask:
    """Return a structuring element: voxels whose centre is within a radius, odd shape."""
    reach = np.floor(radius_mm / np.asarray(voxel_mm) + 1e-6).astype(int)
    axes = [np.arange(-n, n + 1) * size for n, size in zip(reach, voxel_mm, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return np.asarray(x * x + y * y + z * z <= radius_mm**2 + 1e-6)


def _largest(mask: Mask) -> Mask:
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    return np.asarray(labels == 1 + np.argmax(sizes[1:]))


def snr(b0: NDArray[np.floating], mask: Mask) -> float | None:
    """Estimate the signal-to-noise ratio without diffusion weighting.

    The noise is the spread of the difference of consecutive b=0 volumes over the mask, as
    1.4826 times the median absolute deviation, divided by the square root of 2: robust against
    the voxels that motion changed. The signal is the median of their mean.

    Parameters
    ----------
    b0 : ndarray, shape (x, y, z, n)
    mask : ndarray of bool, shape (x, y, z)

    Returns
    -------
    float or None
        None for a single b=0 volume, or for volumes that are copies of each other.
    """
    values = b0[mask].astype(np.float64)
    if values.shape[1] < 2:
        return None
    steps = np.diff(values, axis=1)
    steps -= np.median(steps, axis=0)
    noise = 1.4826 * float(np.median(np.abs(steps))) / np.sqrt(2)
    return float(np.median(values.mean(axis=1)) / noise) if noise > 0 else None


def warning(volume_ml: float) -> str | None:
    """Say when a mask's volume is not an adult head's; a slab may be small and right."""
    low, high = PLAUSIBLE_ML
    if volume_ml < low:
        return f"the mask is small: {volume_ml:.0f} ml, less than {low:.0f} ml"
    if volume_ml > high:
        return f"the mask is large: {volume_ml:.0f} ml, more than {high:.0f} ml"
    return None


def write(folder: Path, data: Series, result: Result) -> None:
    """Write mask, sidecar, picture and metrics into a step's folder.

    Raises
    ------
    OSError
        When something cannot be written.
    """
    (folder / "dwi").mkdir()
    (folder / "figures").mkdir()
    name = f"{data.prefix}_desc-brain_mask"
    series.save(folder / "dwi" / f"{name}.nii.gz", result.mask.astype(np.uint8), data)
    fields: dict[str, Any] = {
        "Type": "Brain",
        "Description": f"Brain mask: {result.method}",
        "MedianRadius": SMOOTHING_MM,
        "OpeningRadius": OPENING_MM,
        "Sources": [data.source],
        "Resolution": "that of the series",
    }
    save.write_json(folder / "dwi" / f"{name}.json", series.sidecar(**fields))
    mosaic.save(folder / "figures" / f"{data.prefix}_desc-mask_dwi.png", picture(data, result))
    save.write_json(folder / "metrics.json", result.metrics)


def picture(data: Series, result: Result) -> Any:  # noqa: ANN401 - a PIL image
    """Draw the mask's outline over the mean b=0 image."""
    b0 = np.nan_to_num(data.b0)
    top = float(np.percentile(b0[result.mask], 98))
    count = int(data.gradients.b0.sum())
    label = f"mean of {count} b=0 volume{'s' if count > 1 else ''}, outline of the brain mask"
    text = f"{result.metrics['mask_volume_ml']} ml"
    ratio = result.metrics["snr_b0"]
    text += f", SNR of b=0 {ratio}" if ratio is not None else ""
    return mosaic.draw(
        f"{data.prefix}: brain mask",
        text,
        [
            mosaic.Row(
                label,
                b0,
                top,
                ("0", f"{top:.0f}" if top >= 10 else f"{top:.3g}"),
                outline=result.mask,
            )
        ],
        result.mask,
        data.affine,
        columns=6,
        lines=3,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")

"""Voxel values that no analysis can use: NaN, infinity, an empty image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.core.outcome import Category, Failure

_BRIGHT = 0.2  # of the 98th percentile of the mean over volumes: well above the background


def clean(raw: NDArray[Any], zero: float, path: Path) -> list[str]:
    """Set values that are not finite to zero where they lie outside the head.

    Parameters
    ----------
    raw : ndarray, shape (x, y, z, n)
        Voxels as stored; changed in place.
    zero : float
        The stored value that means zero.
    path : Path
        Named in the message.

    Returns
    -------
    list of str
        A warning when something was changed.

    Raises
    ------
    Failure
        DATA_INVALID when values in the head are not finite, or all are equal. The head is what
        is brighter than a fifth of the 98th percentile, with its holes and narrow gaps; an
        island of such values that touches it counts as well.
    """
    bad = ~np.isfinite(raw) if raw.dtype.kind == "f" else np.zeros((), dtype=bool)
    count = int(bad.sum())
    if count == raw.size or raw.min() == raw.max():
        raise _bad(f"{path}: the image is empty, all voxels have one value", "convert it again")
    if not count:
        return []
    inside = int((bad & head(np.where(bad, np.nan, raw) - zero)[..., None]).sum())
    if inside:
        raise _bad(
            f"{path}: {inside} values in the head are NaN or infinite",
            "exclude the series, or repair what made them",
        )
    raw[bad] = zero
    return [f"{count} values outside the head were NaN or infinite, set to 0"]


def head(data: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark the head in a series with NaN, shape (x, y, z), holes and NaN islands included."""
    known = np.isfinite(data)
    number = known.sum(axis=-1)
    mean = np.where(known, data, 0).sum(axis=-1, dtype=np.float64) / np.maximum(number, 1)
    blank = number == 0
    bright = mean > _BRIGHT * np.percentile(mean[~blank], 98)
    cross = ndimage.generate_binary_structure(3, 1)
    padded = np.pad(bright, 2)
    closed = ndimage.binary_closing(padded, cross, iterations=2)[2:-2, 2:-2, 2:-2]
    region = ndimage.binary_fill_holes(closed | bright)
    return np.asarray(region | _islands(blank, bright), dtype=bool)


def _islands(blank: NDArray[np.bool_], bright: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark groups of blank voxels that touch the head and not the edge of the image."""
    labels, _ = ndimage.label(blank)
    edge = np.ones(blank.shape, dtype=bool)
    edge[1:-1, 1:-1, 1:-1] = False
    touching = np.setdiff1d(labels[ndimage.binary_dilation(bright)], labels[edge])
    return np.isin(labels, touching[touching > 0])


def _bad(message: str, remedy: str) -> Failure:
    return Failure(Category.DATA_INVALID, message, remedy)

"""Remove Gibbs ringing from a diffusion series, and see whether its k-space is whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortflow.core import save
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import compare, mosaic, series, subvoxel
from cohortflow.dwi.mask import brain
from cohortflow.dwi.series import Series

AXES = "ijk"
"""The image axes as BIDS names them."""
STEP = 0.7
"""Decades by which the power of k-space falls at once where it was filled with zeros."""

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Unringed:
    """A series without ringing, and what is known of its k-space.

    Attributes
    ----------
    data : ndarray of float32, shape (x, y, z, n)
    axis : int
        The slices' axis, 0 to 2.
    filled : mapping of str to float
        For each axis within the slices (``i``, ``j`` or ``k``) the share of k-space that holds
        signal, 1 for all of it; see `filled`.
    partial : float or None
        The measured share of k-space by the sidecar (``PartialFourier``).
    """

    data: Values
    axis: int
    filled: Mapping[str, float]
    partial: float | None

    @property
    def warnings(self) -> list[str]:
        """What limits the correction, a sentence each."""
        said = [
            f"k-space is empty beyond {share:.2f} of its extent along axis {name}: the images were "
            "interpolated or filtered, ringing along this axis may stay"
            for name, share in self.filled.items()
            if share < 1
        ]
        if self.partial is not None and self.partial < 1:
            said.append(
                f"partial Fourier {self.partial:g}: the method assumes that all of k-space was "
                "measured, ringing of the missing part may stay"
            )
        return said


def compute(data: Series, slice_axis: str = "auto", threads: int = 1) -> Unringed:
    """Remove ringing within the slices of a series.

    Parameters
    ----------
    data : Series
        Before anything moves or resamples it; it may be denoised.
    slice_axis : {"auto", "i", "j", "k"}
        See `axis_of`.
    threads : int

    Raises
    ------
    Failure
        DATA_INVALID for values that are not finite; as `axis_of`.
    """
    if not np.isfinite(data.data).all():
        raise Failure(
            Category.DATA_INVALID,
            f"{data.path}: has values that are not finite numbers",
            "convert the series again",
        )
    axis = axis_of(data.fields, slice_axis)
    return Unringed(
        data=subvoxel.unring(data.data, axis, threads),
        axis=axis,
        filled={name: filled(data.b0, place) for place, name in enumerate(AXES) if place != axis},
        partial=_partial(data.fields),
    )


def axis_of(fields: Mapping[str, Any], asked: str = "auto") -> int:
    """Return the slices' axis, 0 to 2.

    Parameters
    ----------
    fields : mapping
        The sidecar, whose ``SliceEncodingDirection`` (``k``, ``k-``, …) decides; the third axis
        without one.
    asked : str
        ``i``, ``j`` or ``k`` to overrule it.

    Raises
    ------
    Failure
        DATA_INVALID for another value in the sidecar.
    """
    told = fields.get("SliceEncodingDirection", "k") if asked == "auto" else asked
    if not isinstance(told, str) or told.removesuffix("-") not in tuple(AXES):
        raise Failure(
            Category.DATA_INVALID,
            f"the sidecar's SliceEncodingDirection is {told!r}",
            "correct it to i, j or k, or give --slice-axis",
        )
    return AXES.index(told[0])


def filled(image: Values, axis: int) -> float:
    """Estimate which share of k-space holds signal along an axis.

    The mean power of an image's waves falls steadily up to the fastest ones. Where k-space was
    filled with zeros or strongly filtered it falls by `STEP` decades or more within about a
    twelfth of the extent.

    Parameters
    ----------
    image : ndarray of float32, shape (x, y, z)
        A magnitude image with much contrast: without diffusion weighting.
    axis : int

    Returns
    -------
    float
        1 when there is no such step between 0.3 and 0.92 of the extent, or fewer than 32 voxels.
    """
    size = image.shape[axis]
    if size < 32 or not image.any():
        return 1.0
    waves = np.abs(np.fft.rfft(image, axis=axis)) ** 2
    mean = waves.mean(axis=tuple(a for a in range(3) if a != axis), dtype=np.float64)
    power = np.log10(np.maximum(mean, mean.max() * 1e-12))
    count = len(power)
    width = max(2, round(count / 12))
    places = np.arange(int(0.3 * count), int(0.92 * count) - 1)
    falls = [power[at - width : at].mean() - power[at + 1 : at + 1 + width].mean() for at in places]
    steepest = int(np.argmax(falls))
    return float(places[steepest] / count) if falls[steepest] >= STEP else 1.0


def _partial(fields: Mapping[str, Any]) -> float | None:
    """Return the sidecar's share of k-space, None where it has no sensible one."""
    value = fields.get("PartialFourier")
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1
    return float(value) if known else None  # type: ignore[arg-type]


def metrics(data: Series, result: Unringed) -> dict[str, float | None]:
    """Return the numbers for ``metrics.json``, None for what is not known.

    The change is taken of mean images, so that it is ringing rather than noise.
    """
    b0 = data.gradients.b0
    region = brain(data.b0, series.voxel_size(data.affine))
    weighted = bool((~b0).any())
    return {
        "ringing_removed": _changed(data.data, result.data, b0, region),
        "ringing_removed_weighted": (
            _changed(data.data, result.data, ~b0, region) if weighted else None
        ),
        "kspace_filled": _rounded(min(result.filled.values())),
        "partial_fourier": result.partial,
    }


def _changed(
    before: Values, after: Values, volumes: NDArray[np.bool_], region: NDArray[np.bool_]
) -> float | None:
    """Return the RMS change of the volumes' mean over a region, relative to the mean signal."""
    if not region.any():
        return None
    first, second = (image[region][:, volumes].mean(axis=1) for image in (before, after))
    level = float(first.mean(dtype=np.float64))
    change = float(np.sqrt(np.mean((second - first) ** 2, dtype=np.float64)))
    return _rounded(change / level) if level > 0 else None


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def write(folder: Path, data: Series, result: Unringed) -> None:
    """Write series, picture and metrics into a step's folder.

    Raises
    ------
    OSError
        When something cannot be written.
    """
    numbers = metrics(data, result)
    step = {
        "Name": "unring",
        "Method": "Local subvoxel shifts (Kellner et al. 2016)",
        "SliceAxis": AXES[result.axis],
        "Shifts": 2 * subvoxel.STEPS + 1,
        "Neighbourhood": [subvoxel.NEAREST, subvoxel.FARTHEST],
        "FilledKSpace": {name: _rounded(share) for name, share in result.filled.items()},
        "RingingRemoved": numbers["ringing_removed"],
        "Warnings": result.warnings,
    }
    series.write(folder, data, "unringed", result.data, step=step)
    (folder / "figures").mkdir()
    picture = draw(data, result, numbers)
    mosaic.save(folder / "figures" / f"{data.prefix}_desc-unring_dwi.png", picture)
    save.write_json(folder / "metrics.json", numbers)


def draw(data: Series, result: Unringed, numbers: Mapping[str, float | None]) -> Any:  # noqa: ANN401 - a PIL image
    """Draw few slices, large, before and after, and what was taken away."""
    region = brain(data.b0, series.voxel_size(data.affine))
    removed = numbers["ringing_removed"]
    said = [] if removed is None else [f"b=0 changed by {100 * removed:.1f} % of the brain's mean"]
    advice = "what was taken away should be waves along edges"
    said += ["see the warnings in the sidecar" if result.warnings else advice]
    # Of the weighted volume only what was taken away: its own rows look alike.
    rows = compare.rows(data, result.data, region)
    rows = [*rows[:3], *rows[5:]]
    title = f"{data.prefix}: removal of Gibbs ringing"
    return mosaic.draw(title, " · ".join(said), rows, region, data.affine, columns=3)

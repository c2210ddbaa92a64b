"""Take out of a diffusion series the field by which the coil sees some places more strongly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortflow.core import save
from cohortflow.core import threads as pool
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import compare, mosaic, n4, series
from cohortflow.dwi.series import Series

Values = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Unbiased:
    """A series without its bias field.

    Attributes
    ----------
    data : ndarray of float32, shape (x, y, z, n)
    field : ndarray of float32, shape (x, y, z)
        What every volume was divided by; its geometric mean in the mask is 1.
    rounds : int
        How many the estimate took.
    """

    data: Values
    field: Values
    rounds: int


def compute(data: Series, mask: Mask, threads: int = 1) -> Unbiased:
    """Estimate the bias field on the mean b=0 image, and divide all volumes by it.

    FA, MD and directions stay: the field is the same in every volume.

    Parameters
    ----------
    data : Series
    mask : ndarray of bool, shape (x, y, z)
        See `tensor.read_mask`.
    threads : int
        The result is the same for any number.

    Raises
    ------
    Failure
        DATA_INVALID when the mean b=0 image has no signal inside the mask.
    """
    b0 = data.b0
    if not (b0[mask] > 0).any():
        raise Failure(
            Category.DATA_INVALID,
            f"{data.path}: the mean b=0 image has no signal inside the mask",
            "use the mask that dwi-mask made of this series",
        )
    found, rounds = n4.estimate(np.where(mask, b0, 0), mask, series.voxel_size(data.affine))
    field = found.astype(np.float32)
    made = np.empty_like(data.data)
    pool.each(partial(_divide, data.data, field, made), range(made.shape[3]), threads)
    return Unbiased(made, field, rounds)


def _divide(values: Values, field: Values, made: Values, volume: int) -> None:
    np.divide(values[..., volume], field, out=made[..., volume])


def metrics(data: Series, result: Unbiased, mask: Mask) -> dict[str, float | None]:
    """Return the numbers for ``metrics.json``; None for what is not known.

    ``bias_range`` is the field's 98th over its 2nd percentile in the mask. ``bias_cv_before`` and
    ``bias_cv_after`` are the coefficient of variation of the mean b=0 image over `tissue`.
    """
    low, high = np.percentile(result.field[mask], [2, 98])
    b0, where = data.b0, tissue(data, mask)
    return {
        "bias_range": _rounded(high / low),
        "bias_cv_before": _variation(b0[where]),
        "bias_cv_after": _variation(b0[where] / result.field[where]),
    }


def tissue(data: Series, mask: Mask) -> Mask:
    """Find voxels of like tissue by what a bias field does not change: how fast signal decays.

    Returns
    -------
    ndarray of bool, shape (x, y, z)
        The half of the mask's voxels whose ratio of the mean weighted to the mean b=0 signal lies
        between its quartiles: neither fluid nor what diffuses least. Empty when no volume is
        weighted.
    """
    b0, weighted = data.b0, data.data[..., ~data.gradients.b0]
    known = mask & (b0 > 0)
    if not weighted.shape[-1] or not known.any():
        return np.zeros_like(mask)
    ratio = weighted[known].mean(axis=-1) / b0[known]
    low, high = np.percentile(ratio, [25, 75])
    found = np.zeros_like(mask)
    found[known] = (ratio >= low) & (ratio <= high)
    return found


def _variation(values: Values) -> float | None:
    """Return the standard deviation over the mean, None without values."""
    if not values.size:
        return None
    return _rounded(values.std(dtype=np.float64) / values.mean(dtype=np.float64))


def _rounded(value: float | np.floating[Any]) -> float:
    return float(f"{float(value):.6g}")


def write(folder: Path, data: Series, result: Unbiased, mask: Mask, mask_path: Path) -> None:
    """Write series, field, picture and metrics into a step's folder.

    Raises
    ------
    OSError
        When something cannot be written.
    """
    numbers = metrics(data, result, mask)
    step = {
        "Name": "bias",
        "Method": "N4 (Tustison et al. 2010) of the mean b=0 image",
        "MeshSpacing": list(n4.MESH_MM),
        "MeshSpacingUnits": "mm",
        "HistogramBlur": n4.BLUR,
        "Rounds": result.rounds,
        "BiasRange": numbers["bias_range"],
    }
    series.write(folder, data, "unbiased", result.data, step=step)
    name = f"{data.prefix}_space-orig_param-bias_dwimap"
    series.save(folder / "dwi" / f"{name}.nii.gz", result.field, data)
    fields = series.sidecar(
        Description="Bias field that every volume was divided by; its geometric mean in the brain "
        "mask is 1, outside the mask it is extrapolated",
        Units="arbitrary",
        Sources=[data.source, series.uri(data.prefix, f"dwi/{mask_path.name}")],
    )
    save.write_json(folder / "dwi" / f"{name}.json", fields)
    (folder / "figures").mkdir()
    picture = draw(data, result, mask, numbers)
    mosaic.save(folder / "figures" / f"{data.prefix}_desc-bias_dwi.png", picture)
    save.write_json(folder / "metrics.json", numbers)


def draw(data: Series, result: Unbiased, mask: Mask, numbers: Mapping[str, float | None]) -> Any:  # noqa: ANN401 - a PIL image
    """Draw a b=0 volume before and after, and the field, black and white equally far from 1."""
    before, after, *_ = compare.rows(data, result.data, mask)
    shown = np.log(result.field)
    span = max(float(np.percentile(np.abs(shown[mask]), 98)), 0.01)
    field = mosaic.Row(
        "bias field, the brain mask's outline",
        np.clip(0.5 + shown / (2 * span), 0, 1),
        1.0,
        (f"{np.exp(-span):.2f}", f"{np.exp(span):.2f}"),
        outline=mask,
    )
    said = f"the field's 98th percentile is {numbers['bias_range']:.2f} times its 2nd"
    said += " · it should be smooth, without the brain's structures"
    title = f"{data.prefix}: bias field"
    return mosaic.draw(title, said, [before, after, field], mask, data.affine)

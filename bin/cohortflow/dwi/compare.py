"""A picture of a series before and after a step, with what the step took away."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortflow.dwi import mosaic, series
from cohortflow.dwi.mask import brain
from cohortflow.dwi.series import Series

Values = NDArray[np.float32]


def rows(data: Series, after: Values, region: NDArray[np.bool_]) -> list[mosaic.Row]:
    """Return the rows of a picture: a volume without and one with weighting, each three times.

    Parameters
    ----------
    data : Series
        Before the step.
    after : ndarray of float32, shape (x, y, z, n)
        After it.
    region : ndarray of bool, shape (x, y, z)
        Where the contrast is taken from.
    """
    first = int(np.flatnonzero(data.gradients.b0)[0])
    weighted = np.flatnonzero(~data.gradients.b0)
    chosen = [(first, "b=0")]
    if len(weighted):
        middle = int(weighted[len(weighted) // 2])
        chosen.append((middle, f"b={data.gradients.bvals[middle]:.0f}"))
    made = []
    for index, name in chosen:
        before, now = data.data[..., index], after[..., index]
        top = float(np.percentile(before[region], 98)) if region.any() else float(before.max())
        top = top if top > 0 else 1.0
        taken = before - now
        span = float(np.percentile(np.abs(taken[region]), 98)) if region.any() else 0.0
        span = span if span > 0 else 0.01 * top
        ends = ("0", _short(top))
        made += [
            mosaic.Row(f"{name}, volume {index}: before", before, top, ends),
            mosaic.Row(f"{name}: after", now, top, ends),
            mosaic.Row(
                f"{name}: before minus after",
                np.clip(0.5 + taken / (2 * span), 0, 1),
                1.0,
                (f"-{_short(span)}", f"+{_short(span)}"),
            ),
        ]
    return made


def draw(
    title: str, subtitle: str, data: Series, after: Values, more: list[mosaic.Row] | None = None
) -> Any:  # noqa: ANN401 - a PIL image
    """Draw a series before and after a step, and further maps below."""
    region = brain(data.b0, series.voxel_size(data.affine))
    made = [*rows(data, after, region), *(more or [])]
    return mosaic.draw(f"{data.prefix}: {title}", subtitle, made, region, data.affine)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.3g}"

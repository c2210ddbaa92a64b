"""How two images of reversed phase encoding were encoded, by their sidecars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import phase


@dataclass(frozen=True)
class Scheme:
    """How a pair was encoded.

    Attributes
    ----------
    axis : int
        The phase-encode axis, 0 to 2.
    sign : float
        1 when the first image's phase encoding points along the axis, -1 against it.
    ratio : float
        The second image's total readout time over the first's: so much larger is its
        displacement.
    """

    axis: int
    sign: float
    ratio: float = 1.0

    @property
    def signs(self) -> tuple[float, float]:
        """How far each image is displaced where the field is 1."""
        return self.sign, -self.sign * self.ratio


def scheme(first: Mapping[str, Any], second: Mapping[str, Any], names: tuple[str, str]) -> Scheme:
    """Read from two sidecars how a pair was encoded.

    Parameters
    ----------
    first, second : mapping
        ``PhaseEncodingDirection``, and the total readout time as `readout` finds it.
    names : tuple of str
        What messages call the two images.

    Raises
    ------
    Failure
        DATA_INVALID unless the directions are opposite, and the readout times are known of both
        or of neither (then they are taken as equal).
    """
    directions = phase.told(first), phase.told(second)
    one, other = directions
    if one is None or other is None or phase.opposite(one) != other:
        told = " and ".join(direction or "unknown" for direction in directions)
        raise Failure(
            Category.DATA_INVALID,
            f"{names[0]} and {names[1]}: phase encoding {told} is not opposite",
            "correct PhaseEncodingDirection in the sidecars, or leave the reversed image out",
        )
    times = readout(first), readout(second)
    if (times[0] is None) != (times[1] is None):
        silent = names[0] if times[0] is None else names[1]
        raise Failure(
            Category.DATA_INVALID,
            f"{silent}: its total readout time is not known, that of its partner is",
            "add TotalReadoutTime to the sidecar",
        )
    ratio = times[1] / times[0] if times[0] and times[1] else 1.0
    return Scheme("ijk".index(one[0]), -1.0 if one.endswith("-") else 1.0, ratio)


def readout(fields: Mapping[str, Any]) -> float | None:
    """Return the total readout time of a sidecar in seconds, None where it tells none.

    It is ``TotalReadoutTime``, else ``EffectiveEchoSpacing`` times one less than
    ``ReconMatrixPE`` (BIDS 1.10).
    """
    total = _positive(fields.get("TotalReadoutTime"))
    spacing = _positive(fields.get("EffectiveEchoSpacing"))
    lines = _positive(fields.get("ReconMatrixPE"))
    if total is None and spacing is not None and lines is not None and lines > 1:
        return spacing * (lines - 1)
    return total


def _positive(value: Any) -> float | None:  # noqa: ANN401 - any JSON value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and 0 < value < np.inf else None

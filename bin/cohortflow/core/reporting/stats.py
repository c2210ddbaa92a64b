"""Spread of a metric over units: quartiles, and outliers by a robust rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, quantiles

LEAST_UNITS = 5
FACTOR = 3.5
MAD_TO_SD = 1.4826  # of a normal distribution
MEAN_AD_TO_SD = 1.2533


@dataclass(frozen=True, slots=True)
class Spread:
    """Summary of one metric.

    Attributes
    ----------
    middle, lower, upper : float
        Median and quartiles.
    low, high : float or None
        Limits; what lies outside is an outlier. None with fewer than five units.
    """

    middle: float
    lower: float
    upper: float
    low: float | None
    high: float | None

    def side(self, value: float) -> str | None:
        """Return ``low`` or ``high`` for an outlier, else None."""
        if self.low is not None and value < self.low:
            return "low"
        return "high" if self.high is not None and value > self.high else None


def spread(values: Sequence[float]) -> Spread:
    """Summarise the values of one metric.

    The limits are median ± 3.5 x 1.4826 x MAD (MAD: median absolute deviation from the
    median; Iglewicz and Hoaglin, How to Detect and Handle Outliers, ASQC 1993). Where the MAD
    is 0, more than half of the units being equal, 1.2533 x the mean absolute deviation stands
    in, from the same book.

    Parameters
    ----------
    values : sequence of float, at least one, finite

    Examples
    --------
    >>> spread([1, 2, 3, 4, 100]).side(100)
    'high'
    >>> spread([1, 2, 3, 100]).side(100) is None
    True
    """
    middle = median(values)
    lower, upper = (
        (quantiles(values, n=4, method="inclusive")[0::2]) if len(values) > 1 else (middle, middle)
    )
    if len(values) < LEAST_UNITS:
        return Spread(middle, lower, upper, None, None)
    deviations = [abs(value - middle) for value in values]
    scale = MAD_TO_SD * median(deviations) or MEAN_AD_TO_SD * fmean(deviations)
    reach = max(FACTOR * scale, 1e-9 * abs(middle))  # rounding is no outlier
    return Spread(middle, lower, upper, middle - reach, middle + reach)

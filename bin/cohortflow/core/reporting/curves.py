"""Numbers along an axis: the lines of units, and the band that most of them keep to."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cohortflow.core.lanes import Curve
from cohortflow.core.reporting.numbers import LARGEST
from cohortflow.core.reporting.state import UnitState, Value
from cohortflow.core.reporting.stats import LEAST_UNITS, spread

LOW, HIGH = 0.05, 0.95
OUTSIDE = 0.25

Line = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Band:
    """The complete units' values along one line of a curve, a value a point.

    Attributes
    ----------
    name, metric : str
    middle, lower, upper : tuple of float or None
        Median, 5th and 95th percentile; None where fewer than five units have a value.
    low, high : tuple of float or None
        Beyond them a value is far: outside the band and outside the limits of the rule for
        outliers (`stats.spread`). With few units the highest and the lowest always lie outside
        percentiles, so the band alone does not do.
    count : int
        Units that have any value.
    lines : tuple of (unit, Line)
        All units' lines where they are fewer than five, else those that `outlying` names.
    outlying : tuple of str
        Units of which more than a quarter of the points are far.
    """

    name: str
    metric: str
    middle: Line
    lower: Line
    upper: Line
    low: Line
    high: Line
    count: int
    lines: tuple[tuple[str, Line], ...]
    outlying: tuple[str, ...]

    @property
    def few(self) -> bool:
        """Whether there are too few units for a band."""
        return self.count < LEAST_UNITS

    def outside(self, line: Line) -> tuple[int, int]:
        """Return how many points of a line lie outside the band, and of how many."""
        return _outside(line, self.lower, self.upper)


@dataclass(frozen=True, slots=True)
class Group:
    """One curve over all complete units.

    Attributes
    ----------
    curve : Curve
    points : int
        Of each line.
    bands : tuple of Band
        In the order of the curve's series.
    """

    curve: Curve
    points: int
    bands: tuple[Band, ...]

    @property
    def outlying(self) -> tuple[tuple[str, str], ...]:
        """Return (unit, name of the line) of the outlying units."""
        return tuple((unit, band.name) for band in self.bands for unit in band.outlying)


def parse(value: Value) -> Line | None:
    """Return the numbers of a text; None for what is not two numbers or more.

    Examples
    --------
    >>> parse("0.4;;0.5"), parse("left"), parse(0.4)
    ((0.4, None, 0.5), None, None)
    """
    if not isinstance(value, str) or ";" not in value:
        return None
    try:
        numbers = [float(part) if part.strip() else None for part in value.split(";")]
    except ValueError:
        return None
    return tuple(one if one is not None and abs(one) < LARGEST else None for one in numbers)


def of_group(curve: Curve, units: Sequence[UnitState]) -> Group | None:
    """Return a curve over the complete units; None when none of them has it.

    A unit with another number of points than most is left out.
    """
    metrics = [metric for _, metric in curve.series]
    sizes = Counter(
        len(line)
        for unit in units
        for metric in metrics
        if (line := parse(unit.metrics.get(metric))) is not None
    )
    if not sizes:
        return None
    points = max(sizes, key=lambda size: (sizes[size], size))
    return Group(
        curve, points, tuple(_band(name, metric, units, points) for name, metric in curve.series)
    )


def line_of(unit: UnitState, metric: str, points: int) -> Line | None:
    """Return a complete unit's line; None when it has none of that many points."""
    line = parse(unit.metrics.get(metric)) if unit.complete else None
    return line if line is not None and len(line) == points and known(line) else None


def _band(name: str, metric: str, units: Sequence[UnitState], points: int) -> Band:
    # Columns of doubles, and lines read twice: a batch may have a hundred thousand units.
    columns = [array("d") for _ in range(points)]
    count = 0
    for unit in units:
        line = line_of(unit, metric, points)
        count += line is not None
        for column, value in zip(columns, line or (), strict=False):
            if value is not None:
                column.append(value)
    middle, lower, upper, low, high = zip(*map(_point, columns), strict=True)
    lines = ((unit.id, line) for unit in units if (line := line_of(unit, metric, points)))
    if count < LEAST_UNITS:
        return Band(name, metric, middle, lower, upper, low, high, count, tuple(lines), ())
    far = tuple((unit, line) for unit, line in lines if _is_far(line, low, high))
    outlying = tuple(unit for unit, _ in far)
    return Band(name, metric, middle, lower, upper, low, high, count, far, outlying)


def _point(values: Sequence[float]) -> tuple[float | None, ...]:
    if len(values) < LEAST_UNITS:
        return (None,) * 5
    ordered = sorted(values)
    found = spread(ordered)
    lower, upper = _quantile(ordered, LOW), _quantile(ordered, HIGH)
    low = lower if found.low is None else min(lower, found.low)
    high = upper if found.high is None else max(upper, found.high)
    return found.middle, lower, upper, low, high


def _quantile(ordered: Sequence[float], part: float) -> float:
    """Return a quantile of sorted values, linear between them."""
    place = part * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _outside(line: Line, lower: Line, upper: Line) -> tuple[int, int]:
    held = [
        value < low or value > high
        for value, low, high in zip(line, lower, upper, strict=True)
        if value is not None and low is not None and high is not None
    ]
    return sum(held), len(held)


def _is_far(line: Line, low: Line, high: Line) -> bool:
    far, of = _outside(line, low, high)
    return far > OUTSIDE * of


def known(line: Line) -> list[float]:
    """Return the values of a line that are known."""
    return [value for value in line if value is not None]

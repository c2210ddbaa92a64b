"""Drawings of a metric over units: dots, box and outliers, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from cohortflow.core.reporting.stats import Spread
from cohortflow.core.reporting.words import number

WIDTH, HEIGHT = 360, 86
LEFT, RIGHT = 18, 342
MIDDLE, AXIS = 30, 64
ROW, CHARACTER = 14, 7.2
MOST_DOTS = 400
MOST_LABELS = 4

Point = tuple[str, float]  # unit, value
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_Scale = Callable[[float], float]


def strip(name: str, points: Sequence[Point], spread: Spread) -> Markup:
    """Draw one metric.

    Parameters
    ----------
    name : str
    points : sequence of (unit, value), at least one
    spread : Spread
        Of the same values.

    Returns
    -------
    Markup
        An ``<svg>`` element; every text in it is escaped.
    """
    values = [value for _, value in points]
    low, high = min(values), max(values)
    room = (high - low) * 0.04 or abs(high) * 0.05 or 1.0
    low, high = low - room, high + room

    def x(value: float) -> float:
        return LEFT + (RIGHT - LEFT) * (value / (high - low) - low / (high - low))

    outliers = [(unit, value) for unit, value in points if spread.side(value)]
    inner = [(unit, value) for unit, value in points if not spread.side(value)]
    boxed = spread.low is not None
    text = f"{name}: {len(points)} units, median {number(spread.middle)}"
    labels, rows = _labels(outliers, spread.middle, x)
    top = ROW * rows
    parts = [
        Markup('<svg viewBox="0 {} {} {}" role="img" aria-label="{}">').format(
            -top, WIDTH, HEIGHT + top, text
        ),
        _axis(low, high, x),
        _box(spread, [x(value) for _, value in inner], x) if boxed and inner else Markup(),
        _dots(inner, x) if len(inner) <= MOST_DOTS else Markup(),
        _diamonds(outliers, spread.middle, x),
        labels,
        Markup("</svg>"),
    ]
    return Markup().join(parts)


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round numbers between two, about as many as asked.

    Examples
    --------
    >>> ticks(0.0, 1.0)
    [0.0, 0.5, 1.0]
    """
    rough = (high - low) / about
    if not math.isfinite(rough) or rough <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, min(last, first + 20) + 1)]


def scaled(low: float, high: float, unit: str = "") -> tuple[float, str]:
    """Return by what to multiply numbers that are small, and the unit that they then have.

    Examples
    --------
    >>> scaled(0.2, 0.7), scaled(0.0002, 0.0009, "kg")
    ((1.0, ''), (1000.0, '10⁻³ kg'))
    """
    largest = max(abs(low), abs(high))
    if not 1e-30 < largest < 0.01:
        return 1.0, unit
    power = 3 * max(1, round(-math.log10(largest) / 3))
    return 10.0**power, f"10⁻{str(power).translate(_RAISED)} {unit}".rstrip()


def _axis(low: float, high: float, x: _Scale) -> Markup:
    line = Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
        LEFT, RIGHT, AXIS, AXIS
    )
    marks = Markup().join(
        Markup(
            '<line class="axis" x1="{x}" x2="{x}" y1="{a}" y2="{b}"/>'
            '<text class="tick" x="{x}" y="{t}" text-anchor="middle">{text}</text>'
        ).format(
            x=pixels(x(tick)), a=AXIS, b=AXIS + 4, t=AXIS + 16, text=number(tick),
        )
        for tick in ticks(low, high)
    )  # fmt: skip
    return line + marks


def _box(spread: Spread, inner: Sequence[float], x: _Scale) -> Markup:
    left, right = x(spread.lower), x(spread.upper)
    return Markup(
        '<line class="whisker" x1="{w0}" x2="{w1}" y1="{y}" y2="{y}"/>'
        '<rect class="box" x="{left}" y="{top}" width="{width}" height="28" rx="3"/>'
        '<line class="median" x1="{m}" x2="{m}" y1="{top}" y2="{bottom}"/>'
    ).format(
        w0=pixels(min(inner)), w1=pixels(max(inner)), y=MIDDLE, left=pixels(left),
        width=pixels(max(1.0, right - left)), top=MIDDLE - 14, bottom=MIDDLE + 14,
        m=pixels(x(spread.middle)),
    )  # fmt: skip


def _dots(points: Sequence[Point], x: _Scale) -> Markup:
    """Draw a dot a unit, stacked around the middle where they would overlap."""
    stacked: dict[int, int] = {}
    parts = []
    for unit, value in sorted(points, key=lambda point: (point[1], point[0])):
        column = round(x(value) / 6)
        rank = stacked[column] = stacked.get(column, 0) + 1
        offset = (rank // 2) * 5.5 * (1 if rank % 2 else -1)
        y = min(MIDDLE + 26.0, max(MIDDLE - 26.0, MIDDLE + offset))
        parts.append(
            Markup('<circle class="dot" cx="{}" cy="{}" r="2.8"><title>{}</title></circle>').format(
                pixels(x(value)), pixels(y), f"{unit}: {number(value)}"
            )
        )
    return Markup().join(parts)


def _diamonds(points: Sequence[Point], middle: float, x: _Scale) -> Markup:
    """Draw a diamond an outlier, the farthest at most."""
    return Markup().join(
        Markup(
            '<path class="outlier" d="M{x} {a}l5 5.5l-5 5.5l-5 -5.5z"><title>{t}</title></path>'
        ).format(x=pixels(x(value)), a=pixels(MIDDLE - 5.5), t=f"{unit}: {number(value)}")
        for unit, value in _farthest(points, middle)[:MOST_DOTS]
    )


def _labels(points: Sequence[Point], middle: float, x: _Scale) -> tuple[Markup, int]:
    """Name the farthest outliers, in rows where they are close; return the rows used, too."""
    parts, ends = [], [0.0, 0.0, 0.0]
    chosen = _farthest(points, middle)[:MOST_LABELS]
    for unit, value in sorted(chosen, key=lambda point: (point[1], point[0])):
        shown = unit if len(unit) <= 22 else f"{unit[:21]}…"
        wide, at = CHARACTER * len(shown), x(value)
        left = min(max(at - wide / 2, 2.0), WIDTH - 2 - wide)
        row = next((row for row in range(3) if ends[row] <= left), None)
        if row is None:
            continue
        ends[row] = left + wide + 4
        anchor, at = (
            ("start", 2.0) if left == 2.0 else
            ("end", WIDTH - 2.0) if left == WIDTH - 2 - wide else ("middle", at)
        )  # fmt: skip
        parts.append(
            Markup('<text class="label" x="{}" y="{}" text-anchor="{}">{}</text>').format(
                pixels(at), pixels(MIDDLE - 20 - ROW * row), anchor, shown
            )
        )
    return Markup().join(parts), sum(end > 0 for end in ends)


def _farthest(points: Sequence[Point], middle: float) -> list[Point]:
    return sorted(points, key=lambda point: (-abs(point[1] - middle), point[0]))


def pixels(value: float) -> str:
    """Return a place in a drawing, to a tenth."""
    return f"{value:.1f}".removesuffix(".0")

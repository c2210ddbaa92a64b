"""Curves drawn: the lines of units over the band of all, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from markupsafe import Markup

from cohortflow.core.reporting.charts import pixels, scaled, ticks
from cohortflow.core.reporting.curves import Band, Group, Line, known, line_of
from cohortflow.core.reporting.state import UnitState
from cohortflow.core.reporting.words import number

WIDTH, HEIGHT = 280, 172
LEFT, RIGHT, TOP, BOTTOM = 48, 272, 22, 132
CHARACTER = 7.2
MOST_DRAWN = 4
STYLES = 4  # the style sheet has that many kinds of line

_Scale = Callable[[float], float]


def panels(group: Group, unit: UnitState | None = None) -> list[Markup]:
    """Draw a curve, a panel for each of its lines; all have the same axes.

    Parameters
    ----------
    group : Group
    unit : UnitState, optional
        Whose lines are drawn over the bands; those of the outlying units when left out.
    """
    drawn = [_drawn(band, group.points, unit) for band in group.bands]
    values = [
        value
        for band, lines in zip(group.bands, drawn, strict=True)
        for line in (band.lower, band.upper, *(line for _, line, _ in lines))
        for value in known(line)
    ]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    frame = (low - room, high + room)
    return [_panel(group, index, lines, frame) for index, lines in enumerate(drawn)]


def _drawn(band: Band, points: int, unit: UnitState | None) -> list[tuple[str, Line, str]]:
    """Return the lines over a band: label, line, kind (``other``, ``own`` or ``far``)."""
    own = line_of(unit, band.metric, points) if unit is not None else None
    lines = []
    if band.few:
        mine = unit.id if unit is not None else None
        lines = [("", line, "other") for name, line in band.lines if name != mine]
    if own is not None:
        lines.append(("this unit", own, "own"))
    if unit is None and not band.few:
        lines += [(name, line, "far") for name, line in band.lines[:MOST_DRAWN]]
    return lines


def _panel(
    group: Group, index: int, lines: Sequence[tuple[str, Line, str]], frame: tuple[float, float]
) -> Markup:
    band, (low, high) = group.bands[index], frame

    def x(point: float) -> float:
        return LEFT + (RIGHT - LEFT) * point / max(1, group.points - 1)

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (value / (high - low) - low / (high - low))

    style = f"k{index % STYLES}"
    parts = [
        Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            WIDTH, HEIGHT, _told(group, band, lines)
        ),
        Markup('<text class="panel" x="{}" y="13">{}</text>').format(LEFT, band.name),
        _axes(group, frame, x, y),
        _area(band, x, y),
        _path(band.middle, "middle", x, y),
        *(_path(line, f"{kind} {style}", x, y, label) for label, line, kind in lines),
        _labels(lines, x, y),
        Markup("</svg>"),
    ]
    return Markup().join(parts)


def _told(group: Group, band: Band, lines: Sequence[tuple[str, Line, str]]) -> str:
    """Return a drawing in words, for those who do not see it."""
    text = f"{group.curve.title}, {band.name}, {group.curve.axis}: {band.count} units"
    own = next((line for _, line, kind in lines if kind == "own"), None)
    if own is None or band.few:
        return text
    outside, of = band.outside(own)
    return f"{text}; this one is outside their 5 to 95 % band at {outside} of {of} points"


def _axes(group: Group, frame: tuple[float, float], x: _Scale, y: _Scale) -> Markup:
    factor, unit = scaled(*frame, group.curve.unit)
    parts = [
        Markup('<line class="grid" x1="{}" x2="{}" y1="{y}" y2="{y}"/>'
               '<text class="tick" x="{}" y="{t}" text-anchor="end">{}</text>').format(
            LEFT, RIGHT, LEFT - 6, number(value * factor), y=pixels(y(value)),
            t=pixels(y(value) + 3.5),
        )
        for value in ticks(*frame)
    ]  # fmt: skip
    for point in (value for value in ticks(1, group.points) if value == int(value)):
        parts.append(
            Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(
                pixels(x(point - 1)), BOTTOM + 15, int(point)
            )
        )
    told = " · ".join(filter(None, (f"{group.curve.axis} →", unit)))
    parts.append(
        Markup('<line class="axis" x1="{}" x2="{}" y1="{y}" y2="{y}"/>'
               '<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            LEFT, RIGHT, (LEFT + RIGHT) // 2, HEIGHT - 8, told, y=BOTTOM
        )
    )  # fmt: skip
    return Markup().join(parts)


def _runs(line: Line) -> list[list[int]]:
    """Return the points with a value, in stretches without a gap."""
    runs: list[list[int]] = [[]]
    for point, value in enumerate(line):
        if value is not None:
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _area(band: Band, x: _Scale, y: _Scale) -> Markup:
    shape = ""
    for run in _runs(band.lower):
        there = [(x(p), y(v)) for p in run if (v := band.upper[p]) is not None]
        back = [(x(p), y(v)) for p in reversed(run) if (v := band.lower[p]) is not None]
        shape += f"M{'L'.join(f'{pixels(a)} {pixels(b)}' for a, b in there + back)}z"
    return Markup('<path class="band" d="{}"/>').format(shape) if shape else Markup()


def _path(line: Line, kind: str, x: _Scale, y: _Scale, label: str = "") -> Markup:
    shape = ""
    for run in _runs(line):
        spots = [f"{pixels(x(p))} {pixels(y(v))}" for p in run if (v := line[p]) is not None]
        shape += f"M{'L'.join(spots)}" if len(spots) > 1 else f"M{spots[0]}h0"
    if not shape:
        return Markup()
    title = Markup("<title>{}</title>").format(label) if label else Markup()
    return Markup('<path class="line {}" d="{}">{}</path>').format(kind, shape, title)


def _labels(lines: Iterable[tuple[str, Line, str]], x: _Scale, y: _Scale) -> Markup:
    """Name the lines above their highest point, one below the other where they are close."""
    places = []
    for label, line, kind in lines:
        if label and kind != "other":
            high, point = max((v, p) for p, v in enumerate(line) if v is not None)
            places.append((y(high) - 7, x(point), label, kind))
    parts, at = [], -math.inf
    for wanted, where, label, kind in sorted(places):
        at = max(wanted, at + 12, TOP)
        shown = label if len(label) <= 22 else f"{label[:21]}…"
        wide = CHARACTER * len(shown) / 2
        middle = min(max(where, LEFT + wide), RIGHT - wide)
        parts.append(
            Markup('<text class="at {}" x="{}" y="{}" text-anchor="middle">{}</text>').format(
                kind, pixels(middle), pixels(at), shown
            )
        )
    return Markup().join(parts)

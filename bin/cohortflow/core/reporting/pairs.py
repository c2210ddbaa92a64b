"""Two numbers of each unit that should be alike, drawn against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from cohortflow.core.lanes import Pair
from cohortflow.core.reporting.charts import MOST_DOTS, pixels, scaled, ticks
from cohortflow.core.reporting.numbers import LARGEST
from cohortflow.core.reporting.state import UnitState, Value
from cohortflow.core.reporting.stats import LEAST_UNITS, spread
from cohortflow.core.reporting.words import number

SIDE = 360
LEFT, RIGHT, TOP, BOTTOM = 52, 350, 20, 318
MOST_LABELS = 4
CHARACTER = 7.2

Spot = tuple[str, float, float]  # unit, left, right


@dataclass(frozen=True, slots=True)
class Scatter:
    """One pair over the complete units.

    Attributes
    ----------
    pair : Pair
    spots : tuple of (unit, left, right)
    outliers : tuple of (unit, left, right)
        Those whose difference is an outlier (`stats.spread`), the farthest first.
    """

    pair: Pair
    spots: tuple[Spot, ...]
    outliers: tuple[Spot, ...]

    @property
    def few(self) -> bool:
        """Whether there are too few units to call one an outlier."""
        return len(self.spots) < LEAST_UNITS


def of_group(pair: Pair, units: Sequence[UnitState]) -> Scatter | None:
    """Return a pair over the complete units; None when fewer than two have both numbers."""
    spots = []
    for unit in units:
        left, right = (_number(unit.metrics.get(name)) for name in (pair.left, pair.right))
        if unit.complete and left is not None and right is not None:
            spots.append((unit.id, left, right))
    if len(spots) < 2:
        return None
    found = spread([left - right for _, left, right in spots])
    far = [spot for spot in spots if found.side(spot[1] - spot[2])]
    far.sort(key=lambda spot: (-abs(spot[1] - spot[2] - found.middle), spot[0]))
    return Scatter(pair, tuple(spots), tuple(far))


def draw(scatter: Scatter) -> Markup:
    """Draw a pair with the line of equal numbers, as an ``<svg>`` element."""
    values = [value for _, left, right in scatter.spots for value in (left, right)]
    low, high = min(values), max(values)
    room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    low, high = low - room, high + room

    def x(value: float) -> float:
        return LEFT + (RIGHT - LEFT) * (value / (high - low) - low / (high - low))

    def place(spot: Spot) -> tuple[float, float]:
        return x(spot[1]), BOTTOM - (x(spot[2]) - LEFT)

    factor, unit = scaled(low, high, scatter.pair.unit)
    shown = f" · {unit}" if factor != 1.0 else ""
    pair, far = scatter.pair, {unit for unit, _, _ in scatter.outliers}
    inner = [spot for spot in scatter.spots if spot[0] not in far]
    told = f"{pair.title}: {len(scatter.spots)} units, {len(far)} outlying"
    parts = [
        Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(SIDE, SIDE, told),
        *(_tick(number(value * factor), x(value)) for value in ticks(low, high)),
        Markup('<path class="axis" fill="none" d="M{} {}V{}H{}"/>').format(
            LEFT, TOP, BOTTOM, RIGHT
        ),
        Markup('<path class="same" d="M{} {}L{} {}"/>').format(LEFT, BOTTOM, RIGHT, TOP),
        _name(f"{pair.left}{shown}", SIDE - 8, (LEFT + RIGHT) / 2, "middle"),
        _name(f"↑ {pair.right}{shown}", TOP - 7, 2, "start"),
        _dots([(spot, *place(spot)) for spot in inner]),
        *(_diamond(spot, *place(spot)) for spot in scatter.outliers[:MOST_DOTS]),
        *(_label(spot[0], *place(spot)) for spot in scatter.outliers[:MOST_LABELS]),
        Markup("</svg>"),
    ]
    return Markup().join(parts)


def _number(value: Value) -> float | None:
    if value is None or isinstance(value, str) or abs(value) >= LARGEST:
        return None
    return float(value)


def _told(spot: Spot) -> str:
    return f"{spot[0]}: {number(spot[1])} and {number(spot[2])}"


def _tick(text: str, at: float) -> Markup:
    """Mark a number on both axes, which are alike."""
    up = BOTTOM - (at - LEFT)
    return Markup(
        '<path class="grid" d="M{x} {b}v4M{l} {y}h-4"/>'
        '<text class="tick" x="{x}" y="{t}" text-anchor="middle">{text}</text>'
        '<text class="tick" x="{e}" y="{m}" text-anchor="end">{text}</text>'
    ).format(x=pixels(at), b=BOTTOM, l=LEFT, y=pixels(up), t=BOTTOM + 17, e=LEFT - 7,
             m=pixels(up + 3.5), text=text)  # fmt: skip


def _name(text: str, y: float, x: float, anchor: str) -> Markup:
    return Markup('<text class="tick" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        pixels(x), pixels(y), anchor, text
    )


def _dots(places: Sequence[tuple[Spot, float, float]]) -> Markup:
    """Draw a dot a unit, with its name; of a large batch one path, a dot a pixel at most."""
    if len(places) <= MOST_DOTS:
        return Markup().join(
            Markup('<circle class="dot" cx="{}" cy="{}" r="3.2"><title>{}</title></circle>').format(
                pixels(a), pixels(b), _told(spot)
            )
            for spot, a, b in places
        )
    taken = sorted({(round(a), round(b)) for _, a, b in places})
    shape = "".join(f"M{a} {b}h0" for a, b in taken)
    return Markup('<path class="dots" d="{}"/>').format(shape)


def _diamond(spot: Spot, x: float, y: float) -> Markup:
    return Markup(
        '<path class="outlier" d="M{} {}l5.5 6l-5.5 6l-5.5 -6z"><title>{}</title></path>'
    ).format(pixels(x), pixels(y - 6), _told(spot))


def _label(unit: str, x: float, y: float) -> Markup:
    shown = unit if len(unit) <= 22 else f"{unit[:21]}…"
    wide = CHARACTER * len(shown)
    right = x + 9 + wide <= SIDE
    return Markup('<text class="label" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        pixels(x + 9 if right else x - 9), pixels(y + 4), "start" if right else "end", shown
    )

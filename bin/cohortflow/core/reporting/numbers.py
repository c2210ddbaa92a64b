"""The batch's metrics sorted into numbers, words and constants, with their outliers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cohortflow.core.reporting.charts import Point
from cohortflow.core.reporting.state import BatchState, Value
from cohortflow.core.reporting.stats import Spread, spread

MOST_WORDS = 6
LARGEST = 1e150  # beyond, differences overflow


@dataclass(frozen=True, slots=True)
class Numeric:
    """One metric that varies over units, in the plan's order of units."""

    name: str
    points: tuple[Point, ...]
    spread: Spread

    @property
    def outliers(self) -> list[tuple[str, float, str]]:
        """Return (unit, value, side) of each outlier, the farthest first."""
        found = [(u, v, side) for u, v in self.points if (side := self.spread.side(v))]
        return sorted(found, key=lambda one: (-abs(one[1] - self.spread.middle), one[0]))


@dataclass(frozen=True, slots=True)
class Numbers:
    """What the metrics of a batch look like.

    Attributes
    ----------
    numeric, times : tuple of Numeric
        Metrics that vary; seconds of each step.
    constants : tuple of (name, value, count)
        The same in all of two or more units.
    words : tuple of (name, ((word, count), ...))
    flags : dict
        (unit, metric) -> ``low`` or ``high``; times give none.
    """

    numeric: tuple[Numeric, ...]
    times: tuple[Numeric, ...]
    constants: tuple[tuple[str, Value, int], ...]
    words: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    flags: dict[tuple[str, str], str]

    def outlying(self) -> dict[str, list[tuple[str, str]]]:
        """Return unit -> [(metric, side), ...] for the units with an outlier."""
        found: dict[str, list[tuple[str, str]]] = {}
        for (unit, name), side in self.flags.items():
            found.setdefault(unit, []).append((name, side))
        return found


def headline(names: Sequence[str], known: Collection[str]) -> list[str]:
    """Return what comes first of the metrics that a batch has: those named, or all."""
    return [name for name in names if name in known] or list(known)


def numbers(state: BatchState, without: Collection[str] = ()) -> Numbers:
    """Sort the metrics of a batch.

    Parameters
    ----------
    state : BatchState
    without : collection of str
        Metrics that are shown in another way.
    """
    values: dict[str, list[tuple[str, float | str]]] = {}
    times: dict[str, list[Point]] = {name: [] for name in state.step_names()}
    for unit in state.units:
        for name, value in unit.metrics.items():
            if value is not None and name not in without:
                values.setdefault(name, []).append((unit.id, value))
        if unit.complete:
            for step, seconds in unit.timings.items():
                times[step].append((unit.id, seconds))
    numeric, constants, words = [], [], []
    for name, known in values.items():
        points = tuple((u, v) for u, v in known if not isinstance(v, str) and abs(v) < LARGEST)
        if len(known) > 1 and len({value for _, value in known}) == 1:
            constants.append((name, known[0][1], len(known)))
        elif len(points) == len(known):
            numeric.append(Numeric(name, points, spread([v for _, v in points])))
        elif len(counted := Counter(str(value) for _, value in known)) <= MOST_WORDS:
            words.append((name, tuple(counted.most_common())))
    timed = [Numeric(k, tuple(p), spread([v for _, v in p])) for k, p in times.items() if p]
    flags = {(u, metric.name): s for metric in numeric for u, _, s in metric.outliers}
    return Numbers(tuple(numeric), tuple(timed), tuple(constants), tuple(words), flags)

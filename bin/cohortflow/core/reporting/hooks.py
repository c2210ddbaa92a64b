"""What a lane declares for the report, worked out over a batch."""

from __future__ import annotations

from dataclasses import dataclass, field

from cohortflow.core import lanes
from cohortflow.core.lanes import Gate, Lane
from cohortflow.core.reporting import curves, gates, pairs
from cohortflow.core.reporting.curves import Group
from cohortflow.core.reporting.gates import Tally
from cohortflow.core.reporting.numbers import headline
from cohortflow.core.reporting.pairs import Scatter
from cohortflow.core.reporting.state import BatchState


@dataclass(frozen=True, slots=True)
class Hooks:
    """A lane's declarations over one batch; empty for a lane that is not known.

    Attributes
    ----------
    lane : Lane or None
    gates : tuple of Gate
        Those that the batch's units were asked for.
    tallies : tuple of Tally
        Each gate and reason over the complete units.
    curves : tuple of Group
    pairs : tuple of Scatter
    headline : tuple of str
        The metrics to show first; all of them when the lane says nothing.
    named : bool
        Whether the lane names those.
    folded : bool
        Whether there are others, to be folded.
    apart : frozenset of str
        Metrics that are shown in a way of their own and in no list.
    notable : frozenset of str
        Units with a check that did not pass, or that are outlying in a curve or a pair.
    """

    lane: Lane | None = None
    gates: tuple[Gate, ...] = ()
    tallies: tuple[Tally, ...] = ()
    curves: tuple[Group, ...] = ()
    pairs: tuple[Scatter, ...] = ()
    headline: tuple[str, ...] = ()
    named: bool = False
    folded: bool = False
    apart: frozenset[str] = field(default_factory=frozenset)
    notable: frozenset[str] = field(default_factory=frozenset)


def of_batch(state: BatchState) -> Hooks:
    """Work out what a batch's lane declares."""
    names = state.metric_names()
    if state.run.lane not in lanes.LANES:
        return Hooks(headline=tuple(names))
    lane, units = lanes.get(state.run.lane), state.units
    apart = {metric for one in lane.curves for _, metric in one.series}
    apart |= {metric for metric, _ in lane.reasons}
    listed = [name for name in names if name not in apart]
    first = headline(lane.headline, listed)
    asked = gates.asked(lane, units)
    tallies = gates.of_group(lane, asked, units)
    drawn = [group for curve in lane.curves if (group := curves.of_group(curve, units))]
    plotted = [scatter for pair in lane.pairs if (scatter := pairs.of_group(pair, units))]
    notable = {unit for tally in tallies for unit, _ in tally.failing}
    notable |= {unit for group in drawn for unit, _ in group.outlying}
    notable |= {unit for scatter in plotted for unit, _, _ in scatter.outliers}
    return Hooks(
        lane=lane,
        gates=asked,
        tallies=tuple(tallies),
        curves=tuple(drawn),
        pairs=tuple(plotted),
        headline=tuple(first),
        named=any(name in listed for name in lane.headline),
        folded=len(first) < len(listed),
        apart=frozenset(apart),
        notable=frozenset(notable),
    )

"""Units held against the limits that their lane declares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cohortflow.core.lanes import Gate, Lane
from cohortflow.core.reporting.state import UnitState, Value
from cohortflow.core.reporting.words import number


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a unit's checks.

    Attributes
    ----------
    title, value, limit : str
        As people read them; the value is a reason where that is all there is.
    passed : bool or None
        None when it was not measured.
    """

    title: str
    value: str
    limit: str
    passed: bool | None

    def __str__(self) -> str:
        """Return the check in one line."""
        return f"{self.title} {self.value}" + (f" ({self.limit})" if self.limit else "")


@dataclass(frozen=True, slots=True)
class Tally:
    """One check over the complete units.

    Attributes
    ----------
    passed, measured : int
        Number of units.
    failing, unmeasured : tuple of (unit, str)
        Units with their value, or with why there is none.
    """

    title: str
    limit: str
    passed: int
    measured: int
    failing: tuple[tuple[str, str], ...]
    unmeasured: tuple[tuple[str, str], ...]


def asked(lane: Lane, units: Sequence[UnitState]) -> tuple[Gate, ...]:
    """Return the gates whose number any complete unit was asked for.

    A step that a run leaves out names none of its metrics, while one that could not measure names
    them as unknown.
    """
    known = {name for unit in units if unit.complete for name in unit.metrics}
    return tuple(gate for gate in lane.gates if gate.metric in known)


def of_unit(lane: Lane, gates: Sequence[Gate], unit: UnitState) -> list[Check]:
    """Return a complete unit's checks, in the lane's order; then the reasons that it has."""
    checks = [
        Check(
            gate.title,
            with_unit(value, gate.unit) or "unknown",
            limit(gate),
            passed(gate, value),
        )
        for gate in gates
        for value in (unit.metrics.get(gate.metric),)
    ]
    reasons = [
        Check(title, str(said), "", None)
        for metric, title in lane.reasons
        if (said := unit.metrics.get(metric))
    ]
    return checks + reasons


def counted(gates: Sequence[Gate], unit: UnitState) -> dict[str, int | str]:
    """Return how many gates a unit passed, failed and left unknown, and what to sort it by."""
    kept = [passed(gate, unit.metrics.get(gate.metric)) for gate in gates]
    if not unit.complete:
        return {"passed": 0, "failed": 0, "unknown": 0, "order": ""}
    return {"passed": kept.count(True), "failed": kept.count(False), "unknown": kept.count(None),
            "order": kept.count(False)}  # fmt: skip


def of_group(lane: Lane, gates: Sequence[Gate], units: Sequence[UnitState]) -> list[Tally]:
    """Return each check over the complete units, in the lane's order; then the reasons."""
    complete = [unit for unit in units if unit.complete]
    tallies = [_tally(gate, complete) for gate in gates]
    for metric, title in lane.reasons:
        said = tuple((u.id, str(value)) for u in complete if (value := u.metrics.get(metric)))
        if said:
            tallies.append(Tally(title, "", 0, 0, (), said))
    return tallies


def passed(gate: Gate, value: Value) -> bool | None:
    """Tell whether a number keeps to a gate's limits; None for what is no number."""
    if value is None or isinstance(value, str):
        return None
    return (gate.least is None or value >= gate.least) and (gate.most is None or value <= gate.most)


def limit(gate: Gate) -> str:
    """Return a gate's limits in words.

    Examples
    --------
    >>> limit(Gate("r", "Likeness", 0.75, None)), limit(Gate("d", "Shift", None, 5, "mm"))
    ('at least 0.75', 'at most 5 mm')
    >>> limit(Gate("n", "Number", 1, 2))
    '1 to 2'
    """
    least, most = (with_unit(value, gate.unit) for value in (gate.least, gate.most))
    if least and most:
        return f"{number(gate.least)} to {most}"
    return f"at least {least}" if least else f"at most {most}" if most else "any"


def with_unit(value: Value, unit: str) -> str:
    """Return a value as people read it, with its unit; empty when it is unknown."""
    text = number(value)
    return f"{text} {unit}" if text and unit and not isinstance(value, str) else text


def _tally(gate: Gate, complete: Sequence[UnitState]) -> Tally:
    failing, unmeasured, good = [], [], 0
    for unit in complete:
        value = unit.metrics.get(gate.metric)
        kept = passed(gate, value)
        if kept is None:
            unmeasured.append((unit.id, str(value or "")))
        elif kept:
            good += 1
        else:
            failing.append((unit.id, with_unit(value, gate.unit)))
    return Tally(
        gate.title, limit(gate), good, good + len(failing), tuple(failing), tuple(unmeasured)
    )

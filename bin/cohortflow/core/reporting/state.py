"""What is known of one run: the values that every file of the report is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from cohortflow.core.manifest import Unit
from cohortflow.core.outcome import Category

Value = float | int | str | None


#: Reason of a unit that is not in this run's plan.
EARLIER = "earlier run"


class Status(StrEnum):
    """Where a unit stands; the first two are complete."""

    DONE = "done"
    SKIPPED = "skipped"
    INVALID = "invalid"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    LOST = "lost"
    MISSING = "missing"


COMPLETE = frozenset({Status.DONE, Status.SKIPPED})


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one step, from the supervisor's record.

    Attributes
    ----------
    exit : int or None
        Exit status; None when there is none.
    category : Category or None
        None when the step ended well.
    started : str
        ISO 8601, as recorded.
    seconds : float or None
    peak_memory_bytes : int or None
    log : str
        End of the step's output, cleaned; empty for an attempt that ended well.
    said : str
        End of what an attempt that ended well printed on standard error, cleaned.
    """

    step: str
    number: int
    exit: int | None
    category: Category | None
    started: str
    seconds: float | None
    peak_memory_bytes: int | None
    command: str
    message: str
    remedy: str
    log: str
    said: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Status of a unit with the reason that a person reads."""

    status: Status
    category: Category | None = None
    message: str | None = None
    remedy: str | None = None
    step: str | None = None


@dataclass(frozen=True, slots=True)
class UnitState:
    """One unit of the batch.

    Attributes
    ----------
    reason : str or None
        Why the plan ran or skipped it; ``earlier run`` for a unit that is not in the plan.
    choices : tuple of dict
        What an ambiguous unit can be made of.
    timings : dict
        Seconds of each step.
    metrics : dict
        Published numbers and words; empty for a unit that is not complete.
    planned : Unit or None
        The manifest's unit; kept for incomplete units alone, to bound memory.
    picture : Path or None
        What was refused, as a PNG file.
    """

    id: str
    folder: str
    entities: dict[str, str]
    verdict: Verdict
    reason: str | None = None
    choices: tuple[dict[str, str], ...] = ()
    attempts: tuple[Attempt, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, Value] = field(default_factory=dict)
    planned: Unit | None = None
    picture: Path | None = None

    @property
    def status(self) -> Status:
        """Where the unit stands."""
        return self.verdict.status

    @property
    def complete(self) -> bool:
        """Whether the unit's outputs are published and current."""
        return self.status in COMPLETE

    @property
    def seconds(self) -> float | None:
        """Time spent in the unit's steps; None when nothing is known."""
        return round(sum(self.timings.values()), 3) if self.timings else None


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One run: what was asked, with what, when.

    Attributes
    ----------
    dataset : str
        Absolute path of the study, as planned.
    started, finished : str or None
        ISO 8601; ``finished`` is None while the run goes on or when it was killed.
    """

    id: str
    lane: str
    dataset: str
    generated_by: str
    engine: str | None = None
    command: str | None = None
    started: str | None = None
    finished: str | None = None
    interrupted: bool = False
    steps: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BatchState:
    """Everything that the report is made from.

    Attributes
    ----------
    out : Path
        The output folder, absolute.
    warnings : tuple of str
        What could not be read.
    """

    out: Path
    run: RunInfo
    units: tuple[UnitState, ...]
    warnings: tuple[str, ...] = ()

    def counts(self) -> dict[Status, int]:
        """Return the number of units in each status, all statuses present."""
        counts = dict.fromkeys(Status, 0)
        for unit in self.units:
            counts[unit.status] += 1
        return counts

    def incomplete(self) -> list[UnitState]:
        """Return the units that have no current result, in the plan's order."""
        return [unit for unit in self.units if not unit.complete]

    def metric_names(self) -> list[str]:
        """Return every metric's name, in the order first seen."""
        return list(dict.fromkeys(name for unit in self.units for name in unit.metrics))

    def step_names(self) -> list[str]:
        """Return the steps that took time: the plan's order, then others as first seen."""
        seen = dict.fromkeys(step for unit in self.units for step in unit.timings)
        planned = [step for step in self.run.steps if step in seen]
        return list(dict.fromkeys([*planned, *seen]))

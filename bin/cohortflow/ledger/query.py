"""Questions to the ledger: where a batch stands, what ran before."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, distinct, exists, func, select

from cohortflow.core import layout
from cohortflow.core.outcome import Category, Failure
from cohortflow.core.reporting.state import Status
from cohortflow.ledger.judged import RUNNING, WAITING
from cohortflow.ledger.models import Event, Run, Task, Unit
from cohortflow.ledger.write import table

Row = dict[str, Any]
STATES = (WAITING, RUNNING, *(str(state) for state in Status if state is not Status.SKIPPED))
PROBLEMS = ("invalid", "failed", "interrupted", "lost", "missing")
_RUNS, _UNITS, _TASKS, _EVENTS = (table(model) for model in (Run, Unit, Task, Event))
_HOLDER = re.compile(r"process (\d+) on (\S+)")


@dataclass(frozen=True)
class Standing:
    """Where a batch stands.

    Attributes
    ----------
    run : dict or None
        Row of `runs` of the latest run.
    going : bool
        Whether that run goes on.
    counts : dict
        Number of units in each state, all states present.
    steps : list of dict
        Per step of that run: ``step``, ``ended``, ``failed`` (attempts), ``seconds`` (mean).
    problems : list of dict
        Units without a current result that nothing is done about now.
    """

    run: Row | None
    going: bool
    counts: dict[str, int]
    steps: list[Row]
    problems: list[Row]

    @property
    def total(self) -> int:
        """Number of units."""
        return sum(self.counts.values())

    @property
    def how(self) -> str:
        """How the latest run stands: ``goes on``, ``finished``, ``interrupted`` or ``killed``."""
        return how(self.run, self.going) if self.run else "no run"


def how(run: Row, going: bool) -> str:
    """Return in a word or two how a run goes or ended."""
    if run["finished"] is not None:
        return "interrupted" if run["interrupted"] else "finished"
    return "goes on" if going else "killed"


def standing(connection: Connection, output: str, out: Path) -> Standing:
    """Tell where the batch of an output stands."""
    run = _latest(connection, output)
    states = (
        select(_UNITS.c.state, func.count())
        .where(_UNITS.c.output == output)
        .group_by(_UNITS.c.state)
    )
    found = {row[0]: row[1] for row in connection.execute(states)}
    columns = ("id", "state", "category", "step", "message", "remedy", "run")
    wrong = (
        select(*(_UNITS.c[name] for name in columns))
        .where(_UNITS.c.output == output, _UNITS.c.state.in_(PROBLEMS))
        .order_by(_UNITS.c.id)
    )
    return Standing(
        run=run,
        going=run is not None and run["finished"] is None and alive(out),
        counts={state: found.get(state, 0) for state in STATES},
        steps=_steps(connection, output, run) if run else [],
        problems=[dict(row) for row in connection.execute(wrong).mappings()],
    )


def _latest(connection: Connection, output: str) -> Row | None:
    newest = (
        select(_RUNS)
        .where(_RUNS.c.output == output)
        .order_by(_RUNS.c.started.desc().nulls_last(), _RUNS.c.id.desc())
        .limit(1)
    )
    row = connection.execute(newest).mappings().first()
    return dict(row) if row else None


def _steps(connection: Connection, output: str, run: Row) -> list[Row]:
    question = (
        select(
            _TASKS.c.step,
            func.sum(case((_TASKS.c.category.is_(None), 1), else_=0)).label("ended"),
            func.sum(case((_TASKS.c.category.is_not(None), 1), else_=0)).label("failed"),
            func.avg(_TASKS.c.seconds).label("seconds"),
        )
        .where(_TASKS.c.output == output, _TASKS.c.run == run["id"])
        .group_by(_TASKS.c.step)
    )
    found = {row["step"]: dict(row) for row in connection.execute(question).mappings()}
    order = dict.fromkeys([*run["steps"], "publish", *sorted(found)])
    steps = [found[step] for step in order if step in found]
    return [{**row, "ended": int(row["ended"]), "failed": int(row["failed"])} for row in steps]


def alive(out: Path) -> bool:
    """Tell whether the run that last held the output's lock may still go on.

    Only its own words are read: taking the lock to look would refuse a run that starts meanwhile.
    """
    try:
        told = _HOLDER.search(layout.hidden(out, "run.lock").read_text(encoding="utf-8"))
    except OSError:
        return True  # a run without front door takes no lock
    if told is None or told[2] != os.uname().nodename:
        return True
    try:
        os.kill(int(told[1]), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def history(connection: Connection, output: str, out: Path) -> list[Row]:
    """Return the runs of an output, the oldest first, with how their units ended.

    Each row holds the columns of `runs`, ``how``, and the number of units ``published`` and
    ``failed`` in that run.
    """
    good = _TASKS.c.category.is_(None) & (_TASKS.c.step == "publish")
    published = _units_per_run(connection, output, good)
    # A unit that failed once and was published by another attempt did not fail.
    other = _TASKS.alias()
    saved = exists().where(
        other.c.output == _TASKS.c.output,
        other.c.run == _TASKS.c.run,
        other.c.unit == _TASKS.c.unit,
        other.c.step == "publish",
        other.c.category.is_(None),
    )
    failed = _units_per_run(connection, output, _TASKS.c.category.is_not(None) & ~saved)
    runs = (
        select(_RUNS)
        .where(_RUNS.c.output == output)
        .order_by(_RUNS.c.started.nulls_first(), _RUNS.c.id)
    )
    rows = [dict(row) for row in connection.execute(runs).mappings()]
    here = alive(out)
    return [
        row
        | {"published": published.get(row["id"], 0), "failed": failed.get(row["id"], 0)}
        | {"how": how(row, here and row is rows[-1])}
        for row in rows
    ]


def _units_per_run(
    connection: Connection, output: str, wanted: ColumnElement[bool]
) -> dict[str, int]:
    """Count the units of each run that have a task of which something is true."""
    question = (
        select(_TASKS.c.run, func.count(distinct(_TASKS.c.unit)))
        .where(_TASKS.c.output == output, wanted)
        .group_by(_TASKS.c.run)
    )
    return {row[0]: row[1] for row in connection.execute(question)}


@dataclass(frozen=True)
class Past:
    """What happened to one unit.

    Attributes
    ----------
    unit : dict
        Row of `units`.
    decisions : list of dict
        Events ``planned``: what each run decided, when it was not to skip the unit.
    attempts : list of dict
        Rows of `tasks` of all runs, in order of time.
    """

    unit: Row
    decisions: list[Row]
    attempts: list[Row]


def past(connection: Connection, output: str, unit: str) -> Past:
    """Tell what happened to a unit in all runs.

    Raises
    ------
    Failure
        USAGE when the ledger does not know the unit.
    """
    found = connection.execute(
        select(_UNITS).where(_UNITS.c.output == output, _UNITS.c.id == unit)
    ).mappings()
    row = found.first()
    if row is None:
        raise Failure(
            Category.USAGE, f"no run knew a unit {unit!r}", "see the units in batch_summary.json"
        )
    events = (
        select(_EVENTS.c.run, _EVENTS.c.at, _EVENTS.c.category, _EVENTS.c.message)
        .where(_EVENTS.c.output == output, _EVENTS.c.unit == unit, _EVENTS.c.kind == "planned")
        .order_by(_EVENTS.c.at.nulls_first(), _EVENTS.c.run)
    )
    tasks = (
        select(*(column for column in _TASKS.c if column.name not in {"output", "unit"}))
        .where(_TASKS.c.output == output, _TASKS.c.unit == unit)
        .order_by(_TASKS.c.started.nulls_first(), _TASKS.c.run, _TASKS.c.attempt, _TASKS.c.step)
    )
    return Past(
        unit=_without(row, ("output", "marker_bytes", "marker_mtime_ns")),
        decisions=[dict(event) for event in connection.execute(events).mappings()],
        attempts=[dict(task) for task in connection.execute(tasks).mappings()],
    )


def _without(row: Any, names: Iterable[str]) -> Row:  # noqa: ANN401 - any mapping
    return {name: value for name, value in row.items() if name not in names}

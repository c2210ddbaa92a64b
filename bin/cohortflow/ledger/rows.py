"""Rows made from what a run wrote: pure functions of JSON values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cohortflow.core.marker import NAME as MARKER
from cohortflow.core.marker import Marker
from cohortflow.core.outcome import Category, category_of, one_line
from cohortflow.core.reporting import clean as cleaning
from cohortflow.core.reporting import judge, read
from cohortflow.core.reporting.state import RunInfo

Row = dict[str, Any]
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Scope:
    """What the rows of one run share.

    Attributes
    ----------
    output : str
        Value of the column ``output``.
    run : RunInfo
    clean : callable
        Makes a text fit to store: printable, without secrets.
    dataset : str
        Path of the study.
    """

    output: str
    run: RunInfo
    clean: cleaning.Clean
    dataset: str = ""


@dataclass(frozen=True)
class Published:
    """What a unit's folder says: columns of `units`, rows of `files` and `metrics`."""

    columns: Row
    files: list[Row]
    metrics: list[Row]


def moment(text: Any) -> datetime | None:  # noqa: ANN401 - any JSON value
    """Return an ISO time in UTC; None when it is not one."""
    found = judge.when(text if isinstance(text, str) else None)
    return None if found == judge.EPOCH else found.astimezone(UTC)


def run(scope: Scope, counts: dict[str, int]) -> Row:
    """Return the row of `runs`."""
    info = scope.run
    return {
        "output": scope.output,
        "id": info.id,
        "lane": scope.clean(info.lane),
        "dataset": one_line(cleaning.without_secrets(scope.dataset)),
        "generated_by": scope.clean(info.generated_by),
        "engine": scope.clean(info.engine or "") or None,
        "command": info.command,
        "parameters": info.parameters,
        "code": {scope.clean(k): scope.clean(v) for k, v in info.code.items()},
        "steps": [scope.clean(step) for step in info.steps],
        "started": moment(info.started),
        "finished": moment(info.finished),
        "interrupted": info.interrupted,
        "to_run": counts.get("run", 0),
        "skipped": counts.get("skip", 0),
        "invalid": counts.get("invalid", 0),
    }


def task(scope: Scope, value: Row) -> Row | None:
    """Return the row of `tasks` of a supervisor's record; None when it is not one."""
    unit, step = value.get("unit"), value.get("step")
    if not isinstance(unit, str) or not isinstance(step, str):
        return None
    status = whole(value.get("exit"))
    started, seconds = moment(value.get("started")), number(value.get("seconds"))

    def text(name: str) -> str | None:
        found = value.get(name)
        return scope.clean(found) or None if isinstance(found, str) else None

    return {
        "output": scope.output,
        "run": scope.run.id,
        "unit": scope.clean(unit),
        "step": scope.clean(step),
        "attempt": whole(value.get("attempt")) or 1,
        "exit": status,
        "category": _category(value.get("category"), status),
        "started": started,
        "finished": _later(started, seconds),
        "seconds": seconds,
        "peak_memory_bytes": whole(value.get("peak_memory_bytes")),
        **{name: text(name) for name in ("work", "command", "message", "remedy")},
    }


def _category(given: Any, status: int | None) -> str | None:  # noqa: ANN401 - any JSON value
    try:
        found = Category(given) if given else category_of(status)
    except ValueError:
        found = Category.SOFTWARE
    return found.value if found else None


def _later(started: datetime | None, seconds: float | None) -> datetime | None:
    try:
        return started + timedelta(seconds=seconds or 0) if started else None
    except OverflowError:
        return None


def task_events(task: Row) -> Iterator[Row]:
    """Yield the events of a task: that it started, and how it ended."""
    key = {name: task[name] for name in ("output", "run", "unit", "step", "attempt")}
    yield key | _event("task started", task["started"])
    kind = "task failed" if task["category"] else "task ended"
    yield key | _event(kind, task["finished"], task["category"], task["message"])


def run_events(run: Row) -> Iterator[Row]:
    """Yield the events of a run."""
    key = {"output": run["output"], "run": run["id"], "unit": "", "step": "", "attempt": 0}
    yield key | _event("run started", run["started"])
    if run["finished"] is not None:
        kind = "run interrupted" if run["interrupted"] else "run finished"
        yield key | _event(kind, run["finished"])


def planned_event(scope: Scope, unit: Row) -> Row:
    """Return the event that a run decided something about a unit."""
    reason = f"{unit['decision']}: {unit['reason']}"
    detail = f" ({unit['detail']})" if unit["detail"] else ""
    key = {"output": scope.output, "run": scope.run.id, "unit": unit["id"]}
    more = _event("planned", unit["run_started"], unit["category"], f"{reason}{detail}")
    return key | {"step": "", "attempt": 0} | more


def _event(
    kind: str, at: datetime | None, category: str | None = None, message: str | None = None
) -> Row:
    return {"kind": kind, "at": at, "category": category, "message": message}


def planned(scope: Scope, value: Row) -> Row | None:
    """Return the part of a row of `units` that a line of the plan says; None for another line."""
    unit = value.get("unit")
    if not isinstance(unit, dict) or not isinstance(unit.get("id"), str):
        return None
    decision = str(value.get("decision") or "run")
    excluded = unit.get("excluded") if decision == "invalid" else None
    excluded = excluded if isinstance(excluded, dict) else {}
    entities = unit.get("entities")

    def text(found: Any) -> str | None:  # noqa: ANN401 - any JSON value
        return scope.clean(found).replace("\n", " ") or None if isinstance(found, str) else None

    return {
        "output": scope.output,
        "id": scope.clean(unit["id"]),
        "folder": scope.clean(str(unit.get("folder") or unit["id"])),
        "entities": {
            scope.clean(str(k)): scope.clean(str(v))
            for k, v in (entities if isinstance(entities, dict) else {}).items()
        },
        "run": scope.run.id,
        "run_started": moment(scope.run.started),
        "decision": scope.clean(decision),
        "reason": text(value.get("reason")),
        "detail": text(value.get("detail")),
        "category": _category(excluded.get("category"), 0),
        "message": text(excluded.get("message")),
        "remedy": text(excluded.get("remedy")),
    }


def published(scope: Scope, folder: Path, unit: str, stat: tuple[int, int]) -> Published:
    """Read a unit's marker and metrics.

    Parameters
    ----------
    scope : Scope
    folder : Path
        The unit's folder.
    unit : str
        Whose marker it must be.
    stat : (int, int)
        Size and time (ns) of the marker.
    """
    facts: Row = {**nothing_published(), "marker_bytes": stat[0], "marker_mtime_ns": stat[1]}
    try:
        marker = Marker.model_validate_json((folder / MARKER).read_bytes())
    except ValidationError as error:
        damage = scope.clean(f"{MARKER} cannot be read: {error.errors()[0]['msg']}")
        return Published(facts | {"damage": damage}, [], [])
    if scope.clean(marker.unit) != unit:
        damage = scope.clean(f"{MARKER} is of unit {marker.unit}")
        return Published(facts | {"damage": damage}, [], [])
    key = {"output": scope.output, "unit": unit}
    facts |= {
        "published_run": scope.clean(marker.run),
        "published": moment(marker.finished),
        "pipeline_version": scope.clean(marker.pipeline_version),
        "seconds": number(round(sum(marker.timings.values()), 3)),
    }
    files = [
        {
            **key,
            "path": scope.clean(o.path),
            "bytes": whole(o.bytes),
            "sha256": scope.clean(o.sha256),
        }
        for o in marker.outputs
    ]
    values = read.metrics(folder, scope.clean)
    metrics = [
        {
            **key,
            "name": name,
            "number": None if isinstance(value, str) else number(value),
            "text": value if isinstance(value, str) else None,
        }
        for name, value in values.items()
    ]
    return Published(facts, files, metrics)


def nothing_published() -> Row:
    """Return the columns of `units` of a unit without a marker."""
    names = ("published_run", "published", "pipeline_version", "seconds", "damage")
    return dict.fromkeys((*names, "marker_bytes", "marker_mtime_ns"))


def whole(value: Any) -> int | None:  # noqa: ANN401 - any JSON value
    """Return a whole number that a database can hold, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if abs(value) <= _LARGEST else None


def number(value: Any) -> float | None:  # noqa: ANN401 - any JSON value
    """Return a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if abs(found) < float("inf") else None

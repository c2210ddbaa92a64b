"""Where a unit stands: the report's own rules, asked with rows of the ledger."""

from __future__ import annotations

from cohortflow.core.marker import Marker
from cohortflow.core.outcome import Category
from cohortflow.core.reporting import judge
from cohortflow.core.reporting.state import COMPLETE, Attempt, Verdict
from cohortflow.ledger.rows import Row, Scope

WAITING, RUNNING = "waiting", "running"


def judged(scope: Scope, unit: Row, tasks: list[Row]) -> Row:
    """Return state, category, step, message and remedy of a planned unit.

    Parameters
    ----------
    scope : Scope
    unit : dict
        Row of `units`, with what is published.
    tasks : list of dict
        The run's rows of `tasks` of this unit, in order of time.
    """
    if unit["decision"] == "invalid":
        remedy = unit["remedy"] or judge.excluded(None).remedy
        category = unit["category"] or Category.DATA_INVALID.value
        return {"state": "invalid", "category": category, "step": None, "remedy": remedy}
    found = _verdict(scope, unit, tasks)
    none = dict.fromkeys(("category", "step", "message", "remedy"))
    if found.status in COMPLETE:
        return {**none, "state": "done"}
    last = {task["step"]: task["category"] for task in tasks}
    if scope.run.finished is None and unit["decision"] == "run" and not any(last.values()):
        return {**none, "state": RUNNING if tasks else WAITING}
    return {
        "state": str(found.status),
        "category": found.category.value if found.category else None,
        "step": found.step,
        "message": found.message,
        "remedy": found.remedy,
    }


def _verdict(scope: Scope, unit: Row, tasks: list[Row]) -> Verdict:
    marker: Marker | str | None = unit["damage"]
    if unit["published_run"] is not None:
        marker = Marker.model_construct(run=unit["published_run"])
    attempts = tuple(
        Attempt(
            step=task["step"],
            number=task["attempt"],
            exit=task["exit"],
            category=Category(task["category"]) if task["category"] else None,
            started=task["started"].isoformat() if task["started"] else "",
            seconds=task["seconds"],
            peak_memory_bytes=task["peak_memory_bytes"],
            command="",
            message=task["message"] or "",
            remedy=task["remedy"] or "",
            log="",
        )
        for task in tasks
    )
    return judge.verdict(unit["decision"], unit["reason"] or "", marker, attempts, scope.run)

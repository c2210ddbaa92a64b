"""Where a unit stands, decided from its plan line, marker and records: one table."""

from __future__ import annotations

from datetime import UTC, datetime

from cohortflow.core.manifest import Excluded
from cohortflow.core.marker import Marker
from cohortflow.core.outcome import OUTCOMES, Category
from cohortflow.core.plan import BEYOND
from cohortflow.core.reporting.state import Attempt, RunInfo, Status, Verdict

EPOCH = datetime.fromtimestamp(0, UTC)


def when(text: str | None) -> datetime:
    """Return an ISO time with its zone (UTC when it has none); the epoch when it is unreadable."""
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return EPOCH
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def excluded(reason: Excluded | None) -> Verdict:
    """Return the verdict on a unit that never ran."""
    if reason is None:
        reason = Excluded(category=Category.DATA_INVALID, message="the plan excluded this unit")
    remedy = reason.remedy or OUTCOMES[reason.category].remedy
    return Verdict(Status.INVALID, reason.category, reason.message, remedy)


def verdict(
    decision: str,
    reason: str,
    marker: Marker | str | None,
    attempts: tuple[Attempt, ...],
    run: RunInfo,
) -> Verdict:
    """Decide a planned unit's status.

    Parameters
    ----------
    decision : str
        ``run`` or ``skip``, the plan's.
    reason : str
        The plan's.
    marker : Marker, str or None
        The unit's completion marker as found now; a text says what is wrong with it.
    attempts : tuple of Attempt
        This run's records of the unit, in order of time.
    run : RunInfo
    """
    last = {attempt.step: attempt for attempt in attempts}
    if isinstance(marker, Marker):
        published = last.get("publish")
        if marker.run == run.id or (published is not None and published.category is None):
            return Verdict(Status.DONE)
        if decision == "skip" and reason != BEYOND:
            return Verdict(Status.SKIPPED)
    failed = [attempt for attempt in last.values() if attempt.category is not None]
    if failed:
        return _failed(max(failed, key=lambda attempt: when(attempt.started)), run)
    if reason == BEYOND:
        message, remedy = "left out by --limit", "run again without --limit"
        return Verdict(Status.MISSING, None, message, remedy)
    if isinstance(marker, str):
        return damaged(marker)
    return _nothing(decision, attempts, run)


def damaged(reason: str) -> Verdict:
    """Return the verdict on a unit whose marker or published files are not whole."""
    return Verdict(
        Status.FAILED,
        Category.SOFTWARE,
        f"the published unit is damaged: {reason}",
        "run again: the unit is made again",
        "publish",
    )


def status_of(category: Category) -> Status:
    """Return the status of a unit that a step of this category ended."""
    special = {
        Category.INTERRUPTED: Status.INTERRUPTED,
        Category.LOST: Status.LOST,
        # The input is at fault, whether discovery or a step found it.
        Category.DATA_INVALID: Status.INVALID,
        Category.INPUT_MISSING: Status.INVALID,
    }
    return special.get(category, Status.FAILED)


def _failed(attempt: Attempt, run: RunInfo) -> Verdict:
    category = attempt.category or Category.SOFTWARE
    if category is Category.LOST and run.interrupted:
        category = Category.INTERRUPTED
    how = f"exit status {attempt.exit}" if attempt.exit is not None else "no exit status"
    if category is Category.INTERRUPTED:
        how = "the run was stopped"
    return Verdict(
        status_of(category),
        category,
        attempt.message or f"{attempt.step} ended: {how}",
        attempt.remedy or OUTCOMES[category].remedy,
        attempt.step,
    )


def _nothing(decision: str, attempts: tuple[Attempt, ...], run: RunInfo) -> Verdict:
    """Judge a unit of which no failure is known, but which is not published either."""
    step = attempts[-1].step if attempts else None
    if run.interrupted:
        policy = OUTCOMES[Category.INTERRUPTED]
        return Verdict(
            Status.INTERRUPTED,
            Category.INTERRUPTED,
            "the run was stopped before the unit was done",
            policy.remedy,
            step,
        )
    remedy = OUTCOMES[Category.LOST].remedy
    if attempts:
        message = f"{step} ended well, but the unit was not published"
        return Verdict(Status.LOST, Category.LOST, message, remedy, step)
    message = (
        "it was complete when the run was planned; its marker is gone now"
        if decision == "skip"
        else "planned, but the run holds no record of it"
    )
    return Verdict(Status.MISSING, None, message, remedy)

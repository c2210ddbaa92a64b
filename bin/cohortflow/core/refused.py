"""Pictures of what was refused: a step leaves one in its task's folder, the plan draws others."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from cohortflow.core import failed, layout, names, save
from cohortflow.core.lanes import Lane
from cohortflow.core.manifest import Unit
from cohortflow.core.outcome import Failure

NAME = "refused.png"
"""Its name where it is kept with the log of a failed attempt."""
LEFT = "*-refused.png"
"""Its name in a task's folder: beside the folder that the step did not make."""
MOST_BYTES = 5 * 2**20
MOST_DRAWN = 200
"""As many units that need attention have a section in the report."""
_PNG = b"\x89PNG\r\n\x1a\n"


def read(path: Path) -> bytes | None:
    """Return a picture; None for what is no regular PNG file of at most `MOST_BYTES`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(MOST_BYTES + 1)
    return content if _fits(content) else None


def _fits(content: bytes) -> bool:
    return content.startswith(_PNG) and len(content) <= MOST_BYTES


def of_task(folder: Path) -> Path | None:
    """Return the picture that a step left in its task's folder; the first of several."""
    return next((path for path in sorted(folder.glob(LEFT)) if read(path)), None)


def draw(lane: Lane, dataset: Path, units: Iterable[Unit], folder: Path) -> None:
    """Let a lane draw the units that its discovery refused, into a run's folder.

    Parameters
    ----------
    lane : Lane
    dataset : Path
        The study.
    units : iterable of Unit
        Those of the plan; the first `MOST_DRAWN` that the lane can draw are drawn.
    folder : Path
        The run's folder.

    Raises
    ------
    OSError
        When a picture cannot be written.
    """
    left = MOST_DRAWN
    for unit in units if lane.picture else ():
        if unit.excluded is None or not left or not _named(unit.id):
            continue
        content = _drawn(lane, unit, dataset)
        if content is not None and _fits(content):
            path = folder / "refused" / f"{unit.id}.png"
            path.parent.mkdir(exist_ok=True)
            save.write_bytes(path, content)
            left -= 1


def _drawn(lane: Lane, unit: Unit, dataset: Path) -> bytes | None:
    """Let a lane draw a unit; what cannot be drawn stays undrawn, and the run goes on."""
    try:
        return lane.picture(unit, dataset) if lane.picture else None
    except (Failure, OSError, ValueError, ImportError):
        return None


def _named(unit: str) -> bool:
    """Tell whether a unit's id can be a file's name; of a refused unit it may be anything."""
    try:
        return bool(names.name(unit))
    except Failure:
        return False


def find(out: Path, run: str, unit: str, *, step: str | None, message: str) -> Path | None:
    """Return the picture that belongs to what a run says of a unit; None when there is none.

    Parameters
    ----------
    out : Path
        The output folder.
    run, unit : str
        Their ids.
    step : str or None
        The step that failed in this run; None for a unit of which nothing ran.
    message : str
        Why nothing ran: where an earlier failure is the reason, its picture is returned.
    """
    if not _named(unit):
        return None
    at_plan = layout.run_folder(out, run) / "refused" / f"{unit}.png"
    if step is None and at_plan.is_file():
        return at_plan
    for folder, verdict in failed.attempts(out, unit):
        of_run = (verdict.run, verdict.step) == (run, step)
        if of_run if step is not None else verdict.message == message:
            path = folder / NAME
            return path if path.is_file() else None
    return None

"""What Nextflow's own files tell of a task whose supervisor left nothing, or never started."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_EXPORT = re.compile(r"^ *export COHORTFLOW_([A-Z]+)='((?:[^']|'\\'')*)'$", re.MULTILINE)


def task(folder: Path) -> dict[str, Any] | None:
    """Describe a task that began, ended or was refused without a supervisor's record.

    Parameters
    ----------
    folder : Path
        The task's folder.

    Returns
    -------
    dict or None
        As a supervisor's record, with ``reason`` ``start`` when it could not be started, and
        ``refused``, the scheduler's words. None for a task that waits.
    """
    said, status = _exported(folder), _status(folder)
    refused = said.get("REFUSED", "")
    if status is None and not refused and not (folder / ".command.begin").exists():
        return None
    try:
        return {
            "run": said["RUN"],
            "unit": said["UNIT"],
            "step": said["STEP"].rpartition(":")[2].partition("_")[2].lower(),
            "attempt": int(said["ATTEMPT"]),
            "exit": status,
            "reason": "start" if status else "refused" if refused else "",
            "refused": refused,
            "started": _written(folder),
            "seconds": 0.0,
            "peak_memory_bytes": 0,
        }
    except (KeyError, ValueError, OSError):
        return None


def refusal(folder: Path) -> str:
    """Return the words of the scheduler that refused the attempt before this one."""
    return _exported(folder).get("REFUSED", "")


def _exported(folder: Path) -> dict[str, str]:
    """Return the supervisor's variables that Nextflow wrote into the task's script."""
    try:
        text = (folder / ".command.run").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return {name: value.replace(r"'\''", "'") for name, value in _EXPORT.findall(text)}


def _written(folder: Path) -> str:
    written = (folder / ".command.run").stat().st_mtime
    return datetime.fromtimestamp(written, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _status(folder: Path) -> int | None:
    try:
        return int((folder / ".exitcode").read_text())
    except (OSError, ValueError):
        return None

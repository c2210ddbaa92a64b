"""Why Nextflow stopped by itself: one line where the cause is known, else its own last words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cohortflow.core.outcome import Category, Failure

_REFUSED = "to grid scheduler for execution"
_VANISHED = "terminated for an unknown reason"
_TOLD = re.compile(r"^ *(?:\w+: error: .*|ERROR [A-Z_]+ .*)$")
_ENGINE = re.compile(r"\b(podman|docker|ch-run|apptainer)\b.*not found")
_LAST = 12


def why(lines: Sequence[str], work: Path) -> str:
    """Explain the end of a run that Nextflow ended before its time.

    Parameters
    ----------
    lines : sequence of str
        What Nextflow printed last.
    work : Path
        Its work folder.

    Returns
    -------
    str
        One line, or Nextflow's last lines.
    """
    text = "\n".join(lines)
    told = "; ".join(dict.fromkeys(line.strip() for line in lines if _TOLD.match(line)))
    if _REFUSED in text:
        return Failure(
            Category.CONFIG,
            f"the scheduler refuses a task: {told or _tail(lines)}",
            "correct the queue, the account or the limits of the profile",
        ).line()
    if "CORE_PROBE" in text and _VANISHED in text:
        return Failure(
            Category.CONFIG,
            f"no node of the cluster sees the work folder {work}",
            "choose one that all nodes share with --work-dir",
        ).line()
    said = _tail(lines)
    if "CORE_PROBE" in text and (re.search(r"exit status:\s+125", text) or _ENGINE.search(said)):
        return Failure(
            Category.CONFIG,
            f"a node of the cluster cannot start the container: {said}",
            "install the runtime and load the image on every node",
        ).line()
    if "CORE_PROBE" in text and re.search(r"exit status:\s+127", text):
        return Failure(
            Category.CONFIG,
            f"a node of the cluster does not find the tools or their Python: {said}",
            "install cohortflow in a folder that all nodes see, or use a container profile",
        ).line()
    if "CORE_PROBE" in text and told.startswith("ERROR "):
        return told
    return "\n".join(lines[-_LAST:])


def _tail(lines: Sequence[str]) -> str:
    """Return what a command wrote, from Nextflow's account of it."""
    for number, line in enumerate(lines):
        if line.startswith(("Command error:", "Command wrapper:")):
            words = (word.strip() for word in lines[number + 1 :])
            return next((word for word in words if word), "no words")
    return "no words"

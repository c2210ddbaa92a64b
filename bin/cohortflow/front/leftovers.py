"""Find and end processes of a run by its own label, the variable ``COHORTFLOW_RUN``."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection, Iterator
from pathlib import Path

LABEL = b"COHORTFLOW_RUN="
# Podman keeps one such process for all containers of a user; it may be a step that started it.
SHARED = (b"catatonit\0-P", b"podman\0pause", b"podman pause")


def processes(runs: Collection[str]) -> Iterator[int]:
    """Yield the processes of this user on this machine that carry the label of a run.

    Parameters
    ----------
    runs : collection of str
        Run ids; a process of any other run, or of none, is never yielded.
    """
    wanted = {LABEL + run.encode() for run in runs}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue  # another user's, or gone
        if not wanted.isdisjoint(variables) and not command.startswith(SHARED):
            yield int(folder.name)


def gone(runs: Collection[str], seconds: float) -> bool:
    """Wait until no process of some runs is left, or the time is over; return whether none is."""
    deadline = time.monotonic() + seconds
    while any(processes(runs)):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.2)
    return True


def end(runs: Collection[str], grace: float) -> int:
    """End all processes of some runs: SIGTERM, a grace, then SIGKILL until none is left.

    The supervisors among them give their steps the same grace.

    Returns
    -------
    int
        How many were found at first.
    """
    found = _send(runs, signal.SIGTERM) if grace > 0 else 0
    if found and gone(runs, grace):
        return found
    killed = _send(runs, signal.SIGKILL)
    while not gone(runs, 1.0):
        _send(runs, signal.SIGKILL)
    return max(found, killed)


def ask(runs: Collection[str]) -> None:
    """Send SIGTERM to all processes of some runs."""
    _send(runs, signal.SIGTERM)


def _send(runs: Collection[str], number: int) -> int:
    count = 0
    for pid in processes(runs):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
            count += 1
    return count

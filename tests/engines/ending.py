"""End every process that was started for a cluster, once whoever started it is gone.

Run as a program with the path of a slurm.conf and of a folder to remove: waits until standard input
ends, which it does when a test ends its cluster, and also when the test's own process is killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

PATIENCE = 20.0


def started_for(conf: str) -> list[int]:
    """Return the processes that carry this SLURM_CONF: daemons, steps, jobs and commands."""
    mark = b"SLURM_CONF=" + conf.encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return found


def end(conf: str) -> None:
    """Kill them until none is left: a daemon may start another one in between."""
    until = time.monotonic() + PATIENCE
    while (found := started_for(conf)) and time.monotonic() < until:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


if __name__ == "__main__":
    sys.stdin.read()
    end(sys.argv[1])
    shutil.rmtree(sys.argv[2], ignore_errors=True)

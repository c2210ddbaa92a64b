"""Starts `core-supervise` in a folder and looks at what it leaves."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cohortflow.core import supervise

# A grandchild in a session of its own that ignores SIGTERM: what plain `kill` does not end.
STUBBORN = """
setsid bash -c 'trap "" TERM HUP INT; echo $$ > stubborn; while :; do sleep 0.1; done' &
while [ ! -s stubborn ]; do sleep 0.02; done
"""


class Bench:
    """A folder and the tool that is started in it."""

    def __init__(self, tool: Path, folder: Path, environment: dict[str, str]) -> None:
        self.tool, self.folder, self.environment = tool, folder, environment

    def start(self, *command: str, limits: dict[str, str] | None = None, **more: Any) -> Any:
        names = {
            "COHORTFLOW_RUN": "run-1",
            "COHORTFLOW_UNIT": "sub-01",
            "COHORTFLOW_STEP": "DWI:DWI_MASK",
            "COHORTFLOW_ATTEMPT": "2",
            "COHORTFLOW_GRACE": "0.5",
        }
        return subprocess.Popen(
            [sys.executable, "-SE", str(self.tool), *command],
            cwd=self.folder,
            env={**self.environment, **names, **(limits or {})},
            **more,
        )

    def shell(self, script: str, **more: Any) -> Any:
        return self.start("bash", "-c", script, **more)

    def record(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.folder / supervise.RECORD).read_text())
        return value

    def wait_for(self, name: str) -> str:
        """Wait until a file has content; return it."""
        path = self.folder / name
        until(lambda: path.exists() and path.read_text().endswith("\n"))
        return path.read_text().strip()


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def alive(pid: str) -> bool:
    """Tell whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False

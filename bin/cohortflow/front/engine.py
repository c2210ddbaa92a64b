"""Start Nextflow, follow what it prints, and end it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cohortflow.core.fingerprint import PACKAGE
from cohortflow.core.outcome import Category, Failure
from cohortflow.front import tether

_TASK = re.compile(
    r"^\[(?P<work>[0-9a-f]{2}/[0-9a-f]{6})\] (?P<what>Submitted|Re-submitted|Cached) process > "
    r"(?P<process>\S+)(?: \((?P<tag>.+)\))?$"
)
_NOTE = re.compile(r"^\[(?P<work>[0-9a-f]{2}/[0-9a-f]{6})\] NOTE: .*-- (?P<then>.+)$")
_VERSION = re.compile(r"version (\S+)")


@dataclass(frozen=True)
class Event:
    """Something Nextflow said: a task was submitted, was cached, or failed.

    Attributes
    ----------
    what : str
        ``submitted``, ``cached``, ``failed``, ``retried``, ``version`` or ``text``.
    work : str
        The task's folder, as far as Nextflow names it.
    step : str
        The step's name in lower case, for example ``convert``.
    unit : str
    text : str
        The line itself.
    """

    what: str
    work: str = ""
    step: str = ""
    unit: str = ""
    text: str = ""


def pipeline() -> Path:
    """Return the pipeline's main.nf: of the checkout, else the installed copy.

    Raises
    ------
    Failure
        CONFIG when there is none.
    """
    checkout = PACKAGE.parent.parent / "main.nf"
    installed = Path(sysconfig.get_path("data"), "share", "cohortflow", "main.nf")
    for path in (checkout, installed):
        if path.is_file():
            return path
    raise Failure(Category.CONFIG, "main.nf is not beside the package", "install cohortflow again")


def nextflow() -> str:
    """Return the path of the `nextflow` to use.

    Raises
    ------
    Failure
        CONFIG when there is none.
    """
    found = shutil.which("nextflow", path=search_path())
    if found is None:
        raise Failure(Category.CONFIG, "Nextflow is not installed", "run `make setup`")
    return found


def search_path() -> str:
    """Return PATH with this Python's own folder first, so that tasks find the tools' Python."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def start(
    arguments: Sequence[str], launch: Path, keep_open: Sequence[int]
) -> subprocess.Popen[str]:
    """Start Nextflow in its own session, so that a terminal's Ctrl-C reaches us alone.

    It gets SIGTERM when we die, and ends its tasks then.

    Parameters
    ----------
    arguments : sequence of str
        What follows ``nextflow``.
    launch : Path
        Launch folder; holds Nextflow's cache.
    keep_open : sequence of int
        Descriptors that Nextflow inherits (the output's lock).
    """
    launch.mkdir(parents=True, exist_ok=True)
    environment = {**_utf8(os.environ), "PATH": search_path(), "NXF_ANSI_LOG": "false"}
    return subprocess.Popen(
        [sys.executable, tether.__file__, nextflow(), *arguments],
        cwd=launch,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
        pass_fds=tuple(keep_open),
    )


def _utf8(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment whose locale is UTF-8: Java takes file names by it."""
    given = dict(environment)
    name = given.get("LC_ALL") or given.get("LC_CTYPE") or given.get("LANG") or ""
    if not re.search(r"utf-?8", name, re.IGNORECASE):
        given |= {"LC_ALL": "C.UTF-8"}
    return given


def events(process: subprocess.Popen[str]) -> Iterator[Event]:
    """Yield what Nextflow says until it ends."""
    if process.stdout is None:
        return
    for line in process.stdout:
        yield parse(line.rstrip("\n"))


def parse(line: str) -> Event:
    """Understand one line of Nextflow's output."""
    if task := _TASK.match(line):
        what = "cached" if task["what"] == "Cached" else "submitted"
        step = task["process"].rpartition(":")[2].partition("_")[2].lower()
        return Event(what, task["work"], step, task["tag"] or "", line)
    if note := _NOTE.match(line):
        what = "retried" if "retr" in note["then"].lower() else "failed"
        return Event(what, note["work"], text=line)
    if "N E X T F L O W" in line and (version := _VERSION.search(line)):
        return Event("version", text=version[1])
    return Event("text", text=line)


def end(process: subprocess.Popen[str], number: int) -> None:
    """Ask Nextflow to end (it ends its tasks), or kill it on SIGKILL."""
    if process.poll() is None:
        process.send_signal(number if number == signal.SIGKILL else signal.SIGTERM)

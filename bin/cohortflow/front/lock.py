"""The output's lock: one run at a time writes to an output folder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cohortflow.core import layout, runs
from cohortflow.core.outcome import Category, Failure


@dataclass(frozen=True)
class Held:
    """The lock while we hold it; ``waited`` when another run had it before."""

    file: IO[str]
    waited: bool


@contextmanager
def output(out: Path, wait: bool, say: Callable[[str], object]) -> Iterator[Held]:
    """Hold the output's lock; flock alone decides, what is written inside informs.

    Parameters
    ----------
    out : Path
    wait : bool
        Wait for the run that holds it, instead of refusing.
    say : callable
        Is told once, in one line, whom we wait for.

    Raises
    ------
    Failure
        TEMPORARY when another run holds it and we do not wait; CONFIG when flock does not work
        on this filesystem.
    """
    path = layout.hidden(out, "run.lock")
    with path.open("a+", encoding="utf-8") as file:
        waited = _take(file, out, wait, say)
        _probe(path)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename} since {runs.now()}")
        file.flush()
        yield Held(file, waited)


def _take(file: IO[str], out: Path, wait: bool, say: Callable[[str], object]) -> bool:
    """Take the lock; return whether we had to wait for it."""
    told = False
    while not _locked(file, out):
        file.seek(0)
        holder = f"another run holds {out} ({file.read().strip() or 'unknown'})"
        if not wait:
            raise Failure(
                Category.TEMPORARY, holder, "wait for it to end (--wait), or name another output"
            )
        if not told:
            say(f"{holder}: waiting for it to end")
            told = True
        time.sleep(1)
    return told


def _locked(file: IO[str], out: Path) -> bool:
    """Try to take the lock; return whether it is ours."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise _useless(out, error.strerror or str(error)) from None
    return True


def _probe(path: Path) -> None:
    """Make sure that the lock excludes: a second descriptor must not get it.

    Raises
    ------
    Failure
        CONFIG when it does: the filesystem accepts flock and does nothing.
    """
    with path.open("a+", encoding="utf-8") as second:
        if _locked(second, path.parent.parent):
            raise _useless(path.parent.parent, "two can hold one lock")


def _useless(out: Path, reason: str) -> Failure:
    return Failure(
        Category.CONFIG,
        f"file locks do not work in {out} ({reason}): two runs could overwrite each other",
        "name an output on a filesystem with flock, for example mount NFS without nolock",
    )

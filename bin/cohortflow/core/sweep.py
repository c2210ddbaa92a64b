"""End what earlier runs of an output left in container engines and in Slurm, and nobody else's.

Whose a container or job is stands on it. Containers carry the labels ``cohortflow.out``,
``cohortflow.run`` and ``cohortflow.engine`` (host and process id of the run's Nextflow); jobs the
comment ``cohortflow:<out>:<run>:<host>:<pid>``. Jobs of other schedulers carry no such mark: they
are not looked for, and end at their own limits.

Needs nothing but the standard library of Python 3.8, as a cluster's head node has it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

#: Where is looked, jobs first: a job that is cancelled may leave its container on this machine.
KINDS = ("slurm", "podman", "docker")

_LABELS = ("cohortflow.out", "cohortflow.engine", "cohortflow.run")
_FORMATS = {
    "podman": "|".join(["{{.ID}}", *(f'{{{{index .Labels "{name}"}}}}' for name in _LABELS)]),
    "docker": "|".join(["{{.ID}}", *(f'{{{{.Label "{name}"}}}}' for name in _LABELS)]),
}
_PROGRAMS = {"slurm": "squeue", "podman": "podman", "docker": "docker"}
_NOUNS = {"slurm": "job", "podman": "container", "docker": "container"}
_LOOK = {"slurm": "squeue --jobs=", "podman": "podman inspect ", "docker": "docker inspect "}
# What a user set for these commands would hide jobs, or make them ask.
_HABITS = ("SQUEUE_", "SCANCEL_")


@dataclass(frozen=True)
class Patience:
    """Seconds: for one answer, between SIGTERM and SIGKILL, and until all have ended.

    Slurm itself gives a job 30 s or more to end.
    """

    answer: float = 30
    grace: float = 10
    end: float = 90


@dataclass(frozen=True)
class Owner:
    """Whose a container or job is; ``pid`` is 0 when its mark cannot be read."""

    run: str
    host: str
    pid: int


@dataclass(frozen=True)
class Swept:
    """What was found.

    Attributes
    ----------
    ended : dict of str to int
        How many containers and jobs were ended, by kind; would be, in a dry run.
    left : tuple of str
        One line each run whose containers or jobs were left alone because nobody here can tell
        whether it is over.
    silent : tuple of str
        One line each engine that is installed and does not answer.
    stuck : dict of str to list of str
        By kind, what should have ended and did not.
    """

    ended: dict[str, int] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    stuck: dict[str, list[str]] = field(default_factory=dict)

    def line(self) -> str:
        """Say in one line what was ended; nothing when nothing was."""
        parts = [_count(n, kind) for kind, n in self.ended.items() if n]
        return f"ended {' and '.join(parts)} that an earlier run left" if parts else ""

    def lines(self) -> list[str]:
        """Say all that a user should know, but for what is stuck."""
        return [line for line in (self.line(), *self.left, *self.silent) if line]

    def trouble(self) -> tuple[str, str]:
        """Say what is stuck, and what to do about it."""
        what = " and ".join(_count(len(ids), kind) for kind, ids in self.stuck.items())
        looks = " and ".join(f"`{_LOOK[kind]}{ids[0]}`" for kind, ids in self.stuck.items())
        return (
            f"{what} that an earlier run left will not end, and may still write",
            f"see {looks}, and run again when none is left",
        )


class SilentError(Exception):
    """A program does not answer; the message says why."""


def label(out: Path | str) -> str:
    """Return the name of an output folder on containers and jobs: 16 hexadecimal digits.

    Examples
    --------
    >>> label("/data/out") == label("/data/study/../out/")
    True
    >>> len(label("/data/out"))
    16
    """
    return hashlib.sha256(os.fsencode(os.path.abspath(out))).hexdigest()[:16]  # noqa: PTH100


def sweep(
    out: Path | str,
    dead: Collection[str] = (),
    kinds: Collection[str] = KINDS,
    *,
    dry_run: bool = False,
    patience: Patience = Patience(),
) -> Swept:
    """End the containers and jobs of an output's runs that are over, and see that they are gone.

    Parameters
    ----------
    out, dead, kinds, dry_run, patience
        As `try_sweep` takes them.

    Raises
    ------
    Failure
        When something that should end does not.
    """
    swept = try_sweep(out, dead, kinds, dry_run=dry_run, patience=patience)
    if swept.stuck:
        from cohortflow.core.outcome import Category, Failure  # of a newer Python

        raise Failure(Category.TEMPORARY, *swept.trouble())
    return swept


def try_sweep(
    out: Path | str,
    dead: Collection[str] = (),
    kinds: Collection[str] = KINDS,
    *,
    dry_run: bool = False,
    patience: Patience = Patience(),
) -> Swept:
    """Do what `sweep` does, and tell what would not end.

    A run is over when it is in `dead`, or when its Nextflow ran on this machine and is gone. A run
    whose Nextflow works here is never touched, nor is any other output's.

    Parameters
    ----------
    out : Path or str
        The output folder.
    dead : collection of str
        Runs that are known to be over, wherever their Nextflow ran. Who holds the output's lock
        knows it of all earlier runs.
    kinds : collection of str
        Some of `KINDS`; what is not installed is not asked.
    dry_run : bool
        Find, end nothing.
    patience : Patience
    """
    mark, ended, stuck = label(out), {}, {}
    left: list[str] = []
    silent: list[str] = []
    for kind in (kind for kind in KINDS if kind in kinds and shutil.which(_PROGRAMS[kind])):
        try:
            found = _find(kind, mark, patience.answer)
        except SilentError as error:
            silent.append(f"{kind} does not answer, so nothing was ended there: {error}")
            continue
        fates = {one: _fate(owner, dead) for one, owner in found.items()}
        over = {one for one, fate in fates.items() if fate == "over"}
        left += _left(kind, [found[one] for one, fate in fates.items() if fate == "unknown"])
        remaining = set() if dry_run else _end(kind, mark, over, patience)
        ended[kind] = len(over - remaining)
        if remaining:
            stuck[kind] = sorted(remaining)
    return Swept(ended, tuple(left), tuple(silent), stuck)


def _fate(owner: Owner, dead: Collection[str]) -> str:
    """Tell whether a run is ``over``, ``alive`` or, as seen from here, ``unknown``."""
    known = owner.run in dead
    words = _words(owner.pid) if owner.host == socket.gethostname() else None
    if words is None:
        return "over" if known else "unknown"
    if "nextflow" not in words:
        return "over"
    # A process id is used again: a Nextflow of another run may have it now.
    return "over" if known and owner.run not in words else "alive"


def _words(pid: int) -> str | None:
    """Return a process's command line, nothing when it is gone; None when nobody may know."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        try:
            os.kill(pid, 0)  # there, but hidden from us?
        except (ProcessLookupError, OverflowError):
            return ""
        except PermissionError:
            pass
        return None


def _find(kind: str, mark: str, seconds: float) -> dict[str, Owner]:
    """Find the containers or jobs that carry an output's mark, and whose they are."""
    return dict(_jobs(mark, seconds) if kind == "slurm" else _containers(kind, mark, seconds))


def _containers(kind: str, mark: str, seconds: float) -> Iterator[tuple[str, Owner]]:
    said = _ask(
        [kind, "ps", "--all", "--no-trunc", f"--filter=label=cohortflow.out={mark}",
         f"--format={_FORMATS[kind]}"],
        seconds,
    )  # fmt: skip
    ours = re.compile(rf"([0-9a-f]{{12,64}})\|{mark}\|([^|]*)\|(.*)")
    for one, engine, run in (match.groups() for match in map(ours.fullmatch, said) if match):
        host, _, pid = engine.rpartition(":")
        yield one, _owner(run, host, pid)


def _jobs(mark: str, seconds: float) -> Iterator[tuple[str, Owner]]:
    """Yield jobs that wait, run or are about to end, each task of an array for itself."""
    said = _ask(
        ["squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i|%k"], seconds
    )
    ours = re.compile(rf"(\d[\d_+]*)\|cohortflow:{mark}:(.*)")
    for one, whose in (match.groups() for match in map(ours.fullmatch, said) if match):
        run, host, pid = [*whose.rsplit(":", 2), "", ""][:3]
        yield one, _owner(run, host, pid)


def _owner(run: str, host: str, pid: str) -> Owner:
    return Owner(run, host, int(pid) if pid.isdecimal() else 0)


def _ask(command: Sequence[str], seconds: float) -> list[str]:
    """Return the lines that a program says."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_HABITS)}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            check=False, timeout=seconds,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise SilentError(f"`{' '.join(command[:2])}` said nothing for {seconds:g} s") from None
    except OSError as error:
        raise SilentError(f"{command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise SilentError(words[-1] if words else f"{command[0]} exits with {done.returncode}")
    return done.stdout.decode(errors="replace").splitlines()


def _end(kind: str, mark: str, over: Collection[str], patience: Patience) -> set[str]:
    """End containers or jobs and wait until they are gone; return those that are not."""
    stuck, deadline, pause = set(over), time.monotonic() + patience.end, 0.1
    while stuck:
        if kind == "slurm":
            _cancel(sorted(stuck), patience)
        else:
            _remove(kind, sorted(stuck), patience)
        time.sleep(pause)
        pause = min(2 * pause, 2)
        with contextlib.suppress(SilentError):  # busy ending them; the next look may tell
            stuck &= _find(kind, mark, patience.answer).keys()
        if time.monotonic() > deadline:
            break
    return stuck


def _cancel(ids: Sequence[str], patience: Patience) -> None:
    arrays = sorted({one.partition("_")[0] for one in ids})  # an array is of one run
    _try(["scancel", *arrays], patience.answer)


def _remove(kind: str, ids: Sequence[str], patience: Patience) -> None:
    """Stop containers and remove them; `rm` alone would not wait, or wait for each."""
    grace = round(patience.grace)
    _try([kind, "stop", "-t", str(grace), *ids], patience.answer + grace)
    _try([kind, "kill", "--signal=KILL", *ids], patience.answer)
    _try([kind, "rm", "--force", *ids], patience.answer)


def _try(command: Sequence[str], seconds: float) -> None:
    """Run a command whose effect is looked at afterwards: what it acts on may just have ended."""
    with contextlib.suppress(SilentError):
        _ask(command, seconds)


def _left(kind: str, owners: Sequence[Owner]) -> list[str]:
    return [
        f"{_count(n, kind)} of run {owner.run} left alone: whether it is over can be told only on "
        f"{owner.host or 'the machine that started it'}"
        for owner, n in Counter(owners).items()
    ]


def _count(number: int, kind: str) -> str:
    return f"{number} {kind} {_NOUNS[kind]}{'' if number == 1 else 's'}"

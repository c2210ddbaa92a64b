"""Run processes one beside the other and make a table of what they took."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = ("what", "wall s", "CPU s", "peak MB", "ours / it")
THREADS = 2


@dataclass(frozen=True)
class Contender:
    """One process to time; the first of a list is ours.

    `needs` are programs without which it is left out; `before` runs untimed each time; `more` is
    added to its environment.
    """

    name: str
    command: Sequence[str | Path]
    needs: tuple[str, ...] = ()
    before: Callable[[], object] | None = None
    cwd: Path | None = None
    more: Mapping[str, str] = field(default_factory=dict)

    def missing(self) -> str | None:
        found = (name for name in self.needs if shutil.which(name, path=search_path()) is None)
        return next(found, None)


@dataclass(frozen=True)
class Spent:
    """What a process and all its children took."""

    wall: float
    cpu: float
    peak: float


@dataclass(frozen=True)
class Table:
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default=())

    def text(self) -> str:
        lines = [list(self.columns), *map(list, self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        shown = [self.title]
        for line in lines:
            cells = [line[0].ljust(widths[0])]
            cells += [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)]
            shown.append("  " + "  ".join(cells))
        return "\n".join(shown + [f"  {note}" for note in self.notes])


def search_path() -> str:
    """Return PATH with the tools and this Python's programs first."""
    own = [str(ROOT / "bin"), str(Path(sys.executable).parent)]
    return os.pathsep.join([*own, os.environ.get("PATH", os.defpath)])


def environment() -> Mapping[str, str]:
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MRTRIX_NTHREADS")
    return {
        **os.environ,
        "PATH": search_path(),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "bin")]),
        **dict.fromkeys(threads, str(THREADS)),
    }


def python(module: str, *words: str | Path | int) -> list[str]:
    """Return the command of a function in one of this package's modules."""
    return [sys.executable, "-m", f"bench.{module}", *map(str, words)]


def tool(name: str, *words: str | Path | int) -> list[str]:
    """Return the command of a tool of bin/."""
    return [sys.executable, str(ROOT / "bin" / name), *map(str, words)]


def spend(
    command: Sequence[str | Path], cwd: Path | None = None, more: Mapping[str, str] | None = None
) -> Spent:
    """Run a process to its end; wait4 counts its children that have ended, too."""
    words = [str(word) for word in command]
    start = time.perf_counter()
    process = subprocess.Popen(
        words, cwd=cwd, env={**environment(), **(more or {})}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)}\n{said.decode(errors='replace')}")
    return Spent(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def rounds_of(contenders: Sequence[Contender], rounds: int) -> dict[str, list[Spent]]:
    """Run all in turn, as often as asked, so that what disturbs one disturbs its neighbours."""
    spent: dict[str, list[Spent]] = {c.name: [] for c in contenders}
    for _ in range(rounds):
        for contender in contenders:
            if contender.before is not None:
                contender.before()
            spent[contender.name].append(spend(contender.command, contender.cwd, contender.more))
    return spent


def compare(title: str, contenders: Sequence[Contender], rounds: int) -> Table:
    """Time whole processes: medians, and the median of the ratios within each round."""
    here = [c for c in contenders if c.missing() is None]
    notes = [f"left out: {c.name} (no {c.missing()})" for c in contenders if c not in here]
    spent = rounds_of(here, rounds)
    ours = spent[here[0].name]
    rows = []
    for contender in here:
        its = spent[contender.name]
        ratio = statistics.median(a.wall / b.wall for a, b in zip(ours, its, strict=True))
        wall, cpu, peak = (
            statistics.median(getattr(one, what) for one in its) for what in ("wall", "cpu", "peak")
        )
        rows.append((contender.name, f"{wall:.2f}", f"{cpu:.2f}", f"{peak:.0f}", f"{ratio:.2f}"))
    return Table(title, COLUMNS, rows, notes)


def emptied(folder: Path) -> Callable[[], None]:
    """Return a function that removes a folder and flushes what is still to be written."""

    def empty() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os.sync()

    return empty

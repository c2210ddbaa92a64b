"""The engine's time a task: the pipeline's own settings, bare Nextflow, and xargs.

Two numbers of units are run; the difference is the tasks' time, the rest is the start.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

from bench.timing import ROOT, Contender, Spent, Table, emptied, rounds_of

# Few and many units, rounds.
SIZES = {"full": (5, 45, 3), "small": (5, 25, 1), "tiny": (1, 2, 1)}
STEPS = 3
COLUMNS = ("what", "start s", "task s", "CPU s a task", "ours / it")
OURS = "cohortflow: Nextflow and supervisor"
SETTINGS = ("-c", ROOT / "nextflow.config")


def measure(folder: Path, size: str) -> Iterator[Table]:
    few, many, rounds = SIZES[size]
    contenders = [c for units in (few, many) for c in _contenders(folder, units)]
    spent = rounds_of(contenders, rounds)
    names = [c.name.rpartition(" ")[0] for c in _contenders(folder, few)]
    taken = {
        name: [
            _task(one, other, few, many)
            for one, other in zip(spent[f"{name} {few}"], spent[f"{name} {many}"], strict=True)
        ]
        for name in names
    }
    rows = []
    for name, rounds_taken in taken.items():
        start, task, cpu = map(statistics.median, zip(*rounds_taken, strict=True))
        pairs = zip(taken[names[0]], rounds_taken, strict=True)
        ratio = statistics.median(a[1] / b[1] for a, b in pairs)
        rows.append((name, f"{start:.2f}", f"{task:.3f}", f"{cpu:.3f}", f"{ratio:.2f}"))
    title = f"engine: {STEPS} empty steps a unit, {few} and {many} units, two at once"
    yield Table(title, COLUMNS, rows)


def _task(one: Spent, other: Spent, few: int, many: int) -> tuple[float, float, float]:
    """Return start, wall seconds a task (tasks overlap: two cores) and CPU seconds a task."""
    tasks = STEPS * (many - few)
    task = (other.wall - one.wall) / tasks
    return one.wall - STEPS * few * task, task, (other.cpu - one.cpu) / tasks


def _contenders(folder: Path, units: int) -> list[Contender]:
    launch = folder / "launch"

    def fresh() -> None:
        emptied(launch)()
        launch.mkdir()

    def nextflow(name: str, *more: str | Path) -> Contender:
        command = ("nextflow", "run", ROOT / "bench" / "engine.nf", "-ansi-log", "false")
        words = [*command, "--units", str(units), *more]
        return Contender(f"{name} {units}", words, before=fresh, cwd=launch)

    def xargs(name: str, script: str) -> Contender:
        command = f"seq {units * STEPS} | xargs -P2 -I@ {script}"
        return Contender(f"{name} {units}", ["sh", "-euc", command], before=fresh, cwd=launch)

    return [
        nextflow(OURS, *SETTINGS),
        nextflow("bare Nextflow"),
        xargs("xargs -P2, supervisor", "core-supervise bash -ue -c 'mkdir @'"),
        xargs("xargs -P2", "bash -ue -c 'mkdir @'"),
    ]

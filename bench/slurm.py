"""Hundreds of units on two virtual Slurm nodes, beside a bare array of the same commands.

A unit waits a second (`sleep 1`: what a real step does with its own node's CPU costs this machine
nothing), or does nothing at all: then only starting and ending jobs is left.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

from bench import machines, project
from bench.runs import Runs
from bench.timing import Contender, Table, rounds_of

SCRIPT = "slurm.nf"
# Units, rounds, CPUs of each node.
SIZES = {"full": (500, 1, 4), "small": (60, 1, 4), "tiny": (3, 1, 2)}
WORK = {"a second each": "sleep 1", "empty": "true"}
ARRAY = 100
COLUMNS = ("what", "wall s", "units a second", "it / sbatch --array")


def measure(folder: Path, size: str) -> Iterator[Table]:
    units, rounds, cpus = SIZES[size]
    settings = project.HURRY if size == "tiny" else ""
    try:
        with machines.cluster(folder / "cluster", cpus) as more:
            for name, work in list(WORK.items())[-1 if size == "tiny" else 0 :]:
                contenders = _contenders(
                    Runs(folder / "launch", units, more), folder, work, settings
                )
                title = f"slurm: {units} units, {name}, two nodes of {cpus} CPUs"
                yield _table(title, contenders, rounds, units)
    except machines.LeftOutError as error:
        yield Table("slurm: not here", COLUMNS, [], [f"left out: {error}"])


def _table(title: str, contenders: list[Contender], rounds: int, units: int) -> Table:
    spent = rounds_of(contenders, rounds)
    array = spent[contenders[-1].name]
    rows = []
    for contender in contenders:
        its = spent[contender.name]
        wall = statistics.median(one.wall for one in its)
        ratio = statistics.median(a.wall / b.wall for a, b in zip(its, array, strict=True))
        name = contender.name.rpartition(" ")[0]
        rows.append((name, f"{wall:.1f}", f"{units / wall:.1f}", f"{ratio:.2f}"))
    return Table(title, COLUMNS, rows)


def _contenders(runs: Runs, folder: Path, work: str, settings: str) -> list[Contender]:
    def ours(more: str) -> list[str]:
        command = project.ours(folder, SCRIPT, settings + more)
        return [*command, "-profile", "slurm", "--work", work]

    bare = project.bare(folder, SCRIPT, f"process.executor = 'slurm'\n{settings}")
    script = f"{work}; mkdir done.$SLURM_ARRAY_TASK_ID"
    array = ["sbatch", "--wait", f"--array=1-{runs.units}", "--output=/dev/null", "--wrap", script]
    return [
        runs.nextflow("cohortflow", ours("")),
        runs.nextflow(f"cohortflow, arrays of {ARRAY}", ours(f"process.array = {ARRAY}\n")),
        runs.nextflow("bare Nextflow", [*bare, "--work", work]),
        runs.command("sbatch --array", *array),
    ]

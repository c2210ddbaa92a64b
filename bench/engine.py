"""The engines' time a task: this machine, podman and Slurm, each beside what is without us.

Two numbers of units are run; the difference is the tasks' time, the rest is the start. The first
of each group is ours, the second is bare Nextflow on the same engine.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench import machines, project
from bench.runs import Runs
from bench.timing import Contender, Spent, Table, rounds_of

STEPS = 3
SCRIPT = "engine.nf"
COLUMNS = ("what", "start s", "unit ms", "task ms", "over bare ms", "CPU ms a task")
NONE = "–"


@dataclass(frozen=True)
class Size:
    """Few and many units, and how often, of what is quick (this machine) and what is slow."""

    quick: tuple[int, int, int]
    slow: tuple[int, int, int]


SIZES = {
    "full": Size((5, 105, 5), (5, 45, 3)),
    "small": Size((5, 45, 2), (5, 25, 1)),
    # The start is not told from the tasks.
    "tiny": Size((0, 1, 1), (0, 1, 1)),
}


@dataclass(frozen=True)
class Group:
    """An engine: who runs on it, ours first and bare Nextflow next.

    `counted` tells whether the tasks are children of who runs them, so that wait4 sees their CPU.
    """

    title: str
    make: Callable[[int], Sequence[Contender]]
    counted: bool
    units: tuple[int, int, int]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Taken:
    """Of one round: seconds of the start, and of wall and CPU a task."""

    start: float
    task: float
    cpu: float


def measure(folder: Path, size: str) -> Iterator[Table]:
    with ExitStack() as stack:
        left_out = []
        for make in (_local, _podman, _slurm):
            try:
                group = make(folder, SIZES[size], stack)
            except machines.LeftOutError as error:
                left_out.append(f"left out: {error}")
                continue
            yield _table(group)
    if left_out:
        yield Table("engine: what is not here", COLUMNS, [], left_out)


def _table(group: Group) -> Table:
    few, many, rounds = group.units
    spent = rounds_of([c for units in (few, many) if units for c in group.make(units)], rounds)
    no_start = [Spent(0, 0, 0)] * rounds
    taken = {}
    for name in (c.name.rpartition(" ")[0] for c in group.make(many)):
        pairs = zip(spent.get(f"{name} {few}", no_start), spent[f"{name} {many}"], strict=True)
        taken[name] = [_task(one, other, few, many) for one, other in pairs]
    bare = list(taken.values())[1]
    rows = [_row(name, its, bare, group.counted) for name, its in taken.items()]
    title = f"engine, {group.title}: {STEPS} empty steps a unit, {few} and {many} units"
    return Table(title, COLUMNS, rows, [f"median of {rounds}; two tasks at once", *group.notes])


def _task(one: Spent, other: Spent, few: int, many: int) -> Taken:
    """Return what a task takes (of wall time: tasks overlap, two at once)."""
    tasks = STEPS * (many - few)
    task = (other.wall - one.wall) / tasks
    return Taken(one.wall - STEPS * few * task, task, (other.cpu - one.cpu) / tasks)


def _row(name: str, its: list[Taken], bare: list[Taken], counted: bool) -> tuple[str, ...]:
    start, task, cpu = (
        statistics.median(getattr(one, what) for one in its) for what in ("start", "task", "cpu")
    )
    over = statistics.median(a.task - b.task for a, b in zip(its, bare, strict=True))
    shown = f"{1000 * over:+.1f}" if its is not bare else NONE
    return (
        name, f"{start:.2f}", f"{1000 * STEPS * task:.0f}", f"{1000 * task:.1f}", shown,
        f"{1000 * cpu:.1f}" if counted else NONE,
    )  # fmt: skip


def _local(folder: Path, size: Size, _: ExitStack) -> Group:
    notes = []
    try:
        snakemake = machines.snakemake()
    except machines.LeftOutError as error:
        snakemake = None
        notes.append(f"left out: {error}")

    def make(units: int) -> list[Contender]:
        run = Runs(folder / "launch", units)
        found = [
            run.nextflow("cohortflow", project.ours(folder, SCRIPT)),
            run.nextflow("bare Nextflow", project.bare(folder, SCRIPT)),
            run.xargs("xargs -P2, supervisor", STEPS, "core-supervise bash -ue -c 'mkdir @'"),
            run.xargs("xargs -P2", STEPS, "bash -ue -c 'mkdir @'"),
        ]
        if snakemake is not None:
            rules = Path(__file__).with_name("Snakefile")
            found.insert(2, run.command(
                "snakemake -j2", snakemake, "--snakefile", rules, "--cores", 2, "--quiet", "all",
                "--config", f"units={units}",
            ))  # fmt: skip
        return found

    return Group("this machine", make, True, size.quick, notes)


def _podman(folder: Path, size: Size, _: ExitStack) -> Group:
    image, more = machines.podman(folder / "podman")
    settings = f"podman {{ enabled = true; runOptions = '--init --rm --network=none' }}\n\
process.container = '{image}'\n"
    inside = f"podman run --rm --init --network=none {image} bash -ue -c 'mkdir /tmp/@'"

    def make(units: int) -> list[Contender]:
        run = Runs(folder / "launch", units, more)
        return [
            run.nextflow("cohortflow", [*project.ours(folder, SCRIPT), "-profile", "podman"]),
            run.nextflow("bare Nextflow", project.bare(folder, SCRIPT, settings)),
            run.xargs("xargs -P2 podman run", STEPS, inside),
        ]

    return Group("podman", make, False, size.slow)


def _slurm(folder: Path, size: Size, stack: ExitStack) -> Group:
    more = stack.enter_context(machines.cluster(folder / "cluster", cpus=1))
    # Both look often: a poll's five seconds would hide what a task takes.
    ours = project.ours(folder, SCRIPT, project.HURRY)
    settings = f"process.executor = 'slurm'\n{project.HURRY}"

    def make(units: int) -> list[Contender]:
        run = Runs(folder / "launch", units, more)
        array = ["sbatch", "--wait", f"--array=1-{units * STEPS}", "--output=/dev/null"]
        return [
            run.nextflow("cohortflow", [*ours, "-profile", "slurm"]),
            run.nextflow("bare Nextflow", project.bare(folder, SCRIPT, settings)),
            run.command("sbatch --array", *array, "--wrap", "mkdir $SLURM_ARRAY_TASK_ID"),
        ]

    return Group("Slurm, two nodes of one CPU", make, False, size.slow)

"""Drive Nextflow through one run: start, follow, stop, and collect what its tasks recorded."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from cohortflow.core import layout, plan, records
from cohortflow.core import sweep as core_sweep
from cohortflow.core.lanes import Lane
from cohortflow.core.outcome import Category
from cohortflow.core.supervise import GRACE
from cohortflow.front import engine, leftovers, notes, space, words
from cohortflow.front.progress import Progress

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_MARGIN = 15.0
_RESUMES = {Category.INTERRUPTED, Category.LOST}
_NOISE = ("Launching", "WARN", "\tat ", "\t...")


@dataclass
class Stop:
    """Signals received so far, and the Nextflow that they are passed to."""

    received: list[int] = field(default_factory=list)
    since: float = 0.0
    process: subprocess.Popen[str] | None = None

    def forward(self, number: int, _frame: FrameType | None = None) -> None:
        """Take a signal: the first asks Nextflow to end, a second kills it."""
        self.received.append(number)
        self.since = time.monotonic()
        if self.process is not None:
            engine.end(self.process, signal.SIGTERM if len(self.received) == 1 else signal.SIGKILL)


@dataclass(frozen=True)
class Drive:
    """What a run of Nextflow needs.

    Attributes
    ----------
    shared : plan.Context
    decisions : sequence of plan.Decision
    arguments : sequence of str
        What follows ``nextflow``.
    launch, work : Path
        Launch folder and work folder.
    keep_open : int
        Descriptor of the output's lock, which Nextflow inherits.
    clean : str
        ``unit``, ``run`` or ``never``.
    """

    shared: plan.Context
    decisions: Sequence[plan.Decision]
    arguments: Sequence[str]
    launch: Path
    work: Path
    keep_open: int
    clean: str


@contextmanager
def listening() -> Iterator[Stop]:
    """Hear signals, also those that a shell made us ignore, except SIGHUP under `nohup`."""
    stop = Stop()
    heard = [
        number
        for number in _SIGNALS
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, stop.forward) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def drive(
    task: Drive, stop: Stop, show: Callable[[Progress], Any], say: Callable[[str], Any]
) -> tuple[Progress, str]:
    """Run Nextflow to its end, or to the end that a signal asks for.

    Returns
    -------
    tuple of (Progress, str)
        The last state, and Nextflow's own words when it failed by itself.
    """
    shared, began = task.shared, time.time()
    units = [d.unit.id for d in task.decisions if d.decision == "run"]
    steps = (*(step.name for step in shared.lane.steps), "publish")
    progress = Progress(units, steps, task.work)
    process = engine.start(task.arguments, task.launch, [task.keep_open])
    stop.process = process
    if stop.received:
        engine.end(process, signal.SIGTERM)
    note = notes.keeper(shared, task.work, began, say)
    try:
        lines = _follow(process, progress, stop, task, lambda: (note(), show(progress)))
    finally:  # whatever happened here, nothing is left that holds the output
        _end_engine(process)
        _end_steps(shared.run, stop)
        if stop.received or process.returncode not in {0, 1}:
            _end_elsewhere(shared.out, shared.run, say)
    ended = not stop.received and process.returncode in {0, 1}
    found = records.save_all(shared.out, shared.run, task.work, began, ended=ended)
    identities = {d.unit.id: plan.identity(d.unit, shared) for d in task.decisions if d.steps}
    records.keep_failures(shared.out, found, identities, task.work)
    if task.clean != "never":
        _free(progress, progress.published(), task.work)
        _free(progress, _given_up(found, shared.lane), task.work)
    failed = any(record.category for record in found)
    trouble = process.returncode != 0 and not stop.received and not failed
    return progress, words.why(lines, task.work) if trouble else ""


def _follow(
    process: subprocess.Popen[str],
    progress: Progress,
    stop: Stop,
    task: Drive,
    tick: Callable[[], Any],
) -> list[str]:
    """Follow what Nextflow says until it has ended; return its last lines."""
    lines: list[str] = []
    reader = threading.Thread(target=_read, args=(process, progress, lines), daemon=True)
    reader.start()
    while reader.is_alive():
        reader.join(0.5)
        progress.look()
        if task.clean == "unit":
            _free(progress, progress.published(), task.work)
        if len(stop.received) > 1:
            leftovers.end([task.shared.run], 0)
        elif stop.received and time.monotonic() - stop.since > GRACE + _MARGIN:
            engine.end(process, signal.SIGKILL)
        tick()
    process.wait()
    return lines


def _end_engine(process: subprocess.Popen[str]) -> None:
    """See that Nextflow has ended: it is asked, and killed when it does not listen."""
    engine.end(process, signal.SIGTERM)
    try:
        process.wait(GRACE + _MARGIN)
    except subprocess.TimeoutExpired:
        engine.end(process, signal.SIGKILL)
        process.wait()


def _read(process: subprocess.Popen[str], progress: Progress, lines: list[str]) -> None:
    for event in engine.events(process):
        progress.take(event)
        if event.what == "text" and event.text.strip() and not event.text.startswith(_NOISE):
            lines.append(event.text)
            del lines[:-50]


def _end_steps(run: str, stop: Stop) -> None:
    """See that no step outlives its Nextflow: it gets its grace, a second signal cuts it short."""
    deadline = time.monotonic() + GRACE + _MARGIN
    asked = False
    while any(leftovers.processes([run])):
        if len(stop.received) > 1 or time.monotonic() > deadline:
            leftovers.end([run], 0)
            return
        if not asked:
            leftovers.ask([run])
            asked = True
        time.sleep(0.2)


def sweep(out: Path, chosen: Mapping[str, Any], say: Callable[[str], Any]) -> None:
    """End what earlier runs of this output left running; we hold its lock.

    Parameters
    ----------
    out : Path
    chosen : mapping
        ``profile`` and ``config`` of the run that begins: a bare run, which notes neither, may have
        used the same.
    say : callable

    Raises
    ------
    Failure
        When a container or job of an earlier run will not end.
    """
    folder = layout.hidden(out, "runs")
    earlier = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if any(leftovers.processes(earlier)):
        count = leftovers.end(earlier, GRACE)
        say(f"ended {count} processes that an earlier run left")
    kinds = _kinds(chosen).union(*(_kinds(_noted(out, run)) for run in earlier))
    if kinds:
        for line in core_sweep.sweep(out, earlier, kinds).lines():
            say(line)


def _end_elsewhere(out: Path, run: str, say: Callable[[str], Any]) -> None:
    """End a run's containers and jobs; its report is written whatever comes of it."""
    kinds = _kinds(_noted(out, run))
    if not kinds:
        return
    swept = core_sweep.try_sweep(out, [run], kinds)
    for line in swept.lines():
        say(line)
    if swept.stuck:
        say(": ".join(swept.trouble()))


def _noted(out: Path, run: str) -> dict[str, Any]:
    try:
        facts = json.loads((layout.run_folder(out, run) / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _kinds(chosen: Mapping[str, Any]) -> set[str]:
    """Tell where a run may start something; a site's own configuration may choose any engine."""
    if chosen.get("config"):
        return set(core_sweep.KINDS)
    names = {name.strip() for name in str(chosen.get("profile", "")).split(",")}
    return names & set(core_sweep.KINDS)


def _given_up(found: Sequence[records.TaskRecord], lane: Lane) -> list[str]:
    """List the units that failed and have nothing to go on from.

    An interrupted unit resumes, and one that could not be sent is only sent by the next run.
    """
    last = {(record.unit, record.step): record for record in found}
    failed = [record for record in last.values() if record.category]
    sends = {step.name for step in lane.steps if step.network}
    kept = {r.unit for r in failed if r.category in _RESUMES or r.step in {*sends, "publish"}}
    return sorted({record.unit for record in failed} - kept)


def _free(progress: Progress, units: Iterable[str], work: Path) -> None:
    """Free the scratch of units, once."""
    for unit in units:
        for name in progress.folders.pop(unit, []):
            space.free_task(work, name)

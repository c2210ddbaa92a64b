"""One run: plan, lock, Nextflow, records, report."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any

from cohortflow import __version__
from cohortflow.core import (
    lanes,
    layout,
    manifest,
    plan,
    records,
    report,
    runs,
    save,
)
from cohortflow.core.outcome import Category, Failure
from cohortflow.front import engine, study
from cohortflow.front.progress import Progress

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes
    ----------
    lane : str
    study, out : Path
    manifest : Path or None
    chosen : lanes.Selection
    wishes : plan.Wishes
    parameters : dict
        Parameters of the lane.
    profile : str
        Nextflow's profiles, separated by commas.
    jobs : int or None
        Tasks at the same time; None leaves it to Nextflow (as many as cores).
    work : Path or None
        Nextflow's work folder; in the output's bookkeeping when None.
    command : str
        The command line, for the report.
    """

    lane: str
    study: Path
    out: Path
    manifest: Path | None = None
    chosen: lanes.Selection = field(default_factory=lanes.Selection)
    wishes: plan.Wishes = field(default_factory=plan.Wishes)
    parameters: dict[str, str] = field(default_factory=dict)
    profile: str = ""
    jobs: int | None = None
    work: Path | None = None
    command: str = ""


@dataclass(frozen=True)
class Result:
    """How a run ended: its report's summary, and the exit status of the front door."""

    summary: report.Summary
    status: int
    engine_message: str = ""


def planned(request: Request) -> tuple[plan.Context, manifest.Header, list[plan.Decision]]:
    """Plan a request; nothing is written.

    Raises
    ------
    Failure
        When the request cannot be planned; with INPUT_MISSING when there is nothing to run.
    """
    lane = lanes.get(request.lane)
    layout.check_names(request.work)
    layout.check_output(request.out, request.study, lane.name)
    header, units = study.units(lane, request.study, request.manifest, request.chosen)
    shared = plan.context(
        lane,
        header.dataset,
        request.out.absolute(),
        runs.new_id(),
        request.parameters,
        runs.now(),
    )
    decisions = list(plan.decisions(units, shared, request.wishes))
    if not decisions:
        raise Failure(
            Category.INPUT_MISSING,
            f"{request.study} has no unit for lane {lane.name}",
            "check the folder and the labels asked for",
        )
    return shared, header, decisions


def run(request: Request, show: Callable[[Progress], Any]) -> Result:
    """Run a request to its end.

    Parameters
    ----------
    request : Request
    show : callable
        Called with the progress about twice a second.

    Raises
    ------
    Failure
        When nothing could be started.
    """
    shared, header, decisions = planned(request)
    counts = Counter(decision.decision for decision in decisions)
    if counts["run"]:
        engine.nextflow()
        engine.pipeline()
    out = shared.out
    layout.prepare(out, request.study, shared.lane.name, shared.lane.title, shared.lane.bidsignore)
    with _output_locked(out) as lock:
        folder = layout.run_folder(out, shared.run)
        folder.mkdir(parents=True)
        manifest.write(folder / "manifest.jsonl", header, (d.unit for d in decisions))
        plan.write(folder / "plan.jsonl", shared, decisions)
        save.write_json(folder / "run.json", _facts(request, shared))
        save.write_text(folder / "records.jsonl", "")
        message, stopped, progress = "", 0, None
        if counts["run"]:
            message, stopped, progress = _drive(request, shared, decisions, lock, show)
        save.write_json(
            folder / "run.json",
            {
                **_facts(request, shared),
                "engine": progress.engine if progress else "none: nothing to run",
                "finished": runs.now(),
                "interrupted": bool(stopped),
            },
        )
        summary = report.build(out, shared.run)
    waiting = sum(decision.reason == plan.BEYOND for decision in decisions)
    return Result(summary, _status(summary, counts, stopped, waiting), message)


def _drive(
    request: Request,
    shared: plan.Context,
    decisions: list[plan.Decision],
    lock: IO[str],
    show: Callable[[Progress], Any],
) -> tuple[str, int, Progress]:
    """Start Nextflow, follow it, and collect what its tasks recorded."""
    out, began = shared.out, time.time()
    launch = layout.hidden(out, "nextflow")
    work = (request.work or launch / "work").absolute()
    units = [d.unit.id for d in decisions if d.decision == "run"]
    steps = (*(step.name for step in shared.lane.steps), "publish")
    progress = Progress(units, steps, work)
    process = engine.start(_arguments(request, shared, launch, work), launch, [lock.fileno()])
    lines: list[str] = []
    with _forwarded(process) as received:
        reader = threading.Thread(target=_read, args=(process, progress, lines), daemon=True)
        reader.start()
        while reader.is_alive():
            reader.join(0.5)
            progress.look()
            show(progress)
        process.wait()
    found = records.save_all(out, shared.run, work, began)
    identities = {d.unit.id: plan.identity(d.unit, shared) for d in decisions if d.steps}
    records.keep_failures(out, found, identities, work)
    tasks_failed = any(record.category for record in found)
    trouble = process.returncode not in (0, None) and not received and not tasks_failed
    message = _words(lines) if trouble else ""
    return message, received[0] if received else 0, progress


def _read(process: Any, progress: Progress, lines: list[str]) -> None:  # noqa: ANN401
    for event in engine.events(process):
        progress.take(event)
        if event.what == "text" and event.text.strip():
            lines.append(event.text)
            del lines[:-50]


def _words(lines: list[str]) -> str:
    """Return Nextflow's own words on why it stopped."""
    ignored = ("Launching", "WARN", "\tat ", "\t...")
    wanted = [line for line in lines if not line.startswith(ignored)]
    return "\n".join(wanted[-12:])


def _arguments(request: Request, shared: plan.Context, launch: Path, work: Path) -> list[str]:
    folder = layout.run_folder(shared.out, shared.run)
    # Relative, because the name of a log is a pattern to Nextflow, in which % means something.
    log = os.path.relpath(folder / "nextflow.log", launch)
    arguments = ["-log", log, "run", str(engine.pipeline())]
    arguments += ["-ansi-log", "false", "-work-dir", str(work)]
    if (launch / ".nextflow" / "history").exists():
        arguments.append("-resume")
    if request.profile:
        arguments += ["-profile", request.profile]
    if request.jobs:
        arguments += ["-qs", str(request.jobs)]
    arguments += ["--lane", request.lane, "--plan", str(folder / "plan.jsonl")]
    return [*arguments, "--outdir", str(shared.out), "--run_id", shared.run]


@contextmanager
def _forwarded(process: Any) -> Iterator[list[int]]:  # noqa: ANN401
    """Pass signals on to Nextflow: the first asks it to end, the second kills it."""
    received: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        engine.end(process, signal.SIGTERM if len(received) == 1 else signal.SIGKILL)

    before = {number: signal.signal(number, forward) for number in _SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _output_locked(out: Path) -> Iterator[IO[str]]:
    """Hold the output's lock; only flock decides, the text inside informs."""
    path = layout.hidden(out, "run.lock")
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Failure(
                Category.TEMPORARY,
                f"another run holds {out} ({file.read().strip() or 'unknown'})",
                "wait for it to end, or give this run another output",
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename} since {runs.now()}")
        file.flush()
        yield file


def _facts(request: Request, shared: plan.Context) -> dict[str, Any]:
    return {
        "run": shared.run,
        "started": shared.started,
        "finished": None,
        "engine": "",
        "pipeline_version": __version__,
        "command": request.command
        or shlex.join(["cohortflow", "run", request.lane, str(request.study), str(request.out)]),
        "interrupted": False,
    }


def _status(summary: report.Summary, counts: Counter[str], stopped: int, waiting: int) -> int:
    """Return the front door's exit status: 0 all done, 1 some not, 3 none could run.

    Units that wait beyond ``--limit`` were not asked for.
    """
    if stopped:
        return 128 + stopped
    if summary.complete == summary.total - waiting:
        return 0
    return 3 if not counts["run"] and not counts["skip"] else 1

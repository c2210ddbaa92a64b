"""One run: plan, lock, Nextflow, records, report."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cohortflow import __version__, ledger
from cohortflow.core import lanes, layout, manifest, plan, publish, refused, report, runs, save
from cohortflow.core.outcome import Category, Failure
from cohortflow.front import container, drive, engine, lock, quiet, space, study
from cohortflow.front.progress import Progress


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes
    ----------
    lane : str
    study, out : Path
        The study's folder, and the output.
    manifest : Path or None
    chosen : lanes.Selection
    wishes : plan.Wishes
    parameters : dict
        Parameters of the lane.
    profile : str
        Nextflow's profiles, separated by commas.
    config : Path or None
        A site's own configuration of Nextflow.
    jobs : int or None
        Tasks at the same time; None leaves it to Nextflow (as many as cores).
    work : Path or None
        Nextflow's work folder; in the output's bookkeeping when None.
    wait : bool
        Wait for another run that holds the output.
    clean : str
        When a unit's scratch is freed: ``unit``, ``run`` or ``never``.
    unit_timeout : int or None
        Minutes that a unit may take over its steps; None leaves the default.
    logs : Path or None
        Folder for the logs of the units, beside those in the output.
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
    config: Path | None = None
    jobs: int | None = None
    work: Path | None = None
    wait: bool = False
    clean: str = "never"
    unit_timeout: int | None = None
    logs: Path | None = None
    command: str = ""

    def work_folder(self) -> Path:
        """Return Nextflow's work folder, absolute."""
        return (self.work or layout.hidden(self.out, "nextflow", "work")).absolute()


@dataclass(frozen=True)
class Planned:
    """A request with its units decided."""

    shared: plan.Context
    header: manifest.Header
    decisions: list[plan.Decision]

    def counts(self) -> Counter[str]:
        """Count the decisions."""
        return Counter(decision.decision for decision in self.decisions)

    def running(self) -> list[manifest.Unit]:
        """List the units that run."""
        return [d.unit for d in self.decisions if d.decision == "run"]


@dataclass(frozen=True)
class Result:
    """How a run ended: its report's summary, and the exit status of the front door."""

    summary: report.Summary
    status: int
    engine_message: str = ""


def planned(request: Request) -> Planned:
    """Plan a request; nothing is written.

    Raises
    ------
    Failure
        When the request cannot be planned; with INPUT_MISSING when there is nothing to run.
    """
    lane = lanes.get(request.lane)
    layout.check_names(request.work, request.logs)
    if request.logs and not lane.unit_logs:
        raise Failure(Category.USAGE, f"lane {lane.name} takes no --log-dir", "leave it out")
    layout.check_output(request.out, request.study, lane.name, bids=lane.bids)
    chosen = replace(request.chosen, parameters=lane.resolve(request.parameters))
    header, units = study.units(lane, request.study, request.manifest, chosen)
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
    return Planned(shared, header, decisions)


def run(
    request: Request, show: Callable[[Progress], Any], say: Callable[[str], Any] = print
) -> Result:
    """Run a request to its end.

    Parameters
    ----------
    request : Request
    show : callable
        Called with the progress about twice a second.
    say : callable
        Called with a line for the user.

    Raises
    ------
    Failure
        When nothing could be started.
    """
    show, say = quiet.safely(show), quiet.safely(say)
    first = planned(request)
    lane, out = first.shared.lane, first.shared.out
    if first.running():
        engine.nextflow()
        engine.pipeline()
        container.check(
            request.profile,
            request.lane,
            (request.study, out, request.work_folder()),
            own_image=request.config is None,
        )
    if warning := space.check(first.running(), out, request.work_folder(), lane.space):
        say(warning)
    layout.prepare(out, request.study, lane)
    if request.logs:
        request.logs.mkdir(parents=True, exist_ok=True)
    with lock.output(out, request.wait, say) as held:
        drive.sweep(out, _chosen(request), say)
        found = planned(request) if held.waited else first
        publish.repair(out, (d.unit for d in found.decisions))
        with drive.listening() as stop:
            result = _run_locked(request, found, held, stop, show, say)
            if away := ledger.try_sync(out, found.shared.run, final=True):
                say(away)
            return result


def _run_locked(
    request: Request,
    found: Planned,
    held: lock.Held,
    stop: drive.Stop,
    show: Callable[[Progress], Any],
    say: Callable[[str], Any],
) -> Result:
    """Run what was planned, and report it; signals are heard from here on."""
    shared, out = found.shared, found.shared.out
    folder = layout.run_folder(out, shared.run)
    folder.mkdir(parents=True)
    manifest.write(folder / "manifest.jsonl", found.header, (d.unit for d in found.decisions))
    plan.write(folder / "plan.jsonl", shared, found.decisions)
    excluded = (d.unit for d in found.decisions if d.reason == "excluded")
    refused.draw(shared.lane, Path(shared.dataset), excluded, folder)
    save.write_json(folder / "run.json", _facts(request, shared))
    save.write_text(folder / "records.jsonl", "")
    message, engine_name = "", "none: nothing to run"
    if found.running() and not stop.received:
        progress, message = drive.drive(_task(request, found, held), stop, show, say)
        engine_name = progress.engine
    ended = {"engine": engine_name, "finished": runs.now(), "interrupted": bool(stop.received)}
    save.write_json(folder / "run.json", {**_facts(request, shared), **ended})
    summary = report.build(out, shared.run, request.logs)
    status = _status(summary, found, stop)
    started = (folder / "records.jsonl").stat().st_size > 0
    if not started and "Can't open cache DB" in message:
        message = _set_cache_aside(layout.hidden(out, "nextflow"), shared.run)
    return Result(summary, 3 if message and not started else status, message)


def _set_cache_aside(launch: Path, run: str) -> str:
    """Move a damaged cache of Nextflow away: its tasks are computed again, nothing else is lost."""
    (launch / ".nextflow").rename(launch / f".nextflow.damaged-{run}")
    return "Nextflow's cache is damaged; it was set aside: run again, unfinished units start anew"


def _task(request: Request, found: Planned, held: lock.Held) -> drive.Drive:
    launch = layout.hidden(found.shared.out, "nextflow")
    return drive.Drive(
        found.shared,
        found.decisions,
        _arguments(request, found.shared, launch),
        launch,
        request.work_folder(),
        held.file.fileno(),
        request.clean,
    )


def _arguments(request: Request, shared: plan.Context, launch: Path) -> list[str]:
    """Return what follows ``nextflow``."""
    folder = layout.run_folder(shared.out, shared.run)
    # Relative, because the name of a log is a pattern to Nextflow, in which % means something.
    log = os.path.relpath(folder / "nextflow.log", launch)
    arguments = ["-log", log]
    if request.config:
        arguments += ["-c", str(request.config.absolute())]
    arguments += ["run", str(engine.pipeline())]
    arguments += ["-ansi-log", "false", "-work-dir", str(request.work_folder())]
    if (launch / ".nextflow" / "history").exists():
        arguments.append("-resume")
    if request.profile:
        arguments += ["-profile", request.profile]
    if request.jobs:
        arguments += ["-qs", str(request.jobs)]
    if request.unit_timeout is not None:
        arguments += ["--unit_timeout", str(request.unit_timeout)]
    arguments += ["--lane", request.lane, "--plan", str(folder / "plan.jsonl")]
    arguments += ["--input", str(request.study.absolute()), "--outdir", str(shared.out)]
    return [*arguments, "--run_id", shared.run]


def _chosen(request: Request) -> dict[str, Any]:
    return {"profile": request.profile, "config": bool(request.config)}


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
        **({"file": str(request.chosen.file)} if request.chosen.file else {}),
        **_chosen(request),
    }


def _status(summary: report.Summary, found: Planned, stop: drive.Stop) -> int:
    """Return the front door's exit status: 0 all done, 1 some not, 3 none could run.

    Units that wait beyond ``--limit`` were not asked for, nor were failures of earlier runs.
    """
    if stop.received:
        return 128 + stop.received[0]
    waiting = sum(decision.reason == plan.BEYOND for decision in found.decisions)
    if summary.complete == summary.total - waiting - summary.earlier:
        return 0
    counts = found.counts()
    return 3 if not counts["run"] and not counts["skip"] else 1

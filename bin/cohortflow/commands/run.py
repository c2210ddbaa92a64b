"""The command `cohortflow run`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live

from cohortflow import cli
from cohortflow.commands import show, study
from cohortflow.commands.lane_options import LaneCommand


@click.command(
    "run",
    short_help="Run the units that need it and publish them in OUT.",
    cls=LaneCommand,
    epilog="\b\nExample:\n  cohortflow run dwi STUDY STUDY/derivatives/cohortflow-dwi",
)
@study.options
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Tasks at the same time; as many as cores when left out.",
)
@click.option(
    "--profile", default="", metavar="NAMES", help="Nextflow profiles, separated by commas."
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A site's own configuration of Nextflow: queue, account, limits.",
)
@click.option(
    "--work-dir", type=study.OUTPUT, help="Folder of intermediate files; inside OUT when left out."
)
@click.option(
    "--unit-timeout",
    type=click.IntRange(min=1),
    metavar="MIN",
    help="Minutes that a unit may take over all its steps; 120 if not given.",
)
@click.option(
    "--clean",
    type=click.Choice(["unit", "run", "never"]),
    help="Free the scratch of a published unit at once, or of all at the run's end, that of a "
    "failed one at the end; when left out, as `cohortflow lanes` says of the lane.",
)
@click.option(
    "--log-dir",
    type=study.OUTPUT,
    help="Folder for the logs of the units, beside those in OUT/logs; for lanes that write them.",
)
@click.option(
    "--wait/--no-wait", help="Wait for another run of OUT to end, or refuse at once (default)."
)
@click.option("--dry-run", is_flag=True, help="Show what would run and why; write nothing.")
@click.option("--validate-only", is_flag=True, help="Check the inputs; write nothing.")
@cli.front_errors
def command(dry_run: bool, validate_only: bool, as_json: bool, **given: Any) -> None:  # noqa: ANN401
    """Run the units of STUDY that need it and publish them in OUT.

    LANE says what is made (see `cohortflow lanes`), STUDY is its input: a folder, for some lanes
    also one file; OUT lies outside of STUDY, or is STUDY/derivatives/NAME. Run it again
    after an interrupt or when the study grew: what is done is kept.

    Exits 0 when all units are done, 1 when some are not, 2 when it was called wrongly, 3 when
    nothing could run.
    """
    from cohortflow.front import quiet, run

    request = study.request(**given)
    if dry_run or validate_only:
        decisions = run.planned(request).decisions
        (show.checks if validate_only else show.plan)(decisions, as_json)
        invalid = sum(d.decision == "invalid" for d in decisions)
        if invalid == len(decisions):
            sys.exit(3)
        sys.exit(1 if validate_only and invalid else 0)
    result = _run_live(request)
    if result.engine_message:
        click.echo(result.engine_message, err=True)
    quiet.safely(show.result)(result, as_json)
    sys.exit(result.status)


def _run_live(request: Any) -> Any:  # noqa: ANN401
    """Run with a live table on a terminal, else with a line every half minute."""
    from cohortflow.front import run
    from cohortflow.front.progress import Progress

    console = Console(stderr=True)
    if console.is_terminal:
        result = None
        try:
            with Live(console=console, refresh_per_second=4, transient=True) as live:
                result = run.run(
                    request,
                    lambda progress: live.update(progress.render(console)),
                    lambda line: live.console.print(line, highlight=False, soft_wrap=True),
                )
        except (OSError, SystemExit):  # the terminal has gone; the run has ended well
            if result is None:
                raise
        return result
    said = {"at": time.monotonic() - 20.0, "done": 0.0}

    def tell(progress: Progress) -> None:
        late = time.monotonic() - said["at"] > 30
        if late or progress.finished() != said["done"]:
            said.update(at=time.monotonic(), done=progress.finished())
            console.print(progress.line(), highlight=False, soft_wrap=True)

    return run.run(request, tell, lambda line: click.echo(line, err=True))

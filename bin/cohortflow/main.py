"""The `cohortflow` command."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cohortflow import __version__, cli
from cohortflow.core import lanes
from cohortflow.core.lanes import Lane

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
EXISTING = click.Path(exists=True, file_okay=False, path_type=Path)
SHOWN = 20
OUTPUT = click.Path(file_okay=False, path_type=Path)
LANE = click.Choice(lanes.LANES)


@click.group(
    cls=cli.OneLineGroup,
    context_settings=CONTEXT,
    epilog="\b\nExample:\n"
    "  cohortflow example dwi demo/study\n"
    "  cohortflow run dwi demo/study demo/out",
)
@click.version_option(__version__)
def main() -> None:
    """Run every unit of a study: discover, validate, process, publish, report."""


def study_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments and options that choose units; `run` and `plan` share them."""
    options = (
        click.argument("lane", type=LANE, metavar="LANE"),
        click.argument("study", type=EXISTING, metavar="STUDY"),
        click.argument("out", type=OUTPUT, metavar="OUT"),
        click.argument(
            "level",
            required=False,
            default="participant",
            type=click.Choice(["participant"]),
            metavar="[participant]",
        ),
        click.option(
            "--participant-label",
            "participants",
            multiple=True,
            metavar="LABEL...",
            help="Subjects to take, with or without sub-; all when left out.",
        ),
        click.option(
            "--session-label",
            "sessions",
            multiple=True,
            metavar="LABEL...",
            help="Sessions to take, with or without ses-; all when left out.",
        ),
        click.option(
            "--bids-filter-file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="JSON, as fMRIPrep's, that chooses among several inputs of a unit.",
        ),
        click.option(
            "--manifest",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Units to take instead of looking in STUDY: JSON, JSON lines, CSV or csttool's "
            "form; OUT/rerun.json is one.",
        ),
        click.option(
            "--parameter",
            "given",
            multiple=True,
            metavar="NAME=VALUE",
            help="Set a parameter of the lane; `cohortflow lanes` lists them.",
        ),
        cli.plan_options,
        cli.json_option,
    )
    for option in reversed(options):
        function = option(function)
    return function


def _request(**given: Any) -> Any:  # noqa: ANN401 - Click's own values
    from cohortflow.core import plan
    from cohortflow.front import run, study

    return run.Request(
        lane=given["lane"],
        study=given["study"],
        out=given["out"],
        manifest=given["manifest"],
        chosen=study.selection(
            lanes.get(given["lane"]),
            given["participants"],
            given["sessions"],
            given["bids_filter_file"],
        ),
        wishes=plan.Wishes(
            given["overwrite"], given["rerun_failed"], given["stale"], given["limit"]
        ),
        parameters=dict(cli.pair(text) for text in given["given"]),
        profile=given.get("profile", ""),
        jobs=given.get("jobs"),
        work=given.get("work_dir"),
        wait=given.get("wait", False),
        clean=given.get("clean", "never"),
        unit_timeout=given.get("unit_timeout"),
        command=shlex.join(["cohortflow", *sys.argv[1:]]),
    )


@main.command(
    "run",
    cls=cli.BidsCommand,
    epilog="\b\nExample:\n  cohortflow run dwi STUDY STUDY/derivatives/cohortflow-dwi",
)
@study_options
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
    "--work-dir", type=OUTPUT, help="Folder of intermediate files; inside OUT when left out."
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
    default="never",
    show_default=True,
    help="Free the scratch of a published unit at once, or of all at the run's end.",
)
@click.option(
    "--wait/--no-wait", help="Wait for another run of OUT to end, or refuse at once (default)."
)
@click.option("--dry-run", is_flag=True, help="Show what would run and why; write nothing.")
@click.option("--validate-only", is_flag=True, help="Check the inputs; write nothing.")
@cli.front_errors
def run_command(dry_run: bool, validate_only: bool, as_json: bool, **given: Any) -> None:  # noqa: ANN401
    """Run the units of STUDY that need it and publish them in OUT.

    LANE says what is made (see `cohortflow lanes`), STUDY is a BIDS folder; OUT lies outside of
    STUDY, or is STUDY/derivatives/NAME. Run it again after an interrupt or when the study grew:
    what is done is kept.

    Exits 0 when all units are done, 1 when some are not, 2 when it was called wrongly, 3 when
    nothing could run.
    """
    from cohortflow.front import run

    request = _request(**given)
    if dry_run or validate_only:
        decisions = run.planned(request).decisions
        (_show_checks if validate_only else _show_plan)(decisions, as_json)
        invalid = sum(d.decision == "invalid" for d in decisions)
        if invalid == len(decisions):
            sys.exit(3)
        sys.exit(1 if validate_only and invalid else 0)
    result = _run_live(request)
    if result.engine_message:
        click.echo(result.engine_message, err=True)
    _show_result(result, as_json)
    sys.exit(result.status)


def _run_live(request: Any) -> Any:  # noqa: ANN401
    """Run with a live table on a terminal, else with a line every half minute."""
    from cohortflow.front import run
    from cohortflow.front.progress import Progress

    console = Console(stderr=True)
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            return run.run(
                request,
                lambda progress: live.update(progress.render(console)),
                lambda line: live.console.print(line, highlight=False, soft_wrap=True),
            )
    said = {"at": time.monotonic() - 20.0, "done": 0.0}

    def show(progress: Progress) -> None:
        late = time.monotonic() - said["at"] > 30
        if late or progress.finished() != said["done"]:
            said.update(at=time.monotonic(), done=progress.finished())
            console.print(progress.line(), highlight=False, soft_wrap=True)

    return run.run(request, show, lambda line: click.echo(line, err=True))


def _show_result(result: Any, as_json: bool) -> None:  # noqa: ANN401
    if as_json:
        click.echo(json.dumps({**result.summary.as_json(), "status": result.status}, indent=2))
        return
    problems = result.summary.problems
    for line in problems[:SHOWN]:
        click.echo(f"  {line}")
    if len(problems) > SHOWN:
        click.echo(f"  … and {len(problems) - SHOWN} more, all in the report")
    click.echo(result.summary.line())
    click.echo(f"Report: {result.summary.report}")
    if problems:
        out = shlex.quote(str(Path(result.summary.report).parent))
        click.echo(f"More on one: cohortflow why {out} UNIT")


def _show_plan(decisions: list[Any], as_json: bool) -> None:
    if as_json:
        rows = [
            {"unit": d.unit.id, "decision": d.decision, "reason": d.reason, "detail": d.detail}
            for d in decisions
        ]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    columns = ("unit", "decision", "reason", "detail")
    cells = [(d.unit.id, d.decision, d.reason, d.detail) for d in decisions]
    console = Console()
    if console.is_terminal:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in columns:
            table.add_column(name, overflow="fold")
        for row in cells:
            style = {"run": "cyan", "invalid": "red"}.get(row[1], "")
            table.add_row(*map(Text, row), style=style)
        console.print(table)
    else:  # a unit a line, for other programs
        for row in (columns, *cells):
            click.echo("\t".join(row))
    counts = Counter(d.decision for d in decisions)
    click.echo(", ".join(f"{counts[name]} {name}" for name in ("run", "skip", "invalid")))


def _show_checks(decisions: list[Any], as_json: bool) -> None:
    rows = []
    for d in decisions:
        excluded = d.unit.excluded
        row = {"unit": d.unit.id, "valid": excluded is None}
        if excluded is not None:
            row |= excluded.model_dump(mode="json")
        rows.append(row)
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        if row["valid"]:
            click.echo(f"ok {row['unit']}")
            continue
        click.echo(f"{row['category']} {row['unit']} {row['message']}: {row['remedy']}")
        for choice in row["choices"]:
            click.echo("    " + "  ".join(f"{k}={v}" for k, v in choice.items()))


@main.command(
    "plan",
    cls=cli.BidsCommand,
    epilog="\b\nExample:\n  cohortflow plan dwi STUDY STUDY/derivatives/cohortflow-dwi",
)
@study_options
@cli.front_errors
def plan_command(as_json: bool, **given: Any) -> None:  # noqa: ANN401
    """Show per unit whether it would run, and why; write nothing.

    It is what `cohortflow run --dry-run` shows. Exits 0, 2 when it was called wrongly, 3 when
    nothing could run.
    """
    from cohortflow.front import run

    decisions = run.planned(_request(**given)).decisions
    _show_plan(decisions, as_json)
    if all(d.decision == "invalid" for d in decisions):
        sys.exit(3)


@main.command("why", epilog="\b\nExample:\n  cohortflow why OUT sub-01_ses-01")
@click.argument("out", type=EXISTING)
@click.argument("unit")
@cli.json_option
@cli.front_errors
def why_command(out: Path, unit: str, as_json: bool) -> None:
    """Tell what happened to a unit, and how to run it again.

    Shows the plan's reason, the attempts, the command and the end of the log of the latest run in
    OUT that ran UNIT (its name in the report, as sub-01_ses-01).
    """
    from dataclasses import asdict

    from cohortflow.front import why

    told = why.story(out, unit)
    cli.show(asdict(told), as_json, why.text(told))


@main.command("report", epilog="\b\nExample:\n  cohortflow report OUT")
@click.argument("out", type=EXISTING)
@click.option(
    "--run",
    "run_id",
    metavar="ID",
    help="A run, as OUT/.cohortflow/runs has it; the latest when left out.",
)
@cli.json_option
@cli.front_errors
def report_command(out: Path, run_id: str | None, as_json: bool) -> None:
    """Make the report of OUT again.

    It comes from the manifest, plan and records of a run and from the units' markers.
    """
    from cohortflow.core import report

    summary = report.build(out.absolute(), run_id)
    cli.show(summary.as_json(), as_json, f"{summary.line()}\nReport: {summary.report}")


@main.command("doctor", epilog="\b\nExample:\n  cohortflow doctor --json")
@cli.json_option
@cli.front_errors
def doctor_command(as_json: bool) -> None:
    """Show what is installed, what is missing, and what to do about it.

    Exits 0 when nothing that a run needs is missing, else 1.
    """
    from dataclasses import asdict

    from cohortflow.core import doctor

    findings = doctor.findings()
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        Console().print(doctor.table(findings))
    sys.exit(0 if doctor.healthy(findings) else 1)


@main.command("example", epilog="\b\nExample:\n  cohortflow example dwi demo/study")
@click.argument("lane", type=LANE, metavar="LANE")
@click.argument("folder", type=OUTPUT, metavar="FOLDER")
@click.option(
    "--seed", default=1, show_default=True, metavar="N", help="Another seed makes other heads."
)
@cli.front_errors
def example_command(lane: str, folder: Path, seed: int) -> None:
    """Make an example study with known truth in FOLDER.

    It holds six subjects that show what a run does: good ones, an ambiguous one, broken ones.
    """
    from cohortflow.example import study

    study.write_study(folder, seed)
    click.echo(f"Example study for lane {lane}: {folder}")


@main.command("lanes", epilog="\b\nExample:\n  cohortflow lanes")
def lanes_command() -> None:
    """List the lanes, their steps and parameters."""
    for name in lanes.LANES:
        _describe(lanes.get(name))


def _describe(lane: Lane) -> None:
    click.echo(f"{lane.name}: {lane.title}")
    click.echo(f"  steps: {', '.join(step.name for step in lane.steps)}")
    for parameter in lane.parameters:
        choices = "|".join(parameter.choices) or "text"
        click.echo(f"  --parameter {parameter.name}={parameter.default} ({choices})")
        click.echo(f"      {parameter.help}")

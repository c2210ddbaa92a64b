"""The `cohortflow` command."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from cohortflow import __version__, cli
from cohortflow.core import lanes
from cohortflow.core.lanes import Lane

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
EXISTING = click.Path(exists=True, file_okay=False, path_type=Path)
SHOWN = 20
OUTPUT = click.Path(file_okay=False, path_type=Path)


@click.group(context_settings=CONTEXT)
@click.version_option(__version__)
def main() -> None:
    """Run every unit of a study: discover, validate, process, publish, report."""


def _hyphened(arg: str) -> str:
    """Spell an option's name with hyphens; its value stays as it is."""
    name, sign, value = arg.partition("=")
    return name.replace("_", "-") + sign + value


class BidsCommand(click.Command):
    """A command that takes several labels after one option, as BIDS Apps do."""

    labels = ("--participant-label", "--session-label")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat a label option for each word after it, once LANE, STUDY and OUT were given."""
        spelled = [_hyphened(arg) if arg.startswith("--") else arg for arg in args]
        return super().parse_args(ctx, list(self._repeated(spelled)))

    def _repeated(self, args: list[str]) -> Iterator[str]:
        positional, option, flags = 0, "", self._flags()
        for before, arg in zip(["", *args], args, strict=False):
            value = before.startswith("--") and "=" not in before and before not in flags
            if arg.startswith("-"):
                option = arg if arg in self.labels else ""
            elif option and not value and positional >= 3 and arg != "participant":
                yield option
            elif not value:
                positional += 1
            yield arg

    def _flags(self) -> set[str]:
        return {
            name
            for option in self.params
            if isinstance(option, click.Option) and option.is_flag
            for name in option.opts
        }


def study_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments and options that choose units; `run` and `plan` share them."""
    options = (
        click.argument("lane", type=click.Choice(lanes.LANES)),
        click.argument("study", type=EXISTING),
        click.argument("out", type=OUTPUT),
        click.argument(
            "level", required=False, default="participant", type=click.Choice(["participant"])
        ),
        click.option(
            "--participant-label", "participants", multiple=True, help="Subjects, as BIDS Apps do."
        ),
        click.option("--session-label", "sessions", multiple=True, help="Sessions."),
        click.option(
            "--bids-filter-file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="JSON that decides between several inputs of a unit.",
        ),
        click.option(
            "--manifest",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Units to run: JSON, JSON lines, CSV or csttool's form.",
        ),
        click.option(
            "--parameter",
            "given",
            multiple=True,
            metavar="NAME=VALUE",
            help="Parameter of the lane; see `cohortflow lanes`.",
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
        command=shlex.join(["cohortflow", *sys.argv[1:]]),
    )


@main.command(
    "run",
    cls=BidsCommand,
    epilog="\b\nExample:\n  cohortflow run dwi STUDY STUDY/derivatives/cohortflow-dwi",
)
@study_options
@click.option("--jobs", type=click.IntRange(min=1), help="Tasks at once; as many as cores if not.")
@click.option("--profile", default="", help="Nextflow profiles, separated by commas.")
@click.option("--work-dir", type=OUTPUT, help="Scratch folder; in OUT when left out.")
@click.option("--dry-run", is_flag=True, help="Show what would run and why; write nothing.")
@click.option("--validate-only", is_flag=True, help="Check the inputs; write nothing.")
@cli.front_errors
def run_command(dry_run: bool, validate_only: bool, as_json: bool, **given: Any) -> None:  # noqa: ANN401
    """Run the units of STUDY that need it and publish them in OUT.

    Exits 0 when all units are done, 1 when some are not, 2 when it was called wrongly, 3 when
    nothing could run.
    """
    from cohortflow.front import run

    request = _request(**given)
    if dry_run or validate_only:
        _, _, decisions = run.planned(request)
        (_show_checks if validate_only else _show_plan)(decisions, as_json)
        usable = [d for d in decisions if d.decision != "invalid"]
        if validate_only or not usable:
            sys.exit(0 if len(usable) == len(decisions) else 1 if usable else 3)
        return
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
            return run.run(request, lambda progress: live.update(progress.render(console)))
    said = {"at": time.monotonic() - 20.0, "done": 0.0}

    def show(progress: Progress) -> None:
        late = time.monotonic() - said["at"] > 30
        if late or progress.finished() != said["done"]:
            said.update(at=time.monotonic(), done=progress.finished())
            console.print(progress.line(), highlight=False, soft_wrap=True)

    return run.run(request, show)


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


def _show_plan(decisions: list[Any], as_json: bool) -> None:
    if as_json:
        rows = [
            {"unit": d.unit.id, "decision": d.decision, "reason": d.reason, "detail": d.detail}
            for d in decisions
        ]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("unit", "decision", "reason", "detail"):
        table.add_column(name, overflow="fold")
    for d in decisions:
        style = {"run": "cyan", "invalid": "red"}.get(d.decision, "")
        table.add_row(d.unit.id, d.decision, d.reason, d.detail, style=style)
    Console().print(table)


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
    cls=BidsCommand,
    epilog="\b\nExample:\n  cohortflow plan dwi STUDY STUDY/derivatives/cohortflow-dwi",
)
@study_options
@cli.front_errors
def plan_command(as_json: bool, **given: Any) -> None:  # noqa: ANN401
    """Show per unit whether it would run, and why; write nothing."""
    from cohortflow.front import run

    _, _, decisions = run.planned(_request(**given))
    _show_plan(decisions, as_json)


@main.command("why", epilog="\b\nExample:\n  cohortflow why OUT sub-01_ses-01")
@click.argument("out", type=EXISTING)
@click.argument("unit")
@cli.json_option
@cli.front_errors
def why_command(out: Path, unit: str, as_json: bool) -> None:
    """Tell what happened to UNIT: the plan's reason, its attempts, the log, how to rerun."""
    from dataclasses import asdict

    from cohortflow.front import why

    told = why.story(out, unit)
    cli.show(asdict(told), as_json, why.text(told))


@main.command("report", epilog="\b\nExample:\n  cohortflow report OUT")
@click.argument("out", type=EXISTING)
@click.option("--run", "run_id", help="Id of a run; the latest when left out.")
@cli.json_option
@cli.front_errors
def report_command(out: Path, run_id: str | None, as_json: bool) -> None:
    """Make the report of OUT again, from its manifest, plan, records and markers."""
    from cohortflow.core import report

    summary = report.build(out.absolute(), run_id)
    cli.show(summary.as_json(), as_json, f"{summary.line()}\nReport: {summary.report}")


@main.command("doctor", epilog="\b\nExample:\n  cohortflow doctor --json")
@cli.json_option
@cli.front_errors
def doctor_command(as_json: bool) -> None:
    """Show what is installed, what is missing, and what to do about it."""
    from dataclasses import asdict

    from cohortflow.core import doctor

    findings = doctor.findings()
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        Console().print(doctor.table(findings))
    sys.exit(0 if doctor.healthy(findings) else 1)


@main.command("example", epilog="\b\nExample:\n  cohortflow example dwi demo/study")
@click.argument("lane", type=click.Choice(lanes.LANES))
@click.argument("folder", type=OUTPUT)
@click.option("--seed", default=1, show_default=True, help="Another seed makes other heads.")
@cli.front_errors
def example_command(lane: str, folder: Path, seed: int) -> None:
    """Make an example study with known truth in FOLDER."""
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

"""The command `cohortflow report`."""

from __future__ import annotations

from pathlib import Path

import click

from cohortflow import cli
from cohortflow.commands.study import EXISTING


@click.command("report", epilog="\b\nExample:\n  cohortflow report OUT")
@click.argument("out", type=EXISTING)
@click.option(
    "--run",
    "run_id",
    metavar="ID",
    help="A run, as OUT/.cohortflow/runs has it; the latest when left out.",
)
@cli.json_option
@cli.front_errors
def command(out: Path, run_id: str | None, as_json: bool) -> None:
    """Make the report of OUT again.

    It comes from the manifest, plan and records of a run and from the units' markers.
    """
    from cohortflow.core import report

    summary = report.build(out.absolute(), run_id)
    cli.show(summary.as_json(), as_json, f"{summary.line()}\nReport: {summary.report}")

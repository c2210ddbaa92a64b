"""The command `cohortflow why`."""

from __future__ import annotations

from pathlib import Path

import click

from cohortflow import cli
from cohortflow.commands.study import EXISTING


@click.command("why", epilog="\b\nExample:\n  cohortflow why OUT sub-01_ses-01")
@click.argument("out", type=EXISTING)
@click.argument("unit")
@cli.json_option
@cli.front_errors
def command(out: Path, unit: str, as_json: bool) -> None:
    """Tell what happened to a unit, and how to run it again.

    Shows the plan's reason, the attempts, the command and the end of the log of the latest run in
    OUT that ran UNIT (its name in the report, as sub-01_ses-01).
    """
    from dataclasses import asdict

    from cohortflow.front import why

    told = why.story(out, unit)
    cli.show(asdict(told), as_json, why.text(told))

"""The command `cohortflow example`."""

from __future__ import annotations

from pathlib import Path

import click

from cohortflow import cli
from cohortflow.commands.study import LANE, OUTPUT


@click.command("example", epilog="\b\nExample:\n  cohortflow example dwi demo/study")
@click.argument("lane", type=LANE, metavar="LANE")
@click.argument("folder", type=OUTPUT, metavar="FOLDER")
@click.option(
    "--seed", default=1, show_default=True, metavar="N", help="Another seed makes other heads."
)
@cli.front_errors
def command(lane: str, folder: Path, seed: int) -> None:
    """Make an example study with known truth in FOLDER.

    It holds six subjects that show what a run does: good ones, an ambiguous one, broken ones.
    """
    from cohortflow.example import study

    study.write_study(folder, seed)
    click.echo(f"Example study for lane {lane}: {folder}")

"""The command `cohortflow example`."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from cohortflow import cli
from cohortflow.commands.study import LANE, OUTPUT

#: The module of `cohortflow.example` that writes a lane's study, where it has another name.
MODULES = {"dwi": "study"}


@click.command(
    "example",
    epilog="\b\nExample:\n"
    "  cohortflow example dwi demo/study\n"
    "  cohortflow example cells demo/cells",
)
@click.argument("lane", type=LANE, metavar="LANE")
@click.argument("folder", type=OUTPUT, metavar="FOLDER")
@click.option(
    "--seed",
    default=1,
    show_default=True,
    metavar="N",
    help="Another seed makes other people: heads for dwi, cells for cells.",
)
@cli.front_errors
def command(lane: str, folder: Path, seed: int) -> None:
    """Make an example study with known truth in FOLDER.

    It shows what a run does. For dwi: six subjects, good ones, an ambiguous one, broken ones. For
    cells: ten h5ad files, good ones in new and old layouts, broken ones, and two whose names
    collide.
    """
    study = importlib.import_module(f"cohortflow.example.{MODULES.get(lane, lane)}")
    study.write_study(folder, seed)
    click.echo(f"Example study for lane {lane}: {folder}")

"""The command `cohortflow doctor`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console

from cohortflow import cli


@click.command(
    "doctor",
    short_help="Show what is installed and what is missing.",
    epilog="\b\nExample:\n  cohortflow doctor --json",
)
@cli.json_option
@click.option(
    "--image-prefix",
    default="localhost",
    show_default=True,
    metavar="NAME",
    help="What the names of images begin with, as in a run.",
)
@click.option(
    "--image-folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of images, as in a run; .images in the checkout when left out.",
)
@cli.front_errors
def command(as_json: bool, image_prefix: str, image_folder: Path | None) -> None:
    """Show what is installed, what is missing, and what to do about it.

    Exits 0 when nothing that a run needs is missing, else 1.
    """
    from dataclasses import asdict

    from cohortflow.core import doctor

    folder = image_folder.absolute() if image_folder else None
    findings = doctor.findings(doctor.this_machine(None, image_prefix, folder))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        Console().print(doctor.table(findings))
    sys.exit(0 if doctor.healthy(findings) else 1)

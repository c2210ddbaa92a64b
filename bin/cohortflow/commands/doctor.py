"""The command `cohortflow doctor`."""

from __future__ import annotations

import json
import sys

import click
from rich.console import Console

from cohortflow import cli


@click.command(
    "doctor",
    short_help="Show what is installed and what is missing.",
    epilog="\b\nExample:\n  cohortflow doctor --json",
)
@cli.json_option
@cli.front_errors
def command(as_json: bool) -> None:
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

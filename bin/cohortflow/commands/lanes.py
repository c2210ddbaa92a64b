"""The command `cohortflow lanes`."""

from __future__ import annotations

import click

from cohortflow.core import lanes
from cohortflow.core.lanes import Lane


@click.command("lanes", epilog="\b\nExample:\n  cohortflow lanes")
def command() -> None:
    """List the lanes, their steps and parameters."""
    for name in lanes.LANES:
        _describe(lanes.get(name))


def _describe(lane: Lane) -> None:
    click.echo(f"{lane.name}: {lane.title}")
    click.echo(f"  study: {'a folder or one file' if lane.takes_file else 'a folder'}")
    click.echo(f"  steps: {', '.join(step.name for step in lane.steps)}")
    click.echo(f"  --clean {lane.clean} when it is left out")
    for parameter in lane.parameters:
        click.echo(f"  --parameter {parameter.name}={parameter.default} ({parameter.kind()})")
        click.echo(f"      {parameter.help}")

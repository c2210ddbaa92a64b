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
    click.echo(f"  steps: {', '.join(step.name for step in lane.steps)}")
    for parameter in lane.parameters:
        choices = "|".join(parameter.choices) or "text"
        click.echo(f"  --parameter {parameter.name}={parameter.default} ({choices})")
        click.echo(f"      {parameter.help}")

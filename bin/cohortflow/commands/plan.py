"""The command `cohortflow plan`."""

from __future__ import annotations

import sys
from typing import Any

import click

from cohortflow import cli
from cohortflow.commands import show, study
from cohortflow.commands.lane_options import LaneCommand


@click.command(
    "plan",
    short_help="Show per unit whether it would run, and why.",
    cls=LaneCommand,
    epilog="\b\nExample:\n  cohortflow plan dwi STUDY STUDY/derivatives/cohortflow-dwi",
)
@study.options
@cli.front_errors
def command(as_json: bool, **given: Any) -> None:  # noqa: ANN401
    """Show per unit whether it would run, and why; write nothing.

    It is what `cohortflow run --dry-run` shows. Exits 0, 2 when it was called wrongly, 3 when
    nothing could run.
    """
    from cohortflow.front import run

    decisions = run.planned(study.request(**given)).decisions
    show.plan(decisions, as_json)
    if all(d.decision == "invalid" for d in decisions):
        sys.exit(3)

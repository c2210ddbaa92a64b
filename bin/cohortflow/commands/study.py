"""Arguments and options that choose units: `run` and `plan` share them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cohortflow import cli
from cohortflow.core import lanes

EXISTING = click.Path(exists=True, file_okay=False, path_type=Path)
STUDY = click.Path(exists=True, path_type=Path)
OUTPUT = click.Path(file_okay=False, path_type=Path)
LANE = click.Choice(lanes.LANES)


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments and options that choose units; `run` and `plan` share them."""
    options = (
        click.argument("lane", type=LANE, metavar="LANE"),
        click.argument("study", type=STUDY, metavar="STUDY"),
        click.argument("out", type=OUTPUT, metavar="OUT"),
        click.argument(
            "level",
            required=False,
            default="participant",
            type=click.Choice(["participant"]),
            metavar="[participant]",
        ),
        click.option(
            "--participant-label",
            "participants",
            multiple=True,
            metavar="LABEL...",
            help="Subjects to take, with or without sub-; all when left out.",
        ),
        click.option(
            "--session-label",
            "sessions",
            multiple=True,
            metavar="LABEL...",
            help="Sessions to take, with or without ses-; all when left out.",
        ),
        click.option(
            "--bids-filter-file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="JSON, as fMRIPrep's, that chooses among several inputs of a unit.",
        ),
        click.option(
            "--manifest",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Units to take instead of looking in STUDY: JSON, JSON lines, CSV or csttool's "
            "form; OUT/rerun.json is one.",
        ),
        click.option(
            "--parameter",
            "given",
            multiple=True,
            metavar="NAME=VALUE",
            help="Set a parameter of the lane; the same as its option below.",
        ),
        cli.plan_options,
        cli.json_option,
    )
    for option in reversed(options):
        function = option(function)
    return function


def request(**given: Any) -> Any:  # noqa: ANN401 - Click's own values
    """Make the front door's request of a command line."""
    from dataclasses import replace

    from cohortflow.commands import lane_options
    from cohortflow.core import plan
    from cohortflow.front import run, study

    lane = lanes.get(given["lane"])
    folder, file = study.place(lane, given["study"])
    chosen = study.selection(
        lane, given["participants"], given["sessions"], given["bids_filter_file"]
    )
    pairs = dict(cli.pair(text) for text in given["given"])
    return run.Request(
        lane=lane.name,
        study=folder,
        out=given["out"],
        manifest=given["manifest"],
        chosen=replace(chosen, file=file),
        wishes=plan.Wishes(
            given["overwrite"], given["rerun_failed"], given["stale"], given["limit"]
        ),
        parameters=lane_options.given(lane, given, pairs),
        profile=given.get("profile", ""),
        config=given.get("config"),
        jobs=given.get("jobs"),
        work=given.get("work_dir"),
        wait=given.get("wait", False),
        clean=given.get("clean") or lane.clean,
        unit_timeout=given.get("unit_timeout"),
        logs=given.get("log_dir"),
        command=shlex.join(["cohortflow", *sys.argv[1:]]),
    )

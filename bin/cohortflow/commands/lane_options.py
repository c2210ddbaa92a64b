"""What `run` and `plan` take beside their own options: those of their lane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from cohortflow import cli
from cohortflow.commands import shorthands
from cohortflow.core import lanes
from cohortflow.core.lanes import Lane, Parameter
from cohortflow.core.outcome import Category, Failure

_PREFIX = "parameter_"


class LaneCommand(cli.BidsCommand):
    """A command with an option for each parameter of each lane.

    Lanes are loaded when the options are asked for, not when the program starts.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters and the lanes', each name once."""
        own = super().get_params(ctx)
        taken = {name for parameter in own for name in parameter.opts}
        added = {
            parameter.option: _option(parameter)
            for lane in map(lanes.get, lanes.LANES)
            for parameter in lane.parameters
            if parameter.option not in taken
        }
        return [*own, *added.values()]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse a command line after its lane's other names of options were replaced."""
        return super().parse_args(ctx, shorthands.replaced(args, self.flags(ctx)))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then those of each lane."""
        own = (parameter.get_help_record(ctx) for parameter in self.params)
        with formatter.section("Options"):
            # The last of what a command has of itself is its help.
            helped = self.get_help_option(ctx)
            last = helped.get_help_record(ctx) if helped else None
            formatter.write_dl([record for record in (*own, last) if record])
        for lane in map(lanes.get, lanes.LANES):
            if rows := _rows(lane):
                with formatter.section(f"Lane {lane.name}"):
                    formatter.write_dl(rows)


def _option(parameter: Parameter) -> click.Option:
    """Make an option that takes any text: the lane checks it, as it does `--parameter`."""
    names = [parameter.option, _PREFIX + parameter.name]
    if parameter.type == "boolean":
        return click.Option(names, is_flag=True, default=False)
    return click.Option(names, default=None)


def _rows(lane: Lane) -> list[tuple[str, str]]:
    """Return the lane's options with what they mean, and its other names of options."""
    rows = []
    for parameter in lane.parameters:
        default = f"  [default: {parameter.default}]" if parameter.default else ""
        if parameter.type == "boolean":
            rows.append((parameter.option, parameter.help))
        else:
            rows.append((f"{parameter.option} {_metavar(parameter)}", parameter.help + default))
    return [*rows, *shorthands.rows(lane)]


def _metavar(parameter: Parameter) -> str:
    if parameter.choices:
        return f"[{'|'.join(parameter.choices)}]"
    return {"integer": "N", "number": "X"}.get(
        parameter.type, "FILE" if parameter.input else "TEXT"
    )


def given(lane: Lane, values: Mapping[str, Any], pairs: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that a command line sets, as options or as ``--parameter``.

    Parameters
    ----------
    lane : Lane
    values : mapping
        Click's values of all options.
    pairs : mapping of str to str
        Those of ``--parameter``.

    Raises
    ------
    Failure
        USAGE for an option of another lane, and for a parameter that is set in both ways.
    """
    known = {parameter.name for parameter in lane.parameters}
    found = dict(pairs)
    for key, value in values.items():
        if not key.startswith(_PREFIX) or value is None or value is False:
            continue
        name = key.removeprefix(_PREFIX)
        option = "--" + name.replace("_", "-")
        if name not in known:
            raise Failure(
                Category.USAGE,
                f"{option} is no option of lane {lane.name}",
                "`cohortflow lanes` lists each lane's",
            )
        if name in pairs:
            raise Failure(
                Category.USAGE, f"{option} and --parameter {name}= are the same", "keep one of them"
            )
        found[name] = "true" if value is True else str(value)
    return found

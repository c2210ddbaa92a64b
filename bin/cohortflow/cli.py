"""What every command line shares: error lines, exit statuses, common options.

No module of the package below this one imports Click.
"""

from __future__ import annotations

import functools
import json
import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cohortflow import __version__
from cohortflow.core.outcome import Category, Failure, failure_of

Command = Callable[..., Any]

unit_option = click.option(
    "--unit", default="-", metavar="ID", help="Name of the unit, for error lines."
)
output_option = click.option(
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to make; it appears when it is complete.",
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace the output.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Check the input, write nothing.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def plan_options(function: Command) -> Command:
    """Add the options that decide which units run: core-plan and the front door share them."""
    options = (
        click.option("--overwrite", is_flag=True, help="Run complete units again, without cache."),
        click.option("--rerun-failed", is_flag=True, help="Try invalid units again, too."),
        click.option(
            "--stale",
            type=click.Choice(["run", "keep"]),
            default="run",
            help="Results of older code: run them again or keep them.",
            show_default=True,
        ),
        click.option("--limit", type=click.IntRange(min=1), help="Run at most N units."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def pair(text: str) -> tuple[str, str]:
    """Split ``NAME=VALUE``.

    Raises
    ------
    click.UsageError
        When there is no ``=``.
    """
    name, sign, value = text.partition("=")
    if not sign:
        raise click.UsageError(f"{text!r} is not NAME=VALUE")
    return name, value


def tool(example: str) -> Callable[[Command], click.Command]:
    """Make a function a tool: a Click command with ``--version``, an example and error lines.

    Parameters
    ----------
    example : str
        A command line that works, shown at the end of ``--help``.
    """

    def decorate(function: Command) -> click.Command:
        return click.command(
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
            epilog=f"\b\nExample:\n  {example}",
        )(click.version_option(__version__)(errors_as_lines(function)))

    return decorate


def errors_as_lines(function: Command) -> Command:
    """Turn a Failure or OSError into one line and its exit status; a bug keeps its traceback."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - Click's own signature
        logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s", level="INFO")
        unit = str(kwargs.get("unit") or "-")
        try:
            return function(*args, **kwargs)
        except Failure as failure:
            end(failure, unit)
        except BrokenPipeError:
            sys.exit(141)
        except MemoryError:
            click.echo(f"ERROR OUT_OF_MEMORY {unit} out of memory: rerun with more", err=True)
            sys.exit(137)
        except OSError as error:
            end(failure_of(error), unit)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            traceback.print_exc()
            click.echo(
                f"ERROR SOFTWARE {unit} {type(error).__name__} in {function.__module__}: "
                "report it with the lines above",
                err=True,
            )
            sys.exit(70)

    return wrapped


def front_errors(function: Command) -> Command:
    """Do what `errors_as_lines` does with the front door's exit statuses: 2 usage, 3 no run."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - Click's own signature
        try:
            return function(*args, **kwargs)
        except (Failure, OSError) as error:
            failure = error if isinstance(error, Failure) else failure_of(error)
            click.echo(failure.line(), err=True)
            sys.exit(2 if failure.category is Category.USAGE else 3)

    return errors_as_lines(wrapped)


def end(failure: Failure, unit: str = "-") -> None:
    """Print a failure's line on stderr and leave with its exit status."""
    click.echo(failure.line(unit), err=True)
    sys.exit(failure.status)


def show(value: Any, as_json: bool, text: str) -> None:  # noqa: ANN401 - any JSON value
    """Print a result on stdout: JSON when asked, else the text."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False) if as_json else text)

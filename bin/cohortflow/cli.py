"""What every command line shares: error lines, exit statuses, common options.

No module of the package below this one imports Click.
"""

from __future__ import annotations

import functools
import io
import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
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
batch_option = click.option(
    "--batch-mode",
    is_flag=True,
    help="The input is a folder: do it for each in it, into a folder of its name.",
)
matrix_option = click.option(
    "--matrix",
    default="X",
    show_default=True,
    metavar="NAME",
    help="Matrix to read: X, raw or layers/NAME.",
)
threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    envvar="OMP_NUM_THREADS",
    show_default=True,
    metavar="N",
    help="Threads to use; OMP_NUM_THREADS when left out. The result is the same.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def plan_options(function: Command) -> Command:
    """Add the options that decide which units run: core-plan and the front door share them."""
    options = (
        click.option("--overwrite", is_flag=True, help="Run complete units again, without cache."),
        click.option(
            "--rerun-failed",
            is_flag=True,
            help="Try units again whose data was found invalid, although nothing changed.",
        ),
        click.option(
            "--stale",
            type=click.Choice(["run", "keep"]),
            default="run",
            help="What to do with results of older code.",
            show_default=True,
        ),
        click.option(
            "--limit", type=click.IntRange(min=1), metavar="N", help="Run at most N units."
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def split_options(function: Command) -> Command:
    """Add the options that decide which cells are for testing."""
    options = (
        click.option(
            "--test-size",
            type=click.FloatRange(0, 1, max_open=True),
            default=0.05,
            show_default=True,
            help="Share of the cells.",
        ),
        click.option(
            "--split-by",
            type=click.Choice(["donor", "cell", "age"]),
            default="donor",
            show_default=True,
            help="Whole donors, or single cells, also of each age alike.",
        ),
        click.option("--donor-column", default="", help="Column of obs; donor_id and such if not."),
        click.option("--split-seed", type=int, default=42, show_default=True, metavar="N"),
        click.option("--skip-train-test-split", is_flag=True, help="All cells are for training."),
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


class OneLineErrors(click.Command):
    """A command whose usage errors are one line on stderr, as all its other errors are."""

    def main(self, *args: Any, **given: Any) -> Any:  # noqa: ANN401 - Click's own signature
        """Run the command line; leave with its exit status unless Click is told not to."""
        if not given.get("standalone_mode", True):
            return super().main(*args, **given)
        if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that knows ASCII only
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            status = super().main(*args, **{**given, "standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            status = error.exit_code
        except click.ClickException as error:
            usage = getattr(error, "ctx", None)
            remedy = f"see `{usage.command_path} --help`" if usage else ""
            message = error.format_message().rstrip(".")
            click.echo(Failure(Category.USAGE, message, remedy).line(), err=True)
            status = error.exit_code
        except click.Abort:
            status = 130
        sys.exit(status if isinstance(status, int) else 0)


class OneLineGroup(OneLineErrors, click.Group):
    """A group of commands with one-line errors."""


def _hyphened(arg: str) -> str:
    """Spell an option's name with hyphens; its value stays as it is."""
    name, sign, value = arg.partition("=")
    return name.replace("_", "-") + sign + value


class BidsCommand(click.Command):
    """A command that takes several labels after one option, as BIDS Apps do."""

    labels = ("--participant-label", "--session-label")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat a label option for each word after it.

        Such words are labels before LANE or once LANE, STUDY and OUT were given; between them
        nobody could tell a label from a folder.
        """
        end = args.index("--") if "--" in args else len(args)
        spelled = [_hyphened(arg) if arg.startswith("--") else arg for arg in args[:end]]
        return super().parse_args(ctx, [*self._repeated(ctx, spelled), *args[end:]])

    def _repeated(self, ctx: click.Context, args: list[str]) -> Iterator[str]:
        from cohortflow.core import lanes  # only the front door needs it: tools start faster

        positional, option, flags = 0, "", self.flags(ctx)
        for before, arg in zip(["", *args], args, strict=False):
            value = before.startswith("--") and "=" not in before and before not in flags
            first = positional == 0 and arg not in lanes.LANES
            if arg.startswith("-") and not value:
                option = arg.partition("=")[0] if arg.partition("=")[0] in self.labels else ""
            elif option and not value and (first or positional >= 3) and arg != "participant":
                yield option
            elif not value:
                positional += 1
                option = ""
            yield arg

    def flags(self, ctx: click.Context) -> set[str]:
        """Return the options that take no value."""
        return {
            name
            for option in self.get_params(ctx)
            if isinstance(option, click.Option) and option.is_flag
            for name in (*option.opts, *option.secondary_opts)
        }


def tool(example: str) -> Callable[[Command], click.Command]:
    """Make a function a tool: a Click command with ``--version``, an example and error lines.

    Parameters
    ----------
    example : str
        A command line that works, shown at the end of ``--help``.
    """

    def decorate(function: Command) -> click.Command:
        return click.command(
            cls=OneLineErrors,
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
        except BrokenPipeError:
            raise
        except (Failure, OSError) as error:
            failure = error if isinstance(error, Failure) else failure_of(error)
            click.echo(failure.line(), err=True)
            sys.exit(2 if failure.category is Category.USAGE else 3)

    return errors_as_lines(wrapped)


def each(
    function: Command,
    places: Sequence[tuple[str, Path]],
    output: Path,
    *,
    batch: bool,
    unit: str = "-",
) -> None:
    """Do something for one input, or for several; of these, one that fails stops no other.

    Parameters
    ----------
    function : callable
        Called with ``unit``, ``source`` and ``target``: the input's name, its path, and the
        folder to make.
    places : sequence of (str, Path)
        Names and paths; one without `batch`.
    output : Path
        The folder to make; with `batch` it holds one of each input's name.
    batch : bool
    unit : str
        The name of a single input, for error lines.

    Raises
    ------
    SystemExit
        After a batch, with the exit status of the first that failed.
    """
    if not batch:
        function(unit=unit, source=places[0][1], target=output)
        return
    ended = []
    for name, path in places:
        try:
            errors_as_lines(function)(unit=name, source=path, target=output / name)
        except SystemExit as end:
            ended.append(end)
    if ended:
        raise ended[0]


def end(failure: Failure, unit: str = "-") -> None:
    """Print a failure's line on stderr and leave with its exit status."""
    click.echo(failure.line(unit), err=True)
    sys.exit(failure.status)


def show(value: Any, as_json: bool, text: str) -> None:  # noqa: ANN401 - any JSON value
    """Print a result on stdout: JSON when asked, else the text."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False) if as_json else text)

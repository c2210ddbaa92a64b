"""The command `cohortflow verify`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cohortflow import cli
from cohortflow.core.outcome import Category, Failure, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cohortflow.core.survey import Finding


@click.command(
    "verify",
    short_help="Compare OUT with what its markers say.",
    epilog="\b\nExample:\n  cohortflow verify OUT\n  cohortflow verify OUT sub-01",
)
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("names", nargs=-1, metavar="[UNIT]...")
@click.option("--quick", is_flag=True, help="Compare sizes only, not the content of each file.")
@cli.json_option
@cli.front_errors
def command(out: Path, names: tuple[str, ...], quick: bool, as_json: bool) -> None:
    """Compare OUT, or some of its units, with what the markers say; change nothing.

    Every file that a marker lists must be there with its size and SHA-256, and no other file may
    be in a unit's folder. UNIT is a name as in the report (sub-01_ses-01), or a folder of OUT.

    Exits 0 when all is well, 1 when something was found, 2 when it was called wrongly, 3 when
    there is nothing to verify.
    """
    from cohortflow.core import survey, verify

    found = survey.survey(out)
    folders = [survey.folder_of(found, name) for name in names] or found.folders
    findings: list[Finding] = [] if names else list(survey.dataset(out, found))
    if not folders and not (findings and (out / survey.DESCRIPTION).is_file()):
        raise Failure(Category.INPUT_MISSING, f"{out} has no published unit", "name a run's output")
    with _progress(len(folders)) as advance:
        for folder in dict.fromkeys(folders):
            findings += verify.unit(out, folder, quick=quick)
            advance(folder)
    _show(findings, len(folders), quick, as_json)
    sys.exit(1 if findings else 0)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    """Give a function to call after each unit; it shows a bar on a terminal only."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _folder: None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("units", total=total)
        yield lambda folder: bar.update(task, advance=1, description=one_line(folder))


def _show(findings: Sequence[Finding], units: int, quick: bool, as_json: bool) -> None:
    if as_json:
        value = {"units": units, "quick": quick, "findings": [asdict(one) for one in findings]}
        click.echo(json.dumps(value, indent=2))
        return
    for one in findings:
        click.echo(one_line(f"{one.unit}  {one.path}  {one.problem}: {one.remedy}"))
    how = "sizes" if quick else "sizes and SHA-256"
    said = f"{len(findings)} found" if findings else "all is well"
    click.echo(f"{units} unit{'s' * (units != 1)}, {how}: {said}")

"""The command `cohortflow import-csttool`."""

from __future__ import annotations

from pathlib import Path

import click

from cohortflow import cli
from cohortflow.core.outcome import Category, Failure

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(
    "import-csttool",
    short_help="Read the results of `csttool batch` into a table.",
    epilog="\b\nExample:\n  cohortflow import-csttool FOLDER --output table.csv",
)
@click.argument("folder", type=_FOLDER)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; stdout when left out.",
)
@click.option(
    "--compare", "out", type=_FOLDER, help="Put the numbers of this output of cohortflow beside."
)
@click.option("--overwrite", is_flag=True, help="Replace the file.")
@cli.json_option
@cli.front_errors
def command(
    folder: Path, output: Path | None, out: Path | None, overwrite: bool, as_json: bool
) -> None:
    """Read the results of `csttool batch` in FOLDER into a table, a row a subject and session.

    Columns are csttool_NAME with csttool's own names; with --compare also cohortflow_NAME and
    difference_NAME (cohortflow minus csttool). A subject that csttool counts as done although it
    has no numbers has a row that says so.
    """
    from cohortflow.core import save
    from cohortflow.dwi import csttool, csttool_table

    if output is not None and output.exists() and not overwrite:
        raise Failure(Category.USAGE, f"{output} exists", "use --overwrite or name another file")
    results = csttool.read(folder)
    table = csttool_table.rows(results, None if out is None else csttool_table.ours(out))
    text = (csttool_table.as_json if as_json else csttool_table.as_csv)(table)
    if output is None:
        click.echo(text, nl=False)
    else:
        save.write_text(output, text)
    without = [result for result in results if not result.metrics]
    where = f": {output}" if output else ""
    click.echo(f"{len(table)} rows, {len(without)} of csttool's without numbers{where}", err=True)

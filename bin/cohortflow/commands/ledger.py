"""`cohortflow ledger`: care for the database behind `status` and `history`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cohortflow import cli

OUT = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group(
    "ledger",
    short_help="Care for the ledger that `status` and `history` ask.",
    cls=cli.OneLineGroup,
    epilog="\b\nExample:\n  cohortflow ledger rebuild OUT",
)
def command() -> None:
    """Care for the ledger: the database that `status` and `history` ask.

    It is a SQLite file in OUT, or the database that DATABASE_URL names. The files in OUT stay the
    source of truth.
    """


def _database_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a database's error into one line without password or statement."""

    @functools.wraps(function)
    def wrapped(out: Path, **given: Any) -> Any:  # noqa: ANN401 - Click's own values
        from sqlalchemy.exc import SQLAlchemyError

        from cohortflow.core.outcome import Category, Failure
        from cohortflow.ledger import attempt, database

        try:
            return function(out, **given)
        except SQLAlchemyError as error:
            told = attempt.reason(error, database.choose(out))
            remedy = "start the database or correct its address"
            raise Failure(Category.UNAVAILABLE, told, remedy) from None

    return wrapped


@command.command("rebuild", epilog="\b\nExample:\n  cohortflow ledger rebuild OUT")
@click.argument("out", type=OUT)
@cli.json_option
@cli.front_errors
@_database_errors
def rebuild_command(out: Path, as_json: bool) -> None:
    """Empty the ledger's rows of OUT and make them from its files again."""
    from cohortflow.ledger import database, sync, where

    chosen = database.choose(out)
    sync.rebuild(out, chosen)
    place = where.look(chosen)
    counts = ", ".join(f"{number} {name}" for name, number in place.rows.items())
    cli.show(place.as_json(), as_json, f"{place.place}: {counts}")


@command.command("upgrade", epilog="\b\nExample:\n  cohortflow ledger upgrade OUT")
@click.argument("out", type=OUT)
@cli.json_option
@cli.front_errors
@_database_errors
def upgrade_command(out: Path, as_json: bool) -> None:
    """Bring the ledger's tables to the form of this version."""
    from cohortflow.ledger import database, where

    chosen = database.choose(out)
    before = where.upgrade(out, chosen)
    place = where.look(chosen)
    text = f"{place.place}: form {place.form}, before {before or 'empty'}"
    cli.show(place.as_json(), as_json, text)


@command.command("where", epilog="\b\nExample:\n  cohortflow ledger where OUT")
@click.argument("out", type=OUT)
@cli.json_option
@cli.front_errors
@_database_errors
def where_command(out: Path, as_json: bool) -> None:
    """Show where the ledger of OUT lies, its form and how many rows it holds."""
    from cohortflow.ledger import database, where

    place = where.look(database.choose(out))
    counts = ", ".join(f"{number} {name}" for name, number in place.rows.items())
    about = f"form {place.form} ({place.state})" if place.form else place.state
    cli.show(place.as_json(), as_json, "\n".join(filter(None, [place.place, about, counts])))

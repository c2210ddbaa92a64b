"""Where a ledger lies and what it holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from cohortflow.core.outcome import Category, Failure
from cohortflow.ledger import schema
from cohortflow.ledger.database import Database
from cohortflow.ledger.models import Base
from cohortflow.ledger.sync import FINAL_WAIT_SECONDS, alone


@dataclass(frozen=True)
class Place:
    """A ledger.

    Attributes
    ----------
    place : str
        Path or URL without its password.
    state : str
        ``not made yet``, or as `schema.Form.state`.
    form : str or None
        Revision of its tables.
    rows : dict
        Number of rows of this output by table.
    """

    place: str
    state: str
    form: str | None
    rows: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """Return a JSON value."""
        return asdict(self)


def look(database: Database) -> Place:
    """Look at a ledger; nothing is made.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        When the database fails.
    """
    if database.path is not None and not database.path.exists():
        return Place(database.shown, "not made yet", None, {})
    with database.engine().connect() as connection:
        found = schema.form(connection)
        rows = {}
        for name, table in Base.metadata.tables.items() if found.state == "current" else ():
            mine = select(func.count()).where(table.c.output == database.output)
            rows[name] = connection.scalar(mine.select_from(table)) or 0
        rows.pop("sources", None)
    return Place(database.shown, found.state, found.found, rows)


def upgrade(out: Path, database: Database) -> str | None:
    """Bring a ledger's tables to this version's form; return the form before.

    Raises
    ------
    Failure
        CONFIG when it is newer, TEMPORARY when another process writes it.
    """
    with alone(out.absolute(), FINAL_WAIT_SECONDS) as held:
        if not held:
            raise Failure(Category.TEMPORARY, f"another process writes the ledger of {out}")
        return schema.upgrade(database.engine(), database).found

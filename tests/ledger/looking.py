"""What the ledger's tests look at: all rows of a database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import select

from cohortflow.ledger import database
from cohortflow.ledger.database import Database
from cohortflow.ledger.models import Base

Rows = dict[str, list[dict[str, Any]]]


def rows(given: Database, *, sources: bool = False) -> Rows:
    """Return every row of this output, table by table, in order of the keys."""
    found: Rows = {}
    with given.engine().connect() as connection:
        for name, table in Base.metadata.tables.items():
            if name == "sources" and not sources:
                continue
            wanted = select(table).where(table.c.output == given.output)
            wanted = wanted.order_by(*table.primary_key.columns)
            found[name] = [
                {key: value for key, value in row.items() if key != "output"}
                for row in connection.execute(wanted).mappings()
            ]
    return found


def states(given: Database) -> dict[str, str]:
    """Return the state of every unit."""
    return {row["id"]: row["state"] for row in rows(given)["units"]}


def chosen(url: str, out: Path) -> Database:
    return database.from_url(url, out)

"""Put rows into the database, many at a time, the same way for SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, delete
from sqlalchemy.dialects import postgresql, sqlite

from cohortflow.ledger.models import Base

Row = dict[str, Any]
BATCH = 1000
_T = TypeVar("_T")


def table(model: type[Base]) -> Table:
    """Return the table of a model."""
    return Base.metadata.tables[model.__tablename__]


def batches(values: Iterable[_T], size: int = BATCH) -> Iterator[list[_T]]:
    """Yield lists of at most `size` values; nothing more is held in memory."""
    source = iter(values)
    while batch := list(islice(source, size)):
        yield batch


def upsert(connection: Connection, model: type[Base], rows: Sequence[Row]) -> None:
    """Insert rows, or replace those of the same key; every row has every column."""
    if not rows:
        return
    target = table(model)
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(target)
    keys = [column.name for column in target.primary_key]
    rest = [column.name for column in target.columns if column.name not in keys]
    changed = {name: getattr(statement.excluded, name) for name in rest}
    statement = statement.on_conflict_do_update(index_elements=keys, set_=changed)
    for batch in batches(rows):
        connection.execute(statement, batch)


def remove(connection: Connection, model: type[Base], **equal: Any) -> None:  # noqa: ANN401
    """Delete the rows whose columns have these values (a list means any of them)."""
    target = table(model)
    wanted = [
        target.c[name].in_(value) if isinstance(value, list) else target.c[name] == value
        for name, value in equal.items()
    ]
    connection.execute(delete(target).where(*wanted))

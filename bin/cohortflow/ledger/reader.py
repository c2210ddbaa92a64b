"""Ask the ledger, or the files themselves when its database is away."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from sqlalchemy import URL, Connection
from sqlalchemy.exc import SQLAlchemyError

from cohortflow.core import layout
from cohortflow.core.outcome import Category, Failure
from cohortflow.ledger import schema
from cohortflow.ledger.attempt import reason
from cohortflow.ledger.database import Database, choose
from cohortflow.ledger.sync import catch_up, sync

_T = TypeVar("_T")
Question = Callable[[Connection, str], _T]


class Reader:
    """Answers questions about one output; use it in a ``with`` block.

    When the database cannot be used, a temporary one is made from the files, so that the answers
    are the same.

    Parameters
    ----------
    out : Path
        Output folder.
    environment : mapping, optional
        The process's own when left out.

    Attributes
    ----------
    warning : str or None
        One line on why the last answer did not come from the ledger, or may be old.

    Raises
    ------
    Failure
        INPUT_MISSING when no run is recorded in the folder.
    """

    def __init__(self, out: Path, environment: Mapping[str, str] | None = None) -> None:
        if not layout.hidden(out, "runs").is_dir():
            raise Failure(
                Category.INPUT_MISSING,
                f"{out}: no run is recorded here",
                "name the output folder of a `cohortflow run`",
            )
        self.out, self.environment = out.absolute(), environment
        self.warning: str | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Reader:
        """Begin; nothing is opened yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove what was made for the time of the questions."""
        if self._folder is not None:
            self._folder.cleanup()

    def ask(self, question: Question[_T]) -> _T:
        """Bring the ledger up to date and ask it."""
        self.warning = None
        database: Database | None = None
        try:
            database = choose(self.out, self.environment)
            self._try_sync(database)
            return self._asked(database, question)
        except (SQLAlchemyError, OSError, _Unusable) as error:
            self.warning = f"from the files, not the ledger: {reason(error, database)}"
        except Failure as failure:
            if failure.category not in {Category.CONFIG, Category.INPUT_MISSING}:
                raise
            self.warning = f"from the files, not the ledger: {reason(failure, database)}"
        return self._asked(self._temporary(), question)

    def _try_sync(self, database: Database) -> None:
        """Sync; where only the files cannot be written, the ledger is still worth asking."""
        try:
            sync(self.out, database)
        except OSError as error:
            self.warning = f"the ledger may be old: {reason(error, database)}"

    def _asked(self, database: Database, question: Question[_T]) -> _T:
        engine = database.engine()
        with engine.connect() as connection:
            found = schema.form(connection)
            if found.state != "current":
                raise _Unusable(f"its form is {found.found or 'not made yet'}")
            return question(connection, database.output)

    def _temporary(self) -> Database:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="cohortflow-ledger-")
        path = Path(self._folder.name) / "ledger.sqlite"
        database = Database(URL.create("sqlite", database=str(path)), ".", path)
        catch_up(self.out, database)
        return database


class _Unusable(Exception):
    """The database is there, but its tables are not what we read."""

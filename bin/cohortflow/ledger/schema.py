"""The form of the ledger's tables: make it, bring it up to date, refuse a newer one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from cohortflow.core.outcome import Category, Failure
from cohortflow.ledger.database import Database
from cohortflow.ledger.models import Base

VERSION_TABLE = "cohortflow_ledger_version"
MIGRATIONS = Path(__file__).with_name("migrations")
# Any number will do, as long as every cohortflow takes the same one.
_POSTGRESQL_LOCK = 7_236_410_552


@dataclass(frozen=True)
class Form:
    """The form of a database's tables.

    Attributes
    ----------
    state : str
        ``empty``, ``current``, ``older``, ``newer`` or ``foreign`` (tables of something else).
    found : str or None
        Revision in the database.
    wanted : str
        Revision of this version of cohortflow.
    """

    state: str
    found: str | None
    wanted: str


def form(connection: Connection, location: Path = MIGRATIONS) -> Form:
    """Look at the form of a database; nothing is changed."""
    scripts = ScriptDirectory.from_config(_config(location))
    wanted = scripts.get_current_head() or ""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    found = context.get_current_revision()
    if found is None:
        taken = set(inspect(connection).get_table_names()) & set(Base.metadata.tables)
        return Form("foreign" if taken else "empty", None, wanted)
    known = {script.revision for script in scripts.walk_revisions()}
    state = "current" if found == wanted else "older" if found in known else "newer"
    return Form(state, found, wanted)


def prepare(engine: Engine, database: Database, location: Path = MIGRATIONS) -> None:
    """Make sure that the tables have the form that this version writes.

    An empty database gets its tables, an older SQLite file is migrated.

    Raises
    ------
    Failure
        CONFIG when the tables are newer, of something else, or older on a server.
    """
    _finish_cut_migration(database)
    with engine.connect() as connection:
        now = form(connection, location)
    if now.state == "current":
        return
    if now.state == "older" and database.path is None:
        raise Failure(
            Category.CONFIG,
            f"the ledger {database.shown} has an older form ({now.found})",
            "run `cohortflow ledger upgrade OUT`",
        )
    upgrade(engine, database, location)


def upgrade(engine: Engine, database: Database, location: Path = MIGRATIONS) -> Form:
    """Bring the tables to this version's form; a SQLite file is copied first.

    Returns
    -------
    Form
        As it was before.

    Raises
    ------
    Failure
        CONFIG when the tables are newer or of something else; nothing is then changed.
    """
    _finish_cut_migration(database)
    with engine.connect() as connection:
        before = form(connection, location)
    _refuse(before, database)
    if before.state == "current":
        return before
    if before.state == "older" and database.path is not None:
        _copy(database.path, _backup(database.path))
    try:
        _migrate(engine, location)
    except BaseException:
        _finish_cut_migration(database)
        raise
    if database.path is not None:
        _backup(database.path).unlink(missing_ok=True)
    return before


def _refuse(found: Form, database: Database) -> None:
    if found.state == "newer":
        raise Failure(
            Category.CONFIG,
            f"the ledger {database.shown} was written by a newer cohortflow ({found.found})",
            "use that version, or name another database",
        )
    if found.state == "foreign":
        raise Failure(
            Category.CONFIG,
            f"the database {database.shown} holds tables of something else",
            "name a database, or a schema of it, of its own",
        )


def _migrate(engine: Engine, location: Path) -> None:
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":  # two outputs may start with one database
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _POSTGRESQL_LOCK})
        else:  # the driver itself begins no transaction for statements that make tables
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        config = _config(location)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _config(location: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(location).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    return config


def _backup(path: Path) -> Path:
    return path.with_name(f"{path.name}.before-migration")


def _copy(source: Path, target: Path) -> None:
    """Copy a SQLite database whole, what its log holds included."""
    partial = target.with_name(f"{target.name}.part")
    partial.unlink(missing_ok=True)
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(partial)) as new:
        old.backup(new)
    partial.replace(target)


def _finish_cut_migration(database: Database) -> None:
    """Put the copy back that a migration left when it was cut off."""
    if database.path is None or not _backup(database.path).is_file():
        return
    for suffix in ("-wal", "-shm", "-journal"):
        database.path.with_name(database.path.name + suffix).unlink(missing_ok=True)
    _backup(database.path).replace(database.path)

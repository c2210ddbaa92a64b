"""Which database the ledger lies in, and how to reach it; passwords never leave this module."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from cohortflow.core import layout
from cohortflow.core.outcome import Category, Failure, one_line
from cohortflow.core.reporting.clean import without_secrets

VARIABLE = "DATABASE_URL"
FILE_VARIABLE = "COHORTFLOW_DATABASE_URL_FILE"
NAME = "ledger.sqlite"
CONNECT_SECONDS = 3
BUSY_SECONDS = 5

# Filesystems whose locks and shared memory SQLite's write-ahead log can rely on.
_LOCAL = {
    "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs",
    "reiserfs", "tmpfs", "vfat", "xfs", "zfs",
}  # fmt: skip
_ESCAPE = re.compile(r"\\([0-7]{3})")
_SECRET_KEYS = {"password", "passwd", "sslpassword", "secret", "token"}


@dataclass(frozen=True)
class Database:
    """Where an output's rows are.

    Attributes
    ----------
    url : sqlalchemy.URL
    output : str
        Value of the column ``output``: ``.`` in a SQLite file inside the output, so that the folder
        can be moved, else the output's absolute path.
    path : Path or None
        The SQLite file.
    """

    url: URL = field(repr=False)
    output: str
    path: Path | None = None

    @property
    def shown(self) -> str:
        """The URL or path, fit to be printed."""
        if self.path:
            return str(self.path)
        return one_line(self._hidden(self.url.set(drivername="postgresql").render_as_string()))

    def mask(self, text: str) -> str:
        """Return a text without this database's password, on one line."""
        return one_line(without_secrets(self._hidden(text)))

    def _hidden(self, text: str) -> str:
        for secret in sorted(self._secrets(), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def _secrets(self) -> set[str]:
        found = [str(self.url.password)] if self.url.password else []
        for key, value in self.url.query.items():
            if key.lower() in _SECRET_KEYS:
                found += [value] if isinstance(value, str) else list(value)
        return {
            form for word in found for form in (word, quote(word, ""), quote_plus(word)) if form
        }

    def engine(self) -> Engine:
        """Make an engine; nothing is connected yet.

        Raises
        ------
        Failure
            CONFIG when the driver is not installed.
        """
        try:
            return self._postgresql() if self.path is None else _sqlite(self.url, self.path)
        except ModuleNotFoundError:
            raise Failure(
                Category.CONFIG,
                "the driver for PostgreSQL is not installed",
                "pip install 'cohortflow[postgres]'",
            ) from None

    def _postgresql(self) -> Engine:
        # A server that stops answering must not hold a run up: every wait has an end.
        waits = {"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": 10_000}
        wanted: dict[str, Any] = {k: v for k, v in waits.items() if k not in self.url.query}
        wanted["prepare_threshold"] = None  # poolers between us and the server know none
        made = create_engine(self.url, poolclass=NullPool, connect_args=wanted)

        @event.listens_for(made, "connect")
        def _limits(connection: DBAPIConnection, _record: object) -> None:
            cursor = connection.cursor()
            cursor.execute("SET lock_timeout = '10s'")
            cursor.execute("SET statement_timeout = '300s'")
            connection.commit()
            cursor.close()

        return made


def choose(out: Path, environment: Mapping[str, str] | None = None) -> Database:
    """Return the database of an output: what the environment names, else a file in it.

    Parameters
    ----------
    out : Path
        Output folder.
    environment : mapping, optional
        The process's own when left out. ``COHORTFLOW_DATABASE_URL_FILE`` names a file that holds
        the URL; without it ``DATABASE_URL`` is the URL.

    Raises
    ------
    Failure
        CONFIG for a URL that cannot be used, INPUT_MISSING for a file that is not there.
    """
    given = os.environ if environment is None else environment
    file = given.get(FILE_VARIABLE, "").strip()
    if file:
        try:
            return from_url(Path(file).read_text(encoding="utf-8").strip(), out, FILE_VARIABLE)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a text"
            raise Failure(
                Category.INPUT_MISSING, f"{FILE_VARIABLE}={file}: {reason}", "correct the variable"
            ) from None
    url = given.get(VARIABLE, "").strip()
    return from_url(url, out, VARIABLE) if url else inside(out)


def inside(out: Path) -> Database:
    """Return the SQLite file inside an output."""
    path = layout.hidden(out.absolute(), NAME)
    return Database(URL.create("sqlite", database=str(path)), ".", path)


def from_url(text: str, out: Path, origin: str = VARIABLE) -> Database:
    """Understand a database URL; the text is never repeated in a message.

    Raises
    ------
    Failure
        CONFIG when it is none, or of a database that the ledger does not support.
    """
    remedy = "give postgresql://USER:PASSWORD@HOST/NAME or sqlite:////PATH"
    try:
        url = make_url(text)
        name = url.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise Failure(Category.CONFIG, f"{origin} is not a database URL", remedy) from None
    if name == "sqlite":
        if not url.database or url.database == ":memory:" or url.query:
            raise Failure(Category.CONFIG, f"{origin} names no SQLite file", remedy)
        path = Path(url.database).absolute()
        own = path == layout.hidden(out.absolute(), NAME)
        plain = URL.create("sqlite", database=str(path))
        return Database(plain, "." if own else str(out.resolve()), path)
    if name not in {"postgresql", "postgres"}:
        raise Failure(Category.CONFIG, f"{origin} is of {one_line(name)}, not supported", remedy)
    return Database(url.set(drivername="postgresql+psycopg"), str(out.resolve()))


def _sqlite(url: URL, path: Path) -> Engine:
    made = create_engine(url, poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS})

    if path.parent.is_dir() and not path.exists():
        with contextlib.suppress(OSError):  # it may be read-only, and SQLite says so
            path.touch()  # by the user's umask; SQLite would take the right to write from a group

    @event.listens_for(made, "connect")
    def _settings(connection: DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA journal_mode")
        mode = "wal" if is_local(path.parent) else "delete"
        found = cursor.fetchone()
        if found is None or found[0] != mode:
            cursor.execute(f"PRAGMA journal_mode={mode}")
        cursor.execute("PRAGMA synchronous=NORMAL" if mode == "wal" else "PRAGMA synchronous=FULL")
        cursor.close()

    return made


def is_local(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Tell whether a folder lies on a disk of this machine; False when that is not known."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    target, best, kind = folder.resolve(), -1, ""
    for line in lines:
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = Path(_ESCAPE.sub(lambda m: chr(int(m[1], 8)), fields[4]))
        # A later mount on the same point hides the earlier one.
        if target.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), right.split(" ")[0]
    return kind in _LOCAL

"""Fixtures of the ledger's tests."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from ledger.postgres import Server, programs

_NUMBERS = itertools.count(1)


@pytest.fixture(autouse=True)
def _no_database_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "COHORTFLOW_DATABASE_URL_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return an output folder."""
    path = tmp_path / "out"
    path.mkdir()
    return path


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Return a running PostgreSQL, or leave the test out where there is none (CI fails)."""
    found = programs()
    if found is None:
        message = "no PostgreSQL: apt-get install postgresql"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    made = Server(found)
    yield made
    made.close()


@pytest.fixture
def postgresql(server: Server) -> str:
    """Return the URL of an empty database."""
    name = f"ledger{next(_NUMBERS)}"
    url = make_url(server.url()).set(drivername="postgresql+psycopg")
    with create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    return server.url(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database, of each kind that is supported."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/elsewhere.sqlite"
    return str(request.getfixturevalue("postgresql"))

"""A database that is away never ends a run: one line says so, and the ledger catches up."""

from __future__ import annotations

import socket
import sqlite3
import time
from pathlib import Path

import pytest

from cohortflow.ledger import database, sync, try_sync, write
from core.report_factory import Factory, study
from ledger.looking import chosen, rows
from ledger.postgres import PASSWORD, PLAIN, Server
from ledger.test_sync import fresh


@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
def test_postgresql_killed_in_the_middle_of_a_sync(
    known: bool,
    server: Server,
    postgresql: str,
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make = study(out)
    make.write()
    monkeypatch.setenv("DATABASE_URL", postgresql)
    if known:
        assert try_sync(out) is None
    real, left = write.upsert, iter(range(4))

    def upsert(*given: object) -> None:
        if next(left, None) == 3:
            server.kill()
        real(*given)  # type: ignore[arg-type]

    for module in (sync, sync.Units.__module__):
        target = __import__(module, fromlist=["x"]) if isinstance(module, str) else module
        monkeypatch.setattr(target, "upsert", upsert)
    told = try_sync(out, make.run, final=True)
    again = try_sync(out)
    server.start()
    assert told is not None
    assert "terminating connection" in told or "closed" in told
    assert again is not None
    assert "refused" in again
    assert try_sync(out) is None
    assert rows(chosen(postgresql, out)) == rows(fresh(out, tmp_path))


def test_a_server_that_never_answers_is_left_soon(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(out).write()
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        port = deaf.getsockname()[1]
        monkeypatch.setenv("DATABASE_URL", f"postgresql://me:{PASSWORD}@127.0.0.1:{port}/x")
        began = time.monotonic()
        told = try_sync(out)
    assert time.monotonic() - began < 20
    assert told is not None
    assert "timeout" in told


def test_a_wrong_password_is_told_and_not_shown(
    server: Server, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(out).write()
    monkeypatch.setenv("DATABASE_URL", server.url(password="another-one"))
    told = try_sync(out)
    assert told is not None
    assert "password authentication failed" in told
    assert "another-one" not in told


def test_the_password_is_nowhere(
    postgresql: str,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(0)
    study(out).write()
    monkeypatch.setenv("DATABASE_URL", postgresql)
    assert try_sync(out) is None
    mine = chosen(postgresql, out)
    said = "".join(capfd.readouterr()) + caplog.text + repr(rows(mine, sources=True)) + repr(mine)
    files = b"".join(p.read_bytes() for p in out.rglob("*") if p.is_file())
    for secret in (PASSWORD, PLAIN):
        assert secret not in said
        assert secret.encode() not in files


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_bytes(b"no database" * 500), "file is not a database"),
        (lambda path: path.mkdir(), "unable to open database file"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(spoil: object, words: str, out: Path) -> None:
    study(out).write()
    spoil(out / ".cohortflow" / "ledger.sqlite")  # type: ignore[operator]
    told = try_sync(out)
    assert told is not None
    assert words in told
    assert "\n" not in told


def test_a_locked_file_is_one_line_and_the_next_call_makes_up(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Factory(out, pictures=False)
    make.done("01")
    make.write()
    assert try_sync(out) is None
    later = Factory(out, pictures=False, run="20261122-100000-c3d4", offset=86_400)
    later.done("02")
    later.write()
    monkeypatch.setattr(database, "BUSY_SECONDS", 0)
    other = sqlite3.connect(out / ".cohortflow" / "ledger.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    told = try_sync(out)
    other.close()
    assert told is not None
    assert "database is locked" in told
    assert try_sync(out) is None
    assert rows(database.inside(out)) == rows(fresh(out, tmp_path))


def test_what_nobody_foresaw_is_one_line_too(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_given: object, **_more: object) -> None:
        raise RuntimeError("a bug\nwith two lines")

    study(out).write()
    monkeypatch.setattr("cohortflow.ledger.sync.catch_up", broken)
    told = try_sync(out)
    assert told is not None
    assert told.endswith("a bug")


def test_a_folder_that_is_no_output_is_one_line(tmp_path: Path) -> None:
    told = try_sync(tmp_path)
    assert told is not None
    assert "no run is recorded here" in told

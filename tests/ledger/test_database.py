"""Which database is taken, how SQLite is set up, and that no password is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from cohortflow.core.outcome import Category, Failure
from cohortflow.ledger import database


def test_without_a_variable_the_ledger_is_a_file_in_the_output(out: Path) -> None:
    found = database.choose(out, {})
    assert found.path == out / ".cohortflow" / "ledger.sqlite"
    assert found.output == "."


def test_a_file_that_holds_the_url_goes_before_the_variable(out: Path, tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgres://me:secret@host/one\n")
    given = {"DATABASE_URL": "postgresql://host/two", "COHORTFLOW_DATABASE_URL_FILE": str(file)}
    assert database.choose(out, given).url.database == "one"
    del given["COHORTFLOW_DATABASE_URL_FILE"]
    assert database.choose(out, given).url.database == "two"
    assert database.choose(out, given).output == str(out.resolve())


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_every_spelling_of_postgresql_gets_the_driver_that_we_have(scheme: str, out: Path) -> None:
    assert database.from_url(f"{scheme}://h/x", out).url.drivername == "postgresql+psycopg"


@pytest.mark.parametrize(
    "url",
    ["hunter2", "mysql://me:hunter2@h/x", "sqlite://", "sqlite:///:memory:", "://hunter2",
     "postgresql://me:hunter2@host:port/x"],
)  # fmt: skip
def test_a_url_that_cannot_be_used_is_refused_without_repeating_it(url: str, out: Path) -> None:
    with pytest.raises(Failure) as caught:
        database.choose(out, {"DATABASE_URL": url})
    assert caught.value.category is Category.CONFIG
    assert "hunter2" not in caught.value.line()


def test_a_file_that_is_not_there_is_named(out: Path) -> None:
    with pytest.raises(Failure, match="/no/such: No such file"):
        database.choose(out, {"COHORTFLOW_DATABASE_URL_FILE": "/no/such"})


@pytest.mark.parametrize(
    "url",
    ["postgresql://me:a%40b%2Fc@h/x", "postgresql://h/x?user=me&password=a%40b%2Fc",
     "postgresql://h/x?sslpassword=a%40b%2Fc"],
)  # fmt: skip
def test_no_form_of_a_password_is_shown(url: str, out: Path) -> None:
    found = database.from_url(url, out)
    said = found.mask(f"refused: {url} with a@b/c")
    for form in ("a@b/c", "a%40b%2Fc", "a%40b/c"):
        assert form not in said
        assert form not in found.shown
        assert form not in repr(found)


MOUNTS = """\
22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /data rw - nfs4 server:/data rw
31 30 0:41 / /data/fast\\040disk rw - xfs /dev/sdb1 rw
32 22 0:42 / /scratch rw - lustre mgs:/scratch rw
33 22 0:43 / /over rw - xfs /dev/sdc1 rw
34 22 0:44 / /over rw - cifs //server/share rw
35 22 0:45 / /homes rw - fuse.sshfs server: rw
"""


@pytest.mark.parametrize(
    ("folder", "local"),
    [("/srv/out", True), ("/data/out", False), ("/data/fast disk/out", True), ("/datafile", True),
     ("/scratch", False), ("/over/out", False), ("/homes/me", False)],
)  # fmt: skip
def test_a_network_filesystem_is_told_from_a_disk(folder: str, local: bool, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert database.is_local(Path(folder), mounts) is local


def test_where_mounts_are_not_known_no_disk_is_assumed(tmp_path: Path) -> None:
    assert not database.is_local(tmp_path, tmp_path / "none")


@pytest.mark.parametrize(("local", "mode"), [(True, "wal"), (False, "delete")])
def test_the_log_is_written_ahead_on_a_local_disk_only(
    local: bool, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.sqlite"
    for is_local, wanted in ((not local, None), (local, mode)):  # it follows a move, too
        monkeypatch.setattr(database, "is_local", lambda _folder, now=is_local: now)
        engine = database.from_url(f"sqlite:///{path}", tmp_path).engine()
        with engine.connect() as connection:
            connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS x (y)")
            connection.commit()
            found = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
            assert wanted is None or found == wanted
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 5000


def test_a_missing_driver_is_told(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(Failure, match="driver for PostgreSQL") as caught:
        database.from_url("postgresql://h/x", out).engine()
    assert "cohortflow[postgres]" in caught.value.remedy

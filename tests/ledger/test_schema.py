"""The tables: made from nothing, migrated with a copy kept, refused when they are not ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from setuptools import find_packages
from sqlalchemy import inspect, text

from cohortflow.core.outcome import Failure
from cohortflow.ledger import schema
from cohortflow.ledger.database import Database, from_url
from cohortflow.ledger.models import Base
from cohortflow.ledger.sync import rebuild, sync
from core.report_factory import study
from ledger.looking import chosen, rows

SECOND = '''"""A later form."""
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "0002", "0001", None, None


def upgrade() -> None:
    op.add_column("runs", sa.Column("colour", sa.Text()))
    op.execute("DELETE FROM sources")
    {more}
'''


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """Return the steps of a later cohortflow."""
    return steps(tmp_path / "later", "")


def steps(folder: Path, more: str) -> Path:
    shutil.copytree(schema.MIGRATIONS, folder)
    (folder / "versions" / "v0002_second.py").write_text(SECOND.format(more=more))
    return folder


def filled(url: str, out: Path) -> Database:
    study(out).write()
    made = chosen(url, out)
    sync(out, made)
    return made


def columns(given: Database) -> set[str]:
    with given.engine().connect() as connection:
        return {column["name"] for column in inspect(connection).get_columns("runs")}


def test_the_steps_from_nothing_make_what_the_models_say(url: str, tmp_path: Path) -> None:
    made = from_url(url, tmp_path)
    schema.prepare(made.engine(), made)
    with made.engine().connect() as connection:
        options = {"version_table": schema.VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
        for table in Base.metadata.tables.values():
            there = inspect(connection).get_pk_constraint(table.name)["constrained_columns"]
            assert there == [column.name for column in table.primary_key]


def test_a_newer_ledger_is_refused_and_left_alone(url: str, out: Path, later: Path) -> None:
    made = filled(url, out)
    schema.upgrade(made.engine(), made, later)
    before = rows(made)
    for attempt in (sync, rebuild):
        with pytest.raises(Failure, match=r"written by a newer cohortflow \(0002\)"):
            attempt(out, made)
    assert rows(made) == before


def test_an_older_file_is_migrated_by_itself(out: Path, tmp_path: Path, later: Path) -> None:
    made = filled(f"sqlite:///{tmp_path}/x.sqlite", out)
    before = rows(made)
    schema.prepare(made.engine(), made, later)
    assert "colour" in columns(made)
    assert rows(made) == before
    assert not list(tmp_path.glob("*before-migration*"))


def test_an_older_server_is_migrated_when_it_is_asked_for(
    postgresql: str, out: Path, later: Path
) -> None:
    made = filled(postgresql, out)
    with pytest.raises(Failure) as caught:
        schema.prepare(made.engine(), made, later)
    assert "cohortflow ledger upgrade" in caught.value.remedy
    assert "colour" not in columns(made)
    assert schema.upgrade(made.engine(), made, later).found == "0001"
    assert "colour" in columns(made)


def test_a_step_that_fails_leaves_the_old_form(url: str, out: Path, tmp_path: Path) -> None:
    made = filled(url, out)
    before = rows(made, sources=True)
    broken = steps(tmp_path / "broken", "raise ValueError('no')")
    with pytest.raises(ValueError, match="no"):
        schema.upgrade(made.engine(), made, broken)
    assert "colour" not in columns(made)
    assert rows(made, sources=True) == before
    sync(out, made)


def test_tables_are_made_all_or_none(url: str, out: Path, tmp_path: Path) -> None:
    study(out).write()
    made = chosen(url, out)
    with pytest.raises(ValueError, match="no"):
        schema.prepare(made.engine(), made, steps(tmp_path / "broken", "raise ValueError('no')"))
    with made.engine().connect() as connection:
        assert inspect(connection).get_table_names() == []
    sync(out, made)


def test_a_migration_that_was_killed_is_taken_back_and_done(
    out: Path, tmp_path: Path, later: Path
) -> None:
    path = tmp_path / "x.sqlite"
    made = filled(f"sqlite:///{path}", out)
    before = rows(made, sources=True)
    shutil.copy(path, f"{path}.before-migration")
    with made.engine().begin() as connection:  # half of a step
        connection.execute(text("DELETE FROM runs"))
    schema.prepare(made.engine(), made)
    assert rows(made, sources=True) == before


def test_tables_of_something_else_are_refused(url: str, out: Path) -> None:
    study(out).write()
    made = chosen(url, out)
    with made.engine().begin() as connection:
        connection.execute(text("CREATE TABLE runs (mine TEXT)"))
    with pytest.raises(Failure, match="holds tables of something else"):
        sync(out, made)
    assert columns(made) == {"mine"}


def test_the_steps_are_packaged_and_found_wherever_the_package_lies(
    root: Path, tmp_path: Path
) -> None:
    packages = find_packages(str(root / "bin"))
    assert {"cohortflow.ledger.migrations", "cohortflow.ledger.migrations.versions"} <= set(
        packages
    )
    place = tmp_path / "50% of the way"
    shutil.copytree(root / "bin" / "cohortflow", place / "cohortflow")
    out = tmp_path / "out"
    study(out).write()
    code = "from cohortflow import ledger; from pathlib import Path\n"
    code += f"print(ledger.__file__); print(ledger.try_sync(Path({str(out)!r})))"
    environment = {**os.environ, "PYTHONPATH": str(place)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [f"{place}/cohortflow/ledger/__init__.py", "None"]
    assert done.stderr == ""
    assert (out / ".cohortflow" / "ledger.sqlite").is_file()

"""Bring the ledger to what the files of an output say.

The files are the source of truth: every row can be made from them again, and a database that was
away catches up at the next call. All writing is idempotent, in batches that are committed one by
one; what was read is noted last, so that a cut-off pass is repeated.
"""

from __future__ import annotations

import fcntl
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.exc import DatabaseError

from cohortflow.core import layout
from cohortflow.core.outcome import Category, Failure
from cohortflow.core.reporting import clean as cleaning
from cohortflow.core.reporting import read
from cohortflow.core.reporting.state import RunInfo
from cohortflow.ledger import rows, schema, source
from cohortflow.ledger.database import Database
from cohortflow.ledger.models import Event, Run, Source, Task, Unit
from cohortflow.ledger.rows import Row, Scope
from cohortflow.ledger.units import Units
from cohortflow.ledger.write import batches, remove, table, upsert

PLAN, FACTS, RECORDS = "plan.jsonl", "run.json", "records.jsonl"
WORK = ".cohortflow/work"
FINAL_WAIT_SECONDS = 20.0


def sync(out: Path, database: Database, run: str | None = None, *, final: bool = False) -> bool:
    """Take in what is new below an output folder.

    Parameters
    ----------
    out : Path
        Output folder.
    database : Database
    run : str, optional
        A run to look at although the ledger holds its end.
    final : bool
        The run has just ended: read all of it again, and wait for another process's sync.

    Returns
    -------
    bool
        False when another process does the same for this output now; nothing was then done.

    Raises
    ------
    Failure
        When the tables are not of this version.
    sqlalchemy.exc.SQLAlchemyError
        When the database fails; the next call makes up for it.
    OSError
        When a file cannot be read.
    """
    out = out.absolute()
    with alone(out, FINAL_WAIT_SECONDS if final else 0.0) as held:
        if held:
            catch_up(out, database, run, final=final)
    return held


def catch_up(out: Path, database: Database, run: str | None = None, *, final: bool = False) -> None:
    """Do what `sync` does without its lock: for a database that nobody else knows."""
    engine = database.engine()
    schema.prepare(engine, database)
    with engine.connect() as connection:
        _Sync(out.absolute(), database.output, connection).everything(run, final)


def rebuild(out: Path, database: Database) -> None:
    """Empty this output's rows and make them from files alone.

    A SQLite file inside the output that cannot be read is made anew.

    Raises
    ------
    Failure
        When the tables are not of this version.
    sqlalchemy.exc.SQLAlchemyError
        When the database fails.
    """
    out = out.absolute()
    with alone(out, FINAL_WAIT_SECONDS) as held:
        if not held:
            raise Failure(Category.TEMPORARY, f"another process writes the ledger of {out}")
        engine = database.engine()
        try:
            schema.prepare(engine, database)
        except DatabaseError as error:
            damaged = any(w in str(error.orig) for w in ("not a database", "malformed"))
            if database.path is None or database.output != "." or not damaged:
                raise
            for suffix in ("", "-wal", "-shm", "-journal"):
                database.path.with_name(database.path.name + suffix).unlink(missing_ok=True)
            schema.prepare(engine, database)
        with engine.connect() as connection:
            for model in (Source, Unit, Run):
                remove(connection, model, output=database.output)
            connection.commit()
            _Sync(out, database.output, connection).everything(None, final=False)


@contextmanager
def alone(out: Path, wait: float) -> Iterator[bool]:
    """Hold the ledger's lock of an output; give False when another process keeps it.

    Raises
    ------
    Failure
        INPUT_MISSING when the folder is not an output.
    """
    if not layout.hidden(out).is_dir():
        raise Failure(
            Category.INPUT_MISSING,
            f"{out}: no run is recorded here",
            "name the output folder of a `cohortflow run`",
        )
    end = time.monotonic() + wait
    with layout.hidden(out, "ledger.lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    yield False
                    return
                time.sleep(0.1)
            else:
                yield True
                return


class _Sync:
    """One call: an output, its key, and a connection."""

    def __init__(self, out: Path, output: str, connection: Connection) -> None:
        self.out, self.output, self.connection = out, output, connection

    def everything(self, run: str | None, final: bool) -> None:
        known = self._sources()
        whole = False
        for name in self._todo(run, known):
            whole |= self._run(name, known, again=final and name == run)
        if whole:
            Units(self.connection, self._no_run(), self.out).earlier()
        self._publishing(known)

    def _todo(self, run: str | None, known: dict[str, Row]) -> list[str]:
        """Return the runs to look at, in order of time: those without a known end."""
        folder = layout.hidden(self.out, "runs")
        found = [p.name for p in folder.iterdir() if p.is_dir()] if folder.is_dir() else []
        target = table(Run)
        ended = select(target.c.id).where(
            target.c.output == self.output, target.c.finished.is_not(None)
        )
        # A run's end counts when its last source was noted, which is done last.
        done = {
            name
            for name in self.connection.scalars(ended)
            if f"{name}/{FACTS}" in known and name != run
        }
        return sorted(name for name in found if name not in done)

    def _run(self, name: str, known: dict[str, Row], *, again: bool) -> bool:
        """Take in one run; tell whether it was read whole."""
        folder = layout.run_folder(self.out, name)
        seen = {part: source.stat(folder / part) for part in (FACTS, PLAN, RECORDS)}
        if seen[PLAN].bytes < 0:
            return False
        same = all(_matches(known.get(f"{name}/{part}"), seen[part]) for part in (FACTS, PLAN))
        if again or not same:
            self._whole(folder, seen)
            return True
        if not _matches(known.get(f"{name}/{RECORDS}"), seen[RECORDS]):
            self._grown(folder, known.get(f"{name}/{RECORDS}"), seen[RECORDS])
        return False

    def _whole(self, folder: Path, seen: dict[str, source.Stat]) -> None:
        """Read all of a run."""
        name = folder.name
        places = [f"{name}/{part}" for part in seen]
        remove(self.connection, Source, output=self.output, path=places)
        lines = source.Lines(folder / PLAN)
        scope = self._scope(folder)
        upsert(self.connection, Run, [rows.run(scope, {})])
        self._forget_tasks(name, all_events=True)
        records = source.Lines(folder / RECORDS)
        for _ in self._tasks(scope, records):
            self.connection.commit()
        counts: Counter[str] = Counter()
        units = Units(self.connection, scope, self.out)
        for batch in batches(lines):
            found = [row for row in (rows.planned(scope, value) for value in batch) if row]
            counts.update(row["decision"] for row in found)
            units.planned(found)
            events = [rows.planned_event(scope, r) for r in found if r["decision"] != "skip"]
            upsert(self.connection, Event, events)
            self.connection.commit()
        row = rows.run(scope, counts)
        upsert(self.connection, Run, [row])
        upsert(self.connection, Event, list(rows.run_events(row)))
        self._note(f"{name}/{RECORDS}", seen[RECORDS], records)
        self._note(f"{name}/{PLAN}", seen[PLAN], lines)
        self._note(f"{name}/{FACTS}", seen[FACTS])
        self.connection.commit()

    def _grown(self, folder: Path, before: Row | None, now: source.Stat) -> None:
        """Read what a run's records grew by, and judge the units that it is about."""
        scope = self._scope(folder)
        lines = source.Lines(folder / RECORDS)
        if before is not None:
            lines = source.Lines(folder / RECORDS, before["read"], before["tail"])
        if not lines.grown():
            lines = source.Lines(folder / RECORDS)
            self._forget_tasks(folder.name, all_events=False)
        units = Units(self.connection, scope, self.out)
        for touched in self._tasks(scope, lines):
            units.again(touched)
            self.connection.commit()
        self._note(f"{folder.name}/{RECORDS}", now, lines)
        self.connection.commit()

    def _tasks(self, scope: Scope, lines: source.Lines) -> Iterator[list[str]]:
        """Write tasks and their events; yield the units of each batch."""
        for batch in batches(lines):
            found = [row for row in (rows.task(scope, value) for value in batch) if row]
            upsert(self.connection, Task, found)
            upsert(self.connection, Event, [e for row in found for e in rows.task_events(row)])
            yield list(dict.fromkeys(row["unit"] for row in found))

    def _forget_tasks(self, run: str, *, all_events: bool) -> None:
        remove(self.connection, Task, output=self.output, run=run)
        kinds: dict[str, Any] = {"kind": ["task started", "task ended", "task failed"]}
        remove(self.connection, Event, output=self.output, run=run, **({} if all_events else kinds))

    def _publishing(self, known: dict[str, Row]) -> None:
        """See which units of runs that go on were published since the last look.

        Every publication goes through the staging folder and so changes its time.
        """
        now = source.stat(self.out / WORK)
        if _matches(known.get(WORK), now):
            return
        target = table(Run)
        going = select(target.c.id).where(
            target.c.output == self.output, target.c.finished.is_(None)
        )
        for name in sorted(self.connection.scalars(going)):
            folder = layout.run_folder(self.out, name)
            Units(self.connection, self._scope(folder), self.out).look()
        self._note(WORK, now)
        self.connection.commit()

    def _scope(self, folder: Path) -> Scope:
        """Return what a run's rows share: from its facts and the first line of its plan."""
        header = next(iter(source.Lines(folder / PLAN)), {})
        header = {} if "unit" in header else header
        clean = cleaning.cleaner(self.out, str(header.get("dataset") or ""))
        info = read.run_info(folder, header, clean)
        return Scope(self.output, info, clean, str(header.get("dataset") or ""))

    def _no_run(self) -> Scope:
        info = RunInfo("", "", "", "")
        return Scope(self.output, info, cleaning.cleaner(self.out, ""))

    def _sources(self) -> dict[str, Row]:
        target = table(Source)
        found = self.connection.execute(select(target).where(target.c.output == self.output))
        return {row["path"]: dict(row) for row in found.mappings()}

    def _note(self, path: str, seen: source.Stat, lines: source.Lines | None = None) -> None:
        """Note how far a file was read, with the size and time it had before."""
        facts = {"bytes": seen.bytes, "mtime_ns": seen.mtime_ns}
        read_to = lines.offset if lines else seen.bytes
        tail = lines.digest() if lines else ""
        row = {"output": self.output, "path": path, **facts, "read": read_to, "tail": tail}
        upsert(self.connection, Source, [row])


def _matches(known: Row | None, now: source.Stat) -> bool:
    return known is not None and (known["bytes"], known["mtime_ns"]) == (now.bytes, now.mtime_ns)

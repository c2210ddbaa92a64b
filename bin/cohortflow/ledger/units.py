"""Rows of units: judged from the plan, the run's tasks and the unit's marker."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, select

from cohortflow.core.reporting import read
from cohortflow.ledger import rows, source
from cohortflow.ledger.judged import RUNNING, WAITING, judged
from cohortflow.ledger.models import File, Metric, Task, Unit
from cohortflow.ledger.rows import Row, Scope
from cohortflow.ledger.write import BATCH, batches, remove, table, upsert

_UNITS, _TASKS = table(Unit), table(Task)


class Units:
    """Writes the units of one run, a batch at a time.

    Parameters
    ----------
    connection : sqlalchemy.Connection
    scope : Scope
    out : Path
        Output folder.
    """

    def __init__(self, connection: Connection, scope: Scope, out: Path) -> None:
        self.connection, self.scope, self.out = connection, scope, out

    def planned(self, found: Sequence[Row]) -> None:
        """Write the units of lines of the plan, unless a later run has planned them since."""
        stored = self._stored([row["id"] for row in found])
        wanted = [
            row
            for row in {row["id"]: row for row in found}.values()
            if not self._is_later(stored.get(row["id"]))
        ]
        self._write([_unjudged(row, stored.get(row["id"])) for row in wanted], stored)

    def again(self, ids: Sequence[str]) -> None:
        """Judge units of this run again."""
        stored = self._stored(ids)
        mine = [row for row in stored.values() if row["run"] == self.scope.run.id]
        self._write(mine, stored)

    def look(self) -> None:
        """Judge the units of this run that are not done and whose marker has changed."""
        pending = _UNITS.c.state.in_([WAITING, RUNNING])
        for batch in self._pages(_UNITS.c.run == self.scope.run.id, pending):
            changed = [row["id"] for row in batch if self._stat(row["folder"]) != _seen(row)]
            if changed:
                self.again(changed)
            self.connection.commit()

    def earlier(self) -> None:
        """Write units that are published but in no plan: their runs' folders are gone."""
        for folders in batches(read.published(self.out)):
            wanted = select(_UNITS.c.folder).where(
                _UNITS.c.output == self.scope.output, _UNITS.c.folder.in_(folders)
            )
            known = set(self.connection.scalars(wanted))
            self._orphans([folder for folder in folders if folder not in known])
            self.connection.commit()

    def _orphans(self, folders: list[str]) -> None:
        for folder in folders:
            value = read.read_object(self.out / folder / read.MARKER) or {}
            name = value.get("unit")
            if not isinstance(name, str):
                continue
            row = _orphan(self.scope, self.scope.clean(name), folder)
            if row["id"] not in self._stored([row["id"]]):
                self._write([row], {})

    def _write(self, found: Sequence[Row], stored: dict[str, Row]) -> None:
        """Look at the markers, judge, and write what differs from what is stored."""
        tasks = self._tasks([row["id"] for row in found])
        changed, files, metrics, anew = [], list[Row](), list[Row](), []
        for given in found:
            row = dict(given)
            before = stored.get(row["id"])
            stat = self._stat(row["folder"])
            moved = before is not None and before["folder"] != row["folder"]
            if moved or stat != _seen(row):
                news = self._published(row, stat)
                row.update(news.columns)
                files += news.files
                metrics += news.metrics
                anew.append(row["id"])
            if row["decision"] is not None:
                row.update(judged(self.scope, row, tasks.get(row["id"], [])))
            if row != before:
                changed.append(row)
        upsert(self.connection, Unit, changed)
        for model in (File, Metric) if anew else ():
            remove(self.connection, model, output=self.scope.output, unit=anew)
        upsert(self.connection, File, files)
        upsert(self.connection, Metric, metrics)

    def _published(self, row: Row, stat: tuple[int, int] | None) -> rows.Published:
        if stat is not None:
            try:
                return rows.published(self.scope, self.out / row["folder"], row["id"], stat)
            except FileNotFoundError:
                pass  # exchanged while we looked: the next look finds the new one
        return rows.Published(rows.nothing_published(), [], [])

    def _stat(self, folder: str) -> tuple[int, int] | None:
        """Return size and time of a unit's marker."""
        path = Path(folder)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            return None
        found = source.stat(self.out / path / read.MARKER)
        return None if found.bytes < 0 else (found.bytes, found.mtime_ns)

    def _stored(self, ids: Sequence[str]) -> dict[str, Row]:
        wanted = select(_UNITS).where(
            _UNITS.c.output == self.scope.output, _UNITS.c.id.in_(list(ids))
        )
        return {row["id"]: dict(row) for row in self.connection.execute(wanted).mappings()}

    def _tasks(self, ids: Sequence[str]) -> dict[str, list[Row]]:
        wanted = (
            select(_TASKS)
            .where(
                _TASKS.c.output == self.scope.output,
                _TASKS.c.run == self.scope.run.id,
                _TASKS.c.unit.in_(list(ids)),
            )
            .order_by(_TASKS.c.started.nulls_first(), _TASKS.c.attempt, _TASKS.c.step)
        )
        found = defaultdict[str, list[Row]](list)
        for row in self.connection.execute(wanted).mappings():
            found[row["unit"]].append(dict(row))
        return found

    def _pages(self, *wanted: ColumnElement[bool]) -> Iterator[list[Row]]:
        """Yield the matching units, a batch at a time, by their key."""
        last = ""
        while True:
            page = (
                select(_UNITS)
                .where(_UNITS.c.output == self.scope.output, _UNITS.c.id > last, *wanted)
                .order_by(_UNITS.c.id)
                .limit(BATCH)
            )
            found = [dict(row) for row in self.connection.execute(page).mappings()]
            if not found:
                return
            last = found[-1]["id"]
            yield found

    def _is_later(self, stored: Row | None) -> bool:
        """Tell whether a run after this one has planned a unit."""
        if stored is None or stored["run"] is None or stored["run"] == self.scope.run.id:
            return False
        mine, other = rows.moment(self.scope.run.started), stored["run_started"]
        if mine == other or mine is None or other is None:
            return bool(stored["run"] > self.scope.run.id)
        return bool(other > mine)


def _seen(row: Row) -> tuple[int, int] | None:
    """Return size and time of the marker that a row was made from."""
    return None if row["marker_bytes"] is None else (row["marker_bytes"], row["marker_mtime_ns"])


def _unjudged(row: Row, stored: Row | None) -> Row:
    """Return a planned unit with what is known to be published, before it is judged."""
    empty = rows.nothing_published()
    known = empty if stored is None else {name: stored[name] for name in empty}
    return {**row, **known, "state": WAITING, "step": None}


def _orphan(scope: Scope, name: str, folder: str) -> Row:
    nothing = dict.fromkeys(
        ("run", "run_started", "decision", "detail", "category", "step", "message", "remedy")
    )
    key = {"output": scope.output, "id": name, "folder": folder, "entities": {}}
    return {**key, **nothing, **rows.nothing_published(), "state": "done", "reason": "earlier run"}

"""The ledger holds what the files say: after every step of a run, and made again from nothing."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from cohortflow.core import report
from cohortflow.ledger import database
from cohortflow.ledger.database import Database
from cohortflow.ledger.sync import rebuild, sync
from core.report_factory import METRICS, Factory, evil, lines, study
from ledger.looking import chosen, rows, states


def fresh(out: Path, folder: Path) -> Database:
    """Return a new database made from the files alone."""
    path = folder / f"fresh-{time.monotonic_ns()}.sqlite"
    made = database.from_url(f"sqlite:///{path}", out)
    rebuild(out, made)
    return made


@pytest.fixture
def written() -> Iterator[list[str]]:
    """Return the statements that write, as they are sent."""
    seen: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement.split(maxsplit=1)[0] in {"INSERT", "UPDATE", "DELETE"}:
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield seen
    event.remove(Engine, "before_cursor_execute", note)


def test_units_stand_where_the_report_says(out: Path, url: str) -> None:
    study(out).write()
    mine = chosen(url, out)
    sync(out, mine)
    reported = {
        unit.id: "done" if unit.complete else str(unit.status) for unit in report.collect(out).units
    }
    assert states(mine) == reported
    assert set(reported.values()) >= {"done", "invalid", "failed", "lost", "missing"}


def test_tasks_files_metrics_and_events_are_those_of_the_files(out: Path, url: str) -> None:
    make = Factory(out, pictures=False)
    make.done("01", fa_mean=0.5)
    make.failed("02", message="33 volumes, 32 b-values", remedy="give one for each")
    make.write()
    mine = chosen(url, out)
    sync(out, mine)
    found = rows(mine)
    assert [(t["unit"], t["step"], t["category"]) for t in found["tasks"]] == [
        ("sub-01", "convert", None),
        ("sub-01", "mask", None),
        ("sub-01", "publish", None),
        ("sub-01", "tensor", None),
        ("sub-02", "convert", None),
        ("sub-02", "mask", None),
        ("sub-02", "tensor", "DATA_INVALID"),
    ]
    marker = json.loads((out / "sub-01" / "_done.json").read_text())
    assert [{k: f[k] for k in ("path", "bytes", "sha256")} for f in found["files"]] == sorted(
        marker["outputs"], key=lambda o: o["path"]
    )
    metrics = {
        m["name"]: m["text"] if m["text"] is not None else m["number"] for m in found["metrics"]
    }
    assert metrics == METRICS | {"fa_mean": 0.5}
    failed = [e for e in found["events"] if e["kind"] == "task failed"]
    assert [(e["unit"], e["step"], e["message"]) for e in failed] == [
        ("sub-02", "tensor", "33 volumes, 32 b-values")
    ]
    assert {e["kind"] for e in found["events"]} == {
        "run started", "run finished", "planned", "task started", "task ended", "task failed",
    }  # fmt: skip


def test_both_databases_hold_the_same_rows(out: Path, tmp_path: Path, postgresql: str) -> None:
    study(out).write()
    server = chosen(postgresql, out)
    sync(out, server)
    assert rows(server) == rows(fresh(out, tmp_path))


def grow(out: Path) -> Iterator[None]:
    """Play two runs, as the front door would write them; stop after each change on disk."""
    work = out / ".cohortflow" / "work"
    first = Factory(out, pictures=False)
    units = {label: first.unit(label) for label in ("01", "02", "03", "04")}
    for label, unit in units.items():
        first.planned(unit, "invalid" if label == "04" else "run", "new")
    first.write(finished=None)
    work.mkdir()
    yield
    for step in ("convert", "mask", "tensor"):
        for label in ("01", "02"):
            first.record(units[label]["id"], step)
            lines(first.folder / "records.jsonl", first.records)
            yield
    first.publish(units["01"], METRICS)
    (work / "x").mkdir()  # what publishing does to the staging folder
    yield
    first.record("sub-01", "publish")
    first.record("sub-03", "convert", exit=65, category="DATA_INVALID", message="bad")
    lines(first.folder / "records.jsonl", first.records)
    yield
    first.write(interrupted=True)
    # The front door collects the records at the end, in order of time and unit.
    lines(first.folder / "records.jsonl", sorted(first.records, key=lambda r: r["unit"]))
    yield
    second = Factory(out, pictures=False, run="20261122-100000-c3d4", offset=86_400)
    second.planned(units["01"], "run", "input changed")
    second.planned(units["02"], "run", "failed before")
    second.write(finished=None)
    yield
    for step in ("convert", "mask", "tensor", "publish"):
        second.record("sub-02", step)
    second.record("sub-01", "convert", exit=70, category="SOFTWARE", message="a bug")
    second.publish(units["02"], METRICS | {"fa_mean": 0.3})
    second.write(finished=None)
    yield
    second.write()
    yield


def test_after_each_change_the_rows_are_those_of_a_rebuild(
    out: Path, url: str, tmp_path: Path
) -> None:
    mine = chosen(url, out)
    seen = []
    for _ in grow(out):
        sync(out, mine)
        assert rows(mine, sources=True) == rows(fresh(out, tmp_path), sources=True)
        seen.append(states(mine))
    assert seen[0] == dict.fromkeys(("sub-01", "sub-02", "sub-03"), "waiting") | {
        "sub-04": "invalid"
    }
    assert seen[1]["sub-01"] == "running"
    assert seen[7]["sub-01"] == "done", "published, though its record is not there yet"
    assert seen[9]["sub-02"] == "interrupted"
    assert seen[-1] == {
        "sub-01": "failed", "sub-02": "done", "sub-03": "invalid", "sub-04": "invalid",
    }  # fmt: skip
    before = rows(mine)
    rebuild(out, mine)
    assert rows(mine) == before


def test_a_database_that_was_away_for_all_of_it_catches_up(
    out: Path, url: str, tmp_path: Path
) -> None:
    for _ in grow(out):
        pass
    mine = chosen(url, out)
    sync(out, mine)
    assert rows(mine) == rows(fresh(out, tmp_path))


def test_nothing_is_written_when_nothing_changed(out: Path, url: str, written: list[str]) -> None:
    make = study(out)
    make.write(finished=None)
    mine = chosen(url, out)
    sync(out, mine)
    assert written
    written.clear()
    sync(out, mine, make.run)
    assert written == []


def test_what_a_record_grew_by_is_read_alone(out: Path, url: str, written: list[str]) -> None:
    make = study(out)
    make.write(finished=None)
    mine = chosen(url, out)
    sync(out, mine)
    written.clear()
    with (make.folder / "records.jsonl").open("a") as file:
        file.write(json.dumps(make.record("sub-22", "convert")) + '\n{"half": ')
    sync(out, mine)
    assert states(mine)["sub-22"] == "running"
    assert sum("INTO tasks" in statement for statement in written) == 1
    assert not any(statement.startswith("DELETE") for statement in written)


def test_half_a_line_is_left_until_it_is_whole(out: Path, url: str) -> None:
    make = Factory(out, pictures=False)
    make.planned(make.unit("01"), "run", "new")
    make.record("sub-01", "convert")
    make.write(finished=None)
    path = make.folder / "records.jsonl"
    text = path.read_text()
    path.write_text(text[:40])
    mine = chosen(url, out)
    sync(out, mine)
    assert rows(mine)["tasks"] == []
    path.write_text(text)
    sync(out, mine)
    assert [task["step"] for task in rows(mine)["tasks"]] == ["convert"]


def test_a_file_written_anew_leaves_no_row_of_the_old_one(out: Path, url: str) -> None:
    make = Factory(out, pictures=False)
    make.planned(make.unit("01"), "run", "new")
    make.record("sub-01", "convert", log="a")
    make.write(finished=None)
    mine = chosen(url, out)
    sync(out, mine)
    make.records.clear()
    make.record("sub-01", "mask", log="b" * 300)
    lines(make.folder / "records.jsonl", make.records)
    sync(out, mine)
    assert [task["step"] for task in rows(mine)["tasks"]] == ["mask"]
    assert {e["step"] for e in rows(mine)["events"]} == {"", "mask"}


def test_an_older_run_that_is_found_later_does_not_hide_the_newer(out: Path, url: str) -> None:
    newer = Factory(out, pictures=False, run="20261122-100000-c3d4", offset=86_400)
    newer.done("01")
    newer.write()
    mine = chosen(url, out)
    sync(out, mine)
    Factory(out, pictures=False).failed("01")
    older = Factory(out, pictures=False)
    older.failed("01")
    older.write()
    sync(out, mine)
    assert states(mine) == {"sub-01": "done"}
    assert len(rows(mine)["runs"]) == 2


def test_a_run_is_read_again_when_it_is_said_to_be_over(out: Path, url: str) -> None:
    make = Factory(out, pictures=False)
    unit = make.done("01")
    make.write()
    mine = chosen(url, out)
    sync(out, mine)
    make.publish(unit, METRICS | {"fa_mean": 0.9})
    sync(out, mine)
    assert {"name": "fa_mean", "unit": "sub-01", "number": 0.41, "text": None} in rows(mine)[
        "metrics"
    ]
    sync(out, mine, make.run, final=True)
    assert {"name": "fa_mean", "unit": "sub-01", "number": 0.9, "text": None} in rows(mine)[
        "metrics"
    ]


def test_two_outputs_share_a_database_without_touching(tmp_path: Path, url: str) -> None:
    places = [tmp_path / "a", tmp_path / "b"]
    for place in places:
        study(place).write()
        sync(place, chosen(url, place))
    one, other = (chosen(url, place) for place in places)
    assert rows(one)["units"]
    before = rows(other)
    shutil.rmtree(places[0] / ".cohortflow" / "runs")
    rebuild(places[0], one)
    assert rows(one)["tasks"] == []
    assert rows(other) == before


def test_an_output_keeps_its_ledger_when_it_is_moved(out: Path) -> None:
    study(out).write()
    sync(out, database.inside(out))
    before = rows(database.inside(out))
    moved = out.rename(out.with_name("moved"))
    sync(moved, database.inside(moved))
    assert rows(database.inside(moved)) == before


def test_what_is_published_is_known_without_its_run(out: Path, url: str, tmp_path: Path) -> None:
    make = Factory(out, pictures=False)
    make.done("01")
    make.write()
    shutil.rmtree(make.folder)
    later = Factory(out, pictures=False, run="20261122-100000-c3d4", offset=86_400)
    later.done("02")
    later.write()
    mine = chosen(url, out)
    sync(out, mine)
    assert states(mine) == {"sub-01": "done", "sub-02": "done"}
    assert {f["unit"] for f in rows(mine)["files"]} == {"sub-01", "sub-02"}
    assert rows(mine) == rows(fresh(out, tmp_path))


def test_a_marker_that_is_gone_or_damaged_takes_its_files_along(out: Path, url: str) -> None:
    make = Factory(out, pictures=False)
    make.done("01")
    make.done("02")
    make.write()
    mine = chosen(url, out)
    sync(out, mine)
    (out / "sub-01" / "_done.json").unlink()
    (out / "sub-02" / "_done.json").write_text("{")
    sync(out, mine, make.run, final=True)
    assert rows(mine)["files"] == rows(mine)["metrics"] == []
    assert states(mine) == {"sub-01": "lost", "sub-02": "failed"}


def test_damaged_and_hostile_files_end_no_sync(out: Path, url: str) -> None:
    make = evil(out)
    with (make.folder / "records.jsonl").open("ab") as file:
        file.write(b'not json\n[1]\n{"unit": 3, "step": "x"}\n\xff\xfe\n')
        odd = {"unit": "sub-\ud800\x00", "step": "mask", "attempt": 10**30, "exit": 2**80}
        odd |= {"seconds": 1e300, "started": "9999-12-31T23:59:59Z", "category": "NO SUCH"}
        file.write(json.dumps(odd).encode() + b"\n")
    with (make.folder / "plan.jsonl").open("ab") as file:
        file.write(b'{"unit": {}}\n{"unit": {"id": "../../x", "folder": "../.."}}\nnonsense\n')
    mine = chosen(url, out)
    sync(out, mine)
    found = rows(mine)
    assert [t["category"] for t in found["tasks"] if t["unit"].startswith("sub-\\ud800")] == [
        "SOFTWARE"
    ]
    assert len(found["units"]) == 9


def test_a_secret_in_a_run_is_not_in_the_ledger(out: Path) -> None:
    secret = "hunter2hunter2"
    make = Factory(out, pictures=False)
    make.failed("01", message=f"token={secret}", remedy=f"password: {secret}",
                command=f"dwi-tensor --token {secret} postgresql://me:{secret}@db/x")  # fmt: skip
    unit = make.done("02", note=f"api_key={secret}")
    make.planned(unit | {"id": "sub-03"}, "run", f"secret={secret}")
    make.write(command=f"cohortflow run --parameter token={secret}", engine=f"token={secret}")
    sync(out, database.inside(out))
    hidden = out / ".cohortflow"
    assert not any(secret.encode() in p.read_bytes() for p in hidden.glob("ledger*"))


def test_one_process_at_a_time_writes_an_outputs_rows(out: Path, url: str) -> None:
    study(out).write()
    mine = chosen(url, out)
    with (out / ".cohortflow" / "ledger.lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert sync(out, mine) is False
    assert sync(out, mine) is True


def test_a_damaged_file_of_our_own_is_made_anew_by_a_rebuild(out: Path) -> None:
    study(out).write()
    mine = database.inside(out)
    sync(out, mine)
    before = rows(mine)
    os.truncate(out / ".cohortflow" / "ledger.sqlite", 0)
    (out / ".cohortflow" / "ledger.sqlite").write_bytes(b"no database at all" * 1000)
    rebuild(out, mine)
    assert rows(mine) == before

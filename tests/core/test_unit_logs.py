"""Each unit of a lane that wants them has a log of its own: to read, and for programs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cohortflow.core import lanes, report
from cohortflow.core.lanes import Lane
from core.report_factory import Factory

GET = lanes.get


@pytest.fixture(autouse=True)
def lane_with_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the lane of the report's test bench write logs."""

    def get(name: str) -> Lane:
        return replace(GET(name), unit_logs=True)

    monkeypatch.setattr(lanes, "get", get)


def batch(out: Path) -> Factory:
    """Make a batch of one unit that is done, one that failed, one refused, one complete before."""
    make = Factory(out)
    done, failed, refused, old = (make.unit(label) for label in ("01", "02", "03", "04"))
    for unit, decision, reason in (
        (done, "run", "new"), (failed, "run", "new"), (old, "skip", "up to date"),
    ):  # fmt: skip
        make.planned(unit, decision, reason)
    excluded = {
        "category": "DATA_INVALID", "message": "a and b are one", "remedy": "rename one",
        "choices": [{"path": "a"}, {"path": "b"}],
    }  # fmt: skip
    make.planned(refused | {"excluded": excluded}, "invalid", "excluded")
    make.record("sub-01", "convert", log="", said="INFO 7 volumes\nWARNING token=abcdef")
    make.record("sub-01", "publish", log="")
    make.publish(done, {"volumes": 7})
    make.record(
        "sub-02", "convert", exit=75, category="TEMPORARY", message="busy", remedy="run again",
        log="ERROR TEMPORARY sub-02 busy: run again",
    )  # fmt: skip
    make.record(
        "sub-02", "convert", attempt=2, exit=65, category="DATA_INVALID",
        message="no gradients", remedy="add them", log="ERROR DATA_INVALID sub-02 no gradients",
    )  # fmt: skip
    make.publish(old, {"volumes": 7})
    make.write()
    return make


def events(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_log_for_programs_holds_the_units_events_of_the_runs_log(tmp_path: Path) -> None:
    report.build(batch(tmp_path).out)
    every = events(tmp_path / "log.jsonl")
    for unit in ("sub-01", "sub-02", "sub-03"):
        found = events(tmp_path / "logs" / unit / "pipeline.jsonl")
        assert found
        assert found == [event for event in every if event["unit"] == unit]


def test_the_log_to_read_tells_each_attempt_and_what_its_tool_said(tmp_path: Path) -> None:
    report.build(batch(tmp_path).out)
    good = (tmp_path / "logs/sub-01/pipeline.log").read_text().splitlines()
    assert good[0] == "sub-01: done"
    (convert,) = (line for line in good if "  convert  " in line)
    assert convert.startswith("2026-11-21 10:00:")
    assert "✓ ok" in convert
    assert "2.5 s" in convert
    assert "300.0 MiB" in convert
    assert "    | INFO 7 volumes" in good
    bad = (tmp_path / "logs/sub-02/pipeline.log").read_text().splitlines()
    assert bad[0] == "sub-02: invalid (DATA_INVALID)"
    assert [line.split()[2:5] for line in bad if "✗" in line] == 2 * [["convert", "✗", "failed"]]
    assert bad[-3:] == [
        "    no gradients", "    what to do: add them",
        "    | ERROR DATA_INVALID sub-02 no gradients",
    ]  # fmt: skip


def test_a_unit_that_could_not_run_says_why_and_what_it_could_be(tmp_path: Path) -> None:
    report.build(batch(tmp_path).out)
    text = (tmp_path / "logs/sub-03/pipeline.log").read_text()
    for words in ("✗ invalid", "a and b are one", "what to do: rename one", "- path=b"):
        assert words in text


def test_a_unit_that_the_run_did_not_touch_keeps_its_log(tmp_path: Path) -> None:
    place = tmp_path / "logs/sub-04/pipeline.log"
    place.parent.mkdir(parents=True)
    place.write_text("of the run that made it")
    report.build(batch(tmp_path).out)
    assert place.read_text() == "of the run that made it"
    assert [path.name for path in place.parent.iterdir()] == ["pipeline.log"]


def test_the_logs_hold_no_secret_and_are_the_same_when_made_again(tmp_path: Path) -> None:
    make = batch(tmp_path / "out")
    report.build(make.out)
    before = {p: p.read_bytes() for p in sorted((make.out / "logs").rglob("*.*"))}
    assert not [p for p, content in before.items() if b"abcdef" in content]
    assert b"[removed]" in before[make.out / "logs/sub-01/pipeline.log"]
    report.build(make.out)
    assert {p: p.read_bytes() for p in sorted((make.out / "logs").rglob("*.*"))} == before


def test_a_folder_of_the_users_own_gets_the_same_files(tmp_path: Path) -> None:
    make = batch(tmp_path / "out")
    report.build(make.out, None, tmp_path / "other")
    for path in (make.out / "logs").rglob("pipeline.*"):
        same = tmp_path / "other" / path.relative_to(make.out / "logs")
        assert same.read_bytes() == path.read_bytes()


def test_a_name_that_is_no_folder_gets_no_log(tmp_path: Path) -> None:
    make = Factory(tmp_path / "out")
    unit = make.unit("01") | {"id": "../x", "folder": "../x"}
    unit["excluded"] = {"category": "DATA_INVALID", "message": "no name"}
    make.planned(unit, "invalid", "excluded")
    report.build(make.write())
    assert not (make.out / "logs").exists()
    assert not (make.out / "x").exists()


def test_another_lane_has_no_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "get", GET)
    report.build(batch(tmp_path).out)
    assert not (tmp_path / "logs").exists()


def test_the_batch_has_a_log_with_a_mark_for_each_unit(tmp_path: Path) -> None:
    report.build(batch(tmp_path).out)
    head, blank, *lines = (tmp_path / "batch_summary.log").read_text().splitlines()
    assert head.endswith(": 2 done, 2 invalid")
    assert not blank
    assert [line.split()[:3] for line in lines] == [
        ["✓", "sub-01", "done"],
        ["✗", "sub-02", "invalid"],
        ["✓", "sub-04", "done"],
        ["✗", "sub-03", "invalid"],
    ]
    assert lines[1].endswith("DATA_INVALID  no gradients")

"""What became of each unit is read from plan, records and markers, whatever state they are in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cohortflow.core import report
from cohortflow.core.outcome import Category, Failure
from cohortflow.core.reporting.state import Status, UnitState
from core.report_factory import START, STEPS, Factory, iso, study


@pytest.fixture
def make(tmp_path: Path) -> Factory:
    out = tmp_path / "out"
    out.mkdir()
    return Factory(out, pictures=False)


def only(make: Factory) -> UnitState:
    """Return the one unit of a batch."""
    (unit,) = report.collect(make.out).units
    return unit


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_every_way_to_end_has_its_status_and_category(tmp_path: Path) -> None:
    out = study(tmp_path).write()
    found = {unit.id: (unit.status, unit.verdict.category) for unit in report.collect(out).units}
    assert found["sub-01"] == (Status.DONE, None)
    assert found["sub-20"] == (Status.SKIPPED, None)
    assert found["sub-18"] == (Status.INVALID, Category.DATA_INVALID)
    assert found["sub-19"] == (Status.INVALID, Category.INPUT_MISSING)
    assert found["sub-14"] == (Status.INVALID, Category.DATA_INVALID)
    assert found["sub-15"] == (Status.FAILED, Category.SOFTWARE)
    assert found["sub-16"] == (Status.FAILED, Category.TIMEOUT)
    assert found["sub-17"] == (Status.LOST, Category.LOST)
    assert found["sub-22"] == (Status.MISSING, None)


def test_an_incomplete_unit_always_says_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    state = report.collect(study(tmp_path).write())
    assert len(state.incomplete()) == 7
    for unit in state.incomplete():
        assert unit.verdict.message, unit.id
        assert unit.verdict.remedy, unit.id


def test_an_interrupted_run_says_so_of_each_unit_that_is_not_done(make: Factory) -> None:
    make.done("01")
    make.failed("02", "mask", exit=None, category="INTERRUPTED")
    make.failed("03", "mask", exit=None, category="LOST")
    make.planned(make.unit("04"), "run", "new")
    make.failed("05", "mask")
    make.write(interrupted=True)
    statuses = [unit.status for unit in report.collect(make.out).units]
    assert statuses == ["done", "interrupted", "interrupted", "interrupted", "invalid"]


def test_a_record_without_exit_and_category_is_lost(make: Factory) -> None:
    make.failed("01", exit=None, category=None)
    make.write()
    assert (only(make).status, only(make).verdict.step) == (Status.LOST, "tensor")


def test_steps_that_ended_well_without_a_marker_are_lost_not_done(make: Factory) -> None:
    unit = make.unit("01")
    make.planned(unit, "run", "new")
    for step in STEPS:
        make.record("sub-01", step)
    make.write()
    assert only(make).status is Status.LOST
    assert "not published" in str(only(make).verdict.message)


def test_a_retry_that_succeeds_makes_the_unit_done(make: Factory) -> None:
    unit = make.unit("01")
    make.planned(unit, "run", "new")
    make.record("sub-01", "convert", exit=75, category="TEMPORARY")
    make.record("sub-01", "convert", attempt=2)
    for step in ("mask", "tensor", "publish"):
        make.record("sub-01", step)
    make.publish(unit, {})
    make.write()
    assert only(make).status is Status.DONE
    assert [attempt.number for attempt in only(make).attempts] == [1, 2, 1, 1, 1]


def test_a_failure_hides_the_numbers_of_an_older_version(make: Factory) -> None:
    unit = make.failed("01")
    make.publish(unit, {"fa_mean": 0.4}, run="earlier")
    make.write()
    assert (only(make).status, only(make).metrics) == (Status.INVALID, {})


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"unit": "sub-01"}', b"\xff\xfe\x00", b"[" * 5000]
)
def test_a_damaged_marker_is_a_failure_that_names_it(make: Factory, content: bytes) -> None:
    unit = make.done("01")
    (make.out / unit["folder"] / "_done.json").write_bytes(content)
    make.write()
    assert (only(make).status, only(make).verdict.category) == (Status.FAILED, Category.SOFTWARE)
    assert "_done.json" in str(only(make).verdict.message)


def test_a_marker_of_another_unit_is_damaged(make: Factory) -> None:
    unit = make.done("01")
    make.publish(unit, {}, unit="sub-02")
    make.write()
    assert only(make).status is Status.FAILED


def test_a_published_file_that_vanished_is_a_failure_that_names_it(make: Factory) -> None:
    unit = make.done("01")
    make.write()
    (make.out / unit["folder"] / "dwi" / "sub-01_desc-brain_mask.nii.gz").unlink()
    assert only(make).status is Status.FAILED
    assert "sub-01_desc-brain_mask.nii.gz is missing" in str(only(make).verdict.message)


def test_a_skipped_unit_whose_marker_is_gone_is_missing(make: Factory) -> None:
    make.planned(make.unit("01"), "skip", "up to date")
    make.write()
    assert only(make).status is Status.MISSING


def test_a_unit_beyond_the_limit_is_not_complete_even_with_an_older_version(make: Factory) -> None:
    unit = make.unit("01")
    make.planned(unit, "skip", "beyond --limit")
    make.publish(unit, {}, run="earlier")
    make.write()
    assert only(make).status is Status.MISSING
    assert "--limit" in str(only(make).verdict.message)


def test_units_of_earlier_runs_stay_in_the_report_with_their_numbers(make: Factory) -> None:
    make.publish(make.unit("01", "02"), {"fa_mean": 0.4}, run="earlier")
    make.done("02")
    make.write()
    first, second = report.collect(make.out).units
    assert first.id == "sub-02"
    assert (second.id, second.status, second.reason) == ("sub-01_ses-02", "skipped", "earlier run")
    assert second.metrics == {"fa_mean": 0.4}
    assert second.entities == {"subject": "01", "session": "02"}


def test_the_latest_run_is_the_one_that_started_last_whatever_its_name(make: Factory) -> None:
    make.done("01")
    make.write()
    later = Factory(make.out, run="00-first-by-name", offset=3600, pictures=False)
    later.done("02")
    later.write()
    assert report.collect(make.out).run.id == "00-first-by-name"
    assert report.collect(make.out, make.run).run.id == make.run


def test_no_run_no_folder_and_an_evil_name_are_foreseen_failures(tmp_path: Path) -> None:
    for folder, run, category in (
        (tmp_path / "nowhere", None, Category.INPUT_MISSING),
        (tmp_path, None, Category.INPUT_MISSING),
        (tmp_path, "20260101", Category.INPUT_MISSING),
        (tmp_path, "../../etc", Category.DATA_INVALID),
    ):
        with pytest.raises(Failure) as failure:
            report.build(folder, run)
        assert failure.value.category is category
    assert tree(tmp_path) == {}


def test_a_run_of_no_units_has_a_report(make: Factory) -> None:
    make.write()
    assert report.build(make.out).line() == "0 units: 0 done, 0 invalid, 0 failed"
    assert "No units were found" in (make.out / "report.html").read_text(encoding="utf-8")
    assert json.loads((make.out / "rerun.json").read_text())["units"] == []


def test_a_plan_that_was_cut_short_is_completed_from_the_manifest(make: Factory) -> None:
    make.done("01")
    make.planned(make.unit("02"), "run", "new")
    make.write()
    plan = make.folder / "plan.jsonl"
    plan.write_text(plan.read_text()[:-40])
    state = report.collect(make.out)
    assert [(unit.id, unit.status) for unit in state.units] == [
        ("sub-01", "done"), ("sub-02", "missing"),
    ]  # fmt: skip
    assert state.warnings == ("plan.jsonl: 1 line could not be read",)


def test_damaged_records_are_counted_and_the_rest_is_used(make: Factory) -> None:
    make.failed("01")
    make.write()
    with (make.folder / "records.jsonl").open("ab") as file:
        file.write(b'{"unit": \xff\xfe\n[1, 2]\nnull\n{"unit": "sub-01"')
    state = report.collect(make.out)
    assert state.warnings == ("records.jsonl: 2 lines could not be read",)
    assert state.units[0].verdict.category is Category.DATA_INVALID


def test_a_run_without_run_json_ends_with_its_last_record(make: Factory) -> None:
    make.done("01")
    make.write(run=False)
    assert report.collect(make.out).run.finished == "2026-11-21T10:00:12Z"


def test_a_run_that_goes_on_has_no_end(make: Factory) -> None:
    make.done("01")
    make.write(finished=None)
    assert report.collect(make.out).run.finished is None


def test_a_folder_that_leaves_the_output_is_not_read(make: Factory) -> None:
    outside = make.out.parent / "elsewhere"
    outside.mkdir()
    unit = make.unit("01", folder="../elsewhere")
    make.planned(unit, "run", "new")
    make.publish(unit, {"fa_mean": 1.0})
    make.write()
    assert only(make).metrics == {}


def test_metrics_that_are_not_flat_finite_numbers_or_words_are_unknown(make: Factory) -> None:
    unit = make.done("01")
    text = '{"a": NaN, "b": Infinity, "c": [1], "d": true, "e": 0, "f": "x", "PatientName": "Doe"}'
    folder = make.out / unit["folder"]
    (folder / "metrics.json").write_text(text)
    value = json.loads((folder / "_done.json").read_text())
    value["outputs"] = []
    (folder / "_done.json").write_text(json.dumps(value))
    make.write()
    expected = {"a": None, "b": None, "c": None, "d": "yes", "e": 0, "f": "x"}
    assert only(make).metrics == expected


def test_the_summary_counts_and_lists_problems_in_one_line_each(tmp_path: Path) -> None:
    made = report.build(study(tmp_path).write())
    assert made.line() == "22 units: 13 done, 2 skipped, 3 invalid, 2 failed, 1 lost, 1 missing"
    assert (made.complete, made.total, len(made.problems)) == (15, 22, 7)
    assert made.problems[0].startswith("DATA_INVALID sub-14 sub-14/dwi/sub-14_dwi.nii.gz: 33 vol")
    assert json.loads(json.dumps(made.as_json()))["counts"]["done"] == 13


def run_tool(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "bin" / "core-report"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_tool_writes_five_files_and_a_dry_run_none(root: Path, make: Factory) -> None:
    make.done("01")
    make.write()
    before = tree(make.out)
    dry = run_tool(root, str(make.out), "--dry-run", "--json")
    assert (dry.returncode, json.loads(dry.stdout)["counts"]["done"]) == (0, 1)
    assert tree(make.out) == before
    made = run_tool(root, str(make.out))
    assert made.returncode == 0
    assert made.stdout.startswith("1 unit: 1 done, 0 invalid, 0 failed\n")
    new = set(tree(make.out)) - set(before)
    assert new == {
        "batch_metrics.csv", "batch_summary.json", "log.jsonl", "report.html", "rerun.json",
    }  # fmt: skip


def test_the_tool_names_a_missing_run_in_one_line(root: Path, tmp_path: Path) -> None:
    made = run_tool(root, str(tmp_path))
    assert made.returncode == 66
    assert made.stderr.startswith(f"ERROR INPUT_MISSING - {tmp_path}: no run is recorded here: ")
    assert made.stderr.count("\n") == 1


def test_times_of_the_factory_are_what_the_tests_assume() -> None:
    assert iso(0) == "2026-11-21T10:00:00.000Z"
    assert START.tzinfo is not None

"""The plan: what runs, what is skipped, why, and in which order the rules are asked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cohortflow.core import failed, fingerprint, manifest, plan, publish
from cohortflow.core.manifest import Excluded, Input, Unit
from cohortflow.core.outcome import Category, Failure
from cohortflow.core.plan import Wishes
from core.engine_factory import CODE, LANE, context, planned, step_folders, unit

NO_WISHES = Wishes()
MARK = "sub-01/_done.json"
IMAGE = "sub-01/dwi/sub-01_a.txt"


def decide(out: Path, one: Unit | None = None, wishes: Wishes = NO_WISHES, **changes: Any) -> str:
    """Return a decision as `decision, reason`."""
    found = plan.decide(one or unit(), context(out, **changes), wishes)
    return f"{found.decision}, {found.reason}"


def detail(out: Path, one: Unit | None = None, wishes: Wishes = NO_WISHES, **changes: Any) -> str:
    return plan.decide(one or unit(), context(out, **changes), wishes).detail


@pytest.fixture
def done(out: Path, tmp_path: Path) -> Path:
    """Return an output in which sub-01 is complete."""
    folders = step_folders(tmp_path / "steps", "sub-01")
    publish.publish(out, LANE, planned(unit(), out), folders, {})
    return out


def fail(out: Path, category: Category = Category.DATA_INVALID, **changes: Any) -> None:
    """Leave a verdict on sub-01 as it is now."""
    facts = {
        "unit": "sub-01",
        "run": "r",
        "step": "one",
        "category": category,
        "message": "bad volumes",
        "remedy": "mend it",
        "fingerprint": plan.identity(unit(), context(out)),
        "time": "2026-11-21T10:00:00Z",
    }
    failed.keep(out, failed.Verdict.model_validate({**facts, **changes}), {})


def newer() -> Unit:
    """Return sub-01 whose image was written again."""
    return unit(inputs=[unit().inputs[0].model_copy(update={"mtime_ns": 6})])


def test_what_was_never_made_runs(out: Path) -> None:
    assert decide(out) == "run, new"


def test_what_is_complete_is_skipped(done: Path) -> None:
    assert decide(done) == "skip, up to date"


def test_what_discovery_excluded_is_invalid(done: Path) -> None:
    excluded = Excluded(category=Category.INPUT_MISSING, message="no b-values")
    one = unit(excluded=excluded)
    assert decide(done, one, Wishes(overwrite=True, rerun_failed=True)) == "invalid, excluded"
    assert detail(done, one) == "no b-values"


def test_overwrite_runs_what_is_complete_without_cache(done: Path) -> None:
    shared = context(done)
    assert decide(done, wishes=Wishes(overwrite=True)) == "run, requested"
    asked = plan.decide(unit(), shared, Wishes(overwrite=True)).steps
    assert {settings["nonce"] for settings in asked.values()} == {shared.run}


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda out: (out / MARK).write_text("{"), "_done.json cannot be read"),
        (lambda out: (out / IMAGE).unlink(), "sub-01_a.txt is missing"),
        (lambda out: (out / IMAGE).write_text("longer than it was"), "has 18 bytes, not 5"),
    ],
)
def test_a_damaged_unit_runs(done: Path, harm: Callable[[Path], object], said: str) -> None:
    harm(done)
    assert decide(done) == "run, marker damaged"
    assert said in detail(done)


def test_a_unit_whose_marker_was_deleted_is_new(done: Path) -> None:
    (done / MARK).unlink()
    assert decide(done) == "run, new"


def test_a_changed_input_is_named(done: Path) -> None:
    assert decide(done, newer()) == "run, input changed"
    assert detail(done, newer()) == "sub-01.nii"


def test_an_added_input_is_named(done: Path) -> None:
    more = unit(inputs=[*unit().inputs, Input(role="side", path="/study/side.json")])
    assert decide(done, more) == "run, input changed"
    assert detail(done, more) == "side.json"


def test_many_changed_inputs_are_not_all_named(done: Path) -> None:
    files = [Input(role="side", path=f"/study/{number}.json") for number in range(5)]
    assert detail(done, unit(inputs=[*unit().inputs, *files])) == "0.json, 1.json, 2.json …"


def test_a_study_that_moved_is_the_same(done: Path) -> None:
    moved = unit(inputs=[unit().inputs[0].model_copy(update={"path": "/elsewhere/sub-01.nii"})])
    assert decide(done, moved, dataset="/elsewhere") == "skip, up to date"


def test_a_changed_parameter_is_named(done: Path) -> None:
    changed = {"level": "high", "word": ""}
    assert decide(done, parameters=changed) == "run, parameter changed"
    assert detail(done, parameters=changed) == "level: low → high"


def test_an_option_of_one_unit_leaves_a_step_out_for_that_unit_alone(
    out: Path, tmp_path: Path
) -> None:
    steps = (LANE.steps[0], replace(LANE.steps[1], unless=(("level", "none"),)))
    lane = replace(LANE, steps=steps, unless={"figures/{prefix}_b.png": (("level", "none"),)})
    other, without = unit("02"), unit(options={"level": "none"})
    assert set(planned(without, out, lane=lane)["steps"]) == {"one"}
    assert set(planned(other, out, lane=lane)["steps"]) == {"one", "two"}

    folders = step_folders(tmp_path / "steps", "sub-01")
    publish.publish(out, lane, planned(without, out, lane=lane), folders[:1], {})
    assert (out / MARK).exists()
    with pytest.raises(Failure, match=r"b\.png missing"):
        publish.publish(out, lane, planned(unit(), out, lane=lane), folders[:1], {})


def test_an_option_of_one_unit_brings_a_step_back_that_the_others_leave_out(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = (LANE.steps[0], replace(LANE.steps[1], unless=(("level", "none"),)))
    shared: dict[str, Any] = {
        "lane": replace(LANE, steps=steps),
        "parameters": {"level": "none", "word": ""},
        "code": {"one": CODE["one"]},
    }
    codes = {"fake-two": "ffffffffffff"}
    monkeypatch.setattr(fingerprint, "code", lambda tool: codes[tool])
    own = unit(options={"level": "high"})
    planned_own = planned(own, out, **shared)
    assert planned_own["steps"]["two"]["code"] == "ffffffffffff"
    assert planned_own["steps"]["two"]["options"] == {"level": "high"}
    assert set(planned(unit("02"), out, **shared)["steps"]) == {"one"}

    publish.publish(out, LANE, planned_own, step_folders(tmp_path / "steps", "sub-01"), {})
    assert plan.decide(own, context(out, **shared), plan.Wishes()).reason == "up to date"
    codes["fake-two"] = "000000000000"
    assert plan.decide(own, context(out, **shared), plan.Wishes()).detail == "two"


def test_a_changed_option_of_the_unit_is_a_parameter(done: Path) -> None:
    one = unit(options={"series_uid": "1.2"})
    assert decide(done, one) == "run, parameter changed"
    assert detail(done, one) == "series_uid: None → 1.2"


def test_changed_code_runs_or_is_kept(done: Path) -> None:
    code = {**CODE, "two": "ffffffffffff"}
    assert decide(done, code=code) == "run, code changed"
    assert detail(done, code=code) == "two"
    keep = Wishes(stale="keep")
    assert decide(done, wishes=keep, code=code) == "skip, up to date"
    assert detail(done, wishes=keep, code=code) == "kept although the code of two changed"


def test_the_rules_are_asked_in_order(done: Path) -> None:
    everything: dict[str, Any] = {
        "parameters": {"level": "high", "word": ""},
        "code": {**CODE, "one": "ffffffffffff"},
    }
    assert decide(done, newer(), Wishes(overwrite=True), **everything) == "run, requested"
    assert decide(done, newer(), **everything) == "run, input changed"
    assert decide(done, **everything) == "run, parameter changed"
    (done / IMAGE).unlink()
    assert decide(done, newer(), **everything) == "run, marker damaged"


def test_invalid_data_is_not_tried_again_while_nothing_changed(out: Path) -> None:
    fail(out)
    assert decide(out) == "invalid, failed before"
    found = plan.decide(unit(), context(out), NO_WISHES)
    assert found.unit.excluded is not None  # the report says what the step found
    assert found.unit.excluded.message == "bad volumes"
    assert found.unit.excluded.remedy == "mend it"


def test_a_change_tries_invalid_data_again(out: Path) -> None:
    fail(out)
    assert decide(out, newer()) == "run, failed before"
    assert decide(out, unit(options={"series_uid": "1"})) == "run, failed before"
    assert decide(out, parameters={"level": "high", "word": ""}) == "run, failed before"
    assert decide(out, code={**CODE, "one": "ffffffffffff"}) == "run, failed before"


def test_a_wish_tries_invalid_data_again(out: Path) -> None:
    fail(out)
    assert decide(out, wishes=Wishes(rerun_failed=True)) == "run, failed before"
    assert decide(out, wishes=Wishes(overwrite=True)) == "run, requested"


@pytest.mark.parametrize("category", sorted(set(Category) - {Category.DATA_INVALID}))
def test_every_other_failure_is_tried_again(out: Path, category: Category) -> None:
    fail(out, category)
    assert decide(out) == "run, failed before"
    assert detail(out) == f"{category} in one"


def test_a_complete_unit_stays_complete_whatever_failed_before(done: Path) -> None:
    fail(done)
    assert decide(done) == "skip, up to date"


def test_an_input_that_turned_invalid_is_not_tried_twice(done: Path) -> None:
    fail(done, fingerprint=plan.identity(newer(), context(done)))
    assert decide(done, newer()) == "invalid, failed before"


def test_limit_runs_the_first_and_counts_no_others(done: Path) -> None:
    units = [unit("01"), unit("02"), unit("03"), unit("04")]
    found = list(plan.decisions(units, context(done), Wishes(limit=2)))
    assert [(d.decision, d.reason) for d in found] == [
        ("skip", "up to date"),
        ("run", "new"),
        ("run", "new"),
        ("skip", "beyond --limit"),
    ]


@pytest.mark.parametrize(
    "pair",
    [
        (unit("01"), unit("01")),
        (unit("a"), unit("A")),
        (unit("01", "x"), unit("01", "X")),
        (unit("01"), unit("02", folder="sub-01")),
        (unit("01"), unit("02", id="SUB-01")),
    ],
)
def test_two_units_never_share_a_place(out: Path, pair: tuple[Unit, Unit]) -> None:
    with pytest.raises(Failure, match="same place") as caught:
        list(plan.decisions(pair, context(out), NO_WISHES))
    assert caught.value.category is Category.USAGE


@pytest.mark.parametrize(("outer", "inner"), [("01", "01"), ("A", "a"), ("a", "A")])
def test_a_folder_that_would_hold_anothers_is_excluded(out: Path, outer: str, inner: str) -> None:
    units = [unit(outer), unit(inner, "a"), unit("02")]
    found = {d.unit.id: d for d in plan.decisions(units, context(out), NO_WISHES)}
    assert found[f"sub-{outer}"].decision == "invalid"
    assert "holds the folder of another unit" in found[f"sub-{outer}"].detail
    assert found[f"sub-{inner}_ses-a"].decision == "run"
    assert found["sub-02"].decision == "run"


@pytest.mark.parametrize("change", [{"id": "a b"}, {"folder": "../x"}, {"folder": "a/../b"}])
def test_an_unsafe_name_is_excluded_alone(out: Path, change: dict[str, str]) -> None:
    units = [unit("01", **change), unit("02")]
    found = list(plan.decisions(units, context(out), NO_WISHES))
    assert [d.decision for d in found] == ["invalid", "run"]
    assert found[0].unit.excluded is not None
    assert found[0].unit.excluded.category is Category.DATA_INVALID


@pytest.mark.parametrize(
    "folder", ["logs", "Logs", "logs/a", "derivatives", "report.html", "readme.MD", "code"]
)
def test_a_folder_that_the_output_keeps_for_something_else_is_excluded(
    out: Path, folder: str
) -> None:
    one = unit(folder=folder)
    (decision,) = plan.decisions([one], context(out), NO_WISHES)
    assert decision.decision == "invalid"
    assert folder.partition("/")[0] in decision.detail
    (other,) = plan.decisions([unit(folder=f"a-{folder}")], context(out), NO_WISHES)
    assert other.decision == "run"


def test_each_step_depends_on_what_it_reads_and_no_more(out: Path) -> None:
    one = unit(options={"series_uid": "1.2"})
    steps = plan.decide(one, context(out), NO_WISHES).steps
    assert steps["one"]["options"] == {"series_uid": "1.2"}
    assert steps["two"]["options"] == {"level": "low"}
    assert {name: settings["code"] for name, settings in steps.items()} == CODE
    assert {settings["nonce"] for settings in steps.values()} == {""}
    assert {settings["prefix"] for settings in steps.values()} == {"sub-01"}


def test_identity_sees_everything(out: Path) -> None:
    base = plan.identity(unit(), context(out))
    assert plan.identity(unit(), context(out, run="another", started="later")) == base
    others = {
        plan.identity(newer(), context(out)),
        plan.identity(unit(options={"series_uid": "1"}), context(out)),
        plan.identity(unit(), context(out, parameters={"level": "high", "word": ""})),
        plan.identity(unit(), context(out, code={**CODE, "one": "ffffffffffff"})),
    }
    assert len(others | {base}) == 5


def test_a_plan_is_written_whole_and_read_again(done: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.jsonl"
    units = [unit("01"), unit("02"), unit("03", folder="..")]
    shared = context(done)
    counts = plan.write(path, shared, plan.decisions(units, shared, NO_WISHES))
    assert counts == {"run": 1, "skip": 1, "invalid": 1}
    head, *lines = plan.read(path)
    assert head == plan.header(shared)
    assert [one["decision"] for one in lines] == ["skip", "run", "invalid"]
    assert lines[1]["identity"] == plan.identity(unit("02"), shared)


def test_a_plan_that_cannot_be_made_leaves_no_half(out: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan" / "plan.jsonl"
    path.parent.mkdir()
    shared = context(out)
    with pytest.raises(Failure):
        plan.write(path, shared, plan.decisions([unit(), unit()], shared, NO_WISHES))
    assert list(path.parent.iterdir()) == []


def test_planning_writes_nothing(done: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in done.rglob("*")}
    list(plan.decisions([unit("01"), unit("02")], context(done), NO_WISHES))
    assert {p: p.stat().st_mtime_ns for p in done.rglob("*")} == before


def test_parameters_are_resolved_and_checked() -> None:
    assert LANE.resolve({}) == {"level": "low", "word": ""}
    assert LANE.resolve({"level": "high", "word": "a-1.5"}) == {"level": "high", "word": "a-1.5"}
    for given in ({"colour": "red"}, {"level": "middle"}, {"word": "a b"}, {"word": "$(x)"}):
        with pytest.raises(Failure) as caught:
            LANE.resolve(given)
        assert caught.value.category is Category.USAGE


def test_a_line_is_plain_json(out: Path) -> None:
    value = planned(unit("01", "é"), out)
    assert json.loads(json.dumps(value)) == value
    assert value["unit"]["entities"]["session"] == "é"


def core_plan(
    root: Path, environment: dict[str, str], *arguments: object
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "bin/core-plan"), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_tool_plans_and_writes_nothing_else(
    root: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    path, target, written = tmp_path / "m.jsonl", tmp_path / "out", tmp_path / "plan.jsonl"
    header = manifest.Header(lane="dwi", dataset=str(tmp_path / "study"), generated_by="a test")
    image = [Input(role="dwi", path="/study/sub-01.nii")]
    listed = [unit("01", inputs=image), unit("02", folder="..", inputs=image)]
    manifest.write(path, header, listed)
    done = core_plan(root, environment, path, "--outdir", target)
    assert done.stdout == "sub-01\trun\tnew\nsub-02\tinvalid\texcluded\n1 run, 0 skip, 1 invalid\n"
    more = ("--run", "r1", "--output", written, "--json", "--parameter", "gradient_check=warn")
    done = core_plan(root, environment, path, "--outdir", target, *more)
    assert json.loads(done.stdout) == {"run": 1, "invalid": 1}
    head, first, _ = plan.read(written)
    assert (head["run"], head["parameters"]["gradient_check"]) == ("r1", "warn")
    steps = ["convert", "denoise", "unring", "correct", "mask", "orient", "tensor", "fod"]
    steps += ["register", "rois", "track", "cst", "metrics"]
    assert list(first["steps"]) == head["steps"] == steps, "bias is left out by default"
    assert not target.exists()


def test_the_tool_reads_a_table_of_the_lane_that_is_named_with_what_its_parameters_name(
    root: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.h5ad").write_bytes(b"\x89HDF\r\n\x1a\n")
    for name in ("table.txt", "units.csv"):
        (folder / name).write_text("id,h5ad\nfirst,a.h5ad\n")
    written = tmp_path / "plan.jsonl"
    given = ("--lane", "cells", "--parameter", f"hgnc={folder / 'table.txt'}")
    for more in ((), ("--refresh",)):
        place = ("--dataset", folder / "a.h5ad", "--outdir", tmp_path / "out")
        done = core_plan(
            root, environment, folder / "units.csv", *place, *given, *more, "--output", written
        )
        assert done.returncode == 0, done.stderr
        head, first = plan.read(written)
        assert (head["lane"], head["dataset"]) == ("cells", str(folder))
        roles = {one["role"]: one["path"] for one in first["unit"]["inputs"]}
        assert roles == {"h5ad": str(folder / "a.h5ad"), "hgnc": str(folder / "table.txt")}
        assert "hgnc" not in head["parameters"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--parameter", "colour=red"], "no parameter 'colour'"),
        (["--parameter", "colour"], "is not NAME=VALUE"),
        (["--limit", "0"], "--limit"),
    ],
)
def test_the_tool_refuses_what_it_does_not_know(
    root: Path, environment: dict[str, str], tmp_path: Path, arguments: list[str], said: str
) -> None:
    path = tmp_path / "m.jsonl"
    header = manifest.Header(lane="dwi", dataset=str(tmp_path / "study"), generated_by="a test")
    manifest.write(path, header, [unit()])
    done = core_plan(root, environment, path, "--outdir", tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr

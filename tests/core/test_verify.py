"""Verify finds every way in which an output can differ from its markers, and changes nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cohortflow.commands.verify import command
from cohortflow.core import lanes, layout, marker, publish, survey, verify
from core.engine_factory import LANE, context, planned, step_folders, unit

IMAGE = "dwi/sub-01_a.txt"
Findings = list[verify.Finding]


@pytest.fixture(autouse=True)
def only_the_tests_lane(monkeypatch: pytest.MonkeyPatch, fake_lane: None) -> None:
    """Let the lane of the tests be one that the dataset may name."""
    monkeypatch.setattr(lanes, "LANES", (LANE.name,))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an output with sub-01, sub-02/ses-a and sub-02/ses-b, all complete."""
    base = tmp_path_factory.mktemp("published")
    out = base / "out"
    layout.prepare(out, base / "study", LANE)
    for one in (unit(), unit("02", "a"), unit("02", "b")):
        folders = step_folders(base / one.id, one.id)
        publish.publish(out, LANE, planned(one, out), folders, {"one": 1.0})
    (out / "report.html").write_text("x")
    return out


@pytest.fixture
def out(published: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may damage."""
    return Path(shutil.copytree(published, tmp_path / "out"))


def found(out: Path, *, quick: bool = False) -> Findings:
    return list(verify.every(out, quick=quick))


def only(out: Path, *, quick: bool = False) -> verify.Finding:
    """Return the one finding that there is."""
    findings = found(out, quick=quick)
    assert len(findings) == 1, findings
    assert findings[0].remedy
    return findings[0]


def edit(out: Path, **changes: Any) -> None:
    """Change fields of the marker of sub-01."""
    path = out / "sub-01" / marker.NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def outputs(out: Path) -> list[dict[str, Any]]:
    value: list[dict[str, Any]] = json.loads((out / "sub-01" / marker.NAME).read_text())["outputs"]
    return value


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    facts = {p.relative_to(folder).as_posix(): p.lstat() for p in folder.rglob("*")}
    return {name: (f.st_ino, f.st_size, f.st_mtime_ns) for name, f in facts.items()}


@pytest.mark.parametrize("quick", [False, True])
def test_what_was_published_is_well_and_stays_as_it_is(out: Path, quick: bool) -> None:
    before = snapshot(out)
    assert found(out, quick=quick) == []
    assert snapshot(out) == before
    assert survey.survey(out).folders == ("sub-01", "sub-02/ses-a", "sub-02/ses-b")


def test_a_missing_output_is_named(out: Path) -> None:
    (out / "sub-01" / IMAGE).unlink()
    one = only(out, quick=True)
    assert (one.unit, one.path, one.problem) == ("sub-01", f"sub-01/{IMAGE}", "is missing")


def test_a_missing_output_of_a_session_is_named_by_its_unit(out: Path) -> None:
    (out / "sub-02/ses-b/metrics.json").unlink()
    assert only(out).unit == "sub-02_ses-b"


def test_another_size_is_found(out: Path) -> None:
    (out / "sub-01" / IMAGE).write_text("x")
    assert only(out, quick=True).problem == "has 1 bytes, not 5"


def test_another_content_of_the_same_size_is_found_unless_quick(out: Path) -> None:
    (out / "sub-01" / IMAGE).write_text("NEW a")
    assert found(out, quick=True) == []
    one = only(out)
    assert "SHA-256" in one.problem
    assert "--overwrite" in one.remedy, "the plan compares sizes only: it would skip the unit"


def test_a_large_file_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    content = os.urandom(2**20) * 3 + b"end"
    (tmp_path / "x").write_bytes(content)
    sizes: list[int] = []
    real = hashlib.sha256

    class Counted:
        def __init__(self) -> None:
            self.value = real()

        def update(self, block: bytes) -> None:
            sizes.append(len(block))
            self.value.update(block)

        def hexdigest(self) -> str:
            return self.value.hexdigest()

    monkeypatch.setattr(hashlib, "sha256", Counted)
    assert verify.digest(tmp_path / "x") == real(content).hexdigest()
    assert max(sizes) <= 2**20


@pytest.mark.parametrize("name", ["notes.txt", "dwi/deep/roi.txt", ".hidden", "dwi/.DS_Store"])
def test_a_stray_file_is_found(out: Path, name: str) -> None:
    path = out / "sub-01" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    one = only(out)
    assert (one.path, one.problem) == (f"sub-01/{name}", "is listed by no marker")


def test_a_link_in_a_units_folder_is_a_stray(out: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far/x").write_text("x")
    (out / "sub-01/far").symlink_to(tmp_path / "far")
    assert only(out).path == "sub-01/far"


def test_an_output_that_became_a_link_is_found(out: Path, tmp_path: Path) -> None:
    moved = (out / "sub-01" / IMAGE).rename(tmp_path / "a.txt")
    (out / "sub-01" / IMAGE).symlink_to(moved)
    assert "link" in only(out).problem


def test_an_output_below_a_linked_folder_is_found(out: Path, tmp_path: Path) -> None:
    moved = (out / "sub-01/dwi").rename(tmp_path / "dwi")
    (out / "sub-01/dwi").symlink_to(moved)
    assert {one.path for one in found(out)} == {f"sub-01/{IMAGE}", "sub-01/dwi"}


def test_a_folder_in_an_outputs_place_is_found(out: Path) -> None:
    (out / "sub-01" / IMAGE).unlink()
    (out / "sub-01" / IMAGE).mkdir()
    assert only(out).path == f"sub-01/{IMAGE}"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\udcff"])
def test_a_marker_that_cannot_be_read_is_found(out: Path, text: str) -> None:
    path = out / "sub-01" / marker.NAME
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert only(out).problem.startswith("cannot be read")


@pytest.mark.parametrize(
    "changes",
    [
        {"schema_version": 2},
        {"unit": None},
        {"outputs": [{"path": "x", "bytes": "5", "sha256": "x"}]},
        {"timings": {"one": "fast"}},
        {"inputs": [{"role": "x", "path": "y", "surprise": 1}]},
    ],
)
def test_a_marker_that_is_not_as_the_schema_says_is_found(
    out: Path, changes: dict[str, Any], root: Path
) -> None:
    import jsonschema

    edit(out, **changes)
    assert only(out).path == "sub-01/_done.json"
    schema = json.loads((root / "bin/cohortflow/schemas/marker.schema.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads((out / "sub-01/_done.json").read_text()), schema)


def test_a_marker_that_is_no_file_is_found(out: Path) -> None:
    (out / "sub-01" / marker.NAME).unlink()
    os.mkfifo(out / "sub-01" / marker.NAME)
    assert "not a regular file" in only(out).problem


def test_a_marker_of_another_unit_is_found(out: Path) -> None:
    shutil.copytree(out / "sub-01", out / "sub-07")
    one = only(out)
    assert (one.unit, one.problem) == ("sub-07", "is of unit sub-01, not of this folder")


def test_a_folder_that_a_manifest_gave_is_as_good(out: Path, tmp_path: Path) -> None:
    one = unit("09", folder="group-a/nine")
    line = planned(one, out)
    publish.publish(out, LANE, line, step_folders(tmp_path / "steps", one.id), {})
    assert [f.unit for f in found(out)] == ["group-a_nine"], "no plan says so"
    run = layout.run_folder(out, context(out).run)
    run.mkdir(parents=True)
    (run / "plan.jsonl").write_text(f"{json.dumps({'run': run.name})}\n{json.dumps(line)}\n")
    assert found(out) == []


@pytest.mark.parametrize("path", ["/etc/passwd", "../sub-02/x", "dwi/../x", "./x", "", "a\0b"])
def test_a_path_that_leaves_the_folder_is_found(out: Path, path: str) -> None:
    edit(out, outputs=[*outputs(out), {"path": path, "bytes": 1, "sha256": ""}])
    assert "no path inside the folder" in only(out).problem


def test_a_file_listed_twice_is_found(out: Path) -> None:
    edit(out, outputs=[*outputs(out), outputs(out)[0]])
    assert "twice" in only(out).problem


def test_an_output_that_the_lane_declares_must_be_listed(out: Path) -> None:
    (out / "sub-01" / IMAGE).unlink()
    edit(out, outputs=[o for o in outputs(out) if o["path"] != IMAGE])
    assert only(out).problem == f"does not list {IMAGE}, which the lane declares"
    edit(out, pipeline_version="0.0.1")
    assert only(out).problem.endswith("(made by version 0.0.1)")


def test_a_marker_of_another_lane_is_found(out: Path) -> None:
    edit(out, lane="other")
    assert "is of lane other" in only(out).problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is missing"),
        ("{", "cannot be read"),
        ("{}", "has no Name, BIDSVersion, GeneratedBy"),
    ],
)
def test_the_datasets_description_is_looked_at(out: Path, text: str | None, said: str) -> None:
    path = out / "dataset_description.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    first = found(out)[0]
    assert (first.unit, first.path) == ("-", "dataset_description.json")
    assert first.problem.startswith(said)


def test_a_folder_without_marker_is_no_result(out: Path) -> None:
    (out / "sub-02/ses-a" / marker.NAME).unlink()
    (out / "sub-03/ses-01/dwi").mkdir(parents=True)
    (out / "sub-03/ses-01/dwi/x.nii.gz").write_text("x")
    findings = found(out)
    assert [one.unit for one in findings] == ["sub-02_ses-a", "sub-03_ses-01"]
    assert all("no _done.json" in one.problem for one in findings)


def test_an_empty_folder_is_nothing(out: Path) -> None:
    (out / "sub-05/dwi").mkdir(parents=True)
    assert found(out) == []


def test_the_units_logs_are_no_results(out: Path) -> None:
    (out / "logs" / "sub-01").mkdir(parents=True)
    (out / "logs" / "sub-01" / "pipeline.log").write_text("x")
    assert found(out) == []


def test_a_file_beside_sessions_is_a_stray(out: Path) -> None:
    (out / "sub-02/notes.txt").write_text("mine")
    assert only(out).path == "sub-02/notes.txt"


def test_a_linked_unit_is_found(out: Path, tmp_path: Path) -> None:
    moved = (out / "sub-01").rename(tmp_path / "sub-01")
    (out / "sub-01").symlink_to(moved)
    assert only(out).problem == "is a link, not a folder"


def test_a_unit_inside_another_is_found(out: Path) -> None:
    shutil.copytree(out / "sub-02/ses-a", out / "sub-01/ses-a")
    problems = {(one.path, one.problem) for one in found(out)}
    assert ("sub-01/ses-a", "is a unit's folder inside another's") in problems


def test_files_that_bids_allows_at_the_root_are_well(out: Path) -> None:
    for name in ("participants.tsv", "CHANGES", "LICENSE", "CITATION.cff", ".bidsignore"):
        (out / name).write_text("x")
    for name in ("code", ".git"):
        (out / name).mkdir()
        (out / name / "x").write_text("x")
    assert found(out) == []


@pytest.mark.parametrize("name", ["old.nii.gz", "results.xlsx", ".report.html.ab12cd"])
def test_other_files_at_the_root_are_found(out: Path, name: str) -> None:
    (out / name).write_text("x")
    assert only(out).path == name


@pytest.mark.parametrize("name", ["sub-01.0a1b2c3d", "sub-01.0a1b2c3d.old"])
def test_what_a_crash_left_is_found_but_not_what_is_being_published(out: Path, name: str) -> None:
    (out / ".cohortflow/work" / name).mkdir(parents=True)
    one = only(out)
    assert (one.unit, one.path) == ("sub-01", f".cohortflow/work/{name}")
    with publish.locked(out, "sub-01"):
        assert found(out) == []


def test_the_probe_of_a_lock_leaves_it_free(out: Path) -> None:
    (out / ".cohortflow/work/sub-01.0a1b2c3d").mkdir(parents=True)
    found(out)
    with publish.locked(out, "sub-01"):
        pass


def test_a_unit_that_is_published_anew_meanwhile_is_looked_at_again(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are those of the new version while the marker was the old one's."""
    real: Callable[[Path], str] = verify.digest
    calls: list[Path] = []

    def digest(path: Path) -> str:
        calls.append(path)
        if len(calls) == 1:
            one = unit()
            folders = step_folders(tmp_path / "steps", one.id, "NEW")
            publish.publish(out, LANE, planned(one, out), folders, {})
        return real(path)

    monkeypatch.setattr(verify, "digest", digest)
    assert list(verify.unit(out, "sub-01")) == []
    assert len(calls) == 6


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_the_command_exits_0_and_shows_no_progress_to_a_pipe(out: Path) -> None:
    ended = run(out)
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert ended.stdout == "3 units, sizes and SHA-256: all is well\n"


def test_the_command_exits_1_with_a_line_for_each_finding(out: Path) -> None:
    (out / "sub-01" / IMAGE).unlink()
    (out / "sub-01/new\nline.txt").write_text("x")
    ended = run(out, "--quick")
    assert ended.exit_code == 1
    first, second, last = ended.stdout.splitlines()
    assert first.startswith(f"sub-01  sub-01/{IMAGE}  is missing: ")
    assert second.startswith(r"sub-01  sub-01/new\nline.txt  ")
    assert last == "3 units, sizes: 2 found"


def test_json_holds_the_same(out: Path) -> None:
    (out / "sub-01" / IMAGE).unlink()
    value = json.loads(run(out, "--json").stdout)
    assert (value["units"], value["quick"]) == (3, False)
    (one,) = value["findings"]
    assert one["path"] == f"sub-01/{IMAGE}"
    assert set(one) == {"unit", "path", "problem", "remedy"}


@pytest.mark.parametrize("name", ["sub-02_ses-a", "sub-02/ses-a", "sub-02/ses-a/"])
def test_one_unit_is_verified_alone(out: Path, name: str) -> None:
    (out / "sub-01" / IMAGE).unlink()
    (out / "surprise.bin").write_text("x")
    ended = run(out, name)
    assert ended.exit_code == 0
    assert ended.stdout.startswith("1 unit,")
    assert run(out, name, "sub-01").exit_code == 1


def test_there_may_be_nothing_to_verify(out: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments in ((tmp_path / "empty",), (out, "sub-99")):
        ended = run(*arguments)
        assert ended.exit_code == 3
        assert len(ended.stderr.splitlines()) == 1
    assert run(tmp_path / "none").exit_code == 2

"""A manifest in any of its forms: JSON lines, JSON, CSV, and csttool's batch manifest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cohortflow.core import importers, lanes
from cohortflow.core.manifest import Header, Unit
from cohortflow.core.outcome import Category, Failure
from core.engine_factory import LANE

pytestmark = pytest.mark.usefixtures("fake_lane")
HEADER = {"lane": "fake", "dataset": "/study", "generated_by": "a test"}


def read(path: Path) -> tuple[Header, list[Unit]]:
    header, found = importers.read(path, "fake")
    return header, list(found)


@pytest.fixture
def golden(root: Path) -> Path:
    return root / "tests/golden/manifest"


def test_json_lines(golden: Path) -> None:
    header, found = read(golden / "units.jsonl")
    assert header.dataset == "/study"
    assert [one.id for one in found] == ["sub-01_ses-a", "sub-02"]


def test_json(golden: Path) -> None:
    header, found = read(golden / "units.json")
    assert header.generated_by == "a person"
    assert [one.id for one in found] == ["sub-01_ses-a", "sub-02"]
    assert found[0].inputs[0].bytes == 2048


def test_json_on_one_line_is_the_same(golden: Path, tmp_path: Path) -> None:
    path = tmp_path / "one-line.json"
    path.write_text(json.dumps(json.loads((golden / "units.json").read_text())))
    assert read(path) == read(golden / "units.json")


def test_csv(golden: Path) -> None:
    header, (first, second, third) = read(golden / "units.csv")
    assert (header.lane, header.dataset) == ("fake", str(golden))
    assert (first.id, first.folder) == ("sub-01_ses-a", "sub-01/ses-a")
    assert first.entities == {"subject": "01", "session": "a"}
    assert [(i.role, i.path) for i in first.inputs] == [
        ("image", str(golden / "scans/one.nii")),  # by the alias, relative to the manifest
        ("side", str(golden / "scans/one.json")),
    ]
    assert first.options == {"series_uid": "1.2.840.1"}
    assert (second.id, second.options) == ("sub-01_ses-b", {})
    assert second.inputs[0].path.endswith("two, again.nii")
    assert third.excluded is not None  # the lane's own check, not an error of the manifest
    assert third.excluded.category is Category.INPUT_MISSING


def test_csttools_form(golden: Path) -> None:
    _, (first, second) = read(golden / "csttool.json")
    assert (first.id, first.folder) == ("sub-001_ses-01", "sub-001/ses-01")
    assert first.inputs[0].path == "/data/sub-001_dwi.nii.gz"
    assert (second.id, second.options) == ("sub-002", {"series_uid": "1.2.840.2"})


def test_a_lane_may_know_what_csttools_options_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = (replace(LANE.steps[0], options=("series_uid", "level")), *LANE.steps[1:])
    lane = replace(LANE, steps=steps, foreign=lambda given: {"level": str(given["how"])})
    monkeypatch.setattr(lanes, "get", lambda _name: lane)
    path = tmp_path / "batch.json"
    subjects = [
        {"id": "01", "image": "a.nii"},
        {"id": "02", "image": "b.nii", "options": {"how": "high", "level": True}},
    ]
    path.write_text(json.dumps({"options": {"how": "low"}, "subjects": subjects}))
    assert [one.options for one in read(path)[1]] == [{"level": "low"}, {"level": "high"}]
    path.write_text(json.dumps({"options": ["how"], "subjects": subjects}))
    with pytest.raises(Failure, match="options is not an object"):
        read(path)


def test_the_study_can_be_named(golden: Path, tmp_path: Path) -> None:
    header, _ = importers.read(golden / "units.csv", "fake", tmp_path)
    assert header.dataset == str(tmp_path)


def test_a_table_as_spreadsheets_save_it(tmp_path: Path) -> None:
    path = tmp_path / "units.CSV"
    path.write_bytes(
        b"\xef\xbb\xbfparticipant_id,session_id,image\r\nsub-01, ses-a ,a.nii\r\n,,\r\n"
    )
    with pytest.raises(Failure, match="line 3: no subject"):
        read(path)
    path.write_bytes(path.read_bytes().removesuffix(b",,\r\n"))
    assert [one.id for one in read(path)[1]] == ["sub-01_ses-a"]


@pytest.mark.parametrize("label", ["a_b", "a b", "../x", "é"])
def test_a_label_that_bids_has_not_excludes_its_unit_alone(tmp_path: Path, label: str) -> None:
    path = tmp_path / "units.csv"
    path.write_text(f"subject,image\n{label},a.nii\n02,b.nii\n", encoding="utf-8")
    _, (first, second) = read(path)
    assert first.excluded is not None
    assert first.excluded.category is Category.DATA_INVALID
    assert second.excluded is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "it is empty"),
        ("a.csv", "subject,colour\n01,red\n", "unknown column 'colour'"),
        ("a.csv", "subject;image\n01;a.nii\n", "unknown column 'subject;image'"),
        ("a.csv", "subject,image\n01,a.nii,b.nii\n", "line 2: more cells than columns"),
        ("a.csv", "subject,image\n01,a.nii\n,b.nii\n", "line 3: no subject"),
        ("a.csv", b"subject,image\n01,caf\xe9.nii\n", "line 2: it is not UTF-8"),
        ("a.json", "", "line 1 column 1"),
        ("a.json", "[]", "not a JSON object"),
        ("a.json", "{\n}", "neither units nor subjects"),
        ("a.json", "{\n'units': []}", "line 2 column 1"),
        ("a.json", b'{"units": "caf\xe9"}', "utf-8"),
        ("a.json", json.dumps({**HEADER, "units": None}), "units: "),
        ("a.json", json.dumps({**HEADER, "units": [{"id": "a", "folder": "a"}, {}]}), "unit 2.id"),
        ("a.json", json.dumps({"units": []}), "lane: "),
        ("a.json", json.dumps({"subjects": 3}), "subjects is not a list"),
        ("a.json", json.dumps({"subjects": ["sub-01"]}), "subject 1 is not an object"),
        ("a.json", json.dumps({"subjects": [{"id": "1", "options": "x"}]}), "subject 1"),
        ("a.json", json.dumps({"subjects": [{"image": "x"}]}), "subject 1: no subject"),
        ("a.jsonl", json.dumps(HEADER) + "\n{}\n", "line 2: id: Field required"),
    ],
)
def test_an_error_says_where(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Failure) as caught:
        read(path)
    assert caught.value.category is Category.USAGE
    assert str(path) in caught.value.message
    assert message in caught.value.message
    assert len(caught.value.line().splitlines()) == 1


@pytest.mark.parametrize("name", ["none.csv", "none.json"])
def test_a_manifest_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / name)

"""The marker: a unit is complete when its marker is whole and its outputs are there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cohortflow.core import marker, publish
from core.engine_factory import LANE, planned, step_folders, unit


@pytest.fixture
def folder(out: Path, tmp_path: Path) -> Path:
    """Return the folder of a published unit."""
    one = unit()
    steps = step_folders(tmp_path / "steps", one.id)
    return publish.publish(out, LANE, planned(one, out), steps, {"one": 1.5})


def test_a_published_unit_is_complete(folder: Path) -> None:
    found = marker.read(folder)
    assert isinstance(found, marker.Marker)
    assert found.unit == "sub-01"
    assert found.timings == {"one": 1.5}
    assert {output.path for output in found.outputs} == LANE.expected("sub-01")


@pytest.mark.parametrize("name", ["", "none/deeper"])
def test_a_folder_without_marker_is_not_complete(out: Path, name: str) -> None:
    assert marker.read(out / name) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\udcff"])
def test_a_broken_marker_says_so(folder: Path, text: str) -> None:
    (folder / marker.NAME).write_bytes(text.encode(errors="surrogateescape"))
    found = marker.read(folder)
    assert isinstance(found, str)
    assert found.startswith("_done.json cannot be read")


def test_a_folder_in_the_markers_place_is_damage(folder: Path) -> None:
    (folder / marker.NAME).unlink()
    (folder / marker.NAME).mkdir()
    assert marker.read(folder) == "_done.json cannot be read: Is a directory"


def test_a_path_with_a_null_byte_is_damage(folder: Path) -> None:
    path = folder / marker.NAME
    value = json.loads(path.read_text())
    value["outputs"][0]["path"] = "a\0b"
    path.write_text(json.dumps(value))
    assert str(marker.read(folder)).endswith("is missing")


def test_a_marker_of_a_later_version_is_not_trusted(folder: Path) -> None:
    path = folder / marker.NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 2}))
    assert isinstance(marker.read(folder), str)


def test_a_missing_output_is_named(folder: Path) -> None:
    (folder / "dwi/sub-01_a.txt").unlink()
    assert marker.read(folder) == "dwi/sub-01_a.txt is missing"


def test_an_output_of_another_size_is_named(folder: Path) -> None:
    (folder / "dwi/sub-01_a.txt").write_text("x")
    assert marker.read(folder) == "dwi/sub-01_a.txt has 1 bytes, not 5"


def test_a_file_in_the_folders_place(out: Path) -> None:
    (out / "sub-01").write_text("x")
    assert marker.read(out / "sub-01") == "sub-01 is not a folder"

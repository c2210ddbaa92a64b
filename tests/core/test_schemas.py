"""The shipped JSON Schemas are those of the code, and what the code writes is valid by them.

After a change of a model, run this file as a program: it writes the schemas anew.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from cohortflow.core import manifest, marker, plan, publish
from cohortflow.core.manifest import Excluded, Header, Input
from cohortflow.core.outcome import Category
from core.engine_factory import CODE, LANE, context, planned, step_folders, unit

FOLDER = Path(__file__).resolve().parents[2] / "bin/cohortflow/schemas"
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def generated() -> dict[str, dict[str, Any]]:
    """Return the schemas that the models have."""
    return {
        "manifest": {
            "$schema": DRAFT,
            "title": "A line of a manifest",
            "description": "The first line is the header; each further line is a unit.",
            **manifest.schema(),
        },
        "marker": {"$schema": DRAFT, **marker.Marker.model_json_schema(), "title": "_done.json"},
    }


def write() -> None:
    """Write the generated schemas."""
    for name, value in generated().items():
        (FOLDER / f"{name}.schema.json").write_text(json.dumps(value, indent=2) + "\n")


def shipped(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((FOLDER / f"{name}.schema.json").read_text("utf-8"))
    return value


def validator(name: str) -> jsonschema.Draft202012Validator:
    registry: Any = Registry().with_resources(
        (path.name, Resource.from_contents(json.loads(path.read_text("utf-8"))))
        for path in FOLDER.glob("*.schema.json")
    )
    return jsonschema.Draft202012Validator(shipped(name), registry=registry)


def wrong(name: str, text: str | bytes) -> list[str]:
    return [error.message for error in validator(name).iter_errors(json.loads(text))]


@pytest.mark.parametrize("name", ["manifest", "plan", "marker"])
def test_a_schema_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(shipped(name))
    assert shipped(name)["$schema"] == DRAFT


@pytest.mark.parametrize("name", ["manifest", "marker"])
def test_a_schema_is_current(name: str) -> None:
    assert shipped(name) == generated()[name]


def test_a_manifest_is_valid(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    excluded = Excluded(category=Category.DATA_INVALID, message="x", choices=[{"path": "a"}])
    folder = Input(role="dicom", path="/x", bytes=1, mtime_ns=2, files=3, listing="00")
    units = [unit("01", "a", options={"series_uid": "1"}), unit(excluded=excluded, inputs=[folder])]
    manifest.write(path, Header(lane="fake", dataset="/study", generated_by="a test"), units)
    golden = root / "tests/golden/manifest/units.jsonl"
    for line in path.read_bytes().splitlines() + golden.read_bytes().splitlines():
        assert wrong("manifest", line) == []


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        '{"id": "a"}',
        '{"id": "a", "folder": "a", "colour": "red"}',
        '{"id": "a", "folder": "a", "inputs": [{"role": "No", "path": "x"}]}',
        '{"schema_version": 2, "lane": "a", "dataset": "b", "generated_by": "c"}',
    ],
)
def test_what_is_no_manifest_is_not_valid(line: str) -> None:
    assert wrong("manifest", line)


def test_a_plan_is_valid(out: Path, tmp_path: Path) -> None:
    folders = step_folders(tmp_path / "steps", "sub-02")
    publish.publish(out, LANE, planned(unit("02"), out), folders, {})
    shared, path = context(out), tmp_path / "plan.jsonl"
    units = [unit("01"), unit("02"), unit("03", folder=".."), unit("04"), unit("05", "a")]
    plan.write(path, shared, plan.decisions(units, shared, plan.Wishes(limit=2)))
    lines = path.read_text().splitlines()
    assert len(lines) == 6
    for line in lines:
        assert wrong("plan", line) == []
    assert wrong("plan", lines[1].replace('"identity"', '"other"'))
    assert wrong("plan", lines[1].replace('"new"', '"because"'))


def test_the_plans_schema_knows_every_reason(root: Path) -> None:
    source = (root / "bin/cohortflow/core/plan.py").read_text(encoding="utf-8")
    said = shipped("plan")["$defs"]["Line"]["properties"]["reason"]["enum"]
    for reason in said:
        assert f'"{reason}"' in source, reason
    written = re.findall(r'Decision\(\s*unit, "\w+", "([^"]+)"', source)
    written += re.findall(r'return "([^"]+)", ', source)
    assert len(written) >= 8
    assert set(written) <= set(said)


def test_a_marker_is_valid(out: Path, tmp_path: Path) -> None:
    folders = step_folders(tmp_path / "steps", "sub-01")
    folder = publish.publish(out, LANE, planned(unit(), out), folders, {"one": 1.5})
    text = (folder / marker.NAME).read_text()
    assert wrong("marker", text) == []
    assert json.loads(text)["code"] == CODE
    assert wrong("marker", text.replace('"schema_version": 1', '"schema_version": 2'))
    assert wrong("marker", text.replace('"sha256"', '"md5"'))


if __name__ == "__main__":
    write()

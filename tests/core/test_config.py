"""The Nextflow configuration says what the outcome table and the parameters' schema say."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cohortflow import __version__
from cohortflow.core import lanes
from cohortflow.core.outcome import OUTCOMES, Category

_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number"}
_RETRY = re.compile(r"task\.exitStatus in \[([\d, ]+)\] && task\.attempt <= (\d+)")


@pytest.fixture(scope="module")
def base(root: Path) -> str:
    return (root / "conf/base.config").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def schema(root: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((root / "nextflow_schema.json").read_text(encoding="utf-8"))
    return value


def described(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the parameters of all groups."""
    groups = schema["$defs"].values()
    return {name: value for group in groups for name, value in group["properties"].items()}


def configured(root: Path) -> dict[str, Any]:
    """Return `params { }` of nextflow.config; an expression instead of a value is None."""
    text = (root / "nextflow.config").read_text(encoding="utf-8")
    block = re.search(r"^params \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    found: dict[str, Any] = {}
    for line in block[1].splitlines():
        name, sign, value = (part.strip() for part in line.partition("="))
        assert sign, line
        value = {"true": "True", "false": "False"}.get(value, value)
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = None
    return found


def test_what_the_table_retries_is_what_nextflow_retries(base: str) -> None:
    in_config = {
        int(status): int(attempts)
        for statuses, attempts in _RETRY.findall(base)
        for status in statuses.split(",")
    }
    in_table = {
        status: policy.retries
        for policy in OUTCOMES.values()
        for status in policy.statuses
        if policy.retries
    }
    # 137 alone is LOST; with evidence it is OUT_OF_MEMORY, which has a rule of its own.
    memory = OUTCOMES[Category.OUT_OF_MEMORY]
    evidence = r"== 137 && task\.workDir\.resolve\('oom'\)\.exists\(\)"
    assert re.search(rf"{evidence} && task\.attempt <= {memory.retries}\b", base)
    lost = dict.fromkeys(memory.statuses, OUTCOMES[Category.LOST].retries)
    assert in_config == in_table | lost


def test_retries_do_not_reach_the_number_that_ends_the_run(base: str) -> None:
    limit = re.search(r"maxRetries\s*=\s*(\d+)", base)
    assert limit is not None
    assert int(limit[1]) >= max(policy.retries for policy in OUTCOMES.values())
    assert re.search(r"\? 'retry' : 'ignore'", base)
    assert re.search(r"workflow\.failOnIgnore\s*=\s*true", base)


def test_every_step_runs_under_the_supervisor_with_all_it_reads(root: Path, base: str) -> None:
    assert re.search(r"shell\s*=\s*\['core-supervise', 'bash'", base)
    source = (root / "bin/cohortflow/core/supervise.py").read_text(encoding="utf-8")
    read = set(re.findall(r'"(COHORTFLOW_\w+)"', source))
    given = set(re.findall(r"(COHORTFLOW_\w+):|export (COHORTFLOW_\w+)=", base))
    # The last are for who starts a container, not for the supervisor.
    names = ("HEAD", "OUT", "INPUT", "FILTER", "BESIDE", "OUTDIR", "WORK")
    others = {f"COHORTFLOW_{name}" for name in names}
    assert read - {"COHORTFLOW_GRACE"} == {one or other for one, other in given} - others


def test_parameters_have_the_names_types_and_defaults_of_their_schema(
    root: Path, schema: dict[str, Any]
) -> None:
    parameters, properties = configured(root), described(schema)
    assert set(parameters) == set(properties)
    for name, default in parameters.items():
        if default is None:  # made when the run starts
            assert "default" not in properties[name], name
            continue
        # A whole number may be written for one that need not be whole.
        types = {_TYPES[type(default)], *(["number"] if type(default) is int else [])}
        assert properties[name]["type"] in types, name
        assert properties[name]["default"] == default, name
        assert type(properties[name]["default"]) is type(default), name


def test_the_schema_is_one(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert [group["$ref"] for group in schema["allOf"]] == [f"#/$defs/{n}" for n in schema["$defs"]]
    for name, value in described(schema).items():
        assert value["description"].endswith("."), name
    for group in schema["$defs"].values():
        assert group["title"]
        assert group["description"]


def test_the_defaults_with_a_study_and_an_output_are_valid(
    root: Path, schema: dict[str, Any]
) -> None:
    defaults = {name: value for name, value in configured(root).items() if value is not None}
    given = {**defaults, "input": "/data/study", "outdir": "out"}
    jsonschema.validate(given, schema)
    for wrong in ({"lane": "none"}, {"stale": "maybe"}, {"limit": -1}, {"overwrite": "yes"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**given, **wrong}, schema)


def test_the_schema_knows_the_lanes_and_their_parameters(schema: dict[str, Any]) -> None:
    properties = described(schema)
    assert properties["lane"]["enum"] == list(lanes.LANES)
    for name in lanes.LANES:
        for parameter in lanes.get(name).parameters:
            known = properties[parameter.name]
            assert parameter.checked(str(known["default"])) == parameter.default
            assert known["type"] == parameter.type
            assert known.get("enum", []) == list(parameter.choices)
            limits = [known.get(key) for key in ("minimum", "maximum", "exclusiveMaximum")]
            assert limits == [parameter.minimum, parameter.maximum, parameter.below]


def test_the_pipeline_hands_each_lane_its_own_parameters(root: Path) -> None:
    text = (root / "main.nf").read_text(encoding="utf-8")
    block = re.search(r"def parameters_of\(lane\) \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    given = {
        lane: re.findall(r"'(\w+)'", names)
        for lane, names in re.findall(r"(\w+): \[([^]]*)\]", block[1])
    }
    assert given == {
        name: [parameter.name for parameter in lanes.get(name).parameters] for name in lanes.LANES
    }
    choice = f"params.lane in {list(lanes.LANES)}"
    assert choice in text


def test_there_is_one_version(root: Path) -> None:
    text = (root / "nextflow.config").read_text(encoding="utf-8")
    version = re.search(r"^\s+version\s*=\s*'(.+)'", text, re.MULTILINE)
    assert version is not None
    assert version[1] == __version__

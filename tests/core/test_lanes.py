"""What a lane states, and how the engine reads it: parameters, outputs, names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortflow.core import lanes, plan
from cohortflow.core.lanes import Parameter, Step
from cohortflow.core.manifest import Input
from cohortflow.core.outcome import Category, Failure
from core import engine_factory
from core.engine_factory import LANE

WHOLE = Parameter("n", "5", (), "A count.", type="integer", minimum=1, maximum=9)
SHARE = Parameter("share", "0.05", (), "A share.", type="number", minimum=0, below=1)
FLAG = Parameter("flag", "false", (), "Yes or no.", type="boolean")
TABLE = Parameter("table", "", (), "A table.", input=True)
NAME = Parameter("name", "", (), "ORG/NAME.", pattern=r"\w+/\w+")


def refused(parameter: Parameter, value: str) -> Failure:
    with pytest.raises(Failure) as caught:
        parameter.checked(value)
    assert caught.value.category is Category.USAGE
    assert parameter.name in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("parameter", "value", "written"),
    [
        (WHOLE, "7", "7"), (WHOLE, "+7", "7"), (WHOLE, "007", "7"),
        (SHARE, "0.50", "0.5"), (SHARE, ".5", "0.5"), (SHARE, "0", "0"), (SHARE, "-0", "0"),
        (SHARE, "1e-3", "0.001"), (SHARE, "0.05", "0.05"),
        (FLAG, "True", "true"), (FLAG, "false", "false"),
        (TABLE, "/a b/c.txt", "/a b/c.txt"), (TABLE, "https://x.org/a?b=c", "https://x.org/a?b=c"),
        (NAME, "a/b", "a/b"), (NAME, "", ""),
    ],
)  # fmt: skip
def test_a_value_is_written_in_one_way(parameter: Parameter, value: str, written: str) -> None:
    assert parameter.checked(value) == written
    assert parameter.checked(written) == written


@pytest.mark.parametrize(
    ("parameter", "value", "allowed"),
    [
        (WHOLE, "0", "a whole number from 1 up to 9"), (WHOLE, "10", "up to 9"),
        (WHOLE, "5.0", "whole"), (WHOLE, "five", "whole"), (WHOLE, "", "whole"),
        (SHARE, "1", "a number from 0 below 1"), (SHARE, "-0.1", "from 0"),
        (SHARE, "nan", "below 1"), (SHARE, "inf", "below 1"),
        (FLAG, "yes", "true or false"), (FLAG, "1", "true or false"), (FLAG, "", "true or false"),
        (TABLE, "a\nb", "path"), (NAME, "a", "text"), (NAME, "a/b/c", "text"),
    ],
)  # fmt: skip
def test_a_value_that_is_not_allowed_is_refused_and_what_is_allowed_named(
    parameter: Parameter, value: str, allowed: str
) -> None:
    assert allowed in refused(parameter, value).remedy


def test_a_choice_and_a_plain_word_are_as_they_were() -> None:
    level, word = LANE.parameters
    assert refused(level, "middle").remedy == "use one of: low, high"
    assert word.checked("a.b-c") == "a.b-c"
    assert "plain word" in refused(word, "$(x)").remedy


@given(st.integers(1, 9) | st.floats(0, 0.999))
def test_a_number_keeps_its_value(number: float) -> None:
    parameter = WHOLE if isinstance(number, int) else SHARE
    assert float(parameter.checked(str(number))) == number


@given(st.text(max_size=20))
def test_any_text_is_taken_in_one_way_or_refused(text: str) -> None:
    for parameter in (WHOLE, SHARE, FLAG, TABLE, NAME):
        try:
            written = parameter.checked(text)
        except Failure:
            continue
        assert parameter.checked(written) == written


@pytest.mark.parametrize("name", lanes.LANES)
def test_each_lanes_defaults_are_allowed_and_written_in_that_way(name: str) -> None:
    lane = lanes.get(name)
    assert lane.resolve({}) == {p.name: p.default for p in lane.parameters}


def test_no_two_lanes_give_one_option_two_meanings() -> None:
    names = [p.name for name in lanes.LANES for p in lanes.get(name).parameters]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", lanes.LANES)
def test_every_parameter_that_is_no_input_is_read_by_a_step(name: str) -> None:
    lane = lanes.get(name)
    read = {parameter for step in lane.steps for parameter in step.parameters}
    assert read == {p.name for p in lane.parameters if not p.input}
    assert {p.name for p in lane.parameters if p.input} <= set(lane.roles)


PATTERNED = replace(
    LANE, outputs=("data/train-*-of-*.txt", "{prefix}.json"), optional=("data/test-*.txt", "log")
)
GOOD = {"data/train-0-of-1.txt", "a.json"}


@pytest.mark.parametrize("more", [set(), {"data/train-1-of-2.txt"}, {"log"}, {"data/test-0.txt"}])
def test_a_unit_has_what_is_expected_and_may_have_what_is_optional(more: set[str]) -> None:
    assert PATTERNED.missing(GOOD | more, "a") == []
    assert PATTERNED.unexpected(GOOD | more, "a") == []


@pytest.mark.parametrize(
    "path", ["data/train-0.txt", "data/x/train-0-of-1.txt", "train-0-of-1.txt", "b.json", "logs",
             "data/train-0-of-1/2.txt", "data/train-0-of-1.txt/2", "data", "log/2"],
)  # fmt: skip
def test_another_file_is_not_declared(path: str) -> None:
    assert PATTERNED.unexpected(GOOD | {path}, "a") == [path]


def test_a_file_of_a_step_that_is_left_out_is_not_wanted_and_not_wrong() -> None:
    lane = replace(PATTERNED, unless={"{prefix}.json": (("level", "low"),)})
    assert lane.missing(GOOD - {"a.json"}, "a", {"level": "low"}) == []
    assert lane.missing(GOOD - {"a.json"}, "a", {"level": "high"}) == ["a.json"]
    assert lane.unexpected(GOOD, "a") == []


def test_a_step_that_a_parameter_leaves_out_is_in_no_plan(out: Path) -> None:
    steps = (Step("one", parameters=("word",)), Step("two", parameters=("level",),
             unless=(("level", "low"),)))  # fmt: skip
    for level, expected in (("low", ["one"]), ("high", ["one", "two"])):
        lane = replace(LANE, steps=steps)
        shared = engine_factory.context(out, lane=lane, parameters={"word": "x", "level": level})
        decided = plan.decide(engine_factory.unit(), shared, plan.Wishes())
        assert list(decided.steps) == plan.header(shared)["steps"] == expected


def test_a_pattern_wants_one_file_at_least() -> None:
    assert PATTERNED.missing({"a.json", "data/test-0.txt"}, "a") == ["data/train-*-of-*.txt"]


def test_a_parameter_that_names_an_input_is_in_no_plan(out: Path) -> None:
    lane = replace(LANE, parameters=(*LANE.parameters, TABLE))
    resolved = lane.resolve({"table": "/x/table.txt"})
    assert resolved["table"] == "/x/table.txt"
    shared = engine_factory.context(out, lane=lane, parameters=lane.recorded(resolved))
    one = engine_factory.unit("01", inputs=[Input(role="image", path="/a", sha256="1")])
    planned = plan.line(plan.decide(one, shared, plan.Wishes()), shared)
    assert "table" not in planned["parameters"]
    assert "table" not in plan.header(shared)["parameters"]


def test_a_step_depends_on_its_own_parameters_alone(out: Path) -> None:
    steps = (Step("one", parameters=("word",)), Step("two", parameters=("level",), network=True))
    shared = engine_factory.context(out, lane=replace(LANE, steps=steps))
    found: dict[str, Any] = plan.decide(engine_factory.unit(), shared, plan.Wishes()).steps
    assert [set(found[name]["options"]) for name in ("one", "two")] == [{"word"}, {"level"}]


def test_a_step_and_its_files_are_left_out_when_any_of_its_values_is_set() -> None:
    values = (("level", "low"), ("word", "none"))
    lane = replace(PATTERNED, steps=(Step("two", unless=values),), unless={"{prefix}.json": values})
    for level, word, made in (
        ("high", "x", True), ("low", "x", False), ("high", "none", False), ("low", "none", False),
    ):  # fmt: skip
        have = {"level": level, "word": word}
        assert bool(lane.running(have)) == made
        assert ("a.json" in lane.expected("a", have)) == made

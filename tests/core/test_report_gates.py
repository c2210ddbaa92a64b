"""Each complete unit is held against its lane's limits; what was not measured is said so."""

from __future__ import annotations

import pytest

from cohortflow.core.lanes import Gate
from cohortflow.core.reporting import gates
from cohortflow.core.reporting.state import Status, UnitState, Value, Verdict
from core.hooked_factory import LANE


def unit(name: str, status: Status = Status.DONE, **metrics: Value) -> UnitState:
    return UnitState(name, name, {}, Verdict(status), metrics=metrics)


@pytest.mark.parametrize(
    ("value", "kept"),
    [(2, True), (4.0, True), (3, True), (1.99, False), (4.01, False), (None, None), ("no", None)],
)
def test_limits_are_themselves_allowed_and_no_number_is_neither(
    value: Value, kept: bool | None
) -> None:
    assert gates.passed(Gate("m", "M", 2, 4), value) is kept


def test_an_open_side_holds_nothing_back() -> None:
    assert gates.passed(Gate("m", "M", 2, None), 1e9) is True
    assert gates.passed(Gate("m", "M", None, 2), -1e9) is True
    assert gates.limit(Gate("m", "M", 0, 2.5, "mm")) == "0 to 2.5 mm"


def test_a_units_lines_are_value_limit_and_verdict_then_the_reasons_that_it_has() -> None:
    one = unit("a", likeness=0.7, shift_mm=None, left_reason="cut off", right_reason="")
    asked = gates.asked(LANE, [one])
    lines = [(c.title, c.value, c.limit, c.passed) for c in gates.of_unit(LANE, asked, one)]
    assert lines == [
        ("Looks like the template", "0.7", "at least 0.75", False),
        ("Shift of the head", "unknown", "at most 5 mm", None),
        ("Left arm", "cut off", "", None),
    ]


def test_a_check_that_no_unit_was_asked_for_is_left_out() -> None:
    assert gates.asked(LANE, [unit("a", other=1)]) == ()
    assert gates.asked(LANE, [unit("a", Status.FAILED, likeness=1)]) == ()


def test_the_group_counts_complete_units_and_names_those_that_do_not_pass() -> None:
    units = [
        unit("a", likeness=0.8),
        unit("b", likeness=0.5),
        unit("c", likeness=None, left_reason="cut off"),
        unit("d", Status.FAILED, likeness=0.1),
        unit("e", Status.SKIPPED, likeness=0.75),
    ]
    first, reason = gates.of_group(LANE, gates.asked(LANE, units), units)
    assert (first.passed, first.measured) == (2, 3)
    assert first.failing == (("b", "0.5"),)
    assert first.unmeasured == (("c", ""),)
    assert (reason.title, reason.unmeasured) == ("Left arm", (("c", "cut off"),))


def test_the_table_counts_a_units_checks_and_sorts_by_those_not_passed() -> None:
    asked = LANE.gates
    counted = gates.counted(asked, unit("a", likeness=0.5, shift_mm=9, left_number=30))
    assert counted == {"passed": 1, "failed": 2, "unknown": 1, "order": 2}
    assert gates.counted(asked, unit("a", Status.FAILED, likeness=0.5))["order"] == ""

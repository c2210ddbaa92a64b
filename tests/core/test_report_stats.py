"""Outliers are found by a robust rule that does not depend on units or origin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortflow.core.reporting.charts import ticks
from cohortflow.core.reporting.stats import spread

numbers = st.lists(st.integers(-1000, 1000), min_size=5, max_size=40)


def sides(values: list[float]) -> list[str | None]:
    found = spread(values)
    return [found.side(value) for value in values]


def test_the_rule_is_the_median_and_three_and_a_half_scaled_mads() -> None:
    found = spread([1, 2, 3, 4, 5])  # median 3, MAD 1
    assert (found.middle, found.lower, found.upper) == (3, 2, 4)
    assert found.high == pytest.approx(3 + 3.5 * 1.4826)
    assert found.low == pytest.approx(3 - 3.5 * 1.4826)


def test_fewer_than_five_units_have_no_outlier() -> None:
    assert sides([1, 1, 1, 1e9]) == [None] * 4


def test_one_that_differs_among_equals_is_an_outlier_and_rounding_is_none() -> None:
    assert sides([65.0] * 9 + [64.0])[-1] == "low"
    assert sides([0.1 + 0.2] + [0.3] * 9) == [None] * 10


def test_two_groups_of_like_size_have_no_outlier() -> None:
    assert sides([0] * 6 + [1] * 4) == [None] * 10


@given(numbers)
def test_fewer_than_half_of_the_units_are_outliers(values: list[int]) -> None:
    assert sum(side is not None for side in sides([*map(float, values)])) < len(values) / 2


@given(numbers, st.integers(-3, 3), st.integers(-1000, 1000))
def test_scale_and_origin_change_nothing(values: list[int], power: int, shift: int) -> None:
    original = [float(value) for value in values]
    moved = [value * 2.0**power + shift for value in original]
    assert sides(moved) == sides(original)


@given(st.floats(-1e9, 1e9), st.floats(1e-9, 1e9))
def test_ticks_are_few_ordered_and_inside(low: float, width: float) -> None:
    high = low + width
    if not low < high:
        return
    found = ticks(low, high)
    room = (high - low) * 1e-6 + abs(low) * 1e-9
    assert found == sorted(found)
    assert len(found) <= 10
    assert all(low - room <= tick <= high + room for tick in found)

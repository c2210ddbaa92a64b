"""Two numbers that should be alike: who is drawn, and whose difference is far."""

from __future__ import annotations

import re

from cohortflow.core.lanes import Pair
from cohortflow.core.reporting import pairs
from cohortflow.core.reporting.state import Status, UnitState, Value, Verdict

PAIR = Pair("Width", "l", "r", "mm")


def unit(name: str, left: Value, right: Value, *, failed: bool = False) -> UnitState:
    verdict = Verdict(Status.FAILED if failed else Status.DONE)
    return UnitState(name, name, {}, verdict, metrics={"l": left, "r": right})


def batch(count: int = 8) -> list[UnitState]:
    return [unit(f"u{n}", 10 + n, 10 + n + 0.1 * (n % 3)) for n in range(count)]


def scatter(units: list[UnitState]) -> pairs.Scatter:
    found = pairs.of_group(PAIR, units)
    assert found is not None
    return found


def test_a_large_difference_is_an_outlier_though_both_numbers_are_common() -> None:
    found = scatter([*batch(), unit("x", 11, 16), unit("y", 17, 12.5)])
    assert [name for name, _, _ in found.outliers] == ["x", "y"]
    assert scatter([*batch(), unit("x", 40, 40.1)]).outliers == ()


def test_with_fewer_than_five_units_none_is_an_outlier() -> None:
    found = scatter([*batch(3), unit("x", 11, 99)])
    assert (found.few, found.outliers) == (True, ())


def test_units_without_both_numbers_take_no_part() -> None:
    others = [unit("a", 1, None), unit("b", "no", 1), unit("c", 1, 99, failed=True),
              unit("d", 1e300, 1)]  # fmt: skip
    assert {name for name, _, _ in scatter([*batch(), *others]).spots} == {
        f"u{n}" for n in range(8)
    }
    assert pairs.of_group(PAIR, batch(1)) is None


def test_equal_numbers_lie_on_the_line_and_a_larger_right_one_above() -> None:
    drawn = str(pairs.draw(scatter([unit("a", 1, 1), unit("b", 2, 2), unit("c", 1, 2)])))
    same = re.search(r'class="same" d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', drawn)
    assert same is not None
    x0, y0, x1, y1 = map(float, same.groups())
    dots = re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="[\d.]+"><title>(\w)', drawn)
    above = {n: y0 + (y1 - y0) * (float(x) - x0) / (x1 - x0) - float(y) for x, y, n in dots}
    assert abs(above["a"]) < 0.2
    assert abs(above["b"]) < 0.2
    assert above["c"] > 100


def test_an_outlier_is_a_diamond_with_its_name_and_no_dot() -> None:
    drawn = str(pairs.draw(scatter([*batch(), unit("x", 11, 16)])))
    assert drawn.count('class="dot"') == 8
    assert drawn.count('class="outlier"') == 1
    assert re.search(r'class="label"[^>]*>x<', drawn)


def test_a_large_batch_is_one_path_with_a_dot_a_pixel_at_most() -> None:
    drawn = str(pairs.draw(scatter([unit(f"u{n}", n % 7, n % 7) for n in range(5000)])))
    assert "<circle" not in drawn
    shape = re.search(r'class="dots" d="([^"]*)"', drawn)
    assert shape is not None
    assert shape.group(1).count("M") == 7

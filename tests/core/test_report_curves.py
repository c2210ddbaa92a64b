"""Numbers along an axis: the band of a group, and the units that leave it."""

from __future__ import annotations

import random
import re

import pytest

from cohortflow.core.lanes import Curve
from cohortflow.core.reporting import curves, panels
from cohortflow.core.reporting.charts import scaled
from cohortflow.core.reporting.state import Status, UnitState, Value, Verdict

CURVE = Curve("Width", (("left", "l"), ("right", "r")), "from here to there", "mm")


def unit(name: str, left: Value = None, right: Value = None, *, failed: bool = False) -> UnitState:
    verdict = Verdict(Status.FAILED if failed else Status.DONE)
    return UnitState(name, name, {}, verdict, metrics={"l": left, "r": right})


def group(*units: UnitState) -> curves.Group:
    found = curves.of_group(CURVE, units)
    assert found is not None
    return found


def flat(value: float, points: int = 4) -> str:
    return ";".join([str(value)] * points)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("1;2.5;-3e-4", (1, 2.5, -3e-4)),
        (";2;", (None, 2, None)),
        ("1;nan;inf;1e200", (1, None, None, None)),
        ("0;0", (0, 0)),
        ("1;two", None),
        ("1", None),
        (1.5, None),
        (None, None),
    ],
)
def test_a_line_is_a_text_of_numbers_and_an_empty_one_is_unknown(
    text: Value, line: curves.Line | None
) -> None:
    assert curves.parse(text) == line


def test_the_band_is_median_and_5th_to_95th_percentile_at_each_point() -> None:
    units = [unit(f"u{n}", f"{n};{10 * n};0") for n in range(21)]
    band = group(*units).bands[0]
    assert band.middle == (10, 100, 0)
    assert band.lower == (1, 10, 0)
    assert band.upper == (19, 190, 0)


def test_where_fewer_than_five_have_a_value_there_is_no_band() -> None:
    units = [unit(f"u{n}", f"{n};{n if n else ''};1") for n in range(5)]
    band = group(*units).bands[0]
    assert band.lower[0] is not None
    assert (band.lower[1], band.middle[1], band.upper[1]) == (None, None, None)
    assert group(*units[:4]).bands[0].few


def test_units_that_are_not_complete_or_have_other_points_take_no_part() -> None:
    units = [unit(f"u{n}", flat(1)) for n in range(5)]
    others = [unit("x", flat(99), failed=True), unit("y", flat(99, 3)), unit("z")]
    band = group(*units, *others).bands[0]
    assert (band.count, band.upper) == (5, (1, 1, 1, 1))


def test_no_curve_is_made_of_nothing() -> None:
    assert curves.of_group(CURVE, [unit("a"), unit("b", "word")]) is None


def test_a_unit_is_outlying_when_more_than_a_quarter_of_its_points_are_far() -> None:
    units = [unit(f"u{n}", ";".join(str(10 + 0.1 * n) for _ in range(8))) for n in range(9)]
    near = ";".join(["10.4"] * 6 + ["99"] * 2)
    far = ";".join(["10.4"] * 5 + ["99"] * 3)
    assert group(*units, unit("x", near)).outlying == ()
    assert group(*units, unit("x", far)).outlying == (("x", "left"),)


def test_the_extremes_of_a_small_group_alike_are_not_outlying() -> None:
    """The highest of eight is outside percentiles everywhere, and nothing is wrong with it."""
    found = group(*(unit(f"u{n}", flat(10 + n)) for n in range(8)))
    highest = curves.line_of(unit("u7", flat(17)), "l", 4)
    assert highest is not None
    assert found.bands[0].outside(highest) == (4, 4)
    assert found.outlying == ()


def test_healthy_units_are_seldom_named() -> None:
    random.seed(1)
    named = units = 0
    for _ in range(40):
        batch = []
        for n in range(12):
            level, slope = random.gauss(0, 1), random.gauss(0, 1)
            line = ";".join(f"{50 + level + slope * (p / 10 - 1):.4f}" for p in range(20))
            batch.append(unit(f"u{n}", line))
        named += len(group(*batch).outlying)
        units += len(batch)
    assert named / units < 0.05


def test_every_panel_of_a_curve_has_the_same_numbers_on_its_axis() -> None:
    units = [unit(f"u{n}", flat(n), flat(100 + n)) for n in range(6)]
    left, right = panels.panels(group(*units))
    ticks = [re.findall(r'text-anchor="end">([^<]*)', str(one)) for one in (left, right)]
    assert ticks[0] == ticks[1]
    assert len(ticks[0]) >= 3


def test_a_units_lines_lie_over_the_band_solid_and_dashed_with_their_name() -> None:
    units = [unit(f"u{n}", flat(n), flat(n)) for n in range(6)]
    left, right = map(str, panels.panels(group(*units), units[3]))
    for drawn, kind in ((left, "k0"), (right, "k1")):
        assert drawn.count('class="band"') == 1
        assert drawn.count(f'class="line own {kind}"') == 1
        assert ">this unit</text>" in drawn
        assert "outside their 5 to 95 % band at 0 of 4 points" in drawn


def test_with_few_units_the_others_are_thin_lines_and_there_is_no_band() -> None:
    units = [unit(f"u{n}", flat(n)) for n in range(4)]
    drawn = str(panels.panels(group(*units), units[0])[0])
    assert drawn.count('class="line other') == 3
    assert drawn.count('class="line own') == 1
    assert "band" not in drawn


def test_a_gap_in_a_line_stays_a_gap() -> None:
    units = [unit(f"u{n}", flat(n, 5)) for n in range(5)]
    drawn = str(panels.panels(group(*units), unit("x", "1;2;;3;"))[0])
    shape = re.search(r'class="line own k0" d="([^"]*)"', drawn)
    assert shape is not None
    assert re.findall("[MLh]", shape.group(1)) == ["M", "L", "M", "h"]


def test_higher_numbers_are_drawn_higher() -> None:
    units = [unit(f"u{n}", "1;5") for n in range(5)]
    drawn = str(panels.panels(group(*units))[0])
    shape = re.search(r'class="line middle" d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', drawn)
    assert shape is not None
    x0, y0, x1, y1 = map(float, shape.groups())
    assert x0 < x1
    assert y0 > y1


def test_small_numbers_are_shown_in_thousandths_of_their_unit() -> None:
    assert scaled(0, 0.0007, "mm2/s") == (1000, "10⁻³ mm2/s")
    assert scaled(-3e-7, 2e-7) == (1e6, "10⁻⁶")
    assert scaled(0, 0.4) == (1, "")
    assert scaled(0, 0) == (1, "")


def test_a_text_in_a_drawing_is_escaped() -> None:
    evil = Curve("<b>", (("<i>", "l"),), "<u>", "<s>")
    found = curves.of_group(evil, [unit(f"<q>{n}", flat(n)) for n in range(3)])
    assert found is not None
    (drawn,) = map(str, panels.panels(found))
    assert not set(re.findall(r"<(\w+)", drawn)) & {"b", "i", "u", "s", "q"}

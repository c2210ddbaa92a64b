"""The page shows what a lane declares: checks, curves, pairs, notes, and its headline first."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest

from cohortflow.core import lanes, report
from core.hooked_factory import LANE, LONG, add, batch, metrics, note
from core.report_factory import EVIL, Factory
from core.test_report_page import Elements


def page(out: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "get", lambda _name: LANE)
        report.build(out)
    return (out / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return batch(tmp_path_factory.mktemp("out")).write()


@pytest.fixture(scope="module")
def shown(out: Path) -> str:
    return page(out)


def part(shown: str, name: str) -> str:
    return shown.split(f'<section id="{name}">', 1)[1].split("</section>", 1)[0]


def unit(shown: str, label: str) -> str:
    after = shown.split(f'<details class="unit" id="unit-sub-{label}"', 1)[1]
    return after.split('<details class="unit"', 1)[0]


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_the_group_says_of_each_check_how_many_pass_and_who_does_not(shown: str) -> None:
    checks = re.split("<li>", part(shown, "checks"))[1:]
    assert len(checks) == 5
    assert "7 of 8 pass not passed: sub-06 0.61" in words(checks[0])
    assert "at most 5 mm" in checks[1]
    assert "7.25 mm" in checks[1]
    assert "all 7 pass not measured: sub-07" in words(checks[2])
    assert "not measured in 1 unit sub-07 the arm is outside the image" in words(checks[4])
    assert 'href="#unit-sub-06"' in checks[0]


def test_a_published_unit_that_does_not_pass_carries_a_warning(shown: str) -> None:
    failing, good = unit(shown, "06"), unit(shown, "01")
    assert "2 checks not passed" in failing.split("</summary>", 1)[0]
    assert "Looks like the template 0.61 (at least 0.75)" in failing
    assert words(failing).count(" not passed ") == 3  # the summary, and two lines of the table
    assert "not passed" not in good
    assert words(good).count(" passed ") == 5  # the head of the table and four lines


def test_a_reason_stands_among_the_checks_and_in_no_list(shown: str) -> None:
    text = words(unit(shown, "07"))
    assert "Left arm the arm is outside the image not measured" in text
    assert "2 not measured" in text
    assert "Right arm" not in text
    assert "left_reason" not in shown


def test_a_unit_shows_its_curves_and_the_group_names_who_is_outlying(shown: str) -> None:
    assert unit(shown, "06").count('class="line own') == 4
    assert unit(shown, "07").count('class="line own') == 2
    assert "left: not measured" in words(unit(shown, "07"))
    assert "left: outside the band at 20 of 20 points" in words(unit(shown, "06"))
    numbers = part(shown, "numbers")
    assert numbers.count('class="band"') == 4
    named = re.findall(r'<b><a href="#unit-(sub-\d+)">[^<]*</a></b> (left|right)</span>', numbers)
    assert named == [("sub-06", "left")]


def test_curves_are_in_the_table_for_machines_and_in_no_list_of_the_page(
    shown: str, out: Path
) -> None:
    assert "left_width_profile" not in shown
    with (out / "batch_metrics.csv").open(newline="") as file:
        rows = {row["unit"]: row for row in csv.DictReader(file)}
    assert len(rows["sub-01"]["left_width_profile"].split(";")) == 20
    assert rows["sub-07"]["left_width_profile"] == ""


def test_pairs_are_drawn_with_the_outlying_units_named(shown: str) -> None:
    numbers = part(shown, "numbers")
    assert numbers.count('class="same"') == 2
    scatter = numbers.split("Against each other", 1)[1].split("</figure>", 1)[0]
    assert re.search(r'class="outlier"[^>]*><title>sub-06: 42.3 and', scatter)


def test_a_note_is_shown_whole_cleaned_and_as_text(shown: str) -> None:
    text = unit(shown, "01").split("How it was measured", 1)[1]
    assert LONG.strip() in text
    assert "Read from sub-01 with token=[removed] &lt;b&gt;at once&lt;/b&gt;." in text
    assert "user-select: all" in shown


def test_the_headline_comes_first_in_its_order_and_the_rest_is_folded(shown: str) -> None:
    numbers = part(shown, "numbers")
    charts = numbers.split('<div class="charts">', 1)[1].split("</div>", 1)[0]
    drawn = re.findall(r'<figure class="chart">\n<figcaption><b>(\w+)', charts)
    assert drawn == ["right_width", "left_width", "likeness", "shift_mm"]
    head = shown.split('<table id="units"', 1)[1].split("</thead>", 1)[0]
    names = re.findall(r">([^<>]+)</th>", head)
    assert names[-6:] == ["time", "right_width", "left_width", "likeness", "shift_mm", "quality"]
    folded = numbers.split("More numbers (44)", 1)[1]
    assert re.search(r'other_07</th><td class="n">8</td>.*sub-06', folded)
    assert "other_07" not in numbers.split("More numbers", 1)[0].split('<div class="charts">', 1)[1]


def test_an_outlying_number_of_a_unit_is_not_folded_away(shown: str) -> None:
    first, folded = unit(shown, "06").split("More numbers", 1)
    assert "<dt>other_07</dt>" in first
    assert "<dt>other_08</dt>" in folded
    assert re.findall(r"<dt>(\w+)</dt>", first)[:2] == ["right_width", "left_width"]


def test_a_batch_without_any_headline_metric_shows_all(tmp_path: Path) -> None:
    make = Factory(tmp_path, pictures=False)
    for label in ("01", "02"):
        make.done(label, fa_mean=0.4 + int(label) / 100)
    shown = page(make.write())
    assert '<section id="checks">' not in shown
    assert "<b>fa_mean</b>" in part(shown, "numbers")
    assert "More numbers" not in shown


def test_checks_have_a_sign_and_a_word_each(shown: str) -> None:
    for sign, word in (("done", "passed"), ("failed", "not passed"), ("missing", "not measured")):
        assert re.search(rf'<use href="#i-{sign}"/></svg>{word}</span>', shown)


def test_nothing_in_the_drawings_needs_a_style_of_its_own(shown: str) -> None:
    assert not any("style" in attributes for _, attributes in Elements(shown).found)


def test_what_a_study_says_in_a_reason_or_a_note_never_becomes_an_element(tmp_path: Path) -> None:
    make = Factory(tmp_path, pictures=False)
    for seed in range(1, 7):
        values: dict[str, Any] = metrics(seed, left_reason=EVIL, likeness=EVIL)
        made = add(make, f"{seed:02}", None, **values | {"left_width_profile": EVIL})
        note(tmp_path / made["folder"], made["id"], EVIL.encode())
    elements = Elements(page(make.write()))
    assert len(elements.all("script")) == 1
    assert elements.all("img") == []
    assert not any(name.startswith("on") for _, found in elements.found for name in found)


def test_a_large_batch_has_a_section_of_each_unit_that_does_not_pass(tmp_path: Path) -> None:
    make = Factory(tmp_path, pictures=False)
    for index in range(210):
        likeness = 0.76 + index % 10 / 100 if index != 150 else 0.7499  # low, and no outlier
        add(make, f"{index:03}", None, likeness=likeness)
    sections = re.findall(r'<details class="unit" id="unit-sub-(\d+)"', page(make.write()))
    assert sections == [*(f"{index:03}" for index in range(100)), "150"]


def test_a_hundred_numbers_more_make_no_chart_more(tmp_path: Path) -> None:
    make = Factory(tmp_path, pictures=False)
    for seed in range(1, 7):
        many = {f"more_{n}": n + seed / 7 for n in range(100)}
        add(make, f"{seed:02}", None, **metrics(seed), **many)
    shown = page(make.write())
    assert part(shown, "numbers").count('<circle class="dot"') < 6 * 6 + 1
    assert "More numbers (144)" in shown

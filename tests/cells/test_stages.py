"""Every label of the human and mouse stage ontologies is read, as its description says."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cohortflow.cells import stages
from cohortflow.cells.stages import Age

HUMAN, MOUSE = "Homo sapiens", "Mus musculus"
ONTOLOGIES = {HUMAN: "HsapDv", MOUSE: "MmusDv"}
NO_AGE = {"life cycle", "life cycle stage"}
NO_POINT = {HUMAN: {"postnatal stage", "adult stage"}, MOUSE: {"postnatal stage", "mature stage"}}
YEAR, MONTH, WEEK, DAY = "year", "month", "week", "day"
FETAL_WEEK, FETAL_DAY = "week post-fertilization", "day post-fertilization"


@cache
def terms(organism: str) -> dict[str, dict[str, Any]]:
    """Return all terms of an organism's ontology, by identifier."""
    folder = resources.files("cellxgene_ontology_guide") / "data"
    name = f"{ONTOLOGIES[organism]}-ontology-v2025-01-23.json.zst"
    packed = (folder / name).read_bytes()
    found = json.loads(zstandard.ZstdDecompressor().stream_reader(packed).read())
    assert isinstance(found, dict)
    return found


def labels(organism: str, *, deprecated: bool = False) -> list[str]:
    """Return the labels of an organism's live (or deprecated) terms."""
    return [term["label"] for term in terms(organism).values() if term["deprecated"] is deprecated]


@pytest.mark.parametrize(("organism", "count"), [(HUMAN, 239), (MOUSE, 134)])
def test_every_live_label_is_read_but_those_of_the_whole_life(organism: str, count: int) -> None:
    assert len(labels(organism)) == len(set(labels(organism))) == count
    missed = {label for label in labels(organism) if stages.of_label(label, organism) is None}
    assert missed == NO_AGE


@pytest.mark.parametrize("organism", [HUMAN, MOUSE])
def test_only_spans_of_adult_or_all_life_have_bounds_without_a_point(organism: str) -> None:
    without = {
        label
        for label in set(labels(organism)) - NO_AGE
        if (age := stages.of_label(label, organism)) is not None and age.age is None
    }
    assert without == NO_POINT[organism]


@pytest.mark.parametrize(("organism", "missed"), [(HUMAN, set()), (MOUSE, {"unknown"})])
def test_deprecated_labels_are_read_too(organism: str, missed: set[str]) -> None:
    old = labels(organism, deprecated=True)
    assert {label for label in old if stages.of_label(label, organism) is None} == missed


# Written by hand from the ontologies' descriptions, synonyms (Theiler) and asserted days.
BY_HAND: list[tuple[str, str | None, float | None, float, float | None, str]] = [
    ("1-year-old stage", None, 1, 1, 2, YEAR),  # over 12 and under 24 months
    ("2-year-old stage", None, 2, 2, 3, YEAR),
    ("29-year-old stage", None, 29, 29, 30, YEAR),
    ("99-year-old stage", None, 99, 99, 100, YEAR),
    ("114-year-old stage", None, 114, 114, 115, YEAR),
    ("1-month-old stage", None, 1, 1, 2, MONTH),
    ("11-month-old stage", None, 11, 11, 12, MONTH),
    ("30-month-old stage", MOUSE, 30, 30, 31, MONTH),
    ("20-month-old stage", MOUSE, 20, 20, 21, MONTH),
    ("20-month-old stage and over", MOUSE, 20, 20, None, MONTH),
    ("8-week-old stage", MOUSE, 8, 8, 9, WEEK),  # over 56 and under 63 days
    ("4-day-old stage", MOUSE, 4, 4, 5, DAY),
    ("27-day-old stage", MOUSE, 27, 27, 28, DAY),
    ("4-6 days", MOUSE, 5.5, 4, 7, DAY),
    ("3-6 month-old mature stage", MOUSE, 5, 3, 7, MONTH),
    ("15-19 year-old", None, 17.5, 15, 20, YEAR),
    ("2-4 year-old child stage", None, 3.5, 2, 5, YEAR),
    ("60-79 year-old stage", None, 70, 60, 80, YEAR),
    ("80 year-old and over stage", None, 80, 80, None, YEAR),
    ("90 year-old and over stage", None, 90, 90, None, YEAR),
    ("centenarian stage", None, 100, 100, None, YEAR),
    ("third decade stage", None, 25, 20, 30, YEAR),
    ("sixth decade stage", None, 55, 50, 60, YEAR),
    ("tenth decade stage", None, 95, 90, 100, YEAR),
    ("eleventh decade stage", None, 105, 100, 110, YEAR),
    ("9th week post-fertilization stage", None, 8.5, 8, 9, FETAL_WEEK),
    ("21st week post-fertilization stage", None, 20.5, 20, 21, FETAL_WEEK),
    ("22nd week post-fertilization stage", None, 21.5, 21, 22, FETAL_WEEK),
    ("23rd week post-fertilization stage", None, 22.5, 22, 23, FETAL_WEEK),
    ("38th week post-fertilization and over stage", None, 37, 37, None, FETAL_WEEK),
    ("third LMP month stage", None, 9.5, 8, 11, FETAL_WEEK),
    ("sixth LMP month stage", None, 21.5, 19, 24, FETAL_WEEK),
    ("ninth LMP month stage", None, 35.5, 33, 38, FETAL_WEEK),
    ("Carnegie stage 01", None, 1.25, 0, 2.5, FETAL_DAY),
    ("Carnegie stage 02", None, 3.5, 2.5, 4.5, FETAL_DAY),
    ("Carnegie stage 05", None, 10, 7, 13, FETAL_DAY),
    ("Carnegie stage 05c", None, 10, 7, 13, FETAL_DAY),
    ("Carnegie stage 06a", None, 14, 13, 15, FETAL_DAY),
    ("Carnegie stage 12", None, 27, 26, 28, FETAL_DAY),
    ("Carnegie stage 17", None, 43, 42, 44, FETAL_DAY),
    ("Carnegie stage 23", None, 58, 56, 60, FETAL_DAY),
    ("Theiler stage 01", None, 1.25, 0, 2.5, FETAL_DAY),
    ("Theiler stage 10", None, 7.125, 6.5, 7.75, FETAL_DAY),
    ("Theiler stage 11d", None, 7.625, 7.25, 8, FETAL_DAY),
    ("Theiler stage 22", None, 14.25, 13.5, 15, FETAL_DAY),
    ("Theiler stage 26", None, 18.5, 18, 19, FETAL_DAY),
    ("Theiler stage 27", None, 2, 0, 4, DAY),  # postnatal days 0 through 3
    ("prenatal stage", HUMAN, 133, 0, 266, FETAL_DAY),
    ("embryonic stage", HUMAN, 28, 0, 56, FETAL_DAY),
    ("morula stage", None, 3.5, 2.5, 4.5, FETAL_DAY),
    ("blastula stage", HUMAN, 8.75, 4.5, 13, FETAL_DAY),
    ("gastrula stage", HUMAN, 14, 13, 15, FETAL_DAY),
    ("neurula stage", HUMAN, 17, 15, 19, FETAL_DAY),
    ("organogenesis stage", HUMAN, 39.5, 19, 60, FETAL_DAY),
    ("fetal stage", HUMAN, 161, 56, 266, FETAL_DAY),
    ("postnatal stage", HUMAN, None, 0, None, YEAR),
    ("pediatric stage", None, 7.5, 0, 15, YEAR),
    ("nursing stage (0-11 months)", None, 6, 0, 12, MONTH),
    ("newborn stage (0-28 days)", None, 14, 0, 28, DAY),
    ("infant stage", HUMAN, 6.46, 0.92, 12, MONTH),
    ("child stage (1-4 yo)", None, 3, 1, 5, YEAR),
    ("juvenile stage (5-14 yo)", None, 10, 5, 15, YEAR),
    ("adult stage", HUMAN, None, 15, None, YEAR),
    ("prime adult stage", HUMAN, 37.5, 15, 60, YEAR),
    ("young adult stage", HUMAN, 27.5, 15, 40, YEAR),
    ("middle aged stage", HUMAN, 50, 40, 60, YEAR),
    ("late adult stage", HUMAN, 60, 60, None, YEAR),
    ("prenatal stage", MOUSE, 9.5, 0, 19, FETAL_DAY),
    ("embryonic stage", MOUSE, 7.5, 0, 15, FETAL_DAY),
    ("cleavage stage", MOUSE, 2.25, 1, 3.5, FETAL_DAY),
    ("blastula stage", MOUSE, 4.25, 2, 6.5, FETAL_DAY),
    ("gastrula stage", MOUSE, 7, 6.25, 7.75, FETAL_DAY),
    ("organogenesis stage", MOUSE, 11.25, 7.5, 15, FETAL_DAY),
    ("fetal stage", MOUSE, 17, 15, 19, FETAL_DAY),
    ("postnatal stage", MOUSE, None, 0, None, WEEK),
    ("immature stage", MOUSE, 3, 0, 6, WEEK),
    ("nursing stage", MOUSE, 11.5, 0, 23, DAY),
    ("infant stage", MOUSE, 13.5, 4, 23, DAY),
    ("juvenile stage", MOUSE, 32.5, 23, 42, DAY),
    ("mature stage", MOUSE, None, 6, None, WEEK),
    ("prime adult stage", MOUSE, 9.75, 1.5, 18, MONTH),
    ("young adult stage", MOUSE, 5.75, 1.5, 10, MONTH),
    ("middle aged stage", MOUSE, 14, 10, 18, MONTH),
    ("late adult stage", MOUSE, 18, 18, None, MONTH),
]


@pytest.mark.parametrize(("label", "organism", "age", "low", "high", "unit"), BY_HAND)
def test_a_label_names_the_age_of_its_description(
    label: str,
    organism: str | None,
    age: float | None,
    low: float,
    high: float | None,
    unit: str,
) -> None:
    assert stages.of_label(label, organism) == Age(age, low, high, unit)


# What old files carry: labels of releases before 2021, and terms that were taken out since.
OLD: list[tuple[str, str | None, float | None, float, float | None, str]] = [
    ("29-year-old human stage", None, 29, 29, 30, YEAR),
    ("2-month-old human stage", None, 2, 2, 3, MONTH),
    ("under-1-year-old human stage", None, 6.5, 1, 12, MONTH),
    ("25-44 year-old human stage", None, 35, 25, 45, YEAR),
    ("65-79 year-old human stage", None, 72.5, 65, 80, YEAR),
    ("6-12 year-old child stage", None, 9.5, 6, 13, YEAR),
    ("80 year-old and over human stage", None, 80, 80, None, YEAR),
    ("first decade human stage", None, 5, 0, 10, YEAR),
    ("third decade human stage", None, 25, 20, 30, YEAR),
    ("centenarian human stage", None, 100, 100, None, YEAR),
    ("fifth LMP month human stage", None, 17, 15, 19, FETAL_WEEK),
    ("17th week post-fertilization human stage", None, 16.5, 16, 17, FETAL_WEEK),
    ("9th week post-fertilization human stage (human)", None, 8.5, 8, 9, FETAL_WEEK),
    ("embryonic human stage", None, 28, 0, 56, FETAL_DAY),
    ("newborn human stage", None, 16, 0, 32, DAY),
    ("human adult stage", None, None, 19, None, YEAR),
    ("human early adulthood stage", None, 32, 19, 45, YEAR),
    ("human late adulthood stage", None, 45, 45, None, YEAR),
    ("human middle aged stage", None, 55, 45, 65, YEAR),
    ("human aged stage", None, 65, 65, None, YEAR),
    ("human late adult stage", None, 60, 60, None, YEAR),
    ("adolescent stage", HUMAN, 16, 13, 19, YEAR),
    ("immature stage", HUMAN, 6.5, 0, 13, YEAR),
    ("child stage", None, 7.5, 2, 13, YEAR),
    ("mature stage", HUMAN, None, 13, None, YEAR),
    ("embryonic mouse stage", None, 7.5, 0, 15, FETAL_DAY),
    ("mouse immature stage", None, 3, 0, 6, WEEK),
    ("3 month-old stage", None, 3, 3, 4, MONTH),
    ("6 weeks", MOUSE, 6, 6, 7, WEEK),
    ("1 week", MOUSE, 1, 1, 2, WEEK),
    ("1-7 days", MOUSE, 4.5, 1, 8, DAY),
    ("early adult stage", None, 4.25, 1.5, 7, MONTH),
    ("adolescent stage", MOUSE, 5.5, 4, 7, WEEK),
    ("aged adult stage", None, 15, 15, None, MONTH),
    ("premature stage", None, 23, 4, 42, DAY),
    ("Theiler stage 28", None, None, 4, None, DAY),
    ("post-embryonic developmental stage", None, None, 0, None, WEEK),
]


@pytest.mark.parametrize(("label", "organism", "age", "low", "high", "unit"), OLD)
def test_labels_of_old_releases_name_the_age_of_their_time(
    label: str,
    organism: str | None,
    age: float | None,
    low: float,
    high: float | None,
    unit: str,
) -> None:
    assert stages.of_label(label, organism) == Age(age, low, high, unit)


@pytest.mark.parametrize("organism", [HUMAN, MOUSE])
@pytest.mark.parametrize("deprecated", [False, True])
def test_an_age_lies_within_its_bounds(organism: str, deprecated: bool) -> None:
    for label in labels(organism, deprecated=deprecated):
        age = stages.of_label(label, organism)
        if age is None:
            continue
        assert age.unit in stages.UNITS, label
        assert age.low is not None and age.low >= 0, label
        point = age.low if age.age is None else age.age
        assert age.low <= point < (age.high if age.high is not None else float("inf")), label


def in_days(age: Age) -> tuple[str, float, float]:
    """Return what an age counts from, and its bounds; before birth and for weeks in days."""
    kind, factor = {FETAL_WEEK: (FETAL_DAY, 7.0), WEEK: (DAY, 7.0)}.get(age.unit, (age.unit, 1.0))
    high = float("inf") if age.high is None else age.high * factor
    return kind, (age.low or 0.0) * factor, high


@pytest.mark.parametrize(
    ("organism", "compared", "exceptions"),
    [
        # HsapDv ends the embryo at day 56 and begins the last Carnegie stage there; it ends
        # pregnancy at day 266, while the last week is open above.
        (
            HUMAN,
            884,
            {
                ("Carnegie stage 23", "embryonic stage"),
                ("organogenesis stage", "embryonic stage"),
                ("38th week post-fertilization and over stage", "ninth LMP month stage"),
                ("38th week post-fertilization and over stage", "fetal stage"),
                ("38th week post-fertilization and over stage", "prenatal stage"),
            },
        ),
        (MOUSE, 338, set()),
    ],
)
def test_a_stage_holds_the_stages_that_are_parts_of_it(
    organism: str, compared: int, exceptions: set[tuple[str, str]]
) -> None:
    outside, count = set(), 0
    for term in terms(organism).values():
        for parent in term.get("ancestors") or {}:
            part = stages.of_label(term["label"], organism)
            whole = stages.of_label(terms(organism)[parent]["label"], organism)
            if term["deprecated"] or part is None or whole is None:
                continue
            (kind, low, high), (other, least, most) = in_days(part), in_days(whole)
            if kind == other:
                count += 1
                if low < least or high > most:
                    outside.add((term["label"], terms(organism)[parent]["label"]))
    assert outside == exceptions
    assert count == compared


def test_theiler_stages_have_the_embryonic_days_of_their_synonyms() -> None:
    count = 0
    for term in terms(MOUSE).values():
        for synonym in term["synonyms"] if term.get("synonyms") else []:
            days = re.fullmatch(r"E([0-9.]+)(?:-([0-9.]+))?", synonym)
            if days:
                low = float(days[1])
                high = float(days[2]) if days[2] else low + 1
                assert stages.of_label(term["label"]) == Age(
                    (low + high) / 2, low, high, FETAL_DAY
                ), term["label"]
                count += 1
    assert count == 26


SAID = re.compile(r"over (\d+)(?: (day|week|month|year)s?)? and under (\d+)(?: (d|w|m|y))?")
FACTORS = {"d": {DAY: 1, WEEK: 7}, "w": {WEEK: 1}, "m": {MONTH: 1, YEAR: 12}, "y": {YEAR: 1}}


def test_a_description_with_two_numbers_agrees_with_what_is_read() -> None:
    agreed = []
    for organism in (HUMAN, MOUSE):
        for term in terms(organism).values():
            said = SAID.search(term.get("description") or "")
            age = stages.of_label(term["label"], organism)
            if said is None or age is None or term["deprecated"]:
                continue
            unit = age.unit.split()[0]
            end = said[4] or unit[0]
            begin = (said[2] or end)[0]
            if unit not in FACTORS[begin] or unit not in FACTORS[end]:
                continue  # days and months, or weeks and months, of which no number is whole
            expected = int(said[1]) / FACTORS[begin][unit], int(said[3]) / FACTORS[end][unit]
            assert (age.low, age.high) == expected, term["label"]
            agreed.append(term["label"])
    assert len(agreed) == 256


@pytest.mark.parametrize(
    "label",
    [
        "29-year-old stage",
        "29-YEAR-OLD STAGE",
        "29 year-old stage",
        "29-year-old",
        "29 year old",
        "  29 -  year\t-old\n stage ",
        "29–year‑old stage",
        "29_year_old_stage",
        "29-year-old stage (human)",
        "29-years-old",
        "29 yo",
    ],
)
def test_the_writing_of_a_label_does_not_matter(label: str) -> None:
    assert stages.of_label(label) == Age(29, 29, 30, YEAR)


@pytest.mark.parametrize("label", ["15-19 year-old", "15 - 19 year old", "15–19-year-old stage"])
def test_the_dash_of_a_range_may_be_any_dash(label: str) -> None:
    assert stages.of_label(label) == Age(17.5, 15, 20, YEAR)


ALL = sorted({(name, organism) for organism in ONTOLOGIES for name in labels(organism)})


@given(st.sampled_from(ALL), st.randoms(use_true_random=False))
def test_upper_and_lower_case_make_no_difference(known: tuple[str, str], random: Any) -> None:
    label, organism = known
    mixed = "".join(random.choice((letter.upper(), letter.lower())) for letter in label)
    assert stages.of_label(mixed, organism) == stages.of_label(label, organism)


WORDS = st.sampled_from(
    [
        *("0", "00", "1", "24", "999", "1000", "0th", "9th", "05a", "third", "²", "٣", "ı", "ſ"),
        *("-", "--", "–", "~", "(", ")", "old", "and", "over", "under", "stage", "human", "mouse"),
        *("year", "month", "week", "post-fertilization", "decade", "LMP month", "adult"),
        *("Carnegie", "Theiler", "CS", "TS"),
    ]
)


@given(
    st.one_of(st.text(), st.lists(WORDS, max_size=8).map(" ".join)),
    st.one_of(st.none(), st.text(max_size=9), st.sampled_from([HUMAN, MOUSE])),
)
def test_any_text_is_an_age_or_none(text: str, organism: str | None) -> None:
    age = stages.of_label(text, organism)
    if age is not None:
        assert age.unit in stages.UNITS
        assert age.low is not None and age.low >= 0
        assert age.high is None or age.low < age.high


@pytest.mark.parametrize(
    "label",
    [
        *("", " ", "unknown", "na", "nan", "None", "stage", "human", "life cycle"),
        *("human life cycle stage", "mouse life cycle", "29", "year-old", "fetal liver"),
        *("29-year-old stage of grief", "-29-year-old stagecoach", "1000-year-old stage"),
        *("5-2 year-old stage", "2-4 year-old and over", "0th week post-fertilization stage"),
        *("second LMP month stage", "thirteenth decade stage", "Carnegie stage 00"),
        *("Carnegie stage 24", "Theiler stage 29", "Carnegie stage 05d", "2.5-year-old stage"),
    ],
)
@pytest.mark.parametrize("organism", [None, HUMAN, MOUSE])
def test_what_names_no_age_is_none(label: str, organism: str | None) -> None:
    assert stages.of_label(label, organism) is None


def test_a_name_that_human_and_mouse_share_is_never_guessed() -> None:
    shared = set(labels(HUMAN)) & set(labels(MOUSE)) - NO_AGE
    named = {label for label in shared if not label[0].isdigit()}
    assert "middle aged stage" in named and len(named) == 12
    for label in named:
        assert stages.of_label(label) is None, label
        assert stages.of_label(label, "unknown") is None, label
        assert stages.of_label(label, HUMAN) != stages.of_label(label, MOUSE), label


@pytest.mark.parametrize(
    ("organism", "months"),
    [
        *(("Mus musculus", 14), (" mus  MUSCULUS", 14), ("NCBITaxon:10090", 14), ("mouse", 14)),
        *(("Homo sapiens", 50), ("NCBITaxon:9606", 50), ("human", 50), ("Macaca mulatta", None)),
    ],
)
def test_the_organism_decides_what_a_name_means(organism: str, months: float | None) -> None:
    age = stages.of_label("middle aged stage", organism)
    assert (age.age if age else None) == months


@pytest.mark.parametrize("organism", [None, "", " ", "unknown", "na", "nan"])
def test_without_an_organism_a_name_of_one_ontology_alone_is_read(organism: str | None) -> None:
    assert stages.of_label("centenarian stage", organism) == Age(100, 100, None, YEAR)
    assert stages.of_label("centenarian stage", "Macaca mulatta") is None


def test_numbers_are_read_of_any_organism() -> None:
    assert stages.of_label("5-year-old stage", "Macaca mulatta") == Age(5, 5, 6, YEAR)

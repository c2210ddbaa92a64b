"""The table of ages keeps every cell and every label, and its numbers are those of the cells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortflow.cells import age
from cohortflow.cells.age import AgeRow, Ages
from cohortflow.core.outcome import Category, Failure

COUNTS = {
    "90 year-old and over stage": 2,
    "29-year-old stage": 5,
    "adult stage": 3,
    "15-19 year-old": 1,
    "2-month-old stage": 4,
    "no such stage": 6,
    None: 7,
}


def test_each_label_is_one_row_sorted_and_cells_without_a_label_are_the_last() -> None:
    assert age.tabulate(COUNTS, "Homo sapiens").rows == (
        AgeRow("15-19 year-old", 17.5, 15, 20, "year", 1),
        AgeRow("2-month-old stage", 2, 2, 3, "month", 4),
        AgeRow("29-year-old stage", 29, 29, 30, "year", 5),
        AgeRow("90 year-old and over stage", 90, 90, None, "year", 2),
        AgeRow("adult stage", None, 15, None, "year", 3),
        AgeRow("no such stage", None, None, None, None, 6),
        AgeRow(None, None, None, None, None, 7),
    )


def test_an_empty_label_is_none_and_a_label_without_cells_is_left_out() -> None:
    ages = age.tabulate({"": 2, None: 3, "29-year-old stage": 0})
    assert ages.rows == (AgeRow(None, None, None, None, None, 5),)


def test_a_shared_name_is_read_with_the_organism_and_kept_without() -> None:
    counts = {"middle aged stage": 1}
    assert age.tabulate(counts, "Mus musculus").rows[0].unit == "month"
    assert age.tabulate(counts).rows == (AgeRow("middle aged stage", None, None, None, None, 1),)


def test_the_files_are_those_of_the_contract(tmp_path: Path) -> None:
    age.write(tmp_path, age.tabulate(COUNTS, "Homo sapiens"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ages.tsv", "metrics.json"]
    assert (tmp_path / "ages.tsv").read_bytes().decode().split("\n") == [
        "development_stage\tage\tage_low\tage_high\tage_unit\tcells",
        "15-19 year-old\t17.5\t15\t20\tyear\t1",
        "2-month-old stage\t2\t2\t3\tmonth\t4",
        "29-year-old stage\t29\t29\t30\tyear\t5",
        "90 year-old and over stage\t90\t90\t\tyear\t2",
        "adult stage\t\t15\t\tyear\t3",
        "no such stage\t\t\t\t\t6",
        "\t\t\t\t\t7",
        "",
    ]
    assert json.loads((tmp_path / "metrics.json").read_text()) == {
        "cells_with_age": 12,
        "cells_without_age": 16,
        "development_stages": 6,
        "stages_not_read": 2,
        "age_median": 29,
        "age_low_min": 15,
        "age_high_max": 30,
    }


def test_without_ages_in_years_the_numbers_are_null(tmp_path: Path) -> None:
    for counts in ({}, {None: 3}, {"2-month-old stage": 4, "unknown": 1}):
        age.write(tmp_path, age.tabulate(counts))
        numbers = json.loads((tmp_path / "metrics.json").read_text())
        assert (numbers["age_median"], numbers["age_low_min"], numbers["age_high_max"]) == (
            None,
            None,
            None,
        )


@given(st.lists(st.tuples(st.integers(0, 114), st.integers(1, 9)), min_size=1, max_size=9))
def test_the_median_is_that_of_the_cells(drawn: list[tuple[int, int]]) -> None:
    years = dict(drawn)
    cells = sorted(year for year, count in years.items() for _ in range(count))
    middle = (cells[(len(cells) - 1) // 2] + cells[len(cells) // 2]) / 2
    counts = {f"{year}-year-old stage": count for year, count in years.items()}
    assert age.metrics(age.tabulate(counts))["age_median"] == middle


LABELS = st.one_of(
    st.none(),
    st.text(),
    st.text(alphabet='\t\r\n" ,\0a', max_size=6),
    st.sampled_from([label for label in COUNTS if label]),
)


@given(st.dictionaries(LABELS, st.integers(0, 10**12), max_size=8))
def test_any_label_returns_from_the_file_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, counts: dict[str | None, int]
) -> None:
    folder = tmp_path_factory.mktemp("ages")
    ages = age.tabulate(counts, "Homo sapiens")
    age.write(folder, ages)
    assert age.read(folder / "ages.tsv") == ages
    assert sum(row.cells for row in ages.rows) == sum(counts.values())
    numbers = age.metrics(ages)
    assert (numbers["cells_with_age"] or 0) + (numbers["cells_without_age"] or 0) == sum(
        counts.values()
    )


def test_the_same_counts_in_any_order_give_the_same_bytes(tmp_path: Path) -> None:
    for name, counts in (("one", COUNTS), ("other", dict(reversed(COUNTS.items())))):
        (tmp_path / name).mkdir()
        age.write(tmp_path / name, age.tabulate(counts))
    for file in ("ages.tsv", "metrics.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_a_label_that_is_not_utf8_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="not UTF-8") as caught:
        age.write(tmp_path, age.tabulate({"caf\udce9": 1}))
    assert caught.value.category == Category.DATA_INVALID
    assert list(tmp_path.iterdir()) == []


HEADER = "development_stage\tage\tage_low\tage_high\tage_unit\tcells\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"development_stage,age\n",
        HEADER.replace("cells", "count").encode(),
        *(
            (HEADER + row).encode()
            for row in (
                "a\t\t\t\t\n",
                "a\t\t\t\t\t1\textra\n",
                "\n",
                "a\t\t\t\t\tmany\n",
                "a\t\t\t\t\t0\n",
                "a\t\t\t\t\t-1\n",
                "a\tnan\t1\t2\tyear\t1\n",
                "a\t1\t1\tinf\tyear\t1\n",
                "a\told\t1\t2\tyear\t1\n",
                "a\t1\t1\t2\tdecade\t1\n",
                "a\t1\t1\t2\t\t1\n",
                "a\t1\t\t2\tyear\t1\n",
                "a\t3\t1\t2\tyear\t1\n",
                "a\t0\t1\t2\tyear\t1\n",
                "a\t\t2\t2\tyear\t1\n",
                "a\t\t\t\t\t1\na\t\t\t\t\t2\n",
                '"a\t\t\t\t\t1\n',
                '"a"b\t\t\t\t\t1\n',
            )
        ),
    ],
)
def test_what_is_no_table_of_ages_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ages.tsv"
    path.write_bytes(content)
    with pytest.raises(Failure) as caught:
        age.read(path)
    assert caught.value.category == Category.DATA_INVALID
    assert str(path) in str(caught.value)


@given(st.one_of(st.binary(), st.text().map(lambda text: (HEADER + text).encode())))
def test_any_file_is_a_table_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "ages.tsv"
    path.write_bytes(content)
    try:
        assert isinstance(age.read(path), Ages)
    except Failure as refused:
        assert refused.category == Category.DATA_INVALID

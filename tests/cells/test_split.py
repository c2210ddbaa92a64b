"""The train/test split: whole donors, nearest to the test size, the same everywhere."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cohortflow.cells import split, subset
from cohortflow.core.outcome import Category, Failure

NAMES = st.none() | st.text(max_size=6)
COUNTS = st.dictionaries(NAMES, st.integers(1, 60), min_size=2, max_size=12)
TEST_SIZES = st.sampled_from([0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 0.8, 0.95]) | st.floats(
    0.001, 0.999
)
SEEDS = st.integers(-(2**70), 2**70)


def exact(test_size: float) -> Fraction:
    """Return a test size as it is written: 0.15 is 3/20."""
    return Fraction(str(test_size))


def of_part(made: split.Split, part: str) -> set[str | None]:
    return {donor.donor for donor in made.donors if donor.part == part}


def nearest_total(sizes: Sequence[int], test_size: float) -> int:
    """Try every set of donors, and take the best as the words of the rule have it."""
    target = exact(test_size) * sum(sizes)
    totals = {sum(chosen) for some in range(1, len(sizes)) for chosen in combinations(sizes, some)}
    return min(totals, key=lambda total: (abs(total - target), -total))


def cell_ids(count: int) -> list[str]:
    return [f"AAACCTGAGC-{number}" for number in range(count)]


def cells(count: int, test_size: float, seed: int = 7) -> split.Split:
    return split.by_cell(split.hashes(seed, cell_ids(count)), test_size=test_size, seed=seed)


def ages(groups: Sequence[str | None], test_size: float, seed: int = 7) -> split.Split:
    """Split cells by age; the categories stand in the order of their first cell."""
    labels = [label for label in dict.fromkeys(groups) if label is not None]
    codes = np.array([-1 if g is None else labels.index(g) for g in groups], dtype=np.int8)
    hashes = split.hashes(seed, cell_ids(len(groups)))
    return split.by_age(hashes, codes, labels, column="age", test_size=test_size, seed=seed)


# By donor


@settings(max_examples=300)
@given(COUNTS, TEST_SIZES, SEEDS)
@example({"a": 1, "b": 3}, 0.5, 0)  # equal distance: the larger
@example({"a": 10, "b": 10, "c": 10}, 0.95, 0)  # everything would be nearer
@example({"a": 100, "b": 100}, 0.05, 0)  # nothing would be nearer
@example({"a": 6, "b": 10, "c": 15}, 0.15, 0)
def test_no_other_set_of_whole_donors_is_nearer(
    counts: dict[str | None, int], test_size: float, seed: int
) -> None:
    made = split.by_donor(counts, "donor", test_size=test_size, seed=seed)
    assert made.test_cells == nearest_total(list(counts.values()), test_size)
    assert made.test_cells == sum(counts[donor] for donor in of_part(made, "test"))
    assert made.cells == sum(counts.values())


@given(COUNTS, TEST_SIZES, SEEDS)
def test_every_donor_is_in_one_part_and_no_part_is_empty(
    counts: dict[str | None, int], test_size: float, seed: int
) -> None:
    made = split.by_donor(counts, "donor", test_size=test_size, seed=seed)
    assert [part.donor for part in made.donors] == sorted(
        counts, key=lambda donor: (donor is None, donor or "")
    )
    assert {part.donor: part.cells for part in made.donors} == counts
    assert of_part(made, "test")
    assert of_part(made, "train")
    assert not of_part(made, "test") & of_part(made, "train")


@given(COUNTS, TEST_SIZES, SEEDS, st.randoms())
def test_the_order_of_the_donors_does_not_matter(
    counts: dict[str | None, int], test_size: float, seed: int, chance: random.Random
) -> None:
    shuffled = list(counts.items())
    chance.shuffle(shuffled)
    made = split.by_donor(counts, "donor", test_size=test_size, seed=seed)
    assert split.by_donor(dict(shuffled), "donor", test_size=test_size, seed=seed) == made


def test_another_seed_gives_other_donors_and_every_donor_has_its_turn() -> None:
    counts = {f"donor {number}": 100 for number in range(20)}
    chosen = [
        frozenset(of_part(split.by_donor(counts, "donor", test_size=0.1, seed=seed), "test"))
        for seed in range(200)
    ]
    assert {len(donors) for donors in chosen} == {2}
    assert len(set(chosen)) > 100, "190 pairs are possible"
    turns = Counter(donor for donors in chosen for donor in donors)
    assert set(turns) == set(counts)
    assert max(turns.values()) < 40, "20 are expected of each"


def test_cells_without_a_donor_are_a_group_of_their_own() -> None:
    made = split.by_donor({"a": 90, None: 5, "None": 5}, "donor", test_size=0.05, seed=1)
    assert [part.donor for part in made.donors] == ["None", "a", None]
    assert made.test_cells == 5
    chosen = set()
    for seed in range(30):
        made = split.by_donor({"a": 90, None: 5, "None": 5}, "donor", test_size=0.05, seed=seed)
        chosen |= of_part(made, "test")
    assert chosen == {None, "None"}, "each is taken by some seed"


def test_one_donor_is_all_train_and_the_note_says_so() -> None:
    made = split.by_donor({"a": 50, "unused category": 0}, "donor", test_size=0.2, seed=1)
    assert made.donors == (split.DonorPart("a", 50, "train"),)
    assert made.test_cells == 0
    assert made.note == "one donor only: no test part"
    assert made.deviation == pytest.approx(-0.2)


def test_nothing_is_test_when_nothing_is_asked() -> None:
    made = [
        split.by_donor({"a": 5, "b": 5}, "donor", test_size=0, seed=1),
        cells(10, 0),
        ages(["1", None, "2", "2"], 0),
    ]
    assert [(m.test_cells, m.note, m.deviation) for m in made] == [(0, "", 0.0)] * 3
    assert of_part(made[0], "train") == {"a", "b"}
    for one in made[1:]:
        assert not split.is_test(one, cell_ids(4), ["1", None, "2", "2"]).any()


def test_no_cell_at_all_is_a_split_without_cells() -> None:
    assert split.by_donor({}, "donor", test_size=0.1, seed=1).donors == ()
    assert (cells(0, 0.1).cells, cells(0, 0.1).deviation) == (0, 0.0)
    assert ages([], 0.1).thresholds == {}


@pytest.mark.parametrize("test_size", [0.05, 0.5, 0.95])
def test_ten_million_cells_of_five_thousand_donors(test_size: float) -> None:
    chance = random.Random(3)
    counts: dict[str | None, int] = {f"d{n}": chance.randrange(1, 4000) for n in range(5000)}
    made = split.by_donor(counts, "donor", test_size=test_size, seed=3)
    target = exact(test_size) * made.cells
    assert abs(made.test_cells - target) <= Fraction(1, 2)
    assert made.test_cells == sum(counts[donor] for donor in of_part(made, "test"))


def test_donors_of_nearly_equal_size_are_still_exact() -> None:
    counts: dict[str | None, int] = {f"d{n}": 2000 for n in range(5000)}
    assert split.by_donor(counts, "donor", test_size=0.05, seed=1).test_cells == 500_000
    counts["d0"] = 2001  # no sum is 500,000.05: the sums are multiples of 2000, or one more
    assert split.by_donor(counts, "donor", test_size=0.05, seed=1).test_cells == 500_000
    counts["d1"] = 2999
    assert split.by_donor(counts, "donor", test_size=0.05025, seed=1).test_cells == 502_999


@given(
    st.lists(st.integers(1, 10**12), min_size=2, max_size=10),
    TEST_SIZES,
    st.sampled_from([64, 1000]),
)
def test_numbers_too_large_for_the_exact_way_are_near_up_to_the_unit(
    sizes: list[int], test_size: float, most: int
) -> None:
    target = exact(test_size) * sum(sizes)
    unit = max(2 * target / most, 1) + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subset, "MOST_SUMS", most)
        chosen = subset.nearest(sizes, target)
    assert 0 < len(chosen) < len(sizes)
    best = abs(nearest_total(sizes, test_size) - target)
    assert abs(sum(sizes[index] for index in chosen) - target) <= best + unit * len(sizes)


@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=8),
    TEST_SIZES,
    st.integers(10, 10**12),
)
def test_large_numbers_of_a_common_unit_are_exact(
    units: list[int], test_size: float, unit: int
) -> None:
    sizes = [number * unit for number in units]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subset, "MOST_SUMS", 100)  # twice the target is at most 96 units
        chosen = subset.nearest(sizes, exact(test_size) * sum(sizes))
    assert sum(sizes[index] for index in chosen) == nearest_total(sizes, test_size)


# By cell


@pytest.mark.parametrize("test_size", [0.001, 0.05, 0.15, 0.5, 0.95, 0.999])
@pytest.mark.parametrize("count", [2, 3, 7, 10, 99, 100, 1000, 20_011])
def test_by_cell_has_the_number_that_was_asked_for(count: int, test_size: float) -> None:
    made = cells(count, test_size)
    wanted = int(exact(test_size) * count + Fraction(1, 2))
    assert made.test_cells == min(max(wanted, 1), count - 1)
    assert split.is_test(made, cell_ids(count)).sum() == made.test_cells
    assert abs(made.deviation) < 1 / count
    if count >= 100:
        assert abs(made.deviation) <= 0.01


def test_one_cell_is_train_and_the_note_says_so() -> None:
    assert cells(1, 0.5).test_cells == 0
    assert cells(1, 0.5).note == "one cell only: no test part"


def test_test_cells_by_cell_are_spread_over_the_file() -> None:
    chosen = split.is_test(cells(10_000, 0.1), cell_ids(10_000)).reshape(10, 1000).sum(axis=1)
    assert chosen.sum() == 1000
    assert chosen.min() > 60
    assert chosen.max() < 140


def test_another_seed_gives_other_cells() -> None:
    one, other = (split.is_test(cells(1000, 0.5, seed), cell_ids(1000)) for seed in (1, 2))
    assert 400 < (one != other).sum() < 600


def test_cells_that_share_an_id_stay_together() -> None:
    ids = [*["same"] * 30, *cell_ids(70)]
    hashes = split.hashes(7, ids)
    for test_size in (0.05, 0.2, 0.5, 0.9):
        made = split.by_cell(hashes, test_size=test_size, seed=7)
        chosen = split.is_test(made, ids)
        assert chosen.sum() == made.test_cells
        assert len(set(chosen[:30])) == 1
        assert abs(made.test_cells - 100 * test_size) <= 15, "half of those that share an id"


@pytest.mark.parametrize("alone", ["a", "b", "c", "d", "e", "f"])  # before and after in the order
@pytest.mark.parametrize("test_size", [0.05, 0.5, 0.95])
def test_both_parts_have_a_cell_even_if_most_share_an_id(alone: str, test_size: float) -> None:
    ids = ["same", "same", "same", alone]
    made = split.by_cell(split.hashes(1, ids), test_size=test_size, seed=1)
    assert made.test_cells in {1, 3}
    assert made.test_cells == split.is_test(made, ids).sum()
    assert made.note == ""


@pytest.mark.parametrize("test_size", [0.05, 0.5, 0.95])
def test_cells_that_all_share_one_id_are_train_and_the_note_says_so(test_size: float) -> None:
    made = split.by_cell(split.hashes(1, ["same"] * 9), test_size=test_size, seed=1)
    assert made.test_cells == 0
    assert made.note == "too many cells share an id: no test part"


@given(st.lists(st.integers(0, 5) | st.integers(2**64 - 3, 2**64 - 1), min_size=1), st.integers(0))
def test_threshold_is_the_nearest_that_there_is(values: list[int], wanted: int) -> None:
    wanted %= len(values) + 1
    limit = split.threshold(np.array(values, dtype=np.uint64), wanted)
    possible = {sum(value <= border for value in values) for border in [-1, *values]}
    best = min(possible, key=lambda number: (abs(number - wanted), -number))
    assert sum(value <= limit for value in values) == best
    assert -1 <= limit < 2**64


# By age


@given(st.lists(st.none() | st.sampled_from("abcdef"), min_size=2, max_size=200), TEST_SIZES, SEEDS)
def test_every_age_has_its_share_rounded_up_or_down(
    groups: list[str | None], test_size: float, seed: int
) -> None:
    made = ages(groups, test_size, seed)
    chosen = split.is_test(made, cell_ids(len(groups)), groups)
    share = exact(test_size)
    wanted = int(share * len(groups) + Fraction(1, 2))
    assert chosen.sum() == made.test_cells == min(max(wanted, 1), len(groups) - 1)
    assert made.cells == len(groups)
    of_age = Counter(group for group, test in zip(groups, chosen, strict=True) if test)
    for label, count in Counter(groups).items():
        assert abs(of_age[label] - share * count) < 1, label


def test_largest_remainders_get_the_cells_that_are_left() -> None:
    groups = [*["a"] * 18, *["b"] * 15, *["c"] * 7]  # a tenth: 1.8, 1.5, 0.7, four in all
    chosen = split.is_test(ages(groups, 0.1), cell_ids(40), groups)
    assert Counter(np.array(groups)[chosen].tolist()) == {"a": 2, "b": 1, "c": 1}


def test_cells_without_an_age_are_a_stratum_that_is_kept_and_counted() -> None:
    groups = [*["20 years"] * 100, *[None] * 60, *["None"] * 40]
    made = ages(groups, 0.1)
    chosen = split.is_test(made, cell_ids(200), groups)
    assert [chosen[:100].sum(), chosen[100:160].sum(), chosen[160:].sum()] == [10, 6, 4]
    assert list(made.thresholds) == ["20 years", "None", None]


def test_a_stratum_without_a_test_cell_has_none() -> None:
    groups = [*["common"] * 99, "rare"]
    made = ages(groups, 0.05)
    assert made.thresholds["rare"] == split.NOTHING
    assert not split.is_test(made, cell_ids(100), groups)[99]


def test_even_the_smallest_hash_is_not_test_where_nothing_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_age, by_cell = ages(["common"] * 99 + ["rare"], 0.05), cells(9, 0)
    monkeypatch.setattr(split, "hashes", lambda _, ids: np.zeros(len(ids), dtype=np.uint64))
    assert split.is_test(by_age, ["x", "y"], ["rare", "common"]).tolist() == [False, True]
    assert split.is_test(by_cell, ["x"]).tolist() == [False]


def test_the_order_of_cells_and_categories_does_not_matter_by_age() -> None:
    groups = ["a", "b", None, "c", "b"] * 40  # equal remainders: the hash decides
    hashes = split.hashes(3, cell_ids(200))
    codes = np.array([{"a": 0, "b": 1, "c": 2, None: -1}[group] for group in groups])
    made = split.by_age(hashes, codes, ["a", "b", "c"], column="age", test_size=0.03, seed=3)
    swapped = np.array([{"a": 2, "b": 0, "c": 3, None: -1}[group] for group in groups])
    again = split.by_age(
        hashes[::-1], swapped[::-1], ["b", "unused", "a", "c"], column="age", test_size=0.03, seed=3
    )
    assert again == made
    assert list(again.thresholds) == list(made.thresholds)


# Anywhere the same


def test_hashes_are_those_that_they_always_were() -> None:
    # A change of these numbers gives every published data set another split. They are those of
    # `printf SEED:TEXT | b2sum -l 64`.
    expected = {
        (0, ""): 4624554156401727479,
        (42, "AAACCTGAGAAACCAT-1"): 14669225112024837507,
        (-1, "Spender α"): 4591175122142335191,
    }
    found = {key: int(split.hashes(key[0], [key[1]])[0]) for key in expected}
    assert found == expected


def test_splits_are_those_that_they_always_were() -> None:
    counts: dict[str | None, int] = {f"donor {number}": 100 + number % 7 for number in range(40)}
    made = split.by_donor({**counts, None: 100}, "donor", test_size=0.1, seed=42)
    assert of_part(made, "test") == {"donor 13", "donor 18", "donor 34", "donor 6"}
    assert cells(1000, 0.05, 42).thresholds == {None: 952135114728105647}


def test_seed_and_text_cannot_be_mistaken_for_each_other() -> None:
    pairs = [(1, "2:3"), (12, ":3"), (1, ":23"), (1, "23"), (12, "3"), (123, ""), (-1, "23")]
    assert len({int(split.hashes(seed, [text])[0]) for seed, text in pairs}) == len(pairs)


@given(st.lists(st.text(), max_size=30), st.integers(0, 30), SEEDS)
def test_blocks_give_the_hashes_of_the_whole(ids: list[str], cut: int, seed: int) -> None:
    whole = split.hashes(seed, ids)
    assert whole.dtype == np.uint64
    blocks = [split.hashes(seed, ids[:cut]), split.hashes(seed, ids[cut:])]
    assert (np.concatenate(blocks) == whole).all()


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_block_boundaries_do_not_matter(size: int) -> None:
    ids = cell_ids(500)
    groups = [None if number % 11 == 0 else f"g{number % 5}" for number in range(500)]
    counts: Mapping[str | None, int] = Counter(groups)
    by_donor = split.by_donor(counts, "donor", test_size=0.3, seed=2)
    for made in (by_donor, cells(500, 0.3), ages(groups, 0.3)):
        blocks = [
            split.is_test(made, ids[start : start + size], groups[start : start + size])
            for start in range(0, 500, size)
        ]
        together = np.concatenate(blocks)
        assert together.dtype == np.bool_
        assert (together == split.is_test(made, ids, groups)).all()
        assert together.sum() == made.test_cells > 0
    assert len(split.is_test(by_donor, [], [])) == 0


SCRIPT = """
from collections import Counter
import numpy as np
from cohortflow.cells import split
names = {f"donor {number}" for number in range(50)} | {None}
counts = Counter({name: 10 for name in names})
print(split.by_donor(counts, "donor", test_size=0.2, seed=5))
hashes = split.hashes(5, sorted(f"cell {number}" for number in range(100)))
labels = list({f"{number} years" for number in range(9)})
codes = np.array([labels.index(f"{number % 9} years") for number in range(100)])
print(split.by_age(hashes, codes, labels, column="age", test_size=0.2, seed=5))
"""


def test_pythons_own_hashes_do_not_matter(root: Path) -> None:
    outputs = []
    for value in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": value, "PYTHONPATH": str(root / "bin")}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, check=True
        )
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert b"part='test'" in outputs[0]


# Refusals


@pytest.mark.parametrize("test_size", [1, 1.5, -0.1, float("nan"), float("inf")])
def test_a_test_size_that_is_no_share_is_refused(test_size: float) -> None:
    makers = (
        lambda: split.by_donor({"a": 1, "b": 1}, "donor", test_size=test_size, seed=1),
        lambda: cells(10, test_size),
        lambda: ages(["a", "b"], test_size),
    )
    for make in makers:
        with pytest.raises(Failure, match="test size") as caught:
            make()
        assert caught.value.category == Category.USAGE


def test_a_donor_or_age_that_the_split_does_not_know_is_refused() -> None:
    by_donor = split.by_donor({"a": 5, "b": 5}, "donor_id", test_size=0.5, seed=1)
    for made, column in ((by_donor, "donor_id"), (ages(["a", "b"], 0.5), "age")):
        for unknown in ("c", None):
            with pytest.raises(Failure, match=f"{column}.*changed since the split") as caught:
                split.is_test(made, cell_ids(2), ["a", unknown])
            assert caught.value.category == Category.DATA_INVALID


def test_a_split_by_group_needs_the_groups() -> None:
    with pytest.raises(TypeError, match="needs the donor"):
        split.is_test(split.by_donor({"a": 5}, "d", test_size=0.5, seed=1), ["x"])


def test_a_name_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(Failure, match="not UTF-8") as caught:
        split.by_donor({"a\udc80": 5, "b": 5}, "donor", test_size=0.5, seed=1)
    assert caught.value.category == Category.DATA_INVALID
    assert caught.value.line().isprintable()


@pytest.mark.parametrize(
    ("codes", "labels"),
    [([0, 1], ["a"]), ([0, -2], ["a", "b"]), ([0], ["a"]), ([0, 1], ["a", "a"])],
    ids=["too large", "too small", "too few", "twice"],
)
def test_codes_that_do_not_fit_are_refused(codes: list[int], labels: list[str]) -> None:
    hashes = split.hashes(1, ["x", "y"])
    with pytest.raises(Failure, match="do not fit") as caught:
        split.by_age(hashes, np.array(codes), labels, column="age", test_size=0.5, seed=1)
    assert caught.value.category == Category.DATA_INVALID


# Files


@given(st.dictionaries(st.none() | st.text(), st.integers(1, 10**12), max_size=6), SEEDS)
@example({'"\\\n\x00\u2028 ': 1, "": 2, None: 3, "😀": 4, "null": 5}, 0)
def test_any_donor_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, counts: dict[str | None, int], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("split")
    made = split.by_donor(counts, "donor", test_size=0.1, seed=seed)
    split.write(folder, made)
    assert split.read(folder / "split.json") == made


@given(st.lists(NAMES, max_size=30), st.floats(0, 1, exclude_max=True))
def test_any_age_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, groups: list[str | None], test_size: float
) -> None:
    folder = tmp_path_factory.mktemp("split")
    for made in (ages(groups, test_size), cells(len(groups), test_size)):
        noted = replace(made, note="no donor column: split by cell")
        split.write(folder, noted)
        assert split.read(folder / "split.json") == noted


def test_files_are_those_of_the_contract(tmp_path: Path) -> None:
    made = split.by_donor({"a": 70, "b": 21, None: 9}, "donor_id", test_size=0.1, seed=4)
    split.write(tmp_path, made)
    assert {path.name for path in tmp_path.iterdir()} == {"split.json", "metrics.json"}
    assert json.loads((tmp_path / "metrics.json").read_text()) == {
        "split_by": "donor",
        "donors": 3,
        "train_donors": 2,
        "test_donors": 1,
        "train_cells": 91,
        "test_cells": 9,
        "test_fraction": 0.09,
        "test_deviation": -0.01,
    }
    held = json.loads((tmp_path / "split.json").read_text())
    assert held["donors"][2] == {"donor": None, "cells": 9, "part": "test"}
    first = (tmp_path / "split.json").read_bytes()
    split.write(tmp_path, made)
    assert (tmp_path / "split.json").read_bytes() == first


def test_metrics_without_donors_leave_their_numbers_unknown(tmp_path: Path) -> None:
    split.write(tmp_path, cells(1000, 0.05))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == {
        "split_by": "cell",
        "donors": None,
        "train_donors": None,
        "test_donors": None,
        "train_cells": 950,
        "test_cells": 50,
        "test_fraction": 0.05,
        "test_deviation": 0.0,
    }
    (threshold,) = json.loads((tmp_path / "split.json").read_text())["thresholds"]
    assert isinstance(threshold["threshold"], str), "a number of 64 bits is no JavaScript number"


def test_metrics_never_hold_a_negative_zero(tmp_path: Path) -> None:
    counts: dict[str | None, int] = {"a": 10_000_001, "b": 90_000_000}
    made = split.by_donor(counts, "d", test_size=0.1, seed=1)
    split.write(tmp_path, replace(made, test_size=0.1000001))
    assert '"test_deviation": 0.0' in (tmp_path / "metrics.json").read_text()


def changed(**fields: object) -> str:
    """Return the text of a split by donor with some fields changed."""
    donors = [
        {"donor": "a", "cells": 9, "part": "train"},
        {"donor": "b", "cells": 1, "part": "test"},
    ]
    good: dict[str, object] = {
        "schema_version": 1,
        "by": "donor",
        "column": "donor_id",
        "seed": 1,
        "test_size": 0.1,
        "cells": 10,
        "test_cells": 1,
        "note": "",
        "donors": donors,
        "thresholds": [],
    }
    return json.dumps({**good, **fields})


def stratum(*thresholds: str) -> dict[str, object]:
    strata = [{"stratum": None, "threshold": threshold} for threshold in thresholds]
    return {"by": "cell", "donors": [], "thresholds": strata}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        changed(schema_version=2),
        changed(by="tissue"),
        changed(test_size=float("nan")),
        changed(test_size=1),
        changed(cells=-1),
        changed(test_cells=11),
        changed(cells=11),
        changed(test_cells=2),
        changed(seed="1"),
        changed(surplus=1),
        changed(donors=[{"donor": "a", "cells": 5, "part": "test"}] * 2, test_cells=10),
        changed(donors=[{"donor": "a", "cells": 10, "part": "both"}]),
        changed(**stratum()),
        changed(**stratum("1", "2")),
        changed(**stratum(str(2**64))),
        changed(**stratum("-2")),
        changed(**stratum("0x1")),
        changed(**stratum("1"), test_cells=11),
        "\x00",
    ],
)
def test_what_is_no_split_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(Failure, match=r"split\.json: is not a split") as caught:
        split.read(path)
    assert caught.value.category == Category.DATA_INVALID


def test_what_the_refusals_are_made_from_is_a_split(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    for text in (changed(), changed(**stratum(str(2**64 - 1))), changed(**stratum("-1"))):
        path.write_text(text)
        assert split.read(path).cells == 10


@given(st.binary())
def test_any_bytes_are_a_split_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("split") / "split.json"
    path.write_bytes(content)
    with pytest.raises(Failure, match="is not a split"):
        split.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"split\.json") as caught:
        split.read(tmp_path / "split.json")
    assert caught.value.category == Category.INPUT_MISSING

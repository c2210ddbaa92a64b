"""Genes are ranked by summed value, ties by their order, and zeros never appear."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cells import reference
from cohortflow.cells import rank, sentences
from cohortflow.cells.rows import Rows

SYMBOLS = ["A1", "B", "LONGER-SYMBOL-THAN-16-BYTES", "ÄÖ", "E", "F7", "G", "H"]
counts = st.integers(0, 2**31 - 1) | st.integers(0, 3)
fractions = st.floats(0, 2.0**100, width=32) | st.sampled_from([0.0, 0.5, 0.25])
doubles = st.floats(0, 1e300) | st.sampled_from([0.1, 0.1 + 2**-56, 0.2])


def block(matrix: np.ndarray, shuffled: np.random.Generator | None = None) -> Rows:
    """Make a block of a dense matrix; with a generator, each cell's entries in any order."""
    pointers, columns, values = [0], [], []
    for row in matrix:
        places = np.flatnonzero(row)
        if shuffled is not None:
            places = shuffled.permutation(places)
        columns += list(places)
        values += list(row[places])
        pointers.append(len(columns))
    return Rows(0, np.array(pointers), np.array(columns, np.int32), np.array(values, matrix.dtype))


def told(rows: Rows, symbol_of: list[int], top: int = 2000) -> list[str]:
    ranker = rank.ranker(np.array(symbol_of, np.int32), len(SYMBOLS), top)
    ranked = ranker.rank(rows)
    assert ranked.trouble == rank.FINE
    return sentences.sentences(
        ranked, sentences.vocabulary(SYMBOLS), np.arange(rows.cells)
    ).to_pylist()


@pytest.mark.parametrize(
    ("values", "dtype"), [(counts, "f8"), (fractions, "f4"), (doubles, "f8"), (counts, "f4")]
)
@given(data=st.data())
@settings(max_examples=60)
def test_the_order_is_that_of_the_plain_way(
    values: object, dtype: str, data: st.DataObject
) -> None:
    genes = data.draw(st.integers(1, 12))
    # Several genes may have one symbol; symbols are numbered by first appearance.
    drawn = data.draw(st.lists(st.integers(0, 7), min_size=genes, max_size=genes))
    first = {symbol: place for place, symbol in enumerate(dict.fromkeys(drawn))}
    symbol_of = [first[symbol] for symbol in drawn]
    row = st.lists(values, min_size=genes, max_size=genes)  # type: ignore[arg-type]
    matrix = np.array(data.draw(st.lists(row, min_size=1, max_size=4)), dtype)
    top = data.draw(st.integers(1, 12))
    expected = reference.sentences(matrix, [SYMBOLS[n] for n in symbol_of], top)
    assert told(block(matrix), symbol_of, top) == expected


def test_entries_may_come_in_any_order_and_more_than_once() -> None:
    matrix = np.array([[3, 1, 3, 0, 9, 3, 1, 2]], "f4")
    expected = reference.sentences(matrix, SYMBOLS)
    for seed in range(5):
        assert told(block(matrix, np.random.default_rng(seed)), list(range(8))) == expected
    twice = Rows(
        0, np.array([0, 4]), np.array([1, 0, 1, 4], np.int32), np.array([2, 3, 2, 3], "f4")
    )
    assert told(twice, list(range(8))) == ["B A1 E"]


def test_a_stored_zero_is_no_expression() -> None:
    rows = Rows(
        0, np.array([0, 3, 4]), np.array([0, 1, 2, 3], np.int32), np.array([0, 5, 0, 0], "f4")
    )
    assert told(rows, list(range(8))) == ["B", ""]


def test_a_block_without_cells_or_entries_is_fine() -> None:
    nothing = np.array([], "f4")
    assert told(Rows(0, np.array([0]), nothing.astype(np.int32), nothing), [0]) == []
    assert told(Rows(0, np.array([0, 0]), nothing.astype(np.int32), nothing), [0]) == [""]


@pytest.mark.parametrize(
    ("value", "trouble"),
    [(-1.0, rank.NEGATIVE), (np.nan, rank.NOT_FINITE), (np.inf, rank.NOT_FINITE),
     (-np.inf, rank.NEGATIVE)],
)  # fmt: skip
def test_what_is_no_count_is_found_with_its_cell(value: float, trouble: int) -> None:
    matrix = np.ones((5, 8), "f4")
    matrix[3, 6] = value
    ranked = rank.ranker(np.arange(8, dtype=np.int32), 8, 10).rank(block(matrix))
    assert (ranked.trouble, ranked.cell) == (trouble, 3)


def after(matrix: np.ndarray) -> bool:
    """Tell whether a matrix of 30 genes looks scaled once it was ranked, in two blocks."""
    ranker = rank.ranker(np.arange(30, dtype=np.int32), 30, 10)
    half = len(matrix) // 2
    for part in (matrix[:half], matrix[half:]):
        assert ranker.rank(block(part)).trouble == rank.FINE
    return rank.scaled(ranker, len(matrix))


def test_genes_scaled_to_unit_variance_are_seen_and_counts_are_not() -> None:
    random = np.random.default_rng(4)
    counts = random.negative_binomial(2, 0.3, (200, 30)) * (random.random((200, 30)) < 0.5)
    counts = counts.astype("f4")
    normalised = np.log1p(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) * 1e4)
    assert after(counts / counts.std(axis=0, ddof=1))
    assert after(normalised / normalised.std(axis=0, ddof=1))
    assert not after(counts)
    assert not after(normalised.astype("f4"))

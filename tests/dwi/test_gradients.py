"""Gradient files: what is read is what was written; what is no gradient table is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import gradients
from cohortflow.dwi.gradients import Gradients
from dwi.small import BVALS, BVECS, SIX

NUMBER = st.floats(allow_nan=False, allow_infinity=False)


def read(folder: Path, bval: bytes, bvec: bytes) -> Gradients:
    (folder / "a.bval").write_bytes(bval)
    (folder / "a.bvec").write_bytes(bvec)
    return gradients.read(folder / "a.bval", folder / "a.bvec")


@given(st.lists(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER), min_size=1, max_size=20))
def test_writing_and_reading_gives_the_same_numbers(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, ...]]
) -> None:
    folder = tmp_path_factory.mktemp("g")
    table = np.array(rows)
    written = Gradients(table[:, 0], table[:, 1:])
    gradients.write(written, folder / "a.bval", folder / "a.bvec")
    again = gradients.read(folder / "a.bval", folder / "a.bvec")
    assert np.array_equal(again.bvals, written.bvals)
    assert np.array_equal(again.bvecs, written.bvecs)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_whatever_the_bytes_only_a_failure_is_raised(
    tmp_path_factory: pytest.TempPathFactory, bval: bytes, bvec: bytes
) -> None:
    try:
        table = read(tmp_path_factory.mktemp("g"), bval, bvec)
    except Failure as failure:
        assert failure.category is Category.DATA_INVALID
    else:
        assert table.bvecs.shape == (len(table.bvals), 3)


def test_rows_of_three_and_three_rows_are_read_alike(tmp_path: Path) -> None:
    rows = read(tmp_path, b"0 1000 1000 1000", b"0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    columns = read(tmp_path, b"0\n1000\n1000\n1000\n", b"0 0 0\r\n1 0 0\r\n0 1 0\r\n0 0 1\r\n")
    assert np.array_equal(rows.bvecs, columns.bvecs)
    assert np.array_equal(rows.bvals, columns.bvals)


def test_three_volumes_are_read_as_fsl_writes_them(tmp_path: Path) -> None:
    table = read(tmp_path, b"0 5 5", b"0 1 0\n0 0 .6\n0 0 .8\n")
    assert table.bvecs.tolist() == [[0, 0, 0], [1, 0, 0], [0, 0.6, 0.8]]


@pytest.mark.parametrize(
    ("bval", "bvec", "word"),
    [
        (b"", b"0\n0\n0", "empty"),
        (b"0 x", b"0 0\n0 0\n0 0", "not numbers"),
        (b"0 1_0", b"0 0\n0 0\n0 0", "not numbers"),
        (b"0 nan", b"0 0\n0 0\n0 0", "NaN"),
        (b"0 1", b"0 nan\n0 0\n0 1", "NaN"),
        (b"0 1", b"0 inf\n0 0\n0 1", "infinite"),
        (b"0 1 2", b"0 1\n0 0\n0 0", "3 b-values"),
        (b"0 1", b"0 1\n0 0\n", "2 rows"),
        (b"0 1", b"0 1\n0 0 0\n0 0\n", "3 rows"),
        ("0 ١".encode(), b"0 1\n0 0\n0 0", "not numbers"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, bval: bytes, bvec: bytes, word: str) -> None:
    with pytest.raises(Failure, match=word) as caught:
        read(tmp_path, bval, bvec)
    assert caught.value.category is Category.DATA_INVALID


def test_lengths_within_the_tolerance_pass_and_others_do_not() -> None:
    for scale in (0.951, 1, 1.049):
        gradients.check(Gradients(BVALS, BVECS * scale), 7, "x")
    for scale in (0, 0.5, 0.949, 1.051, 2):
        with pytest.raises(Failure, match="unit length"):
            gradients.check(Gradients(BVALS, BVECS * scale), 7, "x")


def test_a_b0_volume_may_have_any_vector() -> None:
    bvals = np.array([0.004, 0, 49, *BVALS[1:]])
    bvecs = np.vstack([[1, 0, 0], [0, 0, 0], [0.3, 0, 0], SIX])
    gradients.check(Gradients(bvals, bvecs), 9, "x")


def test_negative_b_values_and_wrong_counts_are_refused() -> None:
    with pytest.raises(Failure, match="negative"):
        gradients.check(Gradients(-BVALS, BVECS), 7, "x")
    with pytest.raises(Failure, match="8 volumes but 7 b-values"):
        gradients.check(Gradients(BVALS, BVECS), 8, "x")


def _table(vectors: np.ndarray) -> Gradients:
    return Gradients(np.array([0.0] + [1000.0] * len(vectors)), np.vstack([np.zeros(3), vectors]))


def test_what_determines_a_tensor_passes() -> None:
    gradients.check_tensor(_table(SIX), "x")


def test_opposite_and_repeated_directions_count_once() -> None:
    table = _table(np.vstack([SIX[:5], -SIX[:5], SIX[:3]]))
    assert gradients.directions(table) == 5
    with pytest.raises(Failure, match="5 distinct"):
        gradients.check_tensor(table, "x")


def test_directions_in_a_plane_are_refused() -> None:
    angle = np.linspace(0, np.pi, 8, endpoint=False)
    plane = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    with pytest.raises(Failure, match="do not determine"):
        gradients.check_tensor(_table(plane), "x")


def test_a_series_without_b0_is_refused() -> None:
    with pytest.raises(Failure, match="no volume with b <= 50"):
        gradients.check_tensor(Gradients(np.full(6, 1000.0), SIX), "x")


def test_shells_are_rounded_and_listed() -> None:
    bvals = np.array([0, 5, 995, 1005, 2001])
    assert gradients.shells(Gradients(bvals, np.zeros((5, 3)))) == "0;1000;2000"

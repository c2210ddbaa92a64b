"""Directions of phase encoding, by sidecar, by label and as a person tells them."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohortflow.core.outcome import Failure
from cohortflow.dwi import convert, labels
from dwi import small
from dwi.opposite import made, metrics, series, sidecar, told

AXES = [
    np.array([np.eye(3)[axis] * sign for axis, sign in zip(order, signs, strict=True)]).T
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize(
    ("label", "axis", "towards"),
    [("LR", 0, 1), ("RL", 0, -1), ("PA", 1, 1), ("AP", 1, -1), ("IS", 2, 1), ("SI", 2, -1)],
)
def test_a_label_gives_the_image_axis_that_leads_there(label: str, axis: int, towards: int) -> None:
    tilt = np.array([[0.98, -0.17, 0.1], [0.17, 0.98, 0], [-0.1, 0, 0.99]])
    for axes in AXES:
        affine = np.eye(4)
        affine[:3, :3] = tilt @ axes * [1.7, 2.2, 4]
        direction = labels.of_label(label, affine)
        assert direction is not None
        step = affine[:3, "ijk".index(direction[0])] * (-1 if direction.endswith("-") else 1)
        assert np.abs(step).argmax() == axis
        assert np.sign(step[axis]) == towards


def test_only_one_word_of_direction_may_differ() -> None:
    for one, other in (("AP", "PA"), ("cmrr dwi_LR b0", "cmrr dwi_rl  b0"), ("x-AP-AP", "x-AP-PA")):
        assert labels.differ_by_direction(one, other)
    for one, other in (
        ("DTI AP", "DTI AP"), ("DTI AP 30", "DTI PA 60"), ("DTI AP LR", "DTI PA RL"),
        ("MAP", "MPA"), ("DTI AP", "DTI"), ("DTI AP", "DTI RL"),
    ):  # fmt: skip
        assert not labels.differ_by_direction(one, other)


@pytest.mark.parametrize(("anterior", "wanted"), [(2.0, "j-"), (-2.0, "j")])
def test_a_label_and_the_affine_give_a_direction_that_is_missing(
    tmp_path: Path, anterior: float, wanted: str
) -> None:
    path = series(tmp_path / "in")
    nib.save(nib.Nifti1Image(small.series_data(), np.diag([2, anterior, 2.5, 1])), path)
    out = made(path, tmp_path / "out")
    fields = told(out, "converted_dwi")
    assert fields["PhaseEncodingDirection"] == wanted
    assert "dir-AP" in str(fields["PhaseEncodingDirectionSource"])
    assert metrics(out)["phase_encoding"] == wanted
    given = sidecar(path, {"PhaseEncodingDirection": "i"})
    assert metrics(made(given, tmp_path / "told"))["phase_encoding"] == "i"
    doubtful = sidecar(path, {"PhaseEncodingAxis": "i"})
    assert metrics(made(doubtful, tmp_path / "doubt"))["phase_encoding"] is None


def test_a_direction_that_is_given_must_agree_with_thesidecar(tmp_path: Path) -> None:
    path = series(tmp_path, "sub-01_dwi", PhaseEncodingAxis="j")
    out = made(path, tmp_path / "out", phase_encoding="AP")
    assert metrics(out)["phase_encoding"] == "j-"
    assert "phase_encoding" in str(told(out, "converted_dwi")["PhaseEncodingDirectionSource"])
    with pytest.raises(Failure, match="tells phase encoding j, the option"):
        convert.prepare(path, phase_encoding="LR")

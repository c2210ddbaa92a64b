"""An image of fmap is used with the series that it is for, or that it alone can be for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cohortflow.core.outcome import Failure
from cohortflow.dwi import convert
from cohortflow.dwi.reverse import Files
from dwi import small
from dwi.opposite import (
    AFFINE,
    epi,
    names,
    pair,
    refused,
    reversed_series,
    series,
    sidecar,
    unit,
)


@pytest.mark.parametrize(
    "claim",
    [
        {"IntendedFor": "bids::sub-01/dwi/sub-01_dwi.nii.gz"},
        {"IntendedFor": ["func/sub-01_task-rest_bold.nii.gz", "dwi/sub-01_dwi.nii.gz"]},
        {"B0FieldIdentifier": ["other", "pepolar"]},
        {},
    ],
)
@pytest.mark.parametrize("volumes", [1, 3])
def test_an_opposite_image_of_fmap_is_used(
    tmp_path: Path, claim: dict[str, object], volumes: int
) -> None:
    source = {"B0FieldSource": "pepolar"} if "B0FieldIdentifier" in claim else {}
    series(tmp_path, "sub-01_dwi", PhaseEncodingDirection="j-", **source)
    data = small.series_data(volumes)
    epi(tmp_path, data=data, PhaseEncodingDirection="j", **claim)
    epi(tmp_path, "sub-01_dir-AP_epi", PhaseEncodingDirection="j-", **claim)
    found = unit(tmp_path)
    assert names(found) == pair("dwi", "dir-PA_epi")
    assert [i.role for i in found.inputs][-2:] == ["reverse", "reverse_json"]


@pytest.mark.parametrize(
    "claim",
    [
        {"IntendedFor": "func/sub-01_task-rest_bold.nii.gz"},
        {"IntendedFor": "bids:other:sub-01/dwi/sub-01_dir-AP_dwi.nii.gz"},
        {"B0FieldIdentifier": "another"},
    ],
)
def test_an_image_of_fmap_that_is_for_others_is_not_used(
    tmp_path: Path, claim: dict[str, object]
) -> None:
    series(tmp_path, PhaseEncodingDirection="j-")
    epi(tmp_path, PhaseEncodingDirection="j", **claim)
    assert names(unit(tmp_path)) == pair("dir-AP_dwi", None)


def test_a_claim_goes_before_what_nothing_claims(tmp_path: Path) -> None:
    series(tmp_path)
    epi(tmp_path, "sub-01_acq-b_dir-PA_epi")
    epi(tmp_path, "sub-01_acq-a_dir-PA_epi", IntendedFor="dwi/sub-01_dir-AP_dwi.nii.gz")
    assert names(unit(tmp_path)) == pair("dir-AP_dwi", "acq-a_dir-PA_epi")


def test_what_nothing_claims_is_not_asked_beside_a_pair(tmp_path: Path) -> None:
    series(tmp_path)
    reversed_series(tmp_path)
    epi(tmp_path)
    assert names(unit(tmp_path)) == pair("dir-AP_dwi", "dir-PA_dwi")


@pytest.mark.parametrize("claim", [{}, {"IntendedFor": "dwi/sub-01_dir-AP_dwi.nii.gz"}])
def test_more_than_one_reverse_image_is_refused_with_choices(
    tmp_path: Path, claim: dict[str, object]
) -> None:
    series(tmp_path)
    for run in (1, 2):
        epi(tmp_path, f"sub-01_dir-PA_run-{run}_epi", **claim)
    excluded = refused(tmp_path)
    assert [one["reverse"] for one in excluded.choices] == [
        f"sub-01/fmap/sub-01_dir-PA_run-{run}_epi.nii.gz" for run in (1, 2)
    ]
    assert all(one["reverse"] in excluded.message for one in excluded.choices)


def test_a_pair_and_a_claim_are_more_than_one(tmp_path: Path) -> None:
    series(tmp_path)
    reversed_series(tmp_path)
    epi(tmp_path, IntendedFor="dwi/sub-01_dir-AP_dwi.nii.gz")
    assert len(refused(tmp_path).choices) == 2


def test_a_claim_without_a_known_direction_is_refused(tmp_path: Path) -> None:
    series(tmp_path, "sub-01_dwi")
    epi(tmp_path, PhaseEncodingDirection="j", IntendedFor="dwi/sub-01_dwi.nii.gz")
    excluded = refused(tmp_path)
    assert "PhaseEncodingDirection is known of sub-01/dwi/sub-01_dwi.nii.gz" in excluded.message
    assert "sub-01_dir-PA_epi" in excluded.message


def _moved(distance: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[1, 3] += distance
    return affine


def _turned() -> np.ndarray:
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    return np.asarray(turn @ AFFINE)


OTHER_GRIDS = {
    "matrix": (small.series_data(2, (6, 5, 3)), AFFINE, "6 x 5 x 4 voxels and 6 x 5 x 3"),
    "voxel size": (small.series_data(2), np.diag([2, 2, 3, 1]), "2 x 2 x 3 mm"),
    "place": (small.series_data(2), _moved(0.5), "0.5 mm apart"),
    "orientation": (small.series_data(2), _turned(), "mm apart"),
}


@pytest.mark.parametrize("name", OTHER_GRIDS)
def test_a_reverse_image_of_another_grid_is_refused_and_an_unclaimed_one_passed_over(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    data, affine, word = OTHER_GRIDS[name]
    main = series(tmp_path)
    path = epi(tmp_path, data=data, affine=affine)
    assert names(unit(tmp_path)) == pair("dir-AP_dwi", None)
    assert str(path) in caplog.text
    assert word in caplog.text
    sidecar(path, {"IntendedFor": f"dwi/{main.name}"})
    excluded = refused(tmp_path)
    assert word in excluded.message
    assert main.name in excluded.message
    assert path.name in excluded.message
    with pytest.raises(Failure, match=word):
        convert.prepare(main, reverse=Files(path))


def test_a_grid_that_differs_by_rounding_is_the_same(tmp_path: Path) -> None:
    series(tmp_path)
    epi(tmp_path, affine=_moved(0.02))
    assert names(unit(tmp_path)) == pair("dir-AP_dwi", "dir-PA_epi")


def test_images_that_give_a_field_together_belong_together(tmp_path: Path) -> None:
    series(tmp_path, PhaseEncodingDirection="j-", B0FieldIdentifier="pepolar")
    epi(tmp_path, PhaseEncodingDirection="j", B0FieldIdentifier="pepolar")
    epi(tmp_path, "sub-01_acq-rest_dir-PA_epi", PhaseEncodingDirection="j", B0FieldIdentifier="b")
    assert names(unit(tmp_path)) == pair("dir-AP_dwi", "dir-PA_epi")


def test_a_phase_image_of_fmap_is_no_reverse_image(tmp_path: Path) -> None:
    series(tmp_path)
    epi(tmp_path, "sub-01_dir-PA_part-mag_epi")
    epi(tmp_path, "sub-01_dir-PA_part-phase_epi")
    assert names(unit(tmp_path)) == pair("dir-AP_dwi", "dir-PA_part-mag_epi")


@pytest.mark.parametrize(
    ("own", "other"),
    [({"PhaseEncodingDirection": "j-"}, {}), ({}, {"PhaseEncodingDirection": "j"})],
)
def test_an_image_of_fmap_that_may_be_opposite_is_never_passed_over_in_silence(
    tmp_path: Path,
    own: dict[str, object],
    other: dict[str, object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    series(tmp_path, **own)
    path = epi(tmp_path, **other)
    assert names(unit(tmp_path)) == pair("dir-AP_dwi", None)
    assert str(path) in caplog.text
    assert "not certain" in caplog.text


def test_a_claim_against_the_sidecars_is_refused(tmp_path: Path) -> None:
    main = series(tmp_path, PhaseEncodingDirection="j")
    epi(tmp_path, PhaseEncodingDirection="j", IntendedFor=f"dwi/{main.name}")
    assert "their sidecars tell j and j" in refused(tmp_path).message


def test_a_filter_is_not_advised_where_it_cannot_choose(tmp_path: Path) -> None:
    series(tmp_path)
    epi(tmp_path, "sub-01_dir-PA_run-1_epi")
    epi(tmp_path, "sub-01_dir-PA_run-2_epi")
    assert "filter" not in refused(tmp_path).remedy
    reversed_series(tmp_path)
    reversed_series(tmp_path, name="sub-01_dir-PA_acq-b0_dwi")
    sidecar(tmp_path / "sub-01/dwi/sub-01_dir-AP_dwi.nii.gz", {"PhaseEncodingDirection": "j-"})
    for name in ("dir-PA", "dir-PA_acq-b0"):
        path = tmp_path / f"sub-01/dwi/sub-01_{name}_dwi.nii.gz"
        sidecar(path, {"PhaseEncodingDirection": "j"})
    assert "filter" in refused(tmp_path).remedy

"""The corticospinal tract among candidates: what belongs to it, what does not, and why."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import cst, selection
from cohortflow.dwi.streamlines import Streamlines
from dwi import small, toy_tract
from dwi.toy_tract import line, pack, tract


def find(lines: list[np.ndarray]) -> dict[str, cst.Tract]:
    return dict(
        cst.find(pack(lines), toy_tract.labels(), toy_tract.coordinates(), toy_tract.AFFINE)
    )


def kept(lines: list[np.ndarray], side: selection.Side) -> list[int]:
    """Return the numbers of the lines that the rules keep."""
    given = pack(lines)
    found = selection.along(given, toy_tract.labels(), toy_tract.coordinates(), toy_tract.AFFINE)
    return [int(number) for number in selection.select(given, found, side).kept]


def ways(found: Streamlines) -> list[np.ndarray]:
    return [found.points[a:b] for a, b in zip(found.offsets, found.offsets[1:], strict=False)]


@pytest.mark.parametrize("side", selection.SIDES)
def test_a_streamline_that_joins_brainstem_capsule_and_motor_cortex_belongs_to_its_side(
    side: selection.Side,
) -> None:
    other: selection.Side = "left" if side == "right" else "right"
    assert kept([tract(side)], side) == [0]
    assert kept([tract(side)[::-1]], side) == [0]
    assert kept([tract(side)], other) == []


WRONG = {
    "ends below the cortex": line((-5, 0, -60), (-6, 0, -20), (-24, 0, 2), (-24, 0, 40)),
    "ends above the brainstem": line((-9, 0, -12), (-24, 0, 2), (-24, 0, 60)),
    "passes beside the capsule": line(
        (-5, 0, -60), (-6, 0, -20), (-45, 0, -10), (-45, 0, 20), (-30, 0, 60)
    ),
    "takes the callosum": line(
        (-5, 0, -60), (-6, 0, -20), (-24, 0, 2), (-24, 0, 12), (-3, 0, 25), (-24, 0, 30),
        (-24, 0, 60),
    ),
    "goes to the other side's cortex": line(
        (-5, 0, -60), (-6, 0, -20), (-24, 0, 2), (-24, 0, 60), (24, 0, 60)
    ),
    "crosses in the pons": line(
        (8, 0, -40), (8, 0, -30), (-6, 0, -20), (-24, 0, 2), (-24, 0, 60)
    ),
    "comes from the cerebellum": line(
        (-10, -30, -40), (-5, 0, -35), (-6, 0, -20), (-24, 0, 2), (-24, 0, 60)
    ),
    "runs through the thalamus": line(
        (-5, 0, -60), (-8, 0, 1), (-8, 0, 13), (-19, 0, 11), (-24, 0, 60)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_streamline_that_takes_another_way_is_left_out(name: str) -> None:
    assert kept([WRONG[name], tract("left")], "left") == [1]


def test_a_streamline_may_cross_below_the_pons_where_the_pyramids_do() -> None:
    crossing = line((6, 0, -64), (5, 0, -56), (-5, 0, -48), (-6, 0, -20), (-24, 0, 2), (-24, 0, 60))
    assert kept([crossing], "left") == [0]


def test_a_brush_with_the_thalamus_is_no_reason_to_leave_a_streamline_out() -> None:
    brush = line((-5, 0, -60), (-6, 0, -20), (-14, 0, 1), (-24, 0, 4), (-24, 0, 60))
    assert kept([brush], "left") == [0]


def test_the_tracts_streamlines_all_run_from_the_brainstem_up() -> None:
    lines = toy_tract.bundle("left")
    lines[::2] = [points[::-1] for points in lines[::2]]
    found = find([*lines, *toy_tract.bundle("right", seed=2)])
    for side in selection.SIDES:
        assert len(found[side].streamlines) == 60
        assert all(points[0, 2] < points[-1, 2] for points in ways(found[side].streamlines))


def test_a_stray_is_removed_and_its_neighbours_stay() -> None:
    stray = line((-5, 0, -60), (-6, 0, -20), (-24, 0, 2), (-36, 24, 30), (-24, 0, 60))
    found = find([*toy_tract.bundle("left"), stray])
    left = found["left"]
    assert left.counts["thalamus"] == 61
    assert len(left.streamlines) == left.counts["shape"] == 60
    assert left.streamlines.points[:, 1].max() < 10


def test_a_side_without_enough_streamlines_is_empty_and_says_why() -> None:
    few = toy_tract.bundle("right", cst.LEAST - 1)
    short = [points[points[:, 2] < 40] for points in toy_tract.bundle("right", 5, seed=3)]
    found = find([*toy_tract.bundle("left"), *few, *short])
    right = found["right"]
    assert found["left"].reason == ""
    assert len(right.streamlines) == 0
    assert not right.core.any()
    assert not right.visits.any()
    assert right.reason == (
        "19 of 24 candidates belong to the tract, 20 are needed (19 join brainstem and motor "
        "cortex)"
    )


def test_a_side_none_of_whose_candidates_reaches_the_cortex_says_so() -> None:
    short = [points[points[:, 2] < 40] for points in toy_tract.bundle("right", 30)]
    found = find([*toy_tract.bundle("left"), *short])
    assert found["right"].reason == (
        "of 30 candidates 30 reach the brainstem and none of these the motor cortex"
    )


def test_two_empty_sides_are_refused() -> None:
    with pytest.raises(Failure) as caught:
        find([WRONG["ends below the cortex"]])
    assert caught.value.category is Category.DATA_INVALID
    assert "no corticospinal tract on either side" in caught.value.message
    assert "right: no candidate streamline runs through" in caught.value.message
    assert "--tracking none" in caught.value.remedy


def test_the_core_is_what_is_dense_for_its_level_in_one_piece() -> None:
    height = np.broadcast_to(np.arange(0, 60, 3.0), (10, 4, 20)).copy()
    visits = np.zeros((10, 4, 20), int)
    visits[2:6, :, :10] = 20  # a narrow trunk
    visits[6, :, :10] = 4
    visits[1:9, :, 10:] = 8  # a wide fan of as many streamlines
    visits[9, :, 10:] = 1
    visits[0, 0, 0] = 30
    core = cst.core_of(visits, height)
    assert core[2:6, :, :10].all()
    assert not core[6, :, :8].any()
    assert core[1:9, :, 12:].all()
    assert not core[9].any()
    assert not core[0, 0, 0]


def test_visits_of_the_core_lie_along_the_tract() -> None:
    found = find([*toy_tract.bundle("left"), *toy_tract.bundle("right")])
    where = toy_tract.coordinates()[found["left"].core]
    assert (where[:, 0] < 0).all()
    assert where[:, 2].min() < -55
    assert where[:, 2].max() > 55


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run dwi-cst on a toy whose right side is empty."""
    folder = tmp_path_factory.mktemp("cst")
    files = toy_tract.write(folder, pack([*toy_tract.bundle("left"), tract("right")]))
    path = next(files.track.glob("dwi/*.trk"))
    ended = small.tool(
        "dwi-cst", [path, *files.made, "--output", folder / "cst", "--unit", "sub-01"]
    )
    assert ended.exit_code == 0, ended.output
    assert "WARNING sub-01 right side is empty: 1 of 1 candidates" in ended.output
    return folder / "cst"


def test_an_empty_side_has_a_reason_and_no_file(published: Path) -> None:
    names = {path.name for path in (published / "dwi").iterdir()}
    assert names == {
        f"sub-01_{name}"
        for name in (
            "desc-CSTleft_tractogram.trk",
            "desc-CSTleft_tractogram.tck",
            "desc-CSTleft_tractogram.json",
            "space-orig_label-CSTleft_mask.nii.gz",
            "space-orig_label-CSTleft_mask.json",
            "space-orig_label-CSTleft_param-density_dwimap.nii.gz",
            "space-orig_label-CSTleft_param-density_dwimap.json",
        )
    }
    numbers = json.loads((published / "metrics.json").read_text())
    assert numbers["left_reason"] is None
    assert numbers["right_reason"].startswith("1 of 1 candidates")
    assert (numbers["left_candidates"], numbers["right_candidates"]) == (60, 1)


def test_trk_and_tck_hold_the_same_streamlines(published: Path) -> None:
    trk, tck = (
        nib.streamlines.load(published / "dwi" / f"sub-01_desc-CSTleft_tractogram.{end}")
        for end in ("trk", "tck")
    )
    assert len(trk.streamlines) == len(tck.streamlines) == 60
    for one, other in zip(trk.streamlines, tck.streamlines, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_density_is_the_share_of_streamlines_and_the_core_where_it_is_enough(
    published: Path,
) -> None:
    stem = published / "dwi" / "sub-01_space-orig_label-CSTleft"
    density = np.asarray(nib.load(f"{stem}_param-density_dwimap.nii.gz").dataobj)
    core = np.asarray(nib.load(f"{stem}_mask.nii.gz").dataobj) > 0
    assert 0.4 < density.max() <= 1
    assert (density[core] > 0).all()
    assert core.sum() > 100


def test_the_same_input_gives_the_same_bytes(published: Path, tmp_path: Path) -> None:
    files = toy_tract.write(tmp_path, pack([*toy_tract.bundle("left"), tract("right")]))
    path = next(files.track.glob("dwi/*.trk"))
    small.tool("dwi-cst", [path, *files.made, "--output", tmp_path / "cst"])
    for file in sorted(published.rglob("*")):
        if file.is_file():
            again = tmp_path / "cst" / file.relative_to(published)
            assert again.read_bytes() == file.read_bytes(), file.name


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    files = toy_tract.write(tmp_path, pack(toy_tract.bundle("left")))
    path = next(files.track.glob("dwi/*.trk"))
    made = ["--made", str(files.tensor), "--made", str(files.rois)]
    ended = small.tool("dwi-cst", [path, *made, "--output", tmp_path / "cst"])
    assert ended.exit_code == 66
    assert "no file dwi/*_mode-points_xfm.nii.gz" in ended.output
    assert not (tmp_path / "cst").exists()

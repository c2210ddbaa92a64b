"""Tensor maps: exact on known truth, equal to DIPY, close to MRtrix3, upright in the world."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import fit, series, tensor
from cohortflow.dwi.gradients import Gradients
from dwi import scans

TRACTS = ("cst_left", "cst_right", "callosum")


def anisotropy_of(parameters: np.ndarray) -> np.ndarray:
    """Return FA of fitted parameters, negative eigenvalues taken as 0."""
    values = np.linalg.eigvalsh(fit.tensors(np.nan_to_num(parameters)))
    return tensor.anisotropy(np.clip(values, 0, None))


def table(scan: Gradients) -> np.ndarray:
    """Return the design matrix of a gradient table."""
    return fit.design(scan.bvals, scan.bvecs)


def random_signals(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the design matrix, parameters of random tensors and their signals without noise."""
    rng = np.random.default_rng(3)
    directions = rng.normal(size=(20, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    matrix = fit.design(np.array([0.0, 0.0] + [1000.0] * 18), directions)
    frames = np.linalg.qr(rng.normal(size=(count, 3, 3)))[0]
    values = rng.uniform(0.2, 2.0, (count, 3))
    made = np.einsum("vij,vj,vkj->vik", frames, values, frames)
    rows, columns = [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]
    parameters = np.column_stack([made[:, rows, columns], rng.uniform(5, 8, count)])
    return matrix, parameters, np.exp(parameters @ matrix.T)


def test_a_signal_without_noise_gives_back_its_tensor() -> None:
    matrix, parameters, signal = random_signals(500)
    assert np.allclose(fit.fit(signal, matrix), parameters, atol=1e-9)
    assert fit.residual(signal, matrix, parameters).max() < 1e-12


def test_scale_of_the_signal_changes_only_s0() -> None:
    matrix, _, signal = random_signals(50)
    noisy = signal * np.random.default_rng(1).uniform(0.9, 1.1, signal.shape)
    once, scaled = fit.fit(noisy, matrix), fit.fit(noisy * 1e6, matrix)
    assert np.allclose(once[:, :6], scaled[:, :6], atol=1e-9)
    assert np.allclose(scaled[:, 6] - once[:, 6], np.log(1e6))


def test_a_voxel_does_not_depend_on_its_neighbours() -> None:
    matrix, _, signal = random_signals(50)
    noisy = signal * np.random.default_rng(1).uniform(0.9, 1.1, signal.shape)
    whole = fit.fit(noisy, matrix)
    alone = np.concatenate([fit.fit(noisy[one : one + 1], matrix) for one in range(50)])
    assert (alone == whole).all()


def test_threads_change_nothing() -> None:
    scan = scans.phantom(21)
    data = scans.as_series(scan)
    one, two = (tensor.compute(data, scan.mask, threads) for threads in (1, 2))
    for name in ("fa", "md", "ad", "rd", "principal", "residual", "unphysical"):
        assert (getattr(one, name) == getattr(two, name)).all(), name


def test_eigenvectors_are_lapacks_for_any_tensor() -> None:
    """Also close, equal, zero, negative and badly scaled eigenvalues."""
    rng = np.random.default_rng(8)
    frames = np.linalg.qr(rng.normal(size=(600, 3, 3)))[0]
    values = rng.uniform(-0.3, 2, (600, 3))
    values[:100, 1] = values[:100, 0] * (1 + 1e-9)
    values[100:200] = 1.3
    values[200:210] = 0
    values[300:400] *= 10.0 ** rng.uniform(-9, 9, (100, 1))
    frames[500:] = np.eye(3)
    made = np.einsum("vij,vj,vkj->vik", frames, values, frames)
    found, principal = fit.eigen(made[:, [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]])
    scale = np.abs(values).max(axis=1, keepdims=True)
    assert (np.abs(found - np.linalg.eigvalsh(made)) <= 1e-13 * scale).all()
    turned = np.einsum("vij,vj->vi", made, principal)
    assert (np.abs(turned - found[:, 2:] * principal) <= 1e-13 * scale).all()
    assert np.allclose(np.linalg.norm(principal, axis=1), 1, atol=1e-13)


def test_a_measurement_that_is_not_positive_counts_as_missing() -> None:
    matrix, _, signal = random_signals(30)
    noisy = signal * np.random.default_rng(1).uniform(0.9, 1.1, signal.shape)
    for bad in (0.0, -5.0):
        damaged = noisy.copy()
        damaged[:, 9] = bad
        without = fit.fit(np.delete(noisy, 9, axis=1), np.delete(matrix, 9, axis=0))
        assert np.allclose(fit.fit(damaged, matrix), without, atol=1e-9)


def test_too_few_measurements_give_nan_and_spare_the_neighbours() -> None:
    matrix, parameters, signal = random_signals(5)
    signal[2, 6:] = 0  # six are left
    signal[4, :2] = 0  # no b=0
    fitted = fit.fit(signal, matrix)
    assert np.isnan(fitted[[2, 4]]).all()
    assert np.allclose(fitted[[0, 1, 3]], parameters[[0, 1, 3]], atol=1e-9)


def test_equals_dipys_weighted_fit_and_not_the_ordinary_one() -> None:
    from dipy.core.gradients import gradient_table
    from dipy.reconst.dti import TensorModel

    data = scans.as_series(scans.phantom(21))
    inside = scans.phantom(21).mask & (data.data > 0).all(axis=-1)
    signal = data.data[inside]
    bvals, bvecs = data.gradients.bvals, data.gradients.bvecs
    model = TensorModel(gradient_table(bvals, bvecs=bvecs, b0_threshold=50), fit_method="WLS")
    reference = model.fit(signal)
    maps = tensor.compute(data, inside)
    assert np.abs(maps.fa[inside] - reference.fa).max() < 1e-5
    assert np.abs(maps.md[inside] - reference.md).max() < 1e-8
    assert np.abs(maps.ad[inside] - reference.ad).max() < 1e-8
    assert np.abs(maps.rd[inside] - reference.rd).max() < 1e-8
    ordinary = anisotropy_of(fit.fit(signal, table(data.gradients), weighted=False))
    assert np.abs(ordinary - reference.fa).mean() > 1e-3


@pytest.mark.shared_data
@pytest.mark.parametrize("name", scans.TOSHIBA)
def test_agrees_with_mrtrix_in_white_matter(
    real: dict[str, Path], name: str, tmp_path: Path
) -> None:
    """The ordinary fit would differ by 0.016: the bound tells the two apart."""
    brain, fitted, reference = (tmp_path / f"{stem}.nii" for stem in ("mask", "tensor", "fa"))
    scans.mrtrix("dwi2mask", *scans.mrtrix_input(real[name]), brain)
    scans.mrtrix("dwi2tensor", *scans.mrtrix_input(real[name]), fitted, "-mask", brain)
    scans.mrtrix("tensor2metric", fitted, "-fa", reference, "-mask", brain)
    expected = np.asarray(nib.load(reference).dataobj)
    data = scans.loaded(real[name])
    inside = np.asarray(nib.load(brain).dataobj) > 0
    maps = tensor.compute(data, inside)
    inner = ndimage.binary_erosion(inside, iterations=2)
    white = inner & (expected > 0.2) & (maps.fa > 0.2)
    assert white.sum() > 5000
    assert np.abs(maps.fa - expected)[white].mean() <= 0.006
    signal = data.data[white]
    ordinary = anisotropy_of(fit.fit(signal, table(data.gradients), weighted=False))
    assert np.abs(ordinary - expected[white]).mean() > 0.01


@pytest.mark.parametrize("seed", [31, 32, 33])
def test_phantoms_tracts_within_2_percent(seed: int) -> None:
    """Whole tract masks, not eroded, at SNR 30 with the example's motion."""
    scan = scans.phantom(seed, voxel_size=2.5)
    maps = tensor.compute(scans.as_series(scan), scan.mask)
    for name in TRACTS:
        tract = scan.tracts[name]
        assert maps.fa[tract].mean() == pytest.approx(scan.fa[tract].mean(), rel=0.02), name
        assert maps.md[tract].mean() == pytest.approx(scan.md[tract].mean(), rel=0.02), name


@pytest.mark.parametrize(
    ("axes", "tilt"), [("LAS", (0, 0, 0)), ("RAS", (0, 0, 0)), ("LAS", (20, -15, 25)),
                       ("RAS", (20, -15, 25))]
)  # fmt: skip
def test_directions_are_the_worlds(axes: str, tilt: tuple[int, ...]) -> None:
    """Both signs of the determinant, straight and oblique."""
    scan = scans.phantom(21, axes=axes, tilt=tilt)
    maps = tensor.compute(scans.as_series(scan), scan.mask)
    sure = scan.tracts["cst_left"] | scan.tracts["cst_right"] | scan.tracts["callosum"]
    rows = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])
    truth = np.linalg.eigh(scan.tensors[sure][:, rows])[1][:, :, 2]
    found = tensor.to_world(maps.principal[sure], scan.affine)
    angle = np.degrees(np.arccos(np.clip(np.abs((truth * found).sum(axis=1)), 0, 1)))
    assert np.median(angle) < 4
    shown = tensor.colours(maps, scan.affine)[sure] / 255
    assert np.median(np.abs(shown - np.abs(truth) * scan.fa[sure][:, None])) < 0.05


def test_callosum_is_red_in_the_middle_and_the_corticospinal_tract_blue() -> None:
    scan = scans.phantom(21, axes="RAS", tilt=(20, -15, 25))
    shown = tensor.colours(tensor.compute(scans.as_series(scan), scan.mask), scan.affine)
    callosum, cst = scan.tracts["callosum"], scan.tracts["cst_left"]
    right = nib.affines.apply_affine(scan.affine, np.argwhere(callosum))[:, 0]
    assert shown[callosum][np.abs(right) < 4].mean(axis=0).argmax() == 0
    assert shown[cst].mean(axis=0).argmax() == 2


@pytest.mark.shared_data
def test_tiny_b_values_count_as_zero(real: dict[str, Path]) -> None:
    """The Philips scanner wrote 0.001 to 0.004 for its b=0 volumes, with directions."""
    data = scans.loaded(real["philips"])
    bvals = data.gradients.bvals
    assert 0 < bvals[data.gradients.b0].max() < 0.01
    assert data.gradients.b0.sum() == 5
    inside = np.zeros(data.data.shape[:3], dtype=bool)
    inside[40:70, 40:70, 12:20] = True
    zeroed = Gradients(np.where(data.gradients.b0, 0, bvals), data.gradients.bvecs)
    tiny = tensor.compute(data, inside)
    exact = tensor.compute(dataclasses.replace(data, gradients=zeroed), inside)
    change = np.abs(tiny.fa - exact.fa)[inside]
    assert change.max() < 1e-3
    assert change.mean() < 1e-5


def small(data: np.ndarray, gradients: Gradients) -> series.Series:
    """Return a series of few voxels."""
    return series.Series(
        Path("sub-01_desc-converted_dwi.nii.gz"), "sub-01", data.astype(np.float32),
        np.diag([-2.0, 2, 2, 1]), None, gradients,
    )  # fmt: skip


def test_unphysical_voxels_are_counted_and_stay_in_range() -> None:
    scan = scans.phantom(21)
    noise = np.random.default_rng(4).uniform(1, 1000, (6, 6, 6, len(scan.bvals)))
    noise[0, 0, 0] = 0
    data = small(noise, Gradients(scan.bvals, scan.bvecs))
    everywhere = np.ones((6, 6, 6), dtype=bool)
    maps = tensor.compute(data, everywhere)
    assert maps.unphysical[0, 0, 0]
    assert 0.3 < maps.unphysical.mean() < 1
    for values in (maps.fa, maps.md, maps.ad, maps.rd, maps.residual, maps.principal):
        assert np.isfinite(values).all()
    assert 0 <= maps.fa.min() <= maps.fa.max() <= 1
    numbers = tensor.metrics(data, maps, everywhere)
    assert numbers["unphysical_fraction"] == pytest.approx(maps.unphysical.mean(), rel=1e-5)


def test_metrics_without_white_matter_are_unknown() -> None:
    scan = scans.phantom(21)
    signal = 1000 * np.exp(-np.asarray(scan.bvals) * 1e-3) * np.ones((6, 6, 6, 1))
    data = small(signal, Gradients(scan.bvals, scan.bvecs))
    everywhere = np.ones((6, 6, 6), dtype=bool)
    maps = tensor.compute(data, everywhere)
    assert maps.md[3, 3, 3] == pytest.approx(1e-3, rel=1e-5)
    numbers = tensor.metrics(data, maps, everywhere)
    assert numbers["fa_mean_white_matter"] is None
    assert numbers["md_mean_white_matter"] is None


def saved(path: Path, values: np.ndarray, affine: np.ndarray) -> Path:
    """Write a mask."""
    nib.save(nib.Nifti1Image(values.astype(np.uint8), affine), path)
    return path


def test_masks_that_do_not_belong_are_refused(tmp_path: Path) -> None:
    scan = scans.phantom(21)
    data = scans.as_series(scan)
    shifted = scan.affine.copy()
    shifted[0, 3] += 3
    inside = scan.mask
    for values, affine, message in (
        (inside[1:], scan.affine, "59x72x52 voxels, .* has 60x72x52"),
        (inside, shifted, "lies elsewhere in space"),
        (np.zeros_like(inside), scan.affine, "the mask is empty"),
    ):
        with pytest.raises(Failure, match=message) as caught:
            tensor.read_mask(saved(tmp_path / "mask.nii.gz", values, affine), data)
        assert caught.value.category == Category.DATA_INVALID
    good = saved(tmp_path / "mask.nii.gz", inside, scan.affine)
    assert (tensor.read_mask(good, data) == inside).all()
    broken = data.data.copy()
    broken[tuple(np.argwhere(inside)[100])] = np.nan
    with pytest.raises(Failure, match="not finite numbers"):
        tensor.read_mask(good, dataclasses.replace(data, data=broken))
    with pytest.raises(Failure, match="no signal"):
        tensor.read_mask(good, dataclasses.replace(data, data=np.zeros_like(broken)))


def test_gradients_that_determine_no_tensor_are_refused() -> None:
    scan = scans.phantom(21)
    few = Gradients(scan.bvals[:6], scan.bvecs[:6])
    with pytest.raises(Failure, match="distinct diffusion directions") as caught:
        tensor.compute(small(np.ones((3, 3, 3, 6)), few), np.ones((3, 3, 3), dtype=bool))
    assert caught.value.category == Category.DATA_INVALID


def test_tool_makes_the_folder_of_the_contract(tmp_path: Path) -> None:
    scan = scans.phantom(21)
    dwi = scans.written(scan, tmp_path / "convert" / "dwi")
    mask = saved(tmp_path / "sub-01_desc-brain_mask.nii.gz", scan.mask, scan.affine)
    for name in ("tensor", "again"):
        done = scans.tool("dwi-tensor", dwi, "--mask", mask, "--output", tmp_path / name)
        assert done.returncode == 0, done.stderr
    files = scans.tree(tmp_path / "tensor")
    maps = ("FA", "MD", "RD", "AD", "DEC", "V1")
    stem = "dwi/sub-01_space-orig_model-DTI_param-"
    assert set(files) == {
        *(f"{stem}{name}_dwimap.{end}" for name in maps for end in ("nii.gz", "json")),
        "figures/sub-01_desc-tensor_dwi.png",
        "metrics.json",
    }
    assert files == scans.tree(tmp_path / "again"), "the same input gives the same bytes"
    for name in maps:
        image = nib.load(tmp_path / "tensor" / f"{stem}{name}_dwimap.nii.gz")
        assert np.allclose(image.affine, scan.affine, atol=1e-4)
        colour = name == "DEC"
        assert image.get_data_dtype() == (np.uint8 if colour else np.float32)
        assert image.shape == (*scan.mask.shape, 3) if name in {"DEC", "V1"} else scan.mask.shape
        assert not np.asarray(image.dataobj)[~scan.mask].any()
        sidecar = json.loads(files[f"{stem}{name}_dwimap.json"])
        assert sidecar["Units"] == ("arbitrary" if name in {"FA", "DEC", "V1"} else "mm^2/s")
        assert sidecar["Sources"][0] == "bids::sub-01/dwi/sub-01_desc-converted_dwi.nii.gz"
        assert "weighted least squares" in sidecar["Model"]["Parameters"]["FitMethod"]
    metrics = json.loads(files["metrics.json"])
    assert 0.3 < metrics["fa_mean_white_matter"] < 0.8
    assert metrics["md_mean_white_matter"] == pytest.approx(0.75e-3, rel=0.1)
    assert 0 < metrics["tensor_rms"] < 0.1
    assert metrics["unphysical_fraction"] < 0.02

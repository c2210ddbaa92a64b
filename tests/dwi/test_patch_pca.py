"""Denoising of patches: true on phantoms of known noise, as others do it, harmless without."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from cohortflow.dwi import denoise, patch_pca
from cohortflow.dwi.patch_pca import Denoised
from cohortflow.example import acquire
from cohortflow.example.phantom import S0, Phantom, Tissue, make_phantom
from dwi import scans, small

LAGS = 3


@lru_cache(maxsize=3)
def clean_scan(seed: int, directions: int = 30) -> Phantom:
    """Return a still head of other people than those the method was tried on, without noise."""
    return make_phantom(
        seed,
        snr=math.inf,
        motion=0,
        directions=directions,
        voxel_size=4,
        shape=(40, 48, 24),
    )


def noise_of(snr: float) -> float:
    """Return the noise a channel at which white matter without weighting has an SNR."""
    return S0[Tissue.WHITE] / snr


def noisy_scan(seed: int, snr: float, *, rician: bool = True, directions: int = 30) -> np.ndarray:
    """Add noise to a scan: of a magnitude image, or as much of the one channel with the signal."""
    clean = clean_scan(seed, directions).data.astype(np.float32)
    rng = np.random.default_rng([seed, int(snr)])
    if rician:
        return acquire.rician(clean, noise_of(snr), rng)
    return clean + np.float32(noise_of(snr)) * rng.standard_normal(clean.shape, np.float32)


@lru_cache(maxsize=8)
def denoised(seed: int, snr: float, *, rician: bool = True, directions: int = 30) -> Denoised:
    """Denoise a scan with the step's own window."""
    data = noisy_scan(seed, snr, rician=rician, directions=directions)
    window = denoise.window_of(data.shape[3], data.shape)
    return patch_pca.denoise(data, window)


def error(data: np.ndarray, scan: Phantom) -> float:
    """Return the root of the mean squared difference to the truth over the brain."""
    return float(np.sqrt(((data - scan.data)[scan.mask].astype(np.float64) ** 2).mean()))


def structure(removed: np.ndarray, mask: np.ndarray) -> float:
    """Return the strongest autocorrelation off the origin, up to three voxels along each axis."""
    inside = np.pad(mask, LAGS).astype(float)
    overlap = np.fft.ifftn(np.abs(np.fft.fftn(inside)) ** 2).real
    total = np.zeros_like(overlap)
    for volume in np.moveaxis(removed, -1, 0):
        values = np.pad(volume - volume[mask].mean(), LAGS) * inside
        total += np.fft.ifftn(np.abs(np.fft.fftn(values)) ** 2).real
    near = np.ix_(*(np.arange(-LAGS, LAGS + 1) % size for size in total.shape))
    found = total[near] / np.maximum(overlap[near], 1)
    found /= found[LAGS, LAGS, LAGS]
    found[LAGS, LAGS, LAGS] = 0
    return float(found.flat[np.argmax(np.abs(found))])


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of two arrays."""
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@pytest.mark.parametrize(
    ("snr", "rician", "gain", "off"),
    [
        (15, False, 2.2, 0.02),
        (15, True, 2.2, 0.03),
        (30, True, 1.9, 0.02),
        (8, True, 2.2, 0.05),  # the bias of magnitudes stays, and makes their noise less
    ],
)
@pytest.mark.parametrize("seed", [611, 612])
def test_error_falls_and_the_noise_level_is_right(
    seed: int, snr: float, rician: bool, gain: float, off: float
) -> None:
    scan, noisy = clean_scan(seed), noisy_scan(seed, snr, rician=rician)
    result = denoised(seed, snr, rician=rician)
    assert error(noisy, scan) / error(result.data, scan) >= gain
    level = np.median(result.sigma[scan.mask])
    assert level == pytest.approx(noise_of(snr), rel=off)


@pytest.mark.parametrize("snr", [8, 15, 30])
def test_what_is_removed_has_no_structure(snr: float) -> None:
    scan, noisy = clean_scan(611), noisy_scan(611, snr)
    removed = noisy - denoised(611, snr).data
    assert abs(structure(removed, scan.mask)) <= 0.05
    truth = scan.data[scan.mask].astype(np.float64)
    assert abs(correlation(removed[scan.mask], truth)) <= 0.05
    edges = ndimage.morphological_gradient(scan.s0, size=3) > 300
    strong, weak = (np.std(removed[scan.mask & where]) for where in (edges, ~edges))
    assert strong == pytest.approx(weak, rel=0.1), "edges leave as much as flat parts"


def test_the_measure_of_structure_sees_a_smoothing() -> None:
    """Else the test before would prove nothing."""
    scan, noisy = clean_scan(611), noisy_scan(611, 15)
    smoothed = ndimage.gaussian_filter(noisy, (0.5, 0.5, 0.5, 0))
    assert abs(structure(noisy - smoothed, scan.mask)) > 0.1


@pytest.mark.parametrize(("directions", "gain", "off"), [(6, 1.5, 0.12), (12, 1.7, 0.05)])
def test_few_directions_gain_less(directions: int, gain: float, off: float) -> None:
    scan = clean_scan(613, directions)
    result = denoised(613, 15, directions=directions)
    assert result.edges == (3, 3, 3)
    noisy = noisy_scan(613, 15, directions=directions)
    assert error(noisy, scan) / error(result.data, scan) >= gain
    assert np.median(result.sigma[scan.mask]) == pytest.approx(noise_of(15), rel=off)


def test_signal_without_noise_hardly_changes() -> None:
    """Whole numbers have the noise of rounding, a standard deviation of a root of 1/12."""
    scan = clean_scan(611)
    result = patch_pca.denoise(scan.data.astype(np.float32), 5)
    assert np.abs(result.data - scan.data).max() < 1
    assert np.median(result.sigma[scan.mask]) == pytest.approx(math.sqrt(1 / 12), rel=0.1)


@pytest.mark.parametrize("rank", [1, 2, 3, 6])
def test_signal_of_few_components_is_no_noise(rank: int) -> None:
    rng = np.random.default_rng(rank)
    shares = rng.uniform(1, 2, (8, 8, 6, rank)) * 10.0 ** -np.arange(rank)
    data = (shares @ rng.uniform(100, 900, (rank, 20))).astype(np.float32)
    result = patch_pca.denoise(data, 3)
    assert np.abs(result.data / data - 1).max() < 1e-5
    assert result.sigma.max() < 1e-3


def test_pure_noise_about_a_mean_goes_but_for_the_mean() -> None:
    rng = np.random.default_rng(7)
    data = (100 + rng.standard_normal((14, 14, 14, 30))).astype(np.float32)
    result = patch_pca.denoise(data, 5)
    assert result.components.mean() == pytest.approx(1, abs=0.2), "now and then one of noise"
    assert result.sigma == pytest.approx(np.full(result.sigma.shape, 1), abs=0.1)
    assert result.sigma.mean() == pytest.approx(1, rel=0.01)
    assert np.std(result.data - 100) < 0.25


def test_noise_that_is_not_even_is_followed() -> None:
    scan = clean_scan(612)
    ramp = np.linspace(30, 90, scan.data.shape[0], dtype=np.float32)[:, None, None]
    rng = np.random.default_rng(8)
    noisy = scan.data + ramp[..., None] * rng.standard_normal(scan.data.shape, np.float32)
    found = patch_pca.denoise(noisy, 5).sigma / ramp
    assert np.median(found[scan.mask]) == pytest.approx(1, rel=0.05)
    assert np.percentile(np.abs(found[scan.mask] - 1), 95) < 0.12


def test_units_do_not_matter() -> None:
    noisy = noisy_scan(611, 15)[8:24, 10:26, 8:16]
    one, other = patch_pca.denoise(noisy, 5), patch_pca.denoise(noisy * np.float32(0.25), 5)
    assert np.allclose(one.data * 0.25, other.data, rtol=1e-5, atol=1e-3)
    assert np.allclose(one.sigma * 0.25, other.sigma, rtol=1e-5)
    assert np.array_equal(one.components, other.components)


def test_eigenvalues_of_noise_are_counted_right() -> None:
    """Noise of a known level, and components that stand out of it or not."""
    rng = np.random.default_rng(9)
    for signal, kept in ((0, 0), (1, 1), (4, 4)):
        matrix = 2 * rng.standard_normal((300, 40))
        matrix[:, :signal] *= 20
        values = np.linalg.eigvalsh(matrix.T @ matrix)
        noise, variance = patch_pca.marchenko_pastur(values, 300)
        assert 40 - noise == kept
        assert variance == pytest.approx(4, rel=0.05)


def test_volumes_that_depend_on_others_change_no_level() -> None:
    rng = np.random.default_rng(10)
    matrix = rng.standard_normal((300, 40))
    matrix[:, 38:] = matrix[:, :2] + matrix[:, 2:4]
    noise, variance = patch_pca.marchenko_pastur(np.linalg.eigvalsh(matrix.T @ matrix), 300)
    assert noise >= 38
    assert variance == pytest.approx(1, rel=0.1)


def crop(seed: int = 611) -> np.ndarray:
    """Return a small part of a noisy scan."""
    return noisy_scan(seed, 15)[12:24, 16:28, 8:18]


def test_agrees_with_dipy() -> None:
    from dipy.denoise.localpca import mppca

    data = crop()
    theirs, sigma = mppca(data, patch_radius=2, return_sigma=True)
    ours = patch_pca.denoise(data, 5)
    assert correlation(ours.data, theirs) >= 0.998
    assert correlation(ours.data - data, theirs - data) >= 0.98
    assert np.median(ours.sigma) == pytest.approx(np.median(sigma), rel=0.05)


def agreement_with_mrtrix(path: Path, folder: Path) -> tuple[float, float, float]:
    """Return how images and changes correlate with dwidenoise, and the ratio of noise levels."""
    out, level = folder / "out.nii", folder / "level.nii"
    scans.mrtrix("dwidenoise", path, out, "-noise", level, "-nthreads", "1")
    data = np.asarray(nib.load(path).dataobj, np.float32)
    theirs, sigma = (np.asarray(nib.load(name).dataobj, np.float32) for name in (out, level))
    ours = patch_pca.denoise(data, denoise.window_of(data.shape[3], data.shape))
    inside = (ours.sigma > 0) & (sigma > 0)
    ratio = float(np.median(ours.sigma[inside] / sigma[inside]))
    here, there = (made[inside] for made in (ours.data, theirs))
    return (
        correlation(here, there),
        correlation(here - data[inside], there - data[inside]),
        ratio,
    )


def test_agrees_with_mrtrix_on_a_phantom(tmp_path: Path) -> None:
    path = tmp_path / "dwi.nii"
    nib.save(nib.Nifti1Image(noisy_scan(612, 15), np.eye(4)), path)
    images, changes, ratio = agreement_with_mrtrix(path, tmp_path)
    assert images >= 0.99
    assert changes >= 0.95
    assert ratio == pytest.approx(1, abs=0.05)


@pytest.mark.shared_data
def test_agrees_with_mrtrix_on_a_patient(real: dict[str, Path], tmp_path: Path) -> None:
    images, changes, ratio = agreement_with_mrtrix(real["7006"], tmp_path)
    assert images >= 0.99
    assert changes >= 0.7, "noise of images that were interpolated is not even"
    assert ratio == pytest.approx(1, abs=0.2)


def test_threads_memory_order_and_repetition_change_no_byte() -> None:
    data = crop()
    once = patch_pca.denoise(data, 5, 1)
    for other in (
        patch_pca.denoise(data, 5, 1),
        patch_pca.denoise(data, 5, 2),
        patch_pca.denoise(np.asfortranarray(data), 5, 3),
    ):
        assert np.array_equal(once.data, other.data)
        assert np.array_equal(once.sigma, other.sigma)
        assert np.array_equal(once.components, other.components)


def test_a_background_of_zeros_stays_and_does_not_count() -> None:
    scan, noisy = clean_scan(612), noisy_scan(612, 15)
    noisy[~scan.mask] = 0
    result = patch_pca.denoise(noisy, 5)
    assert not result.data[~scan.mask].any()
    assert np.isfinite(result.data).all()
    assert error(noisy, scan) / error(result.data, scan) >= 1.9
    reached = scan.mask & (result.sigma > 0)
    assert reached.sum() > 0.99 * scan.mask.sum()
    assert np.array_equal(result.data[scan.mask & ~reached], noisy[scan.mask & ~reached])
    assert np.median(result.sigma[reached]) == pytest.approx(noise_of(15), rel=0.05)


def test_a_voxel_that_lies_in_no_patch_with_enough_signal_stays() -> None:
    data = np.zeros((12, 12, 12, 10), np.float32)
    data[2, 3, 2] = data[9:11, 9, 9] = np.arange(100, 110)
    result = patch_pca.denoise(data, 3)
    assert np.array_equal(result.data, data)
    assert not result.sigma.any()
    assert not result.components.any()


@pytest.mark.parametrize("shape", [(6, 5, 4), (3, 3, 2), (2, 3, 1), (40, 1, 1), (9, 8, 1)])
def test_images_smaller_than_a_patch_are_denoised(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(11)
    tissue = rng.uniform(500, 1500, (*shape, 1)) * np.exp(-small.BVALS / 1200)
    data = (tissue + 5 * rng.standard_normal((*shape, 7))).astype(np.float32)
    window = denoise.window_of(7, shape)
    result = patch_pca.denoise(data, window)
    assert result.edges == tuple(min(window, size) for size in shape)
    assert result.data.shape == data.shape
    assert np.std(result.data - tissue) < np.std(data - tissue)
    assert np.median(result.sigma) == pytest.approx(5, rel=0.5)

"""Removal of Gibbs ringing: true on phantoms that ring, as MRtrix3 does it, harmless elsewhere."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import subvoxel, unring
from cohortflow.dwi.gradients import Gradients
from cohortflow.dwi.series import Series
from cohortflow.example import ringing
from cohortflow.example.ringing import Ringing
from dwi import scans

EDGES = ((1, 24), (24, 1), (13, 10), (16, 16))


@lru_cache(maxsize=3)
def ringing_scan(seed: int, snr: float = math.inf) -> Ringing:
    """Return a scan of other people than those the method was tried on."""
    return ringing.scan(seed, snr=snr, shape=(60, 72, 3))


def as_series(scan: Ringing, **fields: object) -> Series:
    """See a scan as the tools see a converted series."""
    return Series(
        path=Path("sub-01_desc-converted_dwi.nii.gz"),
        prefix="sub-01",
        data=scan.data,
        affine=scan.affine,
        head=None,
        gradients=Gradients(scan.bvals, scan.bvecs),
        fields=fields,
    )


def written(scan: Ringing, folder: Path, **fields: object) -> Path:
    """Write a scan as dwi-convert does."""
    folder.mkdir(parents=True)
    path = folder / "sub-01_desc-converted_dwi.nii.gz"
    nib.save(nib.Nifti1Image(scan.data, scan.affine), path)
    stem = str(path).removesuffix(".nii.gz")
    np.savetxt(f"{stem}.bval", scan.bvals[None])
    np.savetxt(f"{stem}.bvec", scan.bvecs.T)
    Path(f"{stem}.json").write_text(json.dumps(fields))
    return path


def energy(image: np.ndarray, scan: Ringing) -> float:
    """Return the squared difference to the truth, summed over the flat voxels near edges."""
    return float(((image - scan.truth)[scan.near].astype(np.float64) ** 2).sum())


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of two images."""
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def random_slices(first: int, second: int, seed: int = 5) -> np.ndarray:
    """Return two slices of two volumes with values about 100."""
    rng = np.random.default_rng(seed)
    return rng.normal(100, 20, (first, second, 2, 2)).astype(np.float32)


@pytest.mark.parametrize("seed", [401, 402])
def test_ringing_near_edges_falls_by_more_than_half(seed: int) -> None:
    scan = ringing_scan(seed)
    assert scan.near.sum() > 1000
    before = energy(scan.data, scan)
    level = scan.truth[scan.mask].mean()
    assert before / scan.near.sum() > (0.02 * level) ** 2, "the phantom rings"
    after = energy(subvoxel.unring(scan.data), scan)
    assert after <= 0.2 * before


def test_with_noise_the_whole_error_near_edges_falls_by_more_than_half() -> None:
    scan = ringing_scan(403, 25.0)
    assert energy(subvoxel.unring(scan.data), scan) <= 0.5 * energy(scan.data, scan)


def test_overshoot_of_a_block_vanishes_wherever_its_edges_lie() -> None:
    """An edge whose k-space is cut off overshoots by up to 9 %."""
    before, after = [], []
    for offset in range(5):
        fine = np.zeros((300, 240, 1, 1), np.float32)
        fine[60 + offset : 200 + offset, 50 + offset : 170 + offset] = 1000
        image = np.abs(ringing.truncate(fine, (60, 48))).astype(np.float32)
        inside = np.s_[14:39, 12:33]  # a voxel or more from the edges
        before.append(np.abs(image[inside] - 1000).max())
        after.append(np.abs(subvoxel.unring(image)[inside] - 1000).max())
    assert max(before) > 85
    assert max(after) < 20


def slowly(plane: np.ndarray) -> np.ndarray:
    """Do what the paper says, one line and one voxel after the other."""
    a, b = (1 + np.cos(2 * np.pi * np.fft.fftfreq(n)) for n in plane.shape)
    both = a[:, None] + b
    share = np.where(both > 1e-9, b / np.maximum(both, 1e-9), 0.5)
    part = np.fft.ifft2(np.fft.fft2(plane) * share).real
    along = np.array([slow_line(line) for line in part.T]).T
    return along + np.array([slow_line(line) for line in plane - part])


def slow_line(line: np.ndarray) -> np.ndarray:
    """Unring one line."""
    size, waves = len(line), np.fft.rfft(line)
    shifts = [0.0] + [sign * j / 41 for j in range(1, 21) for sign in (1, -1)]
    turn = 2j * np.pi * np.arange(len(waves)) / size
    moved = [np.fft.irfft(waves * np.exp(turn * shift), size) for shift in shifts]
    made = np.empty(size)
    for u in range(size):
        varies = [
            min(
                sum(abs(m[(u + s * t) % size] - m[(u + s * (t + 1)) % size]) for t in (1, 2, 3))
                for s in (1, -1)
            )
            for m in moved
        ]
        best = int(np.argmin(varies))
        shift, m = shifts[best], moved[best]
        beside = m[(u - int(np.sign(shift))) % size]
        made[u] = (1 - abs(shift)) * m[u] + abs(shift) * beside
    return made


@pytest.mark.parametrize(("first", "second"), EDGES)
def test_equals_the_paper_done_slowly(first: int, second: int) -> None:
    """Odd, even, not square, and a single line."""
    data = random_slices(first, second)
    made = subvoxel.unring(data)
    wanted = slowly(data[:, :, 1, 0].astype(np.float64))
    close = np.isclose(made[:, :, 1, 0], wanted, atol=2e-3)
    # Two shifts can vary alike to the last digit of 32 bits: then either is right.
    assert close.mean() > 0.99


@pytest.mark.parametrize("size", [8, 9])
def test_a_shift_is_exact_for_waves(size: int) -> None:
    matrices, shifts = subvoxel.shift_matrices(size), subvoxel.shift_sizes()
    places = np.arange(size)
    assert np.allclose(matrices[0], np.eye(size), atol=1e-6)
    assert len(shifts) == len(set(np.abs(shifts))) * 2 - 1 == 41
    for matrix, shift in zip(matrices, shifts, strict=True):
        assert np.allclose(matrix.sum(axis=1), 1, atol=1e-5)
        for waves in range(1, (size - 1) // 2 + 1):
            turn = 2 * np.pi * waves / size
            line = np.cos(turn * places + 0.7)
            assert np.allclose(matrix @ line, np.cos(turn * (places + shift) + 0.7), atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_slices_axis_is_the_one_given(axis: int) -> None:
    data = random_slices(12, 15)
    turned = subvoxel.unring(np.moveaxis(data, 2, axis), axis)
    assert np.array_equal(np.moveaxis(turned, axis, 2), subvoxel.unring(data))


def test_threads_and_memory_order_change_no_byte() -> None:
    data = random_slices(21, 16)
    once = subvoxel.unring(data, threads=1)
    fortran = subvoxel.unring(np.asfortranarray(data), threads=2)
    assert np.array_equal(once, fortran)
    assert fortran.flags.f_contiguous


def test_flat_slices_stay_and_nothing_falls_below_zero() -> None:
    data = np.abs(random_slices(16, 18) - 100)
    data[:, :, 0, 0], data[:, :, 1, 1] = 0, 123.4
    made = subvoxel.unring(data)
    assert np.array_equal(made[:, :, 0, 0], data[:, :, 0, 0])
    assert np.array_equal(made[:, :, 1, 1], data[:, :, 1, 1])
    assert made.min() >= 0
    assert not np.allclose(made[:, :, 1, 0], data[:, :, 1, 0])
    assert subvoxel.unring(data - 5).min() < 0, "values below 0 were there before"


def test_an_image_without_edges_hardly_changes() -> None:
    x, y = np.meshgrid(np.arange(40), np.arange(48), indexing="ij")
    blob = 1000 * np.exp(-((x - 19) ** 2 + (y - 25) ** 2) / 120)
    data = blob[:, :, None, None].astype(np.float32)
    assert np.abs(subvoxel.unring(data) - data).max() < 10


def compare(path: Path, folder: Path) -> tuple[float, float]:
    """Return how images and changes correlate with mrdegibbs."""
    scans.mrtrix("mrdegibbs", path, folder / "out.nii", "-nthreads", "1")
    theirs = np.asarray(nib.load(folder / "out.nii").dataobj, np.float32)
    data = np.asarray(nib.load(path).dataobj, np.float32)
    ours = subvoxel.unring(data)
    return correlation(ours, theirs), correlation(ours - data, theirs - data)


def test_agrees_with_mrtrix_on_a_phantom(tmp_path: Path) -> None:
    images, changes = compare(written(ringing_scan(403, 25.0), tmp_path / "dwi"), tmp_path)
    assert images >= 0.999
    assert changes >= 0.95


@pytest.mark.shared_data
def test_agrees_with_mrtrix_on_a_patient(real: dict[str, Path], tmp_path: Path) -> None:
    images, changes = compare(real["7006"], tmp_path)
    assert images >= 0.999
    assert changes >= 0.95


@pytest.mark.parametrize("snr", [math.inf, 12.0])
@pytest.mark.parametrize("share", [1.0, 5 / 6, 2 / 3, 0.5])
def test_empty_outer_k_space_is_seen(snr: float, share: float) -> None:
    """Of the same head, noise added before zeros were filled in."""
    scan = ringing_scan(401)
    rng = np.random.default_rng(9)
    sizes = tuple(round(share * n) for n in scan.truth.shape[:2])
    small = ringing.truncate(scan.truth[..., 0], (sizes[0], sizes[1]))
    small += 1000 / snr * rng.standard_normal(small.shape)
    image = np.abs(ringing.refill(small, scan.truth.shape[:2])).astype(np.float32)
    found = [unring.filled(image, axis) for axis in (0, 1)]
    assert found == pytest.approx([share, share], abs=0.05 if share < 1 else 0)


@pytest.mark.shared_data
def test_k_space_of_the_scanners(real: dict[str, Path]) -> None:
    """Toshiba filtered the first axis strongly, Philips neither."""
    toshiba, philips = (scans.loaded(real[name]).b0 for name in ("7006", "philips"))
    assert unring.filled(toshiba, 0) == pytest.approx(0.58, abs=0.06)
    assert unring.filled(toshiba, 1) == 1
    assert [unring.filled(philips, axis) for axis in (0, 1)] == [1, 1]


def test_too_little_to_tell_counts_as_whole() -> None:
    assert unring.filled(np.zeros((40, 40, 2), np.float32), 0) == 1
    assert unring.filled(random_slices(20, 20)[..., 0], 0) == 1


def test_the_sidecar_tells_the_slices_axis() -> None:
    assert unring.axis_of({}) == 2
    assert unring.axis_of({"SliceEncodingDirection": "i-"}) == 0
    assert unring.axis_of({"SliceEncodingDirection": "i-"}, "j") == 1
    for wrong in ("x", "", 2, None, "ij"):
        with pytest.raises(Failure, match="SliceEncodingDirection") as caught:
            unring.axis_of({"SliceEncodingDirection": wrong})
        assert caught.value.category == Category.DATA_INVALID


@pytest.mark.parametrize(
    ("told", "known", "warned"),
    [(0.75, 0.75, 1), (1, 1.0, 0), ("6/8", None, 0), (0, None, 0), (True, None, 0)],
)
def test_partial_fourier_is_warned_of(told: object, known: float | None, warned: int) -> None:
    data = as_series(ringing_scan(401), PartialFourier=told)
    small = dataclasses.replace(data, data=data.data[..., :2], gradients=Gradients(
        data.gradients.bvals[:2], data.gradients.bvecs[:2]))  # fmt: skip
    result = unring.compute(small)
    assert result.partial == known
    assert sum("partial Fourier" in text for text in result.warnings) == warned


def test_values_that_are_not_finite_are_refused() -> None:
    data = as_series(ringing_scan(401))
    broken = data.data.copy()
    broken[3, 3, 1, 1] = np.nan
    with pytest.raises(Failure, match="not finite") as caught:
        unring.compute(dataclasses.replace(data, data=broken))
    assert caught.value.category == Category.DATA_INVALID


def test_tool_makes_the_folder_of_the_contract(tmp_path: Path) -> None:
    scan = ringing_scan(403, 25.0)
    fields = {"PartialFourier": 0.75, "Preprocessing": [{"Name": "denoise"}]}
    dwi = written(scan, tmp_path / "convert" / "dwi", **fields)
    for name, threads in (("unring", 1), ("again", 2)):
        call = ("dwi-unring", dwi, "--output", tmp_path / name, "--threads", threads)
        done = scans.tool(*call, "--unit", "sub-01")
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith("WARNING sub-01 sub-01_desc-converted_dwi.nii.gz: partial")
    files = scans.tree(tmp_path / "unring")
    stem = "dwi/sub-01_desc-unringed_dwi"
    assert set(files) == {
        *(f"{stem}.{end}" for end in ("nii", "bval", "bvec", "json")),
        "figures/sub-01_desc-unring_dwi.png",
        "metrics.json",
    }
    assert files == scans.tree(tmp_path / "again"), "threads change no byte"
    image = nib.load(tmp_path / "unring" / f"{stem}.nii")
    assert image.get_data_dtype() == np.float32
    assert np.array_equal(np.asarray(image.dataobj), subvoxel.unring(scan.data))
    assert np.allclose(image.affine, scan.affine, atol=1e-4)
    done_before, step = json.loads(files[f"{stem}.json"])["Preprocessing"]
    assert done_before == {"Name": "denoise"}
    assert (step["Name"], step["SliceAxis"], step["Shifts"]) == ("unring", "k", 41)
    assert step["FilledKSpace"] == {"i": 1.0, "j": 1.0}
    assert len(step["Warnings"]) == 1
    metrics = json.loads(files["metrics.json"])
    assert 0.02 < metrics["ringing_removed"] < 0.2
    assert 0 < metrics["ringing_removed_weighted"] < metrics["ringing_removed"]
    assert metrics["kspace_filled"] == 1
    assert metrics["partial_fourier"] == 0.75


def test_tools_dry_run_writes_nothing(tmp_path: Path) -> None:
    dwi = written(ringing_scan(403, 25.0), tmp_path / "dwi")
    done = scans.tool("dwi-unring", dwi, "--output", tmp_path / "unring", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "8 volumes" in done.stdout
    assert not (tmp_path / "unring").exists()

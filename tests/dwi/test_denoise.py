"""The step dwi-denoise: what it takes and refuses, its files and its numbers."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import denoise
from cohortflow.dwi.patch_pca import Denoised
from cohortflow.dwi.series import Series
from cohortflow.example.phantom import Phantom, make_phantom
from dwi import scans, small

SNR = 20.0
SIGMA = 1000 / SNR


@lru_cache(maxsize=2)
def scan(snr: float = SNR) -> Phantom:
    """Return a still head: of other people, and of another noise, than the method was tried on."""
    return make_phantom(
        621, snr=snr, motion=0, directions=24, voxel_size=5, shape=(32, 40, 20), b_value=800
    )


@lru_cache(maxsize=1)
def result() -> Denoised:
    """Denoise the head."""
    return denoise.compute(scans.as_series(scan()))


def changed(data: np.ndarray) -> Series:
    """Return the head's series with other values."""
    return dataclasses.replace(scans.as_series(scan()), data=data)


def test_the_window_has_half_as_many_voxels_again_as_volumes() -> None:
    for volumes in (7, 18, 19, 65, 126, 300, 5000):
        for shape in ((96, 96, 60), (96, 96, 1), (4, 4, 4)):
            edge = denoise.window_of(volumes, shape)
            assert edge % 2 == 1
            enough, less = (
                2 * np.prod(np.minimum(size, shape)) >= 3 * volumes for size in (edge, edge - 2)
            )
            assert enough or edge == 15
            assert not less or edge == 3


def test_a_series_that_cannot_be_denoised_is_refused() -> None:
    whole = scans.as_series(scan())

    def refused(data: np.ndarray, window: int = 0) -> Failure:
        with pytest.raises(Failure) as caught:
            denoise.check(dataclasses.replace(whole, data=data), window)
        return caught.value

    data = small.series_data()
    assert denoise.check(whole) == 5
    assert "5 volumes" in str(refused(data[..., :5]))
    assert "4 voxels" in str(refused(data[:2, :2, :1]))
    for value in (np.nan, np.inf):
        broken = data.copy()
        broken[1, 2, 3, 4] = value
        failure = refused(broken)
        assert failure.category == Category.DATA_INVALID
        assert "not finite" in str(failure)
    for window in (1, 4, 17, -3):
        assert refused(data, window).category == Category.USAGE


def test_numbers_are_those_of_the_phantom() -> None:
    """Medians over the brain that is found, which is nearly the true one."""
    data, truth = scans.as_series(scan()), scan(math.inf).data
    numbers = denoise.metrics(data, result())
    mask = scan().mask
    assert numbers["noise_sigma"] == pytest.approx(SIGMA, rel=0.05)
    ratio = np.median(data.b0[mask]) / SIGMA
    assert numbers["noise_snr_b0"] == pytest.approx(ratio, rel=0.05)
    left, there = (np.std((one - truth)[mask]) for one in (result().data, data.data))
    assert numbers["noise_snr_gain"] == pytest.approx(there / left, rel=0.15)
    kept = result().components[mask].mean()
    assert numbers["noise_components"] == pytest.approx(kept, rel=0.03)
    assert abs(numbers["noise_autocorrelation"]) <= 0.05
    assert numbers["denoise_warning"] is None


@pytest.mark.parametrize(("kept", "volumes"), [(1, 15), (3, 15), (4, 40)])
def test_the_expected_gain_is_that_of_a_patch_with_as_many_components(
    kept: int, volumes: int
) -> None:
    rng = np.random.default_rng(kept)
    left = []
    for _ in range(20):
        signal = 100 * rng.standard_normal((125, kept)) @ rng.standard_normal((kept, volumes))
        noisy = signal + rng.standard_normal((125, volumes))
        basis = np.linalg.svd(noisy, full_matrices=False)[2][:kept]
        left.append(np.mean((noisy @ basis.T @ basis - signal) ** 2))
    room = np.zeros((2, 2, 2, volumes), np.float32)
    components = np.full((2, 2, 2), kept, np.float32)
    patch = Denoised(room, components, components, (5, 5, 5))
    gain = denoise.gain(patch, np.ones((2, 2, 2), bool))
    assert gain == pytest.approx(1 / math.sqrt(np.mean(left)), rel=0.03)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_autocorrelation_is_that_of_the_next_voxel(axis: int) -> None:
    noise = np.random.default_rng(axis).standard_normal((20, 22, 18, 10)).astype(np.float32)
    zeros, inside = np.zeros_like(noise), np.ones(noise.shape[:3], bool)
    inside[4:7] = False
    assert denoise.autocorrelation(noise, zeros, inside) == pytest.approx(0, abs=0.02)
    both = noise + np.roll(noise, 1, axis)
    assert denoise.autocorrelation(both, zeros, inside) == pytest.approx(0.5, abs=0.02)
    assert denoise.autocorrelation(both + 500, zeros, inside) == pytest.approx(0.5, abs=0.02)
    less = noise - np.roll(noise, 1, axis)
    assert denoise.autocorrelation(less, zeros, inside) == pytest.approx(-0.5, abs=0.02)


def test_autocorrelation_of_nothing_is_not_known() -> None:
    data = small.series_data()
    everywhere = np.ones(data.shape[:3], bool)
    assert denoise.autocorrelation(data, data, everywhere) is None
    assert denoise.autocorrelation(data, 0 * data, ~everywhere) is None


def test_images_that_were_smoothed_are_warned_of() -> None:
    smoothed = changed(ndimage.gaussian_filter(scans.as_series(scan()).data, (0.6, 0.6, 0, 0)))
    numbers = denoise.metrics(smoothed, denoise.compute(smoothed))
    assert numbers["noise_autocorrelation"] > denoise.CORRELATED
    assert "interpolated or filtered" in str(numbers["denoise_warning"])


def test_what_is_not_known_is_null() -> None:
    """No noise anywhere, or no brain."""
    data = scans.as_series(scan())
    nothing = np.zeros(data.data.shape[:3], np.float32)
    numbers = denoise.metrics(data, Denoised(data.data, nothing, nothing, (3, 3, 3)))
    assert set(numbers.values()) == {None}
    flat = changed(np.full_like(data.data, 100))
    numbers = denoise.metrics(flat, denoise.compute(flat))
    assert set(numbers.values()) == {None}


def written(folder: Path, **fields: object) -> Path:
    """Write the head's series with a sidecar."""
    path = scans.written(scan(), folder)
    path.with_name("sub-01_desc-converted_dwi.json").write_text(json.dumps(fields))
    return path


def test_tool_makes_the_folder_of_the_contract(tmp_path: Path) -> None:
    fields = {"EchoTime": 0.08, "Preprocessing": [{"Name": "earlier"}]}
    dwi = written(tmp_path / "convert" / "dwi", **fields)
    for name, threads in (("denoise", 1), ("again", 2)):
        call = ("dwi-denoise", dwi, "--output", tmp_path / name, "--threads", threads)
        done = scans.tool(*call, "--denoise", "mppca", "--unit", "sub-01")
        assert (done.returncode, done.stderr) == (0, "")
    files = scans.tree(tmp_path / "denoise")
    stem, level = "dwi/sub-01_desc-denoised_dwi", "dwi/sub-01_space-orig_param-noise_dwimap"
    assert set(files) == {
        *(f"{stem}.{end}" for end in ("nii", "bval", "bvec", "json")),
        *(f"{level}.{end}" for end in ("nii.gz", "json")),
        "figures/sub-01_desc-denoise_dwi.png",
        "metrics.json",
    }
    assert files == scans.tree(tmp_path / "again"), "threads change no byte"
    image, noise = (nib.load(tmp_path / "denoise" / f"{n}") for n in
                    (f"{stem}.nii", f"{level}.nii.gz"))  # fmt: skip
    for made, values in ((image, result().data), (noise, result().sigma)):
        assert made.get_data_dtype() == np.float32
        assert np.array_equal(np.asarray(made.dataobj), values)
        assert np.allclose(made.affine, scan().affine, atol=1e-4)
    metrics = json.loads(files["metrics.json"])
    sidecar = json.loads(files[f"{stem}.json"])
    assert sidecar["EchoTime"] == fields["EchoTime"]
    assert sidecar["Preprocessing"] == [
        {"Name": "earlier"},
        {
            "Name": "denoise",
            "Method": "MP-PCA of overlapping patches (Veraart et al. 2016)",
            "Window": [5, 5, 5],
            "Stride": 2,
            "NoiseLevel": metrics["noise_sigma"],
            "Warnings": [],
        },
    ]
    told = json.loads(files[f"{level}.json"])
    assert told["Units"] == "arbitrary"
    assert told["Window"] == [5, 5, 5]
    assert told["Sources"] == ["bids::sub-01/dwi/sub-01_desc-converted_dwi.nii.gz"]
    assert metrics == denoise.metrics(scans.as_series(scan()), result())
    with Image.open(tmp_path / "denoise" / "figures" / "sub-01_desc-denoise_dwi.png") as picture:
        assert picture.width > 500
        assert np.ptp(np.asarray(picture.convert("L"))) > 200


def test_tool_warns_of_smoothing_and_takes_the_window_that_is_given(tmp_path: Path) -> None:
    smoothed = ndimage.gaussian_filter(scan().data.astype(np.float32), (0.6, 0.6, 0, 0))
    dwi = scans.written(dataclasses.replace(scan(), data=smoothed), tmp_path)
    call = ("dwi-denoise", dwi, "--output", tmp_path / "out", "--unit", "sub-01", "--window", 3)
    done = scans.tool(*call)
    assert done.returncode == 0
    assert done.stderr.startswith("WARNING sub-01 sub-01_desc-converted_dwi.nii.gz: what was rem")
    step = json.loads((tmp_path / "out/dwi/sub-01_desc-denoised_dwi.json").read_text())
    (done_here,) = step["Preprocessing"]
    assert done_here["Window"] == [3, 3, 3]
    assert len(done_here["Warnings"]) == 1


def call_small(path: Path, output: Path, *more: object) -> object:
    """Denoise a series of some voxels in this process."""
    return small.tool("dwi-denoise", [path, "--output", output, *more])


def test_scaled_integers_are_read_as_what_they_mean(tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(200, 900, (6, 5, 4, 7)).astype(np.int16)
    made = []
    for name, slope, inter in (("scaled", 0.5, 10.0), ("plain", 1.0, 0.0)):
        path = small.nifti(tmp_path / name, data=values)
        image = nib.Nifti1Image(
            values if name == "scaled" else (values * 0.5 + 10).astype(np.float32), np.eye(4)
        )
        image.header.set_slope_inter(slope, inter)
        nib.save(image, path)
        done = call_small(path, tmp_path / name / "out")
        assert done.exit_code == 0, done.output
        made.append(np.asarray(nib.load(next((tmp_path / name).glob("out/dwi/*_dwi.nii"))).dataobj))
    assert np.array_equal(*made)


def test_tool_leaves_what_is_there_unless_told_to_overwrite(tmp_path: Path) -> None:
    path, output = small.nifti(tmp_path), tmp_path / "out"
    output.mkdir()
    (output / "mine").write_text("kept")
    done = call_small(path, output)
    assert done.exit_code == 2
    assert [entry.name for entry in output.iterdir()] == ["mine"]
    assert call_small(path, output, "--overwrite").exit_code == 0
    assert sorted(entry.name for entry in output.iterdir()) == ["dwi", "figures", "metrics.json"]


def test_tools_dry_run_writes_nothing(tmp_path: Path) -> None:
    done = call_small(small.nifti(tmp_path), tmp_path / "out", "--dry-run")
    assert done.exit_code == 0
    assert "7 volumes denoised in patches of 3x3x3" in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        ((), 65, "ERROR DATA_INVALID u1 "),
        (("--window", 4), 2, "ERROR USAGE u1 a window of 4 voxels: use an odd number"),
        (("--denoise", "nlmeans"), 2, "nlmeans"),
        (("--dry-run",), 65, "not finite"),
    ],
)
def test_tool_refuses_in_one_line_before_it_writes(
    tmp_path: Path, more: tuple[object, ...], status: int, said: str
) -> None:
    data = small.series_data()
    data[2, 2, 2, 3] = np.nan
    path = small.nifti(tmp_path, data=data)
    before = scans.tree(tmp_path)
    done = call_small(path, tmp_path / "new" / "out", "--unit", "u1", *more)
    assert done.exit_code == status, done.output
    assert said in done.output
    assert done.output.count("\n") == 1
    assert scans.tree(tmp_path) == before
    assert not (tmp_path / "new").exists()

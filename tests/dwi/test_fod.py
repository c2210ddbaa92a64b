"""Fibre orientations: true in crossings that are known, in MRtrix3's basis, refused when unsure."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.special import sph_harm_y

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import (
    deconvolve,
    fod,
    fod_files,
    fod_picture,
    harmonics,
    peaks,
    response,
    shells,
    tensor,
    tensor_odf,
)
from cohortflow.dwi.gradients import Gradients
from cohortflow.dwi.series import Series
from cohortflow.example import acquire, fibres
from cohortflow.example.fibres import Fibres
from dwi import small
from dwi.scans import tree

SINGLE, RIGHT_ANGLE, SIXTY, GREY, CSF, MIXED = range(6)
TWO = ((1000.0, 30), (2600.0, 60))
THREE = ((750.0, 20), (1600.0, 32), (2800.0, 60))


@lru_cache(maxsize=8)
def scan(seed: int, snr: float = 25.0, axes: str = "LAS", weighted: object = None) -> Fibres:
    """Return a box of other voxels than those the method was tried on."""
    given = {"shells": weighted, "zeros": 6} if weighted else {}
    return fibres.make(seed, snr=snr, axes=axes, **given)


def as_series(box: Fibres) -> Series:
    """See a box as the tools see a series: b-vectors in FSL's convention."""
    axes = box.affine[:3, :3] / np.linalg.norm(box.affine[:3, :3], axis=0)
    bvecs = (box.gradients @ axes) * tensor.fsl_signs(box.affine)
    return Series(
        path=Path("sub-01_desc-preproc_dwi.nii.gz"),
        prefix="sub-01",
        data=box.data,
        affine=box.affine,
        head=None,
        gradients=Gradients(box.bvals, bvecs),
    )


@lru_cache(maxsize=8)
def found(seed: int, snr: float, axes: str, weighted: object, method: str) -> fod.Distributions:
    """Return the distributions of a box."""
    box = scan(seed, snr, axes, weighted)
    data = as_series(box)
    return fod.compute(data, box.mask, shells.plan(data.gradients, method))


def right(box: Fibres, made: fod.Distributions, kind: int, degrees: float) -> float:
    """Return the share of voxels of a kind in which every true fibre, and no other, is found."""
    here = box.kind == kind
    truth = box.directions[here]
    where, heights = peaks.peaks(made.white[here])
    fibres_there = int(truth[0].any(axis=-1).sum())
    cosines = np.abs(np.einsum("vki,vli->vkl", where, truth[:, :fibres_there]))
    near = np.degrees(np.arccos(np.clip(cosines, 0, 1))).min(axis=1) <= degrees
    number = (heights > 0).sum(axis=1)
    return float((near.all(axis=1) & (number == fibres_there)).mean())


def turned(axes: np.ndarray, lmax: int) -> np.ndarray:
    """Return the harmonics of one peak of weight 1 along each axis."""
    return harmonics.basis(axes, lmax)


def spread(number: int, seed: int) -> np.ndarray:
    """Return unit vectors, random."""
    drawn = np.random.default_rng(seed).normal(size=(number, 3))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


# The basis


def test_harmonics_have_the_closed_form() -> None:
    """MRtrix3's documentation lists these; `bench deconvolution` reads the files with MRtrix3."""
    x, y, z = spread(50, 1).T
    made = harmonics.basis(np.column_stack([x, y, z]), 4)
    root = math.sqrt(15 / math.pi)
    assert np.allclose(made[:, 0], 1 / math.sqrt(4 * math.pi))
    assert np.allclose(made[:, 1], root / 2 * x * y)
    assert np.allclose(made[:, 2], -root / 2 * y * z)
    assert np.allclose(made[:, 3], math.sqrt(5 / math.pi) / 4 * (3 * z * z - 1))
    assert np.allclose(made[:, 4], -root / 2 * x * z)
    assert np.allclose(made[:, 5], root / 4 * (x * x - y * y))
    four = 3 / 4 * math.sqrt(35 / math.pi)
    assert np.allclose(made[:, 6], four * x * y * (x * x - y * y))
    assert np.allclose(
        made[:, 14], four / 4 * (x * x * (x * x - 3 * y * y) - y * y * (3 * x * x - y * y))
    )


def test_harmonics_of_every_degree_are_scipys() -> None:
    directions = spread(40, 2)
    x, y, z = directions.T
    theta, phi = np.arccos(z), np.arctan2(y, x)
    made = harmonics.basis(directions, harmonics.LARGEST)
    for order in range(0, harmonics.LARGEST + 1, 2):
        for m in range(-order, order + 1):
            complex_one = sph_harm_y(order, abs(m), theta, phi)
            part = complex_one.imag if m < 0 else complex_one.real
            wanted = part * (math.sqrt(2) if m else 1)
            assert np.allclose(made[:, order * (order + 1) // 2 + m], wanted, atol=1e-12)


def test_a_peak_has_the_integral_1_and_the_kernels_see_the_same_function() -> None:
    axes = spread(30, 3)
    rows = turned(axes, 8)
    assert np.allclose(rows[:, 0] * math.sqrt(4 * math.pi), 1)
    where, heights = peaks.peaks(rows, number=1)
    assert np.allclose(np.abs((where[:, 0] * axes).sum(axis=1)), 1, atol=1e-6)
    full = harmonics.count(8) / (4 * math.pi)  # the addition theorem
    assert np.allclose(heights[:, 0], full, rtol=1e-5)


def test_zonal_factors_turn_a_response_into_every_direction() -> None:
    """A fibre's signal, its distribution times the response, is the response about its axis."""
    axes, gradients = spread(20, 4), spread(30, 5)
    answer = np.array([500.0, -250.0, 80.0, -20.0, 4.0])
    signals = (turned(axes, 8) * harmonics.rotational(answer)) @ harmonics.basis(gradients, 8).T
    assert np.allclose(signals, harmonics.zonal(axes @ gradients.T, 8) @ answer)


# Crossings that are known


@pytest.mark.parametrize(("seed", "snr", "axes"), [(611, 25.0, "LAS"), (612, 22.0, "RAS")])
def test_csd_finds_crossings(seed: int, snr: float, axes: str) -> None:
    """Oblique boxes of both handednesses, b = 3000, 60 directions: in world axes."""
    box = scan(seed, snr, axes)
    made = found(seed, snr, axes, None, "csd")
    assert (made.plan.method, made.plan.lmax) == ("csd", 8)
    assert right(box, made, SINGLE, 5) >= 0.98
    assert right(box, made, RIGHT_ANGLE, 7) >= 0.95
    assert right(box, made, SIXTY, 7) >= 0.85


def test_several_shells_find_crossings_as_well() -> None:
    box = scan(613, 25.0, "RAS", THREE)
    made = found(613, 25.0, "RAS", THREE, "auto")
    assert made.plan.method == "msmt"
    assert right(box, made, SINGLE, 5) >= 0.98
    assert right(box, made, RIGHT_ANGLE, 7) >= 0.95
    assert right(box, made, SIXTY, 7) >= 0.85


def test_the_tensors_distribution_follows_single_fibres_and_misses_crossings() -> None:
    box = scan(611, 25.0, "LAS")
    made = found(611, 25.0, "LAS", None, "tensor")
    assert right(box, made, SINGLE, 7) >= 0.98
    assert right(box, made, RIGHT_ANGLE, 7) < 0.05


# Volume fractions


@pytest.mark.parametrize(("seed", "weighted"), [(613, THREE), (614, TWO)])
def test_fractions_of_tissues_are_true(seed: int, weighted: object) -> None:
    box = scan(seed, 25.0, "RAS", weighted)
    made = found(seed, 25.0, "RAS", weighted, "msmt")
    assert made.fractions is not None
    wrong = np.abs(made.fractions - box.fractions)
    assert (wrong.mean(axis=(0, 1, 2)) <= 0.05).all()
    for kind in (SINGLE, RIGHT_ANGLE, SIXTY, CSF, MIXED):
        assert wrong[box.kind == kind].mean() <= 0.05, fibres.KINDS[kind]
    # Noise that looks like fibres in any direction is taken for white matter, so grey matter is
    # too little: the bound is of this bias, not of an error of a single voxel.
    bias = (made.fractions - box.fractions)[box.kind == GREY].mean(axis=0)
    assert np.abs(bias).max() <= 0.1
    assert np.allclose(made.fractions.sum(axis=-1), 1, atol=1e-6)
    assert made.fractions.min() >= 0


def test_one_shell_has_no_fractions() -> None:
    assert found(611, 25.0, "LAS", None, "csd").fractions is None


# What the estimate rests on


def test_responses_are_those_of_the_tissues() -> None:
    """Without noise: the mean signals of the tissues and the ratio exp(b (along - across))."""
    box = scan(615, math.inf, "LAS", TWO)
    answer = found(615, math.inf, "LAS", TWO, "msmt").response
    assert answer is not None
    assert answer.grey is not None
    assert answer.csf is not None
    for number, bval in enumerate((0.0, 1000.0, 2600.0)):
        assert answer.grey[number] == pytest.approx(
            fibres.S0[1] * math.exp(-bval * fibres.GREY), rel=0.02
        )
        assert answer.csf[number] == pytest.approx(
            fibres.S0[2] * math.exp(-bval * fibres.CSF), rel=0.02
        )
    zonal = answer.white[1]
    across, along = harmonics.zonal(np.array([0.0, 1.0]), 8) @ zonal
    assert across == pytest.approx(1000 * math.exp(-1000 * fibres.ACROSS), rel=0.02)
    assert along == pytest.approx(1000 * math.exp(-1000 * fibres.ALONG), rel=0.05)
    assert box.sigma == 0


def test_the_distribution_does_not_depend_on_the_scanners_scale() -> None:
    box = scan(611, 25.0, "LAS")
    scaled = dataclasses.replace(box, data=box.data * np.float32(0.003))
    made = fod.compute(as_series(scaled), box.mask, shells.plan(as_series(box).gradients))
    before = found(611, 25.0, "LAS", None, "csd").white
    assert np.allclose(made.white, before, atol=2e-3)
    assert np.abs(before).max() > 0.5


def slowly(signal: np.ndarray, forward: np.ndarray, lmax: int) -> np.ndarray:
    """Do what Tournier et al. 2007 say with NumPy, one voxel."""
    given = deconvolve.problem(forward, lmax, fod.PENALTY)
    solved = given.start.T @ signal
    active = np.zeros(len(given.rows), dtype=bool)
    for _ in range(deconvolve.ITERATIONS):
        negative = given.rows @ solved < 0
        if (negative == active).all():
            break
        active = negative
        part = given.rows[active]
        solved = np.linalg.solve(given.normal + part.T @ part, given.project.T @ signal)
    return solved


def test_kernel_equals_the_paper_done_slowly() -> None:
    gradients = acquire.sphere_directions(45, np.random.default_rng(6))
    answer = np.array([500.0, -250.0, 80.0, -20.0, 4.0])
    forward = harmonics.basis(gradients, 8) * harmonics.rotational(answer)
    signals = turned(spread(30, 7), 8) + turned(spread(30, 8), 8)
    noise = np.random.default_rng(9).normal(scale=8, size=(30, 45))
    signals = (signals @ forward.T + noise).astype(np.float32)
    made = deconvolve.solve(signals, deconvolve.problem(forward, 8, fod.PENALTY))
    wanted = np.array([slowly(one.astype(np.float64), forward, 8) for one in signals])
    assert np.allclose(made, wanted, atol=1e-8 * np.abs(wanted).max())


def test_amplitudes_are_hardly_negative_and_unconstrained_ones_would_be() -> None:
    white = found(611, 25.0, "LAS", None, "csd").white.reshape(-1, harmonics.count(8))
    sphere = harmonics.basis(harmonics.half_sphere(500), 8)
    lowest = (white @ sphere.T).min(axis=1) / (white @ sphere.T).max(axis=1)
    assert np.median(lowest) > -0.05
    bare = turned(spread(1, 3), 8)[0] @ sphere.T
    assert bare.min() / bare.max() < -0.1


# Peaks


def test_peaks_are_where_a_fine_grid_is_highest() -> None:
    rows = turned(spread(20, 10), 8) + 0.7 * turned(spread(20, 11), 8)
    where, heights = peaks.peaks(rows, number=1)
    fine = harmonics.half_sphere(40000)
    values = rows @ harmonics.basis(fine, 8).T
    best = fine[values.argmax(axis=1)]
    cosine = np.abs((where[:, 0] * best).sum(axis=1))
    assert np.degrees(np.arccos(np.clip(cosine, 0, 1))).max() < 1
    assert (heights[:, 0] >= values.max(axis=1) - 1e-6).all()
    assert np.allclose(heights[:, 0], values.max(axis=1), rtol=1e-3)


def test_peaks_keep_their_order_limits_and_distance() -> None:
    x, y, z = np.eye(3)
    one = 1.0 * turned(x[None], 8) + 0.6 * turned(y[None], 8) + 0.35 * turned(z[None], 8)
    where, heights = peaks.peaks(one)
    assert (np.diff(heights[0]) < 0).all()
    assert np.allclose(np.abs(where[0]), np.eye(3), atol=0.02)
    assert (peaks.peaks(one, share=0.5)[1][0] > 0).sum() == 2
    assert (peaks.peaks(one, least=10 * heights[0, 0])[1] == 0).all()
    assert (peaks.peaks(one, apart=89.9)[1][0] > 0).sum() <= 3
    where, heights = peaks.peaks(np.zeros((1, 45)))
    assert not where.any()
    assert not heights.any()


# The tensor's distribution


@pytest.mark.parametrize("power", [1, 4])
def test_tensors_distribution_has_integral_1_and_points_along_the_tensor(power: int) -> None:
    frames = np.linalg.qr(np.random.default_rng(12).normal(size=(20, 3, 3)))[0]
    made = np.einsum("vij,j,vkj->vik", frames, [1.7, 0.4, 0.3], frames)
    rows = tensor_odf.expand(made, 6, power)
    assert np.allclose(rows[:, 0] * math.sqrt(4 * math.pi), 1)
    where, _ = peaks.peaks(rows, number=1)
    cosine = np.abs((where[:, 0] * frames[:, :, 0]).sum(axis=1))
    assert np.degrees(np.arccos(np.clip(cosine, 0, 1))).max() < 1


# Which method


def table(*weighted: tuple[float, int], zeros: int = 2) -> Gradients:
    """Return a gradient table."""
    rng = np.random.default_rng(13)
    bvals = np.concatenate([np.zeros(zeros), *(np.full(n, b) for b, n in weighted)])
    bvecs = [acquire.sphere_directions(n, rng) for _, n in weighted]
    return Gradients(bvals, np.concatenate([np.zeros((zeros, 3)), *bvecs]))


@pytest.mark.parametrize(
    ("weighted", "method", "lmax", "used"),
    [
        ([(1000.0, 6)], "tensor", 6, [0, 1000]),
        ([(1000.0, 19)], "tensor", 6, [0, 1000]),
        ([(1000.0, 12), (2000.0, 12)], "tensor", 6, [0, 1000, 2000]),
        ([(1000.0, 20)], "csd", 4, [1000]),
        ([(1000.0, 45)], "csd", 8, [1000]),
        ([(700.0, 6), (2000.0, 30)], "msmt", 6, [0, 700, 2000]),
        ([(700.0, 3), (2000.0, 30)], "csd", 6, [2000]),
    ],
)
def test_directions_and_shells_choose_the_method(
    weighted: list[tuple[float, int]], method: str, lmax: int, used: list[int]
) -> None:
    chosen = shells.plan(table(*weighted))
    assert (chosen.method, chosen.lmax) == (method, lmax)
    assert [round(shell.bval) for shell in chosen.shells] == used


def test_scattered_b_values_are_one_shell() -> None:
    given = table((1000.0, 30))
    given.bvals[2:] += np.linspace(-40, 40, 30)
    zero, only = shells.group(given)
    assert zero.bval == 0
    assert len(only.volumes) == 30


@pytest.mark.parametrize(
    ("weighted", "method", "message"),
    [
        ([(1000.0, 19)], "csd", "19 directions, csd needs 20"),
        ([(700.0, 8), (2000.0, 15)], "msmt", "15 directions, msmt needs 20"),
        ([(2000.0, 60)], "msmt", "fewer than two weighted shells, msmt needs two"),
    ],
)
def test_a_method_that_the_series_does_not_allow_is_refused(
    weighted: list[tuple[float, int]], method: str, message: str
) -> None:
    with pytest.raises(Failure, match=f"s.nii: has {message}: use --fod auto") as caught:
        shells.plan(table(*weighted), method, name="s.nii")
    assert caught.value.category == Category.DATA_INVALID


@pytest.mark.parametrize("lmax", [3, -2, 14])
def test_a_degree_that_is_none_is_refused(lmax: int) -> None:
    with pytest.raises(Failure, match="is no degree") as caught:
        shells.plan(table((1000.0, 60)), "csd", lmax)
    assert caught.value.category == Category.USAGE


# Refusals


def without(box: Fibres, *kinds: int) -> np.ndarray:
    """Return a mask of all voxels but those of some kinds."""
    return ~np.isin(box.kind, kinds)


def refused(box: Fibres, mask: np.ndarray, method: str) -> str:
    """Return what the estimate is refused for."""
    data = as_series(box)
    with pytest.raises(Failure) as caught:
        fod.compute(data, mask, shells.plan(data.gradients, method))
    assert caught.value.category == Category.DATA_INVALID
    assert "\n" not in caught.value.line()
    return caught.value.line()


def test_too_few_voxels_of_white_matter_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fod, "_RIM", 0)
    box = fibres.make(616, shares=(0.01, 0, 0, 0.5, 0.49, 0))
    line = refused(box, box.mask, "csd")
    assert "sub-01_desc-preproc_dwi.nii.gz: " in line
    assert "a response needs 30" in line
    assert line.endswith("or use --fod tensor")


def test_a_scan_without_csf_is_refused_for_several_tissues() -> None:
    box = fibres.make(617, shells=TWO, zeros=6, shares=(1, 0, 0, 0, 0, 0))
    line = refused(box, box.mask, "msmt")
    assert "of CSF were found in the mask, their responses need 20 of each" in line
    assert line.endswith("or --fod csd")


def test_fibres_of_which_the_signal_is_highest_along_them_are_refused() -> None:
    axes = np.tile([[0.0, 0.0, 1.0]], (60, 1))
    directions = acquire.sphere_directions(45, np.random.default_rng(14))
    signal = np.tile(1000 * np.exp(3 * (directions[:, 2] ** 2 - 1)), (60, 1)).astype(np.float32)
    shell = shells.Shell(2000.0, np.arange(45))
    with pytest.raises(Failure, match=r"s\.nii: the voxels of highest FA show no") as caught:
        response.single_shell(signal, shell, directions, axes, 8, fod.PENALTY, "s.nii")
    assert caught.value.category == Category.DATA_INVALID


# The files


@pytest.mark.parametrize(("seed", "weighted", "method"), [(611, None, "csd"), (613, THREE, "msmt"),
                                                          (611, None, "tensor")])  # fmt: skip
def test_threads_change_nothing(seed: int, weighted: object, method: str) -> None:
    axes = "RAS" if weighted else "LAS"
    box = scan(seed, 25.0, axes, weighted)
    data = as_series(box)
    once = found(seed, 25.0, axes, weighted, method)
    twice = fod.compute(data, box.mask, once.plan, 2)
    assert np.array_equal(once.white, twice.white)
    if once.fractions is not None:
        assert twice.fractions is not None
        assert np.array_equal(once.fractions, twice.fractions)
    one, two = (fod.directions_of(once, box.mask, threads) for threads in (1, 2))
    assert np.array_equal(one, two)


def written(box: Fibres, folder: Path) -> tuple[Path, Path]:
    """Write series and mask as the steps before do; return both."""
    folder.mkdir()
    data = as_series(box)
    path = folder / data.path.name
    nib.save(nib.Nifti1Image(box.data, box.affine), path)
    np.savetxt(folder / "sub-01_desc-preproc_dwi.bval", data.gradients.bvals[None])
    np.savetxt(folder / "sub-01_desc-preproc_dwi.bvec", data.gradients.bvecs.T)
    inside = np.ones(box.kind.shape, np.uint8)
    inside[0] = 0
    mask = folder / "sub-01_desc-brain_mask.nii.gz"
    nib.save(nib.Nifti1Image(inside, box.affine), mask)
    return path, mask


NAMES = {
    "csd": ("model-CSD_param-FOD", "model-CSD_param-peaks"),
    "msmt": ("model-CSD_param-FOD", "model-CSD_param-peaks", "model-CSD_param-fractions"),
    "tensor": ("model-DTI_param-ODF", "model-DTI_param-peaks"),
}


@pytest.mark.parametrize(("method", "given"), [("csd", "auto"), ("msmt", "auto"),
                                               ("tensor", "tensor")])  # fmt: skip
def test_tool_makes_the_folder_of_the_contract(tmp_path: Path, method: str, given: str) -> None:
    weighted = THREE if method == "msmt" else None
    box = scan(613 if weighted else 611, 25.0, "RAS" if weighted else "LAS", weighted)
    path, mask = written(box, tmp_path / "orient")
    for name, threads in (("fod", 1), ("again", 2)):
        words = (path, "--mask", mask, "--output", tmp_path / name, "--threads", threads)
        done = small.tool("dwi-fod", [*words, "--fod", given])
        assert done.exit_code == 0, done.output
    files = tree(tmp_path / "fod")
    stem = "dwi/sub-01_space-orig_"
    assert set(files) == {
        *(f"{stem}{name}_dwimap.{end}" for name in NAMES[method] for end in ("nii.gz", "json")),
        "figures/sub-01_desc-fod_dwi.png",
        "metrics.json",
    }
    assert files == tree(tmp_path / "again"), "threads change no byte"
    images = [nib.load(tmp_path / "fod" / f"{stem}{name}_dwimap.nii.gz") for name in NAMES[method]]
    lmax = 6 if method == "tensor" else 8
    sizes = (harmonics.count(lmax), 9, 3)
    for name, image, size in zip(NAMES[method], images, sizes, strict=False):
        assert image.shape == (*box.kind.shape, size)
        assert image.get_data_dtype() == np.float32
        assert np.allclose(image.affine, box.affine, atol=1e-4)
        values = np.asarray(image.dataobj)
        assert np.isfinite(values).all()
        assert not values[0].any(), "0 outside the mask"
        sidecar = json.loads(files[f"{stem}{name}_dwimap.json"])
        assert sidecar["Units"] == ("fraction" if "fractions" in name else "arbitrary")
        assert sidecar["Sources"] == [
            "bids::sub-01/dwi/sub-01_desc-preproc_dwi.nii.gz",
            "bids::sub-01/dwi/sub-01_desc-brain_mask.nii.gz",
        ]
        assert sidecar["Model"]["Parameters"]["Method"] == method
        assert ("ResponseFunction" in sidecar["Model"]) == (method != "tensor")
    encoding = json.loads(files[f"{stem}{NAMES[method][0]}_dwimap.json"])["OrientationEncoding"]
    assert (encoding["SphericalHarmonicBasis"], encoding["SphericalHarmonicDegree"]) == (
        "MRtrix3",
        lmax,
    )
    amplitude(*(np.asarray(image.dataobj) for image in images[:2]))
    numbers = json.loads(files["metrics.json"])
    assert (numbers["fod_method"], numbers["fod_lmax"]) == (method, lmax)
    known = {name for name, value in numbers.items() if value is not None}
    always = {"fod_method", "fod_lmax", "fod_directions", "fod_shells"}
    shares = {"fod_white_fraction", "fod_grey_fraction", "fod_csf_fraction"}
    unknown = {"csd": shares, "msmt": set(), "tensor": set(numbers) - always}[method]
    assert known == set(numbers) - unknown


def amplitude(distributions: np.ndarray, directions: np.ndarray) -> None:
    """See that each peak is as long as the distribution is high in its direction."""
    vectors = directions.reshape(*directions.shape[:3], 3, 3)
    lengths = np.linalg.norm(vectors, axis=-1)
    there = lengths[..., 0] > 0
    assert there.sum() > 500
    rows = distributions[there].astype(np.float64)
    units = vectors[there][:, 0] / lengths[there][:, :1]
    values = (harmonics.basis(units, harmonics.degree(rows.shape[1])) * rows).sum(axis=1)
    assert np.allclose(values, lengths[there][:, 0], rtol=1e-4)


def test_metrics_tell_how_many_fibres_cross() -> None:
    box = scan(611, 25.0, "LAS")
    made = found(611, 25.0, "LAS", None, "csd")
    inside = np.zeros_like(box.mask)
    inside[1:-1, 1:-1, 1:-1] = True
    numbers = fod_files.metrics(made, fod.directions_of(made, box.mask), box.mask)
    white = inside & (made.fa > tensor.FA_WHITE_MATTER)
    crossing = np.isin(box.kind, (RIGHT_ANGLE, SIXTY))[white].mean()
    assert numbers["fod_crossing_fraction"] == pytest.approx(crossing, abs=0.03)
    assert numbers["fod_peaks_mean"] == pytest.approx(1 + crossing, abs=0.06)
    assert numbers["fod_shells"] == "3000"
    nothing = fod_files.metrics(
        dataclasses.replace(made, fa=0 * made.fa), fod.directions_of(made, box.mask), box.mask
    )
    assert nothing["fod_crossing_fraction"] is None


def test_picture_shows_crossings() -> None:
    """Two lines in a voxel: without the second the picture is darker."""
    affine = np.diag([-2.0, 2, 2, 1])
    fa = np.full((20, 20, 20), 0.3, np.float32)
    directions = np.zeros((20, 20, 20, 3, 3), np.float32)
    directions[..., 0, :], directions[..., 1, :] = (0.7, 0, 0), (0, 0.7, 0)
    both = np.asarray(fod_picture.close_ups(fa, directions, affine)).astype(int)
    directions[..., 1, :] = 0
    one = np.asarray(fod_picture.close_ups(fa, directions, affine)).astype(int)
    axial = np.s_[26:350, 6:330]
    red, green = (both[axial][..., c] - one[axial][..., c] for c in (0, 1))
    assert green.mean() > 5
    assert green.mean() > 3 * red.mean()


def test_tools_refusals_and_dry_run_write_nothing(tmp_path: Path) -> None:
    path, mask = written(scan(611, 25.0, "LAS"), tmp_path / "orient")
    out = tmp_path / "fod"
    words = [path, "--mask", mask, "--output", out, "--unit", "sub-01"]
    done = small.tool("dwi-fod", [*words, "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "csd, degree 8" in done.output
    done = small.tool("dwi-fod", [*words, "--fod", "msmt"])
    assert done.exit_code == 65
    assert done.output.startswith("ERROR DATA_INVALID sub-01 sub-01_desc-preproc_dwi.nii.gz: has")
    assert done.output.strip().endswith("use --fod auto")
    done = small.tool("dwi-fod", [*words, "--fod", "none"])
    assert done.exit_code == 2
    assert small.tree(tmp_path) == [
        "orient",
        *(f"orient/{p.name}" for p in sorted(path.parent.iterdir())),
    ]

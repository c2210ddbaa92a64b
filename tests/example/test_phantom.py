"""The head phantom is what it says: its truth agrees with its signal, its space and its seed."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from scipy import ndimage

from cohortflow.core.outcome import Category, Failure
from cohortflow.example import acquire, head
from cohortflow.example.head import Tissue
from cohortflow.example.phantom import (
    FIELD_OF_VIEW,
    TRACT_FA,
    TRACT_MD,
    Phantom,
    fsl_bvecs,
    make_phantom,
)

SMALL = {"voxel_size": 5.0, "directions": 12}


@pytest.fixture(scope="module")
def still() -> Phantom:
    """A scan without noise and motion."""
    return make_phantom(1, snr=math.inf, motion=0, voxel_size=4.0, tilt=(8, -5, 11))


@pytest.fixture(scope="module")
def noisy() -> Phantom:
    return make_phantom(1, motion=0, voxel_size=4.0, directions=24, snr=30)


def refit(phantom: Phantom) -> np.ndarray:
    """Fit tensors in world axes by plain least squares on the logarithm, from FSL b-vectors."""
    linear = phantom.affine[:3, :3] / np.linalg.norm(phantom.affine[:3, :3], axis=0)
    image = phantom.bvecs * [-1 if np.linalg.det(linear) > 0 else 1, 1, 1]
    x, y, z = (image @ linear.T).T
    b = phantom.bvals
    columns = [-b * c for c in (x * x, 2 * x * y, 2 * x * z, y * y, 2 * y * z, z * z)]
    design = np.stack([*columns, np.ones_like(b)], axis=1)
    logs = np.log(np.maximum(phantom.data[phantom.mask], 0.5).astype(float))
    return np.linalg.lstsq(design, logs.T, rcond=None)[0].T[:, :6]


def matrices(tensors: np.ndarray) -> np.ndarray:
    return tensors[..., [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(*tensors.shape[:-1], 3, 3)


def world(phantom: Phantom, mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask) @ phantom.affine[:3, :3].T + phantom.affine[:3, 3]


@pytest.mark.parametrize("axes", ["LAS", "RAS"])
def test_the_noiseless_signal_gives_the_true_tensors_back(axes: str) -> None:
    phantom = make_phantom(2, snr=math.inf, motion=0, voxel_size=4.0, axes=axes, tilt=(9, 4, -7))
    truth = phantom.tensors[phantom.mask]
    error = np.linalg.norm(refit(phantom) - truth, axis=1) / np.linalg.norm(truth, axis=1)
    assert error.max() < 0.01


def test_the_maps_are_those_of_the_tensors(still: Phantom) -> None:
    values = np.linalg.eigvalsh(matrices(still.tensors[still.mask].astype(float)))
    mean = values.mean(axis=1)
    spread = np.sqrt(((values - mean[:, None]) ** 2).sum(axis=1))
    fa = math.sqrt(1.5) * spread / np.sqrt((values**2).sum(axis=1))
    np.testing.assert_allclose(mean, still.md[still.mask], rtol=1e-4)
    np.testing.assert_allclose(fa, still.fa[still.mask], atol=1e-4)
    assert (values > 0).all()


def test_tracts_have_the_fa_and_md_that_are_defined_for_them(still: Phantom) -> None:
    for name, fa in TRACT_FA.items():
        np.testing.assert_allclose(still.fa[still.tracts[name]], fa, rtol=1e-5)
        np.testing.assert_allclose(still.md[still.tracts[name]], TRACT_MD, rtol=1e-5)


@pytest.mark.parametrize("snr", [10, 30])
def test_noise_in_white_matter_is_as_asked(snr: float) -> None:
    phantom = make_phantom(3, snr=snr, motion=0, voxel_size=3.0, directions=12)
    unweighted = phantom.data[..., phantom.bvals == 0][phantom.s0 == 1000].astype(float)
    assert len(unweighted) > 3000
    # Differences between repeats: anatomy cancels.
    noise = np.diff(unweighted, axis=1).std() / math.sqrt(2)
    assert unweighted.mean() / noise == pytest.approx(snr, rel=0.05)


def test_air_holds_rician_noise_only(noisy: Phantom) -> None:
    air = noisy.data[noisy.tissue == Tissue.AIR].astype(float)
    assert air.mean() == pytest.approx(noisy.sigma * math.sqrt(math.pi / 2), rel=0.02)


@pytest.mark.parametrize(("seed", "axes"), [(1, "LAS"), (2, "RAS"), (3, "LAS")])
def test_left_is_left_in_world_coordinates(seed: int, axes: str) -> None:
    phantom = make_phantom(seed, axes=axes, **SMALL)
    left, right = (world(phantom, phantom.tracts[f"cst_{s}"]) for s in ("left", "right"))
    assert left[:, 0].mean() < -8
    assert right[:, 0].mean() > 8
    for tract in (left, right):
        # Brainstem to motor cortex, the cortex end farther out than the brainstem end.
        assert tract[:, 2].min() < -35
        assert tract[:, 2].max() > 45
        outward = np.abs(tract[:, 0])
        assert outward[tract[:, 2] > 40].mean() > outward[tract[:, 2] < -20].mean() + 10
    callosum = world(phantom, phantom.tracts["callosum"])
    assert callosum[:, 0].min() < -15 < 15 < callosum[:, 0].max()


def test_directions_are_those_of_the_anatomy(still: Phantom) -> None:
    axis = np.linalg.eigh(matrices(still.tensors.astype(float)))[1][..., 2]
    place = np.full((*still.mask.shape, 3), np.nan)
    place[still.mask] = world(still, still.mask)
    middle = still.tracts["callosum"] & (np.abs(place[..., 0]) < 4)
    assert np.abs(axis[middle][:, 0]).mean() > 0.9  # the callosum crosses left to right
    for side in ("left", "right"):
        capsule = still.tracts[f"cst_{side}"] & (np.abs(place[..., 2] - 8) < 12)
        assert np.abs(axis[capsule][:, 2]).mean() > 0.85  # the tract goes up through the capsule


def test_tracts_are_disjoint_and_in_the_brain(still: Phantom) -> None:
    total = sum(mask.astype(int) for mask in still.tracts.values())
    assert total.max() == 1
    assert not (total.astype(bool) & ~still.mask).any()
    assert set(still.tracts) == {"cst_left", "cst_right", "callosum", "csf"}


def test_the_head_is_like_a_head(still: Phantom) -> None:
    litres = still.mask.sum() * 4.0**3 / 1e6
    assert 1.1 < litres < 1.9
    shares = [(still.tissue == t).sum() / still.mask.sum() for t in Tissue]
    assert shares[Tissue.CSF] > 0.05
    assert shares[Tissue.GREY] > 0.2
    assert shares[Tissue.WHITE] > 0.2
    # CSF is bright, the skull dark, and there is something bright outside it too.
    b0 = still.data[..., 0]
    assert b0[still.tissue == Tissue.CSF].mean() > 2 * b0[still.tissue == Tissue.WHITE].mean()
    assert b0[still.tissue == Tissue.SKULL].mean() < 100 < b0[still.tissue == Tissue.SCALP].mean()


def test_same_seed_same_bytes_other_seed_other_head() -> None:
    first, again, other = (make_phantom(seed, **SMALL) for seed in (5, 5, 6))
    assert first.data.tobytes() == again.data.tobytes()
    assert first.bvecs.tobytes() == again.bvecs.tobytes()
    assert first.tensors.tobytes() == again.tensors.tobytes()
    assert (first.mask ^ other.mask).mean() > 0.005
    assert not np.allclose(first.bvecs, other.bvecs)


def test_two_scans_of_one_person_share_anatomy_and_gradients() -> None:
    first, second = (make_phantom(5, scan=scan, **SMALL) for scan in (1, 2))
    np.testing.assert_array_equal(first.gradients, second.gradients)
    np.testing.assert_array_equal(first.warp.amplitudes, second.warp.amplitudes)
    assert not np.array_equal(first.warp.linear, second.warp.linear)  # put down anew
    assert not np.array_equal(first.data, second.data)
    assert first.mask.sum() == pytest.approx(second.mask.sum(), rel=0.05)


@pytest.mark.parametrize("seed", range(20))
def test_the_deformation_never_folds(seed: int) -> None:
    warp = head.random_warp(np.random.default_rng(seed), np.random.default_rng(seed + 100))
    points = np.random.default_rng(0).uniform(-90, 90, (4000, 3))
    jacobian = warp.jacobian(points)
    assert np.linalg.det(jacobian).min() > 0.3
    step = 1e-4
    for axis in range(3):
        ahead = (warp(points + step * np.eye(3)[axis]) - warp(points)) / step
        np.testing.assert_allclose(jacobian[:, :, axis], ahead, atol=1e-5)


def test_directions_are_spread_over_the_whole_sphere() -> None:
    directions = acquire.sphere_directions(24, np.random.default_rng(3))
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    cosines = np.abs(directions @ directions.T) - np.eye(24)
    assert np.degrees(np.arccos(cosines.max())) > 20  # 24 axes can be about 27 degrees apart
    assert np.linalg.norm(directions.mean(axis=0)) < 0.35  # not one hemisphere
    moments = directions.T @ directions / 24
    np.testing.assert_allclose(moments, np.eye(3) / 3, atol=0.03)


@pytest.mark.parametrize(("directions", "zeros"), [(6, 2), (12, 3), (24, 3)])
def test_unweighted_volumes_are_first_and_in_between(directions: int, zeros: int) -> None:
    bvals, gradients = acquire.protocol(directions, 1000, np.random.default_rng(1))
    places = np.flatnonzero(bvals == 0)
    assert len(bvals) == directions + zeros
    assert len(places) == zeros
    assert places[0] == 0
    assert np.diff(places).min() > 1
    np.testing.assert_allclose(np.linalg.norm(gradients, axis=1), bvals > 0)


def test_b_vectors_follow_fsl() -> None:
    gradient = np.array([[1.0, 0, 0], [0, 0.6, 0.8]])
    radiological, neurological = np.diag([-2.0, 2, 2, 1]), np.diag([2.0, 2, 2, 1])
    expected = [[-1, 0, 0], [0, 0.6, 0.8]]
    np.testing.assert_allclose(fsl_bvecs(gradient, radiological), expected)
    np.testing.assert_allclose(fsl_bvecs(gradient, neurological), expected)


def test_motion_moves_the_head_as_recorded() -> None:
    phantom = make_phantom(
        4, snr=math.inf, motion=2.0, voxel_size=3.0, directions=6, tilt=(9, 0, 5)
    )
    np.testing.assert_array_equal(phantom.turns[0], np.eye(3))
    second = int(np.flatnonzero(phantom.bvals == 0)[1])
    points = world(phantom, phantom.mask) - head.CENTRE
    moved = points @ phantom.turns[second].T + head.CENTRE + phantom.shifts[second]
    assert np.linalg.norm(moved - points - head.CENTRE, axis=1).mean() > 1

    def likeness(places: np.ndarray) -> float:
        index = (places - phantom.affine[:3, 3]) @ np.linalg.inv(phantom.affine[:3, :3]).T
        found = ndimage.map_coordinates(phantom.data[..., second], index.T, order=1)
        return float(np.corrcoef(found, phantom.s0[phantom.mask])[0, 1])

    assert likeness(moved) > 0.85  # two interpolations lie between
    assert likeness(moved) > likeness(points + head.CENTRE) + 0.1
    backwards = (points - phantom.shifts[second]) @ phantom.turns[second] + head.CENTRE
    assert likeness(moved) > likeness(backwards) + 0.2


def coherence(phantom: Phantom, axis: np.ndarray, keep: np.ndarray) -> float:
    """Count the links between neighbours, a voxel, that lie along the fibres of both."""
    links = 0
    for offset in product((-1, 0, 1), repeat=3):
        if offset <= (0, 0, 0):
            continue
        step = phantom.affine[:3, :3] @ offset
        step = step / np.linalg.norm(step)
        pairs = list(zip(offset, keep.shape, strict=True))
        here = tuple(slice(max(0, -o), n - max(0, o)) for o, n in pairs)
        there = tuple(slice(max(0, o), n + min(0, o)) for o, n in pairs)
        both = keep[here] & keep[there]
        first, second = axis[here][both], axis[there][both]
        dots = np.stack([first @ step, second @ step, (first * second).sum(axis=1)])
        links += int((np.abs(dots) > np.cos(np.pi / 6)).all(axis=0).sum())
    return links / int(keep.sum())


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_fibres_curve_so_that_every_flip_and_swap_of_axes_shows(seed: int) -> None:
    phantom = make_phantom(seed, snr=math.inf, motion=0, voxel_size=3.0, directions=6)
    keep = phantom.fa > 0.3
    axis = np.zeros((*keep.shape, 3))
    axis[keep] = np.linalg.eigh(matrices(phantom.tensors[keep].astype(float)))[1][..., 2]
    right = coherence(phantom, axis, keep)
    wrong = [
        coherence(phantom, axis[..., order] * signs, keep)
        for order in permutations(range(3))
        for signs in ([1, 1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, -1])
        if not (order == (0, 1, 2) and signs == [1, 1, 1])
    ]
    assert len(wrong) == 23
    assert max(wrong) < 0.95 * right


def test_five_millimetres_are_enough_for_quick_tests_and_fill_the_same_space() -> None:
    coarse = make_phantom(1, **SMALL)
    assert coarse.data.shape == (36, 44, 32, 15)
    assert coarse.data.dtype == np.int16
    for extent, count in zip(FIELD_OF_VIEW, coarse.data.shape, strict=False):
        assert abs(extent - 5 * count) <= 5
    shaped = make_phantom(1, shape=(30, 34, 26), voxel_size=6.0, directions=6)
    assert shaped.mask.shape == (30, 34, 26)
    assert replace(shaped, seed=2).seed == 2  # a value: copies are cheap


def test_what_cannot_be_scanned_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Failure) as few:
        make_phantom(1, directions=5)
    assert few.value.category is Category.USAGE
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Failure) as missing:
        make_phantom(1, **SMALL)
    assert missing.value.category is Category.CONFIG
    assert "make setup" in missing.value.remedy

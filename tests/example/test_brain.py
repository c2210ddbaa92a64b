"""The head with crossing bundles: its truth agrees with its signal, its space and its seed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import fit
from cohortflow.example import acquire, bundles, compartments, head
from cohortflow.example.brain import Brain, make_brain, mirrored_mean
from cohortflow.example.bundle_truth import unwarp
from cohortflow.example.head import Tissue
from cohortflow.example.phantom import MD, S0

COARSE = {"voxel_size": 4.0, "directions": 6, "snr": math.inf}


@pytest.fixture(scope="module")
def whole() -> Brain:
    """A scan without noise and motion."""
    return make_brain(3, **COARSE)


def principal(brain: Brain, where: np.ndarray) -> np.ndarray:
    """Principal direction in world axes, fitted to the noise-free signal."""
    matrix = fit.design(brain.bvals, brain.gradients)
    return fit.eigen(fit.fit(brain.clean[where].astype(float), matrix))[1]


def angles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    cosine = np.abs((first * second).sum(axis=-1))
    length = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    return np.degrees(np.arccos(np.clip(cosine / length, 0, 1)))


def tensor(axis: np.ndarray, fa: float, md: float) -> np.ndarray:
    """Find the cylindrical tensor by search over eigenvalues, not by the formula of the code."""
    low, high = 0.0, 1.0
    for _ in range(60):
        k = (low + high) / 2
        values = md * np.array([1 + 2 * k, 1 - k, 1 - k])
        now = math.sqrt(1.5 * ((values - md) ** 2).sum() / (values**2).sum())
        low, high = (k, high) if now < fa else (low, k)
    axis = axis / np.linalg.norm(axis)
    return values[1] * np.eye(3) + (values[0] - values[1]) * np.outer(axis, axis)


def test_the_signal_of_a_voxel_is_the_sum_over_its_populations(whole: Brain) -> None:
    """Two crossing fibres and grey matter by hand; then all that a voxel of the head holds."""
    first, second = np.array([0.0, 0.6, 0.8]), np.array([1.0, 0.0, 0.0])
    isotropic = np.zeros((2, 7), np.float32)
    isotropic[1, Tissue.GREY] = 0.2
    content = compartments.Content(
        isotropic=isotropic,
        voxel=np.array([1, 1]),
        share=np.array([0.5, 0.3], np.float32),
        axis=np.array([first, second], np.float32),
        fa=np.array([0.7, 0.78], np.float32),
    )
    gradient = np.array([0.48, 0.6, 0.64])
    expected = 0.2 * 1450 * math.exp(-1000 * 0.85e-3)
    for share, axis, fa in ((0.5, first, 0.7), (0.3, second, 0.78)):
        d = tensor(axis, fa, 0.75e-3)
        expected += share * 1000 * math.exp(-1000 * gradient @ d @ gradient)
    np.testing.assert_allclose(content.signal(1000.0, gradient), [0, expected], rtol=1e-5)

    shape = whole.mask.shape
    content, truth = compartments.fill(
        shape, whole.affine, whole.warp, {"left": 1.0, "right": 1.0}, symmetric=False
    )
    both = truth.shares["cst_left"] * truth.shares["callosum"]
    voxel = int(both.argmax())
    assert both.max() > 0.15
    weighted = int(np.flatnonzero(whole.bvals)[0])
    gradient = whole.gradients[weighted]
    decay = [S0[t] * math.exp(-1000 * MD[t]) for t in Tissue]
    expected = float(content.isotropic[voxel] @ decay)
    for i in np.flatnonzero(content.voxel == voxel):
        d = tensor(content.axis[i], content.fa[i], 0.75e-3)
        expected += content.share[i] * 1000 * math.exp(-1000 * gradient @ d @ gradient)
    assert whole.clean[..., weighted].flat[voxel] == pytest.approx(expected, rel=1e-4)


def test_shares_add_up_to_the_white_matter_of_a_voxel(whole: Brain) -> None:
    truth = whole.truth
    total = sum(share.astype(float) for share in truth.shares.values())
    np.testing.assert_allclose(total, truth.white, atol=1e-6)
    assert (truth.white + truth.grey + truth.csf).max() <= 1 + 1e-6
    assert truth.white.min() >= 0
    assert truth.white.max() == pytest.approx(1)
    partial = (truth.white > 0.1) & (truth.grey > 0.1) & (truth.csf > 0.1)
    assert partial.sum() > 100


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_fan_is_crossed_by_callosum_and_longitudinal_fibres(whole: Brain, side: str) -> None:
    shares = whole.truth.shares
    tract = shares[f"cst_{side}"] > 0.1
    assert (tract & (shares["callosum"] > 0.2)).sum() > 30
    assert (tract & (shares[f"slf_{side}"] > 0.15)).sum() > 5


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_tract_has_the_size_and_the_place_of_a_real_one(whole: Brain, side: str) -> None:
    """8 to 15 ml, medulla to motor cortex on its own side, along ridges of the FA template."""
    assert 8000 < whole.truth.volume(side) < 15000
    sign = {"left": -1, "right": 1}[side]
    points = whole.warp(whole.truth.fibres(side).points.astype(float))
    assert (points[:, 0] * sign > 0).all()
    assert points[:, 2].min() < -50
    assert points[:, 2].max() > 60
    trunk = points[points[:, 2] < 20]
    assert head.tissues(head.load_template(), trunk)[2].mean() > 0.5


def test_fibres_lie_inside_their_tract_and_run_along_its_signal(whole: Brain) -> None:
    fibres = whole.truth.fibres("left")
    assert len(fibres) >= 1000
    points = fibres.points.astype(float)
    index = np.rint((points - whole.affine[:3, 3]) @ np.linalg.inv(whole.affine[:3, :3]).T)
    voxel = tuple(index.astype(int).T)
    share = whole.truth.shares["cst_left"][voxel]
    assert (share > 0).mean() > 0.96
    line = np.concatenate([np.gradient(line, axis=0) for line in fibres.lines()])
    pure = share > 0.95
    assert pure.sum() > 1000
    assert np.median(angles(principal(whole, voxel)[pure], line[pure])) < 6


def test_directions_are_carried_from_the_template_to_the_scanner(whole: Brain) -> None:
    """A head that lies 25 degrees off has fibres that lie so, and sticks along them."""
    turn = head.rotation(np.array([-25.0, 15.0, 10.0]))
    warp = replace(whole.warp, linear=whole.warp.linear @ turn)
    volumes = {"left": 1.0, "right": 1.0}
    content, truth = compartments.fill(
        whole.mask.shape, whole.affine, warp, volumes, symmetric=False
    )
    fibres = truth.fibres("right")
    points = fibres.points.astype(float)
    index = np.rint((points - whole.affine[:3, 3]) @ np.linalg.inv(whole.affine[:3, :3]).T)
    voxel = np.ravel_multi_index(tuple(index.astype(int).T), whole.mask.shape)
    line = np.concatenate([np.gradient(line, axis=0) for line in fibres.lines()])
    mean = [np.bincount(voxel, column, whole.mask.size) for column in line.T]
    pure = truth.shares["cst_right"].ravel()[content.voxel] > 0.95
    assert pure.sum() > 200
    found = angles(content.axis[pure], np.stack(mean, axis=1)[content.voxel[pure]])
    assert np.median(found) < 5


def test_fibres_are_the_drawn_ones_through_the_inverse_of_the_warp(whole: Brain) -> None:
    drawn = bundles.corticospinal(bundles.even_square(2000)).points.reshape(-1, 3)
    drawn *= [-1, 1, 1]
    back = whole.warp(whole.truth.fibres("left").points.astype(float))
    assert cKDTree(drawn).query(back)[0].max() < 0.01
    far = drawn[::5000] + np.array([3.0, -2.0, 1.0])
    np.testing.assert_allclose(whole.warp(unwarp(whole.warp, far)), far, atol=0.01)


def test_the_core_is_where_enough_fibres_pass(whole: Brain) -> None:
    truth = whole.truth
    core, wide = truth.core("left"), truth.core("left", share=0.0)
    assert not (core & ~wide).any()
    assert 0 < core.sum() < wide.sum()
    assert (truth.shares["cst_left"][core] > 0).all()
    inside = truth.shares["cst_left"] > 0.5
    assert wide[inside].mean() > 0.99
    visits = truth.visits("left")
    np.testing.assert_array_equal(core, (visits >= 0.02) & (truth.shares["cst_left"] > 0))
    # Every fibre passes every plane between medulla and cortex, some of them in two voxels.
    assert (visits[:, :, 8:24].sum(axis=(0, 1)) > 0.999).all()
    assert visits.max() < 0.9


def test_a_thinned_tract_has_that_part_of_its_volume(whole: Brain) -> None:
    thin = make_brain(3, **COARSE, thin={"left": 0.8})
    ratio = {side: thin.truth.volume(side) / whole.truth.volume(side) for side in ("left", "right")}
    assert ratio["left"] == pytest.approx(0.8, abs=0.01)
    assert ratio["right"] == 1
    np.testing.assert_allclose(thin.truth.white, whole.truth.white, atol=1e-6)
    assert not (thin.truth.shares["cst_left"] > whole.truth.shares["cst_left"] + 1e-6).any()
    parts = len(thin.truth.fibres("left")) / len(whole.truth.fibres("left"))
    assert parts == pytest.approx(0.8, abs=0.05)
    # Trunk and fan lose alike.
    levels = {}
    for name, brain in (("thin", thin), ("whole", whole)):
        share = brain.truth.shares["cst_left"].sum(axis=(0, 1))
        levels[name] = np.array([share[:25].sum(), share[25:].sum()])
    np.testing.assert_allclose(levels["thin"] / levels["whole"], 0.8, atol=0.07)


def test_a_missing_tract_leaves_fibres_across_its_place(whole: Brain) -> None:
    missing = make_brain(3, **COARSE, without=("left",))
    truth = missing.truth
    assert truth.volume("left") == 0
    assert len(truth.fibres("left")) == 0
    assert truth.fibres("left").lines() == []
    assert not truth.core("left").any()
    assert truth.volume("right") == whole.truth.volume("right")
    place = whole.truth.shares["cst_left"] > 0.9
    assert place.sum() > 20
    assert truth.shares["other"][place].min() > 0.5
    turned = angles(principal(missing, place), principal(whole, place))
    assert np.median(turned) > 60


def test_a_symmetric_head_is_its_own_mirror_image(whole: Brain) -> None:
    brain = make_brain(3, **COARSE, symmetric=True)
    shares = brain.truth.shares
    for name, other in (("cst_left", "cst_right"), ("slf_left", "slf_right"), ("other", "other")):
        np.testing.assert_allclose(shares[name], shares[other][::-1], atol=1e-6)
    np.testing.assert_allclose(brain.clean[..., 0], brain.clean[::-1, ..., 0], atol=0.05)
    assert brain.truth.volume("left") == pytest.approx(brain.truth.volume("right"))
    left, right = brain.truth.core("left"), brain.truth.core("right")[::-1]
    assert 2 * (left & right).sum() / (left.sum() + right.sum()) > 0.995
    points = np.random.default_rng(0).uniform(-60, 60, (50, 3))
    flip = np.array([-1, 1, 1])
    np.testing.assert_allclose(brain.warp(points * flip), brain.warp(points) * flip, atol=1e-9)
    plain = whole.truth
    assert plain.volume("left") != pytest.approx(plain.volume("right"), rel=1e-3)


def test_the_mean_of_a_symmetric_warp_is_itself() -> None:
    warp = head.random_warp(*(np.random.default_rng(s) for s in (1, 2)))
    once = mirrored_mean(warp)
    points = np.random.default_rng(0).uniform(-60, 60, (50, 3))
    np.testing.assert_allclose(mirrored_mean(once)(points), once(points), atol=1e-9)


def test_one_seed_gives_the_same_bytes_and_the_noise_that_was_asked_for() -> None:
    options = {"voxel_size": 6.0, "directions": 6, "snr": 25.0, "motion": 0.5}
    first, again = make_brain(5, **options), make_brain(5, **options)
    for name in ("data", "clean", "bvals", "bvecs"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    assert first.sigma == 40
    air = first.clean.max(axis=-1) == 0
    assert first.data[air].mean() == pytest.approx(40 * math.sqrt(math.pi / 2), rel=0.02)
    bright = first.clean[..., 0] > 800
    noise = (first.data[..., 0] - first.clean[..., 0])[bright]
    assert noise.std() == pytest.approx(40, rel=0.05)
    other = make_brain(5, **options, scan=2)
    np.testing.assert_array_equal(other.bvals, first.bvals)
    assert (other.data != first.data).mean() > 0.5
    assert make_brain(6, **options).data.tobytes() != first.data.tobytes()


def test_a_head_that_moves_is_seen_moved_after_the_first_volume() -> None:
    moved = make_brain(5, voxel_size=6.0, directions=6, snr=math.inf, motion=2.0)
    still = np.rint(moved.clean)
    np.testing.assert_array_equal(moved.data[..., 0], still[..., 0])
    assert np.abs(moved.data[..., 1] - still[..., 1])[moved.mask].mean() > 20
    content, _ = compartments.fill(
        moved.mask.shape, moved.affine, moved.warp, {"left": 1.0, "right": 1.0}, symmetric=False
    )
    turned = moved.turns[3].T @ moved.gradients[3]
    assert moved.bvals[3] == 1000
    signal = content.signal(1000.0, turned).reshape(moved.mask.shape)
    seen = acquire.moved(
        signal, moved.affine, moved.turns[3], moved.shifts[3], head.CENTRE, moved.mask
    )
    inner = ndimage.binary_erosion(moved.mask)
    np.testing.assert_allclose(moved.data[..., 3][inner], seen[inner], atol=1.0)


def test_several_shells_and_the_field_of_view() -> None:
    brain = make_brain(
        1,
        voxel_size=6.0,
        b_value=((1000.0, 6), (2500.0, 12)),
        field_of_view=(120.0, 180.0, 96.0),
        axes="RAS",
    )
    assert brain.data.shape == (20, 30, 16, len(brain.bvals))
    counts = {b: int((brain.bvals == b).sum()) for b in (1000.0, 2500.0)}
    assert counts == {1000.0: 6, 2500.0: 12}
    assert brain.bvals[0] == 0
    assert np.linalg.det(brain.affine) > 0
    lengths = np.linalg.norm(brain.gradients, axis=1)
    np.testing.assert_allclose(lengths, brain.bvals > 0, atol=1e-9)


WRONG = ({"directions": 5}, {"axes": "RPS"}, {"b_value": ()}, {"without": ("middle",)})
WRONG_SIZES = ({"thin": {"middle": 0.5}}, {"thin": {"left": 1.2}})


@pytest.mark.parametrize("options", [*WRONG, *WRONG_SIZES])
def test_what_cannot_be_made_is_refused(options: dict) -> None:
    with pytest.raises(Failure) as caught:
        make_brain(1, **options)
    assert caught.value.category is Category.USAGE

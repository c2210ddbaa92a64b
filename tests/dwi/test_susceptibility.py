"""Susceptibility distortion: found and undone where it is known, refused where a pair is none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import mosaic, pair_levels, pair_scheme, series, spline, susceptibility
from cohortflow.dwi.mask import brain
from cohortflow.dwi.susceptibility import Field
from cohortflow.example import acquire, distortion, head
from cohortflow.example.phantom import Phantom, make_phantom

SIZE = np.full(3, 3.0)
SIGMA = 1000 / 30  # SNR 30 in white matter


@dataclass(frozen=True)
class Pair:
    """Two images of reversed phase encoding along y, and the truth."""

    up: np.ndarray
    down: np.ndarray
    truth: np.ndarray
    still: np.ndarray
    mask: np.ndarray
    affine: np.ndarray


def brought_back(volume: np.ndarray, field: susceptibility.Field, sign: float = 1.0) -> np.ndarray:
    """Undo a distortion as dwi-correct does, of a head that lies still."""
    moved = susceptibility.shift(field, sign)
    return spline.resample(np.ascontiguousarray(volume), np.eye(4), moved, field.axis)


@lru_cache(maxsize=2)
def person(seed: int) -> Phantom:
    """Return a head at rest without noise, from the temporal lobes up."""
    return make_phantom(
        seed, voxel_size=3.0, motion=0, directions=6, snr=np.inf, shape=(60, 72, 28)
    )


@lru_cache(maxsize=4)
def pair(
    seed: int, shape: str = "head", ratio: float = 1.0, peak: float = 4.0, sigma: float = SIGMA
) -> Pair:
    """Distort a head's b=0 image truthfully both ways; none of these seeds was tuned on."""
    scan = person(seed)
    truth = distortion.field(seed, scan.affine, scan.mask, peak=peak, shape=shape)
    rng = np.random.default_rng(seed)
    up, down = (
        acquire.rician(distortion.distort(scan.s0, truth, 1, sign), sigma, rng)
        for sign in (1.0, -ratio)
    )
    return Pair(up, down, truth, scan.s0, scan.mask, scan.affine)


@lru_cache(maxsize=4)
def found(seed: int, shape: str = "head") -> Field:
    """Estimate the field of a pair."""
    given = pair(seed, shape)
    return susceptibility.estimate(given.up, given.down, 1, SIZE)


def errors(field: Field, given: Pair) -> np.ndarray:
    """Return how many voxels the displacement is off in the brain."""
    return np.abs(field.displacement - given.truth)[given.mask]


@pytest.mark.parametrize(("seed", "shape"), [(311, "head"), (313, "waves")])
def test_a_field_of_four_voxels_is_found_within_half_a_voxel(seed: int, shape: str) -> None:
    given, field = pair(seed, shape), found(seed, shape)
    assert np.abs(given.truth[given.mask]).max() == pytest.approx(4)
    off = errors(field, given)
    assert off.max() <= 0.5
    assert np.percentile(off, 95) <= 0.25
    assert np.sqrt((off**2).mean()) <= 0.15
    assert field.after < 0.25 * field.before
    assert np.linalg.norm(field.shift_mm) < 0.2, "the head did not move"
    assert np.linalg.norm(field.turn_degrees) < 0.2


def test_the_image_is_brought_back_with_its_signal() -> None:
    given, field = pair(311), found(311)
    before = given.up - given.still
    after = brought_back(given.up, field) - given.still
    inner = given.mask
    assert np.sqrt((after[inner] ** 2).mean()) < 0.45 * np.sqrt((before[inner] ** 2).mean())
    reversed_too = brought_back(given.down, field, -1.0)
    for undone, seen in ((after + given.still, given.up), (reversed_too, given.down)):
        assert undone.sum() == pytest.approx(seen.sum(), rel=0.01), "no signal is lost"


@pytest.mark.parametrize(("seed", "sigma"), [(712, 0.0), (716, 2 * SIGMA)])
def test_noise_hardly_matters(seed: int, sigma: float) -> None:
    """None, and twice as much."""
    given = pair(seed, sigma=sigma)
    off = errors(susceptibility.estimate(given.up, given.down, 1, SIZE), given)
    assert off.max() <= 0.5
    assert np.percentile(off, 95) <= 0.25


def test_without_distortion_nothing_is_displaced() -> None:
    given = pair(311, peak=1e-6)
    field = susceptibility.estimate(given.up, given.down, 1, SIZE)
    assert errors(field, given).max() < 0.1


def test_polarity_and_readout_times_scale_the_displacement() -> None:
    given = pair(311, ratio=0.6)
    field = susceptibility.estimate(given.up, given.down, 1, SIZE, 1.0, 0.6)
    right = np.percentile(errors(field, given), 95)
    assert right <= 0.2
    taken_as_equal = susceptibility.estimate(given.up, given.down, 1, SIZE)
    assert np.percentile(errors(taken_as_equal, given), 95) > 2 * right
    against = susceptibility.estimate(given.up, given.down, 1, SIZE, -1.0, 0.6)
    assert np.allclose(against.displacement, -field.displacement, atol=0.02)
    seen = susceptibility.shift(against, -1.0)
    assert np.percentile(np.abs(seen - given.truth)[given.mask], 95) <= 0.25


def test_another_gain_does_not_matter() -> None:
    given = pair(311)
    field = susceptibility.estimate(given.up, given.down * 1.4, 1, SIZE)
    assert np.allclose(field.displacement, found(311).displacement, atol=0.01)
    assert field.corrected[1].mean() == pytest.approx(found(311).corrected[1].mean(), rel=1e-3)


def test_a_movement_between_the_two_is_found() -> None:
    scan = person(311)
    truth = distortion.field(311, scan.affine, scan.mask)
    turn, shift = head.rotation(np.array([2.0, -1.0, 1.5])), np.array([1.5, 0.0, -2.5])
    everywhere = np.ones(scan.mask.shape, bool)
    still, other = (
        acquire.moved(image, scan.affine, turn, shift, head.CENTRE, everywhere)
        for image in (scan.s0, truth + 10)
    )
    rng = np.random.default_rng(3)
    up = acquire.rician(distortion.distort(scan.s0, truth), SIGMA, rng)
    down = acquire.rician(distortion.distort(still, other - 10, 1, -1.0), SIGMA, rng)
    field = susceptibility.estimate(up, down, 1, SIZE)
    # image axes: left, anterior, superior
    assert np.allclose(field.shift_mm, [-1.5, 0, -2.5], atol=0.3)
    assert np.allclose(field.turn_degrees, [2.0, 1.0, -1.5], atol=0.3)
    off = field.displacement - truth
    # what turns about the head's middle move along the axis at the image's middle stays in it
    assert np.percentile(np.abs(off - np.median(off[scan.mask]))[scan.mask], 95) <= 0.25
    fixed = susceptibility.estimate(up, down, 1, SIZE, moves=False)
    assert fixed.shift_mm == (0, 0, 0)
    assert fixed.after > 1.5 * field.after


def test_space_never_folds_over_even_for_images_that_do_not_belong_together() -> None:
    rng = np.random.default_rng(4)
    one, other = rng.uniform(0, 1000, (2, 24, 24, 12)).astype(np.float32)
    field = susceptibility.estimate(one, other, 1, SIZE, 1.0, 1.5)
    steps = np.diff(field.displacement, axis=1)
    assert np.isfinite(steps).all()
    assert np.abs(steps).max() * 1.5 < 1


@pytest.mark.parametrize("axis", [0, 2])
def test_any_axis_may_be_the_phase_encode_axis(axis: int) -> None:
    given = pair(311)
    turned = [np.swapaxes(image, 1, axis) for image in (given.up, given.down)]
    field = susceptibility.estimate(*turned, axis, SIZE)
    back = np.swapaxes(field.displacement, 1, axis)
    assert field.axis == axis
    assert np.percentile(np.abs(back - given.truth)[given.mask], 95) <= 0.25


def test_the_same_input_gives_the_same_bytes() -> None:
    given = pair(311)
    small = [np.ascontiguousarray(image[:, :, 10:18]) for image in (given.up, given.down)]
    one, other = (susceptibility.estimate(*small, 1, SIZE) for _ in range(2))
    assert one.displacement.tobytes() == other.displacement.tobytes()


def test_a_pair_that_cannot_be_used_is_refused() -> None:
    good = np.ones((8, 12, 8), np.float32)
    hole = good.copy()
    hole[1, 1, 1] = np.nan
    for up, down, word in (
        (good, good[:, :-1], "shapes"),
        (good[:, :5], good[:, :5], "5 voxels along"),
        (good, hole, "not finite"),
        (good, good * 0, "no signal"),
    ):
        with pytest.raises(Failure, match=word) as caught:
            susceptibility.estimate(up, down, 1, SIZE)
        assert caught.value.category == Category.DATA_INVALID


NAMES = ("a_dwi.nii.gz", "b_epi.nii.gz")


def told(direction: object, **more: object) -> dict[str, object]:
    """Return a sidecar's fields."""
    return {"PhaseEncodingDirection": direction, **more}


def test_sidecars_tell_the_scheme() -> None:
    assert pair_scheme.scheme(told("j-"), told("j"), NAMES) == pair_scheme.Scheme(1, -1.0, 1.0)
    scheme = pair_scheme.scheme(
        told("i", TotalReadoutTime=0.05),
        told("i-", EffectiveEchoSpacing=0.0005, ReconMatrixPE=81),
        NAMES,
    )
    assert (scheme.axis, scheme.sign) == (0, 1.0)
    assert scheme.ratio == pytest.approx(0.8)
    assert scheme.signs == (1.0, pytest.approx(-0.8))


@pytest.mark.parametrize(
    ("one", "other"),
    [("j", "j"), ("j", "i-"), ("j", None), (None, None), ("j", "AP"), ("j", ["j-"])],
)
def test_phase_encoding_that_is_not_opposite_is_refused(one: object, other: object) -> None:
    with pytest.raises(Failure, match=r"a_dwi.* and b_epi.* not opposite") as caught:
        pair_scheme.scheme(told(one), told(other), NAMES)
    assert caught.value.category == Category.DATA_INVALID


def test_a_readout_time_that_only_one_has_is_refused() -> None:
    for value in (0, -1, "0.05", True, float("inf")):
        assert pair_scheme.readout({"TotalReadoutTime": value}) is None
    with pytest.raises(Failure, match=r"b_epi\.nii\.gz: its total readout time is not known"):
        pair_scheme.scheme(told("j", TotalReadoutTime=0.05), told("j-"), NAMES)


def test_resolutions_follow_the_voxels() -> None:
    cubes = pair_levels.factors((96, 96, 60), SIZE)
    assert cubes == [(4, 4, 4), (2, 2, 2), (1, 1, 1)]
    assert pair_levels.factors((180, 180, 120), np.full(3, 1.2))[-1] == (2, 2, 2)
    assert pair_levels.factors((96, 96, 3), np.array([2.0, 2.0, 2.0]))[0] == (4, 4, 1)


def test_numbers_are_those_of_the_field() -> None:
    given, field = pair(311), found(311)
    numbers = susceptibility.metrics(field, SIZE, given.mask)
    inside = np.abs(field.displacement[given.mask]) * 3
    assert numbers["susceptibility_max_mm"] == pytest.approx(inside.max(), rel=1e-5)
    assert numbers["susceptibility_rms_mm"] == pytest.approx(np.sqrt((inside**2).mean()), rel=1e-5)
    assert numbers["reversed_difference_before"] == pytest.approx(field.before, rel=1e-5)
    nothing = susceptibility.metrics(field, SIZE, given.mask & False)
    assert nothing["susceptibility_max_mm"] is None


def test_the_picture_shows_pair_and_field(tmp_path: Path) -> None:
    given, field = pair(311), found(311)
    pictures = [
        susceptibility.draw("sub-01", (given.up, given.down), field, given.affine) for _ in range(2)
    ]
    for name, picture in zip(("a.png", "b.png"), pictures, strict=True):
        mosaic.save(tmp_path / name, picture)
    assert pictures[0].width == mosaic.WIDTH
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_phantoms_distortion_keeps_the_signal() -> None:
    given = pair(311)
    seen = distortion.distort(given.still, given.truth)
    assert seen.sum() == pytest.approx(given.still.sum(), rel=1e-5)
    image = np.zeros((2, 16, 2), np.float32)
    image[:, 5:9] = 100
    whole = distortion.distort(image, np.full(image.shape, 3.0), 1, -1.0)
    assert np.allclose(whole, np.roll(image, -3, axis=1), atol=1e-3), "along y, by the sign"
    slope = np.broadcast_to(np.linspace(0, 5, 16)[None, :, None], image.shape)
    spread = distortion.distort(image, slope)
    assert spread.max() == pytest.approx(100 / (1 + 5 / 15), rel=0.01), "spread signal is darker"
    with pytest.raises(Failure, match="folds"):
        distortion.distort(image, -4 * slope)


@pytest.mark.shared_data
def test_a_real_image_that_was_distorted_is_brought_back(real: dict[str, Path]) -> None:
    scan = series.read(real["7006"])
    still = np.nan_to_num(scan.b0)
    region = brain(still, series.voxel_size(scan.affine))
    truth = distortion.field(5, scan.affine, region, peak=3.0)
    noise = 0.03 * np.median(still[region])
    rng = np.random.default_rng(5)
    images = [
        acquire.rician(distortion.distort(still, truth, 1, sign), noise, rng)
        for sign in (1.0, -1.0)
    ]
    field = susceptibility.estimate(*images, 1, series.voxel_size(scan.affine))
    off = np.abs(field.displacement - truth)[region]
    assert np.percentile(off, 95) <= 0.5

"""Tracking: streamlines stay on ways that are known, stop where they must, are always the same."""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import harmonics, seeds, streamlines, track, track_kernels, tracking
from cohortflow.dwi.regions import Region
from cohortflow.dwi.seeds import Seeds
from cohortflow.dwi.streamlines import Streamlines
from cohortflow.dwi.tracking import Field, Settings
from dwi import small
from dwi.scans import tree

LMAX = 8
SHAPE = (40, 40, 40)
STEP = 0.75
AFFINE = np.array([[-1.9, 0.3, 0, 30], [0.3, 1.9, 0.2, -50], [0, -0.2, 2.0, -35], [0, 0, 0, 1]])
"""Oblique; the first axis of the image points to the left."""
VOXEL = float(np.cbrt(abs(np.linalg.det(AFFINE))))
WORLD = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1) @ AFFINE[:3, :3].T
WORLD = WORLD + AFFINE[:3, 3]
CENTRE = WORLD[20, 20, 20]
WAYS = list(tracking.WAYS)
POWER = 1.5


def distributions(directions: np.ndarray) -> np.ndarray:
    """Return harmonics of fibres (..., 3), each a lobe about as wide as deconvolution makes it."""
    orders = harmonics.degrees(LMAX)
    made = harmonics.basis(directions.reshape(-1, 3), LMAX) * np.exp(-0.01 * orders * (orders + 1))
    made *= np.linalg.norm(directions.reshape(-1, 3), axis=1, keepdims=True)
    return made.reshape(*directions.shape[:-1], -1)


def field(directions: np.ndarray, fa: np.ndarray | float = 0.5) -> Field:
    """Return the field of fibres (x, y, z, k, 3); where there is no k-th one, it is 0."""
    white = sum(distributions(directions[..., k, :]) for k in range(directions.shape[-2]))
    return Field(
        np.asarray(white, np.float32),
        np.ascontiguousarray(directions, np.float32),
        np.broadcast_to(np.float32(fa), SHAPE).copy(),
        np.ones(SHAPE, bool),
        AFFINE,
        POWER,
    )


def within(axis: np.ndarray, radius: float = 6.0) -> np.ndarray:
    """Return which voxels lie within a straight bundle through the centre."""
    away = WORLD - CENTRE
    return np.linalg.norm(away - (away @ axis)[..., None] * axis, axis=-1) < radius


def at(point: np.ndarray, number: int) -> Seeds:
    return Seeds(np.repeat(point[None], number, axis=0), np.arange(number, dtype=np.int32))


def tracked(where: Field, chosen: Seeds, way: str, **given: float) -> tracking.Tracked:
    settings = {"step": STEP, "shortest": 0, "random_seed": 3, **given}
    return tracking.track(where, chosen, Settings(way, **settings))  # type: ignore[arg-type]


def parts(given: Streamlines) -> list[np.ndarray]:
    return [given.points[a:b].astype(float) for a, b in pairwise(given.offsets)]


def turns(given: Streamlines) -> np.ndarray:
    """Return the angles between all steps that follow one another, degrees."""
    found = []
    for points in parts(given):
        steps = np.diff(points, axis=0)
        steps /= np.linalg.norm(steps, axis=1, keepdims=True)
        found.append(np.degrees(np.arccos(np.clip((steps[1:] * steps[:-1]).sum(axis=1), -1, 1))))
    return np.concatenate(found)


SLANTED = np.array([0.48, 0.36, 0.8])


@lru_cache(maxsize=1)
def straight() -> Field:
    """Return a straight bundle in no direction of the grid's or the world's axes."""
    inside = within(SLANTED)
    return field(np.where(inside[..., None, None], SLANTED, 0), 0.5 * inside)


def stay(found: Streamlines, off: np.ndarray, way: str) -> None:
    """See that streamlines from the centre stay on a way, given how far off it (n, 2) points are.

    Those that are drawn scatter the more the farther they come; the bundle as a whole does not.
    """
    assert len(found) == 300
    assert np.median(found.lengths()) > 90
    far = np.linalg.norm(off, axis=1)
    assert np.linalg.norm(off.mean(axis=0)) < 0.5 * VOXEL
    if way != "probabilistic":
        assert far.mean() < 0.25 * VOXEL
        return
    near = []
    for points in parts(found):
        steps = np.arange(len(points))
        start = np.linalg.norm(points - CENTRE, axis=1).argmin()
        near.append(np.abs(steps - start) * STEP <= 30)  # 60 mm: the shortest of candidates
    assert far[np.concatenate(near)].mean() < 0.5 * VOXEL
    assert far.mean() < 0.7 * VOXEL


@pytest.mark.parametrize("way", WAYS)
def test_streamlines_stay_on_a_straight_bundle(way: str) -> None:
    found = tracked(straight(), at(CENTRE, 300), way).streamlines
    across = np.linalg.svd(SLANTED[None])[2][1:]
    off = (found.points - CENTRE) @ across.T
    stay(found, off, way)
    assert np.abs(off.mean(axis=0)).max() < 0.05 * VOXEL


RADIUS = 30.0


@lru_cache(maxsize=1)
def ring() -> Field:
    """Return a bundle of 12 mm that runs around a circle of 30 mm."""
    out = WORLD - (CENTRE - np.array([RADIUS, 0, 0]))
    far = np.hypot(out[..., 0], out[..., 1])
    along = np.stack([-out[..., 1], out[..., 0], np.zeros(SHAPE)], -1) / far[..., None]
    inside = np.hypot(far - RADIUS, out[..., 2]) < 6
    return field((along * inside[..., None])[..., None, :], 0.5 * inside)


@pytest.mark.parametrize("way", WAYS)
def test_streamlines_follow_a_circle(way: str) -> None:
    found = tracked(ring(), at(CENTRE, 300), way).streamlines
    out = found.points - (CENTRE - np.array([RADIUS, 0, 0]))
    stay(found, np.stack([np.hypot(out[:, 0], out[:, 1]) - RADIUS, out[:, 2]], axis=1), way)
    assert turns(found).max() <= 20.01


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("degrees", [90, 60])
def test_streamlines_go_straight_through_a_crossing(way: str, degrees: int) -> None:
    one = np.array([1.0, 0, 0])
    other = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), 0])
    first, second = within(one, 7), within(other, 7)
    directions = np.zeros((*SHAPE, 2, 3))
    directions[first, 0] = one
    directions[second & ~first, 0] = other
    directions[first & second, 1] = other
    start = CENTRE - 22 * one
    chosen = seeds.in_mask(np.linalg.norm(WORLD - start, axis=-1) < 4, AFFINE, 15, 1)
    found = tracked(field(directions, 0.5 * (first | second)), chosen, way).streamlines
    through = [((points - CENTRE) @ one).max() > 18 for points in parts(found)]
    assert len(found) == len(chosen.voxel) > 300
    assert np.mean(through) >= 0.9


def drawn(white: np.ndarray, number: int) -> np.ndarray:
    """Return directions that are drawn from a distribution at the centre of the only voxel.

    Steps of 1 mm in a voxel of 2 mm: in whatever direction the first one goes, the second one
    leaves it.
    """
    single = Field(
        np.broadcast_to(np.asarray(white, np.float32), (1, 1, 1, len(white))).copy(),
        np.zeros((1, 1, 1, 0, 3), np.float32),
        np.full((1, 1, 1), 0.5, np.float32),
        np.ones((1, 1, 1), bool),
        np.diag([-2.0, 2, 2, 1]),
        power=POWER,
    )
    found = tracked(single, at(np.zeros(3), number), "probabilistic", step=0.95, fa=0).streamlines
    lines = found.points.reshape(number, 3, 3)
    assert np.allclose(lines[:, 1], 0, atol=1e-6)
    return np.asarray((lines[:, 2] - lines[:, 0]) / 1.9)


def chi_square(lines: np.ndarray, expected: np.ndarray) -> float:
    """Return chi-square over its degrees of freedom, of draws from directions of the sphere."""
    sphere = harmonics.half_sphere(len(expected))
    cosines = np.abs(lines @ sphere.T)
    assert cosines.max(axis=1).min() > 1 - 1e-6, "each is a direction of the sphere"
    counts = np.bincount(cosines.argmax(axis=1), minlength=len(expected))
    assert not counts[expected == 0].any()
    there = expected > 0
    wanted = len(lines) * expected[there] / expected.sum()
    return float(((counts[there] - wanted) ** 2 / wanted).sum() / (there.sum() - 1))


DIRECTIONS = 724


def test_directions_of_an_isotropic_distribution_are_uniform() -> None:
    lines = drawn(np.array([1.0]), 30000)
    assert np.allclose(np.linalg.norm(lines, axis=1), 1, atol=1e-4)
    assert chi_square(lines, np.ones(DIRECTIONS)) == pytest.approx(1, abs=0.25)  # 4.7 sd
    # Of a uniform direction the second moments are 1/3, the fourth 1/5 and 1/15.
    assert lines.T @ lines / len(lines) == pytest.approx(np.eye(3) / 3, abs=0.01)
    assert (lines**4).mean(axis=0) == pytest.approx([1 / 5] * 3, abs=0.01)
    assert np.mean(lines[:, 0] ** 2 * lines[:, 2] ** 2) == pytest.approx(1 / 15, abs=0.01)


@pytest.mark.parametrize("power", [0, 0.5, 1, 1.5, 2, 4, 0.7, 2.3, 8.5])
def test_a_power_is_taken_as_numpy_takes_it(power: float) -> None:
    values = np.array([0.0, 1e-6, 0.03, 0.5, 1.0, 3.7], np.float32)
    made = [track_kernels.raised(value, power) for value in values]
    assert made == pytest.approx(values.astype(float) ** power, rel=2e-6)


def test_further_directions_are_drawn_by_the_amplitude_within_the_cone() -> None:
    """Of the pairs of steps in a field that is the same everywhere."""
    white = distributions(SLANTED[None])[0] + 0.5 * distributions(np.array([[0.0, 0.6, 0.8]]))[0]
    same = np.broadcast_to(np.asarray(white, np.float32), (*SHAPE, len(white))).copy()
    none = np.zeros((*SHAPE, 0, 3), np.float32)
    fa, mask = np.full(SHAPE, 0.5, np.float32), np.ones(SHAPE, bool)
    where = Field(same, none, fa, mask, AFFINE, power=POWER)
    found = tracked(where, at(CENTRE, 1500), "probabilistic", longest=500).streamlines
    sphere = harmonics.half_sphere(DIRECTIONS)
    before, after = [], []
    for points in parts(found):  # the two steps beside a seed are one direction
        ahead = points[np.linalg.norm(points - CENTRE, axis=1).argmin() :]
        number = np.abs(np.diff(ahead, axis=0) @ sphere.T).argmax(axis=1)
        before.append(number[:-1])
        after.append(number[1:])
    pairs = np.zeros((DIRECTIONS, DIRECTIONS))
    np.add.at(pairs, (np.concatenate(before), np.concatenate(after)), 1)
    height = np.maximum(harmonics.basis(sphere, LMAX) @ white, 0)
    largest = (harmonics.basis(harmonics.half_sphere(100), LMAX) @ white).max()
    weight = np.where(height > tracking.CUT * largest, height**POWER, 0)
    expected = np.where(np.abs(sphere @ sphere.T) >= np.cos(np.radians(20)), weight, 0)
    assert not pairs[expected == 0].any()
    expected *= (pairs.sum(axis=1) / np.maximum(expected.sum(axis=1), 1e-9))[:, None]
    often = expected >= 5
    assert often.sum() > 1000
    square = (pairs[often] - expected[often]) ** 2 / expected[often]
    assert square.mean() == pytest.approx(1, abs=0.1)


def test_the_largest_amplitude_is_known_wherever_a_streamline_can_look() -> None:
    """In all eight voxels around any place of enough FA, though it is not computed elsewhere."""
    rng = np.random.default_rng(8)
    fa = rng.uniform(0, 1, SHAPE).astype(np.float32) ** 8
    white = rng.uniform(0.5, 1, (*SHAPE, 1)).astype(np.float32)
    mask = np.ones(SHAPE, bool)
    mask[:5] = False
    given = Field(white, np.zeros((*SHAPE, 0, 3), np.float32), fa, mask, AFFINE)
    every, some = tracking._largest(given, 0), tracking._largest(given, 0.5)
    assert np.allclose(every[mask], white[..., 0][mask] / np.sqrt(4 * np.pi))
    assert not every[~mask].any()
    places = rng.uniform(0, np.array(SHAPE) - 1, (200000, 3))
    enough = places[ndimage.map_coordinates(fa, places.T, order=1, output=float) >= 0.5]
    assert 1000 < len(enough) < 100000
    for corner in np.ndindex(2, 2, 2):
        around = tuple((np.floor(enough).astype(int) + corner).T)
        assert np.array_equal(some[around], every[around])
    assert (some == 0).sum() > 1.2 * (~mask).sum()


def test_the_directions_leave_no_gap() -> None:
    sphere = harmonics.half_sphere(DIRECTIONS)
    rng = np.random.default_rng(1)
    anywhere = rng.normal(size=(5000, 3))
    anywhere /= np.linalg.norm(anywhere, axis=1, keepdims=True)
    nearest = np.degrees(np.arccos(np.abs(anywhere @ sphere.T).max(axis=1)))
    assert nearest.max() < 5


@pytest.mark.parametrize("second", [None, (0.8, -0.6, 0.0)])
def test_directions_are_drawn_by_the_amplitude(second: tuple[float, ...] | None) -> None:
    """By its power, at each direction of the sphere; what is below a share of the largest is 0."""
    white = distributions(SLANTED[None])[0]
    if second:
        white = white + 0.6 * distributions(np.array([second]))[0]
    height = np.maximum(harmonics.basis(harmonics.half_sphere(DIRECTIONS), LMAX) @ white, 0)
    largest = (harmonics.basis(harmonics.half_sphere(100), LMAX) @ white).max()
    assert largest > 0.8 * height.max()
    height[height < tracking.CUT * largest] = 0
    assert 20 < (height > 0).sum() < DIRECTIONS / 4
    assert chi_square(drawn(white, 30000), height**POWER) == pytest.approx(1, abs=0.6)


def test_within_the_cone_directions_of_an_isotropic_distribution_are_uniform() -> None:
    """The cosine of the angle between two steps is uniform up to the largest angle."""
    white = np.zeros((*SHAPE, 1), np.float32) + 1
    none = np.zeros((*SHAPE, 0, 3), np.float32)
    where = Field(white, none, np.full(SHAPE, 0.5, np.float32), np.ones(SHAPE, bool), AFFINE)
    for angle in (20, 45):
        found = tracked(where, at(CENTRE, 400), "probabilistic", angle=angle, longest=1000)
        cosine = np.cos(np.radians(turns(found.streamlines)))
        lowest = np.cos(np.radians(angle))
        assert len(cosine) > 10000
        assert cosine.min() >= lowest - 1e-4
        assert cosine.mean() == pytest.approx((1 + lowest) / 2, rel=0.01 * (1 - lowest) / 0.06)


@pytest.mark.parametrize("way", WAYS)
def test_no_step_turns_by_more_than_the_angle(way: str) -> None:
    """In a field of nonsense, where streamlines would like to."""
    rng = np.random.default_rng(4)
    directions = rng.normal(size=(*SHAPE, 3, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    chosen = Seeds(CENTRE + rng.uniform(-15, 15, (400, 3)), np.arange(400, dtype=np.int32))
    for angle in (12, 30):
        found = tracked(field(directions), chosen, way, angle=angle)
        angles = turns(found.streamlines)
        assert 0.6 * angle < angles.max() <= angle + 0.05
        assert found.ended["turned"] > 100


@pytest.mark.parametrize("way", WAYS)
def test_a_corner_ends_a_streamline(way: str) -> None:
    """Fibres that meet at a right angle in a plane: none goes around."""
    right = np.array([1.0, 0, 0])
    directions = np.zeros((*SHAPE, 1, 3))
    directions[:, :, :, 0] = np.where(
        (WORLD[..., 0] < CENTRE[0])[..., None], right, right[[1, 0, 2]]
    )
    found = tracked(field(directions), at(CENTRE - 12 * right, 100), way)
    assert len(found.streamlines) == 100
    assert found.ended["turned"] >= 95
    assert np.percentile(found.streamlines.points[:, 0] - CENTRE[0], 99) < 2 * VOXEL


UP = np.array([0.0, 0, 1])


@lru_cache(maxsize=1)
def upward() -> Field:
    return field(np.broadcast_to(UP, (*SHAPE, 1, 3)))


def heights(found: tracking.Tracked) -> np.ndarray:
    """Return the lowest and the highest place of each streamline above the seed, mm."""
    lines = parts(found.streamlines)
    return np.array([[p[:, 2].min() - CENTRE[2], p[:, 2].max() - CENTRE[2]] for p in lines])


@pytest.mark.parametrize("way", WAYS)
def test_streamlines_end_where_fa_is_low(way: str) -> None:
    fa = np.clip(0.5 - 0.02 * np.abs(WORLD[..., 2] - CENTRE[2]), 0, 1)  # 0.2 at 15 mm
    where = field(upward().peaks, fa)
    found = tracked(where, at(CENTRE, 50), way, fa=0.2)
    assert found.ended["low_fa"] == 100
    low, high = heights(found).T
    assert (np.concatenate([-low, high]) < 15.3).all()
    assert (np.concatenate([-low, high]) > 15 - 2 * STEP).all()


def test_on_peaks_a_streamline_ends_where_more_voxels_around_have_none() -> None:
    """Half a voxel beyond the last that has one, or within a step of that."""
    given = upward()
    peaks = given.peaks.copy()
    peaks[:, :, 30:] = 0
    where = Field(given.coefficients, peaks, given.fa, given.mask, AFFINE)
    chosen = seeds.in_mask(np.linalg.norm(WORLD - CENTRE, axis=-1) < 3, AFFINE, 5, 1)
    found = tracked(where, chosen, "peaks")
    inverse = np.linalg.inv(AFFINE)
    level = found.streamlines.points @ inverse[2, :3] + inverse[2, 3]
    ends = np.maximum.reduceat(level, found.streamlines.offsets[:-1])
    assert found.ended["turned"] == len(chosen.voxel)
    assert (ends > 29.5).all()
    assert (ends < 29.5 + STEP / 1.9).all()
    assert np.median(ends) < 29.8


@pytest.mark.parametrize("way", WAYS)
def test_streamlines_end_at_the_masks_rim(way: str) -> None:
    given = upward()
    mask = WORLD[..., 2] < CENTRE[2] + 12
    where = Field(given.coefficients, given.peaks, given.fa, mask, AFFINE)
    found = tracked(where, at(CENTRE, 50), way)
    assert found.ended["outside"] == 100
    inverse = np.linalg.inv(AFFINE)
    index = np.rint(found.streamlines.points @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    assert mask[tuple(index.T)].all()
    assert (heights(found)[:, 1] > 12 - VOXEL - STEP).all()
    assert len(tracked(where, at(CENTRE + 20 * UP, 5), way).streamlines) == 0, "seeds outside"


@pytest.mark.parametrize("way", WAYS)
def test_streamlines_are_as_long_as_is_asked_or_discarded(way: str) -> None:
    given = upward()
    mask = np.abs(WORLD[..., 2] - CENTRE[2]) < 20  # streamlines of about 40 mm
    where = Field(given.coefficients, given.peaks, given.fa, mask, AFFINE)
    every = tracked(where, at(CENTRE, 50), way, longest=500).streamlines
    lengths = every.lengths()
    assert len(every) == 50
    middle = round(float(np.median(lengths)) / STEP) * STEP
    for shortest, longest in ((0, middle), (middle, 500), (middle + 15, 500), (0, middle - 10)):
        found = tracked(where, at(CENTRE, 50), way, shortest=shortest, longest=longest)
        kept = (lengths >= shortest - 0.01) & (lengths <= longest + 0.01)
        assert np.array_equal(found.streamlines.seed, np.flatnonzero(kept))
        assert np.array_equal(found.streamlines.points, every.take(np.flatnonzero(kept)).points)
    assert tracked(where, at(CENTRE, 5), way, longest=10).ended["too_long"] == 10


@pytest.mark.parametrize("way", WAYS)
def test_steps_are_as_long_as_is_asked_in_voxels_of_any_shape(way: str) -> None:
    for step in (0.4, 1.0):
        found = tracked(straight(), at(CENTRE, 30), way, step=step).streamlines
        lengths = np.concatenate([np.linalg.norm(np.diff(p, axis=0), axis=1) for p in parts(found)])
        assert lengths == pytest.approx(np.full(len(lengths), step), abs=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_the_size_of_chunks_changes_no_byte(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = seeds.in_mask(np.linalg.norm(WORLD - CENTRE, axis=-1) < 3, AFFINE, 20, 1)
    made = []
    for number in (256, 7, 100000):
        monkeypatch.setattr(tracking, "_CHUNK", number)
        made.append(tracked(ring(), chosen, way))
    assert len(made[0].streamlines) > 100
    for other in made[1:]:
        assert other.ended == made[0].ended
        for name in ("points", "offsets", "seed"):
            one, two = getattr(made[0].streamlines, name), getattr(other.streamlines, name)
            assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["RAS", "LAS", "permuted"])
def test_the_axes_of_the_image_do_not_matter(way: str, kind: str) -> None:
    """A slanted bundle in one world, seen by three images."""
    affine = np.diag([2.0, 2.2, 1.8, 1.0])
    if kind == "LAS":
        affine[0, 0] = -2.0
    if kind == "permuted":
        affine = affine[[1, 2, 0, 3]] * [[-1], [1], [1], [1]]
    affine[:3, 3] = CENTRE - affine[:3, :3] @ [20, 20, 20]
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    away = index @ affine[:3, :3].T + affine[:3, 3] - CENTRE
    inside = np.linalg.norm(away - (away @ SLANTED)[..., None] * SLANTED, axis=-1) < 6
    given = field(np.where(inside[..., None, None], SLANTED, 0), 0.5 * inside)
    where = Field(given.coefficients, given.peaks, given.fa, given.mask, affine)
    found = tracked(where, at(CENTRE, 100), way, shortest=40).streamlines
    off = (found.points - CENTRE) @ np.linalg.svd(SLANTED[None])[2][1:].T
    assert len(found) == 100
    assert np.median(found.lengths()) > 80
    assert np.linalg.norm(off, axis=1).mean() < (0.7 if way == "probabilistic" else 0.2) * VOXEL
    assert np.linalg.norm(off.mean(axis=0)) < 0.15 * VOXEL


@pytest.mark.parametrize("way", WAYS)
def test_a_streamline_ends_where_fa_is_not_a_number(way: str) -> None:
    fa = upward().fa.copy()
    fa[WORLD[..., 2] > CENTRE[2] + 10] = np.nan
    found = tracked(field(upward().peaks, fa), at(CENTRE, 20), way)
    assert heights(found)[:, 1].max() < 10
    assert found.ended["low_fa"] == 20


@pytest.mark.parametrize("way", WAYS)
def test_threads_change_no_byte_and_another_random_seed_does(way: str) -> None:
    chosen = seeds.in_mask(np.linalg.norm(WORLD - CENTRE, axis=-1) < 4, AFFINE, 40, 1)
    assert len(chosen.voxel) > 1000, "several chunks"
    made = [tracking.track(ring(), chosen, Settings(way), number).streamlines for number in (1, 2)]
    one, two = made
    for name in ("points", "offsets", "seed"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()
    assert len(one) > 300
    other = tracking.track(ring(), chosen, Settings(way, random_seed=2)).streamlines
    assert (one.points.tobytes() == other.points.tobytes()) == (way != "probabilistic")


def test_seeds_are_spread_over_their_voxels_and_depend_on_these_alone() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[5, 6, 7] = mask[20, 20, 20] = mask[30, 2, 9] = True
    made = seeds.in_mask(mask, AFFINE, 2000, 1)
    inverse = np.linalg.inv(AFFINE)
    index = made.points @ inverse[:3, :3].T + inverse[:3, 3]
    assert np.array_equal(made.voxel, np.repeat([0, 1, 2], 2000))
    assert np.array_equal(np.rint(index), np.argwhere(mask)[made.voxel])
    inside = index - np.rint(index)
    assert np.abs(inside.mean(axis=0)).max() < 0.02
    assert inside.std(axis=0) == pytest.approx([12**-0.5] * 3, rel=0.03)
    mask[5, 6, 7] = False
    fewer = seeds.in_mask(mask, AFFINE, 2000, 1)
    assert np.array_equal(fewer.points, made.points[2000:])
    assert not np.array_equal(seeds.in_mask(mask, AFFINE, 2000, 2).points, fewer.points)
    assert len(seeds.in_mask(np.zeros(SHAPE, bool), AFFINE, 9, 1).points) == 0


# The tool.


def labels(*sides: Region) -> np.ndarray:
    """Return capsules of 3 x 3 x 2 voxels in both halves of the image."""
    made = np.zeros(SHAPE, np.uint8)
    for side in sides:
        x = 24 if side is Region.CAPSULE_LEFT else 14
        made[x : x + 3, 19:22, 20:22] = side
    return made


BOTH = labels(Region.CAPSULE_LEFT, Region.CAPSULE_RIGHT)


def folders(
    folder: Path, regions: np.ndarray = BOTH, model: str = "model-CSD_param-FOD", fa: float = 0.5
) -> list[object]:
    """Write what the steps before make; return the tool's arguments."""
    given = upward()
    stem = "sub-01_space-orig"
    kind = model.split("_", maxsplit=1)[0]
    mask = np.ones(SHAPE, np.uint8)
    mask[:, :, :3] = 0
    _image(folder / "fod", f"{stem}_{model}_dwimap", given.coefficients)
    _image(folder / "fod", f"{stem}_{kind}_param-peaks_dwimap", np.pad(
        given.peaks.reshape(*SHAPE, 3) * 0.7, [(0, 0)] * 3 + [(0, 6)]))  # fmt: skip
    _image(folder / "tensor", f"{stem}_model-DTI_param-FA_dwimap", np.full(SHAPE, fa, np.float32))
    _image(folder / "rois", f"{stem}_desc-rois_dseg", regions)
    _image(folder / "mask", "sub-01_desc-brain_mask", mask)
    made = ["--made", folder / "tensor", "--made", folder / "rois"]
    return [folder / "fod", *made, "--mask", folder / "mask/dwi/sub-01_desc-brain_mask.nii.gz"]


def _image(folder: Path, name: str, values: np.ndarray) -> None:
    (folder / "dwi").mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, AFFINE), folder / "dwi" / f"{name}.nii.gz")


@pytest.mark.parametrize("way", WAYS)
def test_tool_makes_the_folder_of_the_contract(tmp_path: Path, way: str) -> None:
    model = "model-DTI_param-ODF" if way == "deterministic" else "model-CSD_param-FOD"
    words = [*folders(tmp_path, model=model), "--tracking", way, "--seeds", 6, "--unit", "sub-01"]
    for name, threads in (("track", 1), ("again", 2)):
        done = small.tool("dwi-track", [*words, "--output", tmp_path / name, "--threads", threads])
        assert done.exit_code == 0, done.output
    files = tree(tmp_path / "track")
    assert set(files) == {
        "dwi/sub-01_desc-candidates_tractogram.trk",
        "dwi/sub-01_desc-candidates_tractogram.json",
        "figures/sub-01_desc-track_dwi.png",
        "metrics.json",
    }
    assert files == tree(tmp_path / "again"), "threads change no byte"
    numbers = json.loads(files["metrics.json"])
    assert numbers["track_method"] == way
    assert (numbers["track_seed_voxels"], numbers["track_seeds_per_voxel"]) == (36, 6)
    read = streamlines.read_trk(tmp_path / "track/dwi/sub-01_desc-candidates_tractogram.trk")
    assert len(read) == numbers["track_streamlines"] > 150
    assert read.lengths().min() >= 60 - 0.01
    assert read.seed.max() == 35
    # Seed voxels are numbered along the grid: those of the right capsule come first.
    where = np.argwhere(BOTH > 0) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    for number, points in zip(read.seed, parts(read), strict=True):
        assert np.linalg.norm(points - where[number], axis=1).min() < VOXEL
    sidecar = json.loads(files["dwi/sub-01_desc-candidates_tractogram.json"])
    assert (sidecar["Method"], sidecar["StepMM"], sidecar["AngleDegrees"]) == (way, 0.75, 20)
    through = f"{model.split('_', maxsplit=1)[0]}_param-peaks" if way == "peaks" else model
    assert sidecar["Sources"] == [
        "bids::sub-01/dwi/sub-01_space-orig_model-DTI_param-FA_dwimap.nii.gz",
        "bids::sub-01/dwi/sub-01_space-orig_desc-rois_dseg.nii.gz",
        f"bids::sub-01/dwi/sub-01_space-orig_{through}_dwimap.nii.gz",
    ]
    assert ("AmplitudeShare" in sidecar) == (way != "peaks")
    power = track.POWERS[f"{model.rpartition('_')[2]}_dwimap.nii.gz"]
    assert sidecar.get("AmplitudePower") == (power if way == "probabilistic" else None)


def test_tools_options_reach_the_tracking(tmp_path: Path) -> None:
    words = [*folders(tmp_path), "--seeds", 2, "--step-size", 0.5, "--max-angle", 33]
    words += ["--fa-threshold", 0.1, "--random-seed", 9, "--output", tmp_path / "track"]
    assert small.tool("dwi-track", words).exit_code == 0
    name = "sub-01_desc-candidates_tractogram"
    sidecar = json.loads((tmp_path / f"track/dwi/{name}.json").read_text())
    assert [sidecar[k] for k in ("StepMM", "AngleDegrees", "FAThreshold", "RandomSeed")] == [
        0.5, 33, 0.1, 9,
    ]  # fmt: skip
    found = streamlines.read_trk(tmp_path / f"track/dwi/{name}.trk")
    steps = np.linalg.norm(np.diff(parts(found)[0], axis=0), axis=1)
    assert steps == pytest.approx(np.full(len(steps), 0.5), abs=1e-4)
    assert 20.05 < turns(found).max() <= 33.05


def test_a_side_without_seeds_is_no_error_and_none_at_all_is() -> None:
    given = upward()
    settings = Settings("peaks", shortest=10)
    found = track.compute(given, labels(Region.CAPSULE_RIGHT), settings, 4)
    assert (int(found.seeds.sum()), len(found.tracked.streamlines)) == (18, 72)
    low = Field(given.coefficients, given.peaks, 0.39 * given.fa, given.mask, AFFINE)
    for where, regions in ((given, np.zeros(SHAPE, np.uint8)), (low, BOTH)):
        with pytest.raises(Failure, match="no voxel of the internal capsules has FA of") as caught:
            track.compute(where, regions, settings, 4)
        assert caught.value.category is Category.DATA_INVALID
        assert caught.value.remedy


def test_only_voxels_of_the_capsules_within_the_mask_and_of_some_fa_are_seeds() -> None:
    given = upward()
    everywhere = labels(Region.CAPSULE_LEFT)
    everywhere[everywhere == 0] = Region.BRAINSTEM
    fa, mask = given.fa.copy(), given.mask.copy()
    fa[24], mask[25] = 0.19, False
    found = track.compute(
        Field(given.coefficients, given.peaks, fa, mask, AFFINE), everywhere, Settings("peaks"), 1
    )
    assert np.argwhere(found.seeds)[:, 0].tolist() == [26] * 6


def test_tools_refusals_and_dry_run_write_nothing(tmp_path: Path) -> None:
    words = [*folders(tmp_path), "--seeds", 2, "--unit", "sub-01", "--output", tmp_path / "track"]
    before = small.tree(tmp_path)
    done = small.tool("dwi-track", [*words, "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "candidates of sub-01" in done.output
    folders(tmp_path, np.zeros(SHAPE, np.uint8))
    done = small.tool("dwi-track", words)
    assert done.exit_code == 65
    assert done.output.startswith("ERROR DATA_INVALID sub-01 no voxel of the internal capsules")
    assert "look at" in done.output
    (tmp_path / "track-refused.png").unlink()
    folders(tmp_path)
    _image(tmp_path / "fod", "sub-01_space-orig_model-CSD_param-FOD_dwimap",
           upward().coefficients[1:])  # fmt: skip
    done = small.tool("dwi-track", words)
    assert done.exit_code == 65
    assert "param-FOD_dwimap.nii.gz: does not fit the other images of the series" in done.output
    folders(tmp_path)
    (tmp_path / "fod/dwi/sub-01_space-orig_model-CSD_param-FOD_dwimap.nii.gz").unlink()
    done = small.tool("dwi-track", words)
    assert done.exit_code == 66, done.output
    assert "INPUT_MISSING sub-01 no file dwi/*_param-FOD_dwimap.nii.gz in" in done.output
    assert str(tmp_path / "fod") in done.output
    assert not (tmp_path / "track").exists()
    assert set(small.tree(tmp_path)) < set(before)
    assert small.tool("dwi-track", [*words, "--tracking", "peaks"]).exit_code == 0, "needs no FOD"


@pytest.mark.parametrize("way", ["probabilistic", "peaks"])
def test_tool_refuses_orientations_that_lie_elsewhere_or_are_none(tmp_path: Path, way: str) -> None:
    words = [*folders(tmp_path), "--tracking", way, "--output", tmp_path / "track"]
    name = "sub-01_space-orig_model-CSD_param-" + ("peaks" if way == "peaks" else "FOD") + "_dwimap"
    shifted = AFFINE.copy()
    shifted[0, 3] += 4
    for number, where, said in (
        (45, shifted, "does not fit the other images of the series"),
        (44, AFFINE, "44 volumes are not what dwi-fod makes"),
    ):
        values = np.zeros((*SHAPE, number), np.float32)
        nib.save(nib.Nifti1Image(values, where), tmp_path / "fod" / "dwi" / f"{name}.nii.gz")
        done = small.tool("dwi-track", words)
        assert done.exit_code == 65
        assert f"{name}.nii.gz: {said}" in done.output
        assert done.output.count("\n") == 1

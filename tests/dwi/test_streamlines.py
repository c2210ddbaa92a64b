"""Streamlines: true lengths and places, and files that other programs read in the same place."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dipy.io.streamline import load_tractogram
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import streamlines
from cohortflow.dwi.streamlines import Streamlines
from dwi import scans
from dwi.toy_tract import line, pack

SHAPE = (30, 34, 28)
TILT = np.linalg.qr(np.array([[1, 0.2, 0.1], [-0.2, 1, 0.15], [-0.1, -0.1, 1]]))[0]
TILT = TILT * np.sign(np.diag(TILT))


def affine(kind: str) -> np.ndarray:
    """Return voxels of 2 x 2.2 x 2.5 mm that run to the left, to the right, or obliquely."""
    made = np.eye(4)
    made[:3, :3] = np.diag([-2.0 if kind == "LAS" else 2.0, 2.2, 2.5])
    made[:3, 3] = [30.0 if kind == "LAS" else -28.0, -40.0, -33.0]
    if kind == "oblique":
        made[:3, :3] = TILT @ made[:3, :3]
    return made


def world(index: np.ndarray, kind: str) -> np.ndarray:
    return index @ affine(kind)[:3, :3].T + affine(kind)[:3, 3]


def some(kind: str = "RAS", number: int = 40) -> Streamlines:
    """Return wavy streamlines within the grid."""
    rng = np.random.default_rng(5)
    high = np.array(SHAPE) - 6
    corners = [rng.uniform(5, high, (4, 3)) for _ in range(number)]
    return pack([world(line(*map(tuple, way)), kind) for way in corners])


def ways(given: Streamlines) -> list[np.ndarray]:
    return [given.points[a:b] for a, b in pairwise(given.offsets)]


def test_lengths_are_those_of_the_lines() -> None:
    corner = np.array([[1, 1, 1], [1, 1, 11], [1, 25, 11]])
    given = pack([line((0, 0, 0), (3, 4, 0)), corner])
    assert given.lengths() == pytest.approx([5, 34], abs=1e-4)
    assert len(given) == 2
    assert given.take(np.zeros(0, int)).lengths().shape == (0,)


def test_take_returns_those_asked_for_in_that_order_with_their_seeds() -> None:
    given = some()
    taken = given.take(np.array([30, 2, 17]))
    assert taken.seed.tolist() == [6, 0, 3]
    for made, number in zip(ways(taken), (30, 2, 17), strict=True):
        assert np.array_equal(made, ways(given)[number])
    assert len(given.take(np.zeros(0, int))) == 0


def test_resampled_points_lie_at_equal_shares_of_the_length() -> None:
    """Of a corner whose points lie unevenly: 10 mm to the right, 30 mm up."""
    uneven = np.array([[0, 0, 0], [1, 0, 0], [10, 0, 0], [10, 0, 2], [10, 0, 29], [10, 0, 30]])
    made = pack([uneven, uneven[::-1]]).resampled(5)
    expected = [[0, 0, 0], [10, 0, 0], [10, 0, 10], [10, 0, 20], [10, 0, 30]]
    assert made[0] == pytest.approx(np.array(expected), abs=1e-4)
    assert made[1] == pytest.approx(np.array(expected[::-1]), abs=1e-4)


COORDINATE = st.floats(-200, 200, width=32)
LINE = st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE), min_size=1, max_size=9).map(np.array)
LINES = st.lists(LINE, min_size=1, max_size=6).map(pack)


@settings(max_examples=60)
@given(LINES, st.data())
def test_taken_streamlines_are_what_they_were(lines: Streamlines, data: st.DataObject) -> None:
    index = np.array(data.draw(st.lists(st.integers(0, len(lines) - 1))), int)
    taken = lines.take(index)
    assert len(taken) == len(index)
    assert (taken.offsets[0], taken.offsets[-1]) == (0, len(taken.points))
    assert taken.lengths() == pytest.approx(lines.lengths()[index], abs=1e-3)
    assert np.array_equal(taken.seed, lines.seed[index])
    for made, number in zip(ways(taken), index, strict=True):
        assert np.array_equal(made, ways(lines)[number])


@settings(max_examples=60)
@given(LINES, st.integers(2, 40))
def test_resampled_points_lie_where_interpolation_by_length_says(
    lines: Streamlines, number: int
) -> None:
    """Against NumPy's interpolation; first and last point stay, also those of a single point."""
    made = lines.resampled(number)
    assert made.shape == (len(lines), number, 3)
    for points, way in zip(made, ways(lines), strict=True):
        assert np.array_equal(points[0], way[0])
        assert points[-1] == pytest.approx(way[-1], abs=1e-3)
        steps = np.linalg.norm(np.diff(way.astype(float), axis=0), axis=1)
        along = np.concatenate([[0], np.cumsum(steps)])
        at = np.linspace(0, along[-1], number)
        expected = np.stack([np.interp(at, along, way[:, a]) for a in range(3)], axis=1)
        assert points == pytest.approx(expected, abs=2e-3)


@settings(max_examples=40)
@given(LINES)
def test_a_line_has_one_length_from_either_end_and_anywhere(lines: Streamlines) -> None:
    lengths = lines.lengths()
    expected = [np.linalg.norm(np.diff(w.astype(float), axis=0), axis=1).sum() for w in ways(lines)]
    assert lengths == pytest.approx(expected, abs=1e-3)
    assert pack([way[::-1] for way in ways(lines)]).lengths() == pytest.approx(lengths, abs=1e-3)
    assert pack([way + 64 for way in ways(lines)]).lengths() == pytest.approx(lengths, abs=2e-2)


@pytest.mark.parametrize("kind", ["LAS", "RAS", "oblique"])
def test_visits_count_each_streamline_once_in_each_voxel_that_it_passes(kind: str) -> None:
    """Against points a hundred times as close: some corners of voxels are missed."""
    given = some(kind)
    inverse = np.linalg.inv(affine(kind))
    expected = np.zeros(SHAPE, int)
    for way in ways(given):
        index = way.astype(float) @ inverse[:3, :3].T + inverse[:3, 3]
        dense = np.concatenate([np.linspace(a, b, 101) for a, b in pairwise(index)])
        expected[tuple(np.unique(np.rint(dense).astype(int), axis=0).T)] += 1
    made = streamlines.visits(given, affine(kind), SHAPE)
    assert made.dtype == np.int32
    assert (made <= expected).all()
    assert 0.92 * expected.sum() < made.sum() < expected.sum()


def test_visits_follow_a_step_longer_than_voxels_and_count_a_way_back_once() -> None:
    there_and_back = np.array([[2, 2, 2], [2, 2, 20], [2, 2, 2]], float)
    out_of_the_image = np.array([[2, 2, 5], [2, 2, 90]], float)
    made = streamlines.visits(pack([there_and_back, out_of_the_image]), np.eye(4), SHAPE)
    assert made[2, 2, 2:5].tolist() == [1, 1, 1]
    assert (made[2, 2, 5:21] == 2).all()
    assert (made[2, 2, 21:] == 1).all()
    assert made.sum() == 3 + 2 * 16 + SHAPE[2] - 21


@pytest.mark.parametrize("kind", ["LAS", "RAS", "oblique"])
def test_trk_is_read_in_the_same_place_by_us_nibabel_and_dipy(kind: str, tmp_path: Path) -> None:
    given = some(kind)
    path = tmp_path / "a.trk"
    streamlines.write_trk(path, given, affine(kind), SHAPE)
    read = streamlines.read_trk(path)
    assert np.abs(read.points - given.points).max() < 1e-3
    assert np.array_equal(read.offsets, given.offsets)
    assert read.offsets.dtype == np.int64
    assert np.array_equal(read.seed, given.seed)
    loaded = nib.streamlines.load(path)
    assert np.abs(loaded.streamlines.get_data() - given.points).max() < 1e-3
    header = loaded.header
    assert np.allclose(header["voxel_to_rasmm"], affine(kind), atol=1e-5)
    assert tuple(header["dimensions"]) == SHAPE
    assert np.allclose(header["voxel_sizes"], [2, 2.2, 2.5], atol=1e-5)
    assert header["voxel_order"].decode() == ("LAS" if kind == "LAS" else "RAS")
    image = nib.Nifti1Image(np.zeros(SHAPE, np.float32), affine(kind))
    for reference in ("same", image):
        by_dipy = load_tractogram(str(path), reference)
        assert np.abs(by_dipy.streamlines.get_data() - given.points).max() < 1e-3
        assert np.ravel(by_dipy.data_per_streamline["seed"]).tolist() == given.seed.tolist()


def test_tck_is_read_by_mrtrix_nibabel_and_dipy(tmp_path: Path) -> None:
    given = some("oblique")
    path = tmp_path / "a.tck"
    streamlines.write_tck(path, given)
    assert np.abs(nib.streamlines.load(path).streamlines.get_data() - given.points).max() < 1e-3
    image = nib.Nifti1Image(np.zeros(SHAPE, np.float32), affine("oblique"))
    by_dipy = load_tractogram(str(path), image)
    assert np.abs(by_dipy.streamlines.get_data() - given.points).max() < 1e-3
    # MRtrix3 reads all points and counts where they lie: in the voxels where we count them.
    nib.save(image, tmp_path / "grid.nii")
    scans.mrtrix("tckinfo", path, "-count")
    counted = tmp_path / "counted.nii"
    fine = ("-template", tmp_path / "grid.nii", "-upsample", 8)
    scans.mrtrix("tckmap", path, counted, *fine)
    theirs = np.asarray(nib.load(counted).dataobj, float)
    ours = streamlines.visits(given, affine("oblique"), SHAPE)
    assert theirs.max() >= 3
    assert np.corrcoef(theirs.ravel(), ours.ravel())[0, 1] > 0.98


def test_the_same_streamlines_make_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        streamlines.write_trk(tmp_path / f"{name}.trk", some(), affine("RAS"), SHAPE)
        streamlines.write_tck(tmp_path / f"{name}.tck", some())
    for end in ("trk", "tck"):
        assert (tmp_path / f"a.{end}").read_bytes() == (tmp_path / f"b.{end}").read_bytes()
    assert b"timestamp" not in (tmp_path / "a.tck").read_bytes()


def test_no_streamlines_are_written_and_read_as_none(tmp_path: Path) -> None:
    none = some().take(np.zeros(0, int))
    streamlines.write_trk(tmp_path / "a.trk", none, affine("LAS"), SHAPE)
    streamlines.write_tck(tmp_path / "a.tck", none)
    read = streamlines.read_trk(tmp_path / "a.trk")
    assert (len(read), read.points.shape, read.offsets.tolist()) == (0, (0, 3), [0])
    assert len(nib.streamlines.load(tmp_path / "a.tck").streamlines) == 0
    assert not streamlines.visits(read, affine("LAS"), SHAPE).any()
    assert read.resampled(4).shape == (0, 4, 3)


def test_a_trk_of_another_program_has_a_seed_for_each_streamline(tmp_path: Path) -> None:
    parts = nib.streamlines.Tractogram(ways(some()), affine_to_rasmm=np.eye(4))
    nib.streamlines.save(parts, tmp_path / "other.trk")
    assert streamlines.read_trk(tmp_path / "other.trk").seed.tolist() == list(range(40))


@pytest.mark.parametrize("cut", [999, 1000, 1002, 1500, "between", -1])
def test_a_trk_that_is_cut_short_is_refused(cut: int | str, tmp_path: Path) -> None:
    path = tmp_path / "a.trk"
    streamlines.write_trk(path, some(), affine("RAS"), SHAPE)
    last = 4 + 12 * len(ways(some())[-1]) + 4  # number of points, points, seed
    content = path.read_bytes()
    path.write_bytes(content[: -last if isinstance(cut, str) else cut])
    with pytest.raises(Failure, match=r"a\.trk: not a whole TrackVis file") as caught:
        streamlines.read_trk(path)
    assert caught.value.category is Category.DATA_INVALID
    assert "\n" not in caught.value.line()


@pytest.mark.parametrize("what", ["no number", "endless", "empty"])
def test_a_trk_that_is_damaged_is_refused(what: str, tmp_path: Path) -> None:
    path = tmp_path / "a.trk"
    streamlines.write_trk(path, some(), affine("RAS"), SHAPE)
    content = bytearray(path.read_bytes())
    if what == "empty":
        content[988:992] = (41).to_bytes(4, "little")  # the header's number of streamlines
        content += (0).to_bytes(4, "little") + np.float32(3).tobytes()
    else:
        content[1004:1008] = np.float32(np.nan if what == "no number" else np.inf).tobytes()
    path.write_bytes(bytes(content))
    with pytest.raises(Failure, match=r"a\.trk: not a whole TrackVis file") as caught:
        streamlines.read_trk(path)
    assert caught.value.category is Category.DATA_INVALID


def test_what_is_no_trk_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.trk"
    with pytest.raises(Failure) as caught:
        streamlines.read_trk(path)
    assert caught.value.category is Category.INPUT_MISSING
    path.write_bytes(b"no streamlines" * 100)
    with pytest.raises(Failure, match=r"a\.trk: not a whole TrackVis file") as caught:
        streamlines.read_trk(path)
    assert caught.value.category is Category.DATA_INVALID
    assert "\n" not in caught.value.line()

"""Numbers of the tract against what a toy is known to have."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from cohortflow.dwi import (
    cst,
    density,
    harmonics,
    laterality,
    methods,
    metrics,
    metrics_files,
    profile,
    selection,
    streamlines,
)
from cohortflow.dwi.csttool_metrics import METRICS
from cohortflow.dwi.metrics import Measured
from cohortflow.dwi.regions import Region
from cohortflow.dwi.streamlines import Streamlines
from dwi import small, toy_tract
from dwi.toy_tract import AFFINE, SIZE, pack


def measured(fa: np.ndarray | None = None) -> Measured:
    shape = toy_tract.SHAPE
    level = np.full(shape, 0.5, np.float32) if fa is None else fa.astype(np.float32)
    maps = {"fa": level, "md": level * 1e-3, "rd": level * 5e-4, "ad": level * 2e-3}
    return Measured(maps, toy_tract.labels(), toy_tract.coordinates(), AFFINE)


def height() -> np.ndarray:
    """Return a map that rises linearly with z, 0 at -66 mm and 1 at 84 mm."""
    return (toy_tract.coordinates()[..., 2] + 66) / 150


def both(left: int = 60, right: int = 60) -> dict[selection.Side, Streamlines]:
    return {
        "left": pack(toy_tract.bundle("left", left, seed=1)),
        "right": pack(toy_tract.bundle("right", right, seed=2)),
    }


def values(numbers: metrics.Numbers, name: str) -> list[float]:
    return [float(word) for word in str(numbers[name]).split(";")]


def test_every_name_that_csttools_users_know_is_there() -> None:
    numbers = metrics.compute(both(), measured())
    assert set(METRICS) <= set(numbers)
    assert all(numbers[name] is not None for name in METRICS)


def test_a_map_that_is_the_same_everywhere_is_that_in_every_number() -> None:
    numbers = metrics.compute(both(), measured())
    for side in selection.SIDES:
        for kind in ("weighted", "mean", "mean_point_weighted", "pontine", "plic", "precentral"):
            assert numbers[f"{side}_fa_{kind}"] == pytest.approx(0.5)
            assert numbers[f"{side}_md_{kind}"] == pytest.approx(5e-4)
        assert numbers[f"{side}_fa_std"] == pytest.approx(0, abs=1e-6)
        assert values(numbers, f"{side}_fa_profile") == pytest.approx([0.5] * profile.NODES)
    assert numbers["fa_laterality_index"] == pytest.approx(0)
    assert numbers["fa_weighted_laterality_index_low"] == pytest.approx(0)
    assert numbers["fa_weighted_laterality_index_high"] == pytest.approx(0)


def test_a_profile_runs_from_the_pons_to_the_motor_cortex() -> None:
    found = values(metrics.compute(both(), measured(height())), "left_fa_profile")
    assert len(found) == profile.NODES
    assert found == sorted(found)
    assert found[0] == pytest.approx((profile.START + 66) / 150, abs=0.02)
    assert found[-1] == pytest.approx((55 + 66) / 150, abs=0.02)


def test_a_profile_does_not_depend_on_how_far_down_streamlines_begin() -> None:
    short = pack([points[points[:, 2] > -32] for points in toy_tract.bundle("left")])
    whole, cut = (
        values(metrics.compute({"left": one}, measured(height())), "left_fa_profile")
        for one in (both()["left"], short)
    )
    assert whole == pytest.approx(cut, abs=1e-6)


def test_a_voxel_that_is_freer_than_water_does_not_make_the_mean() -> None:
    """It is taken from the nearest voxel that was measured, never from outside of the brain."""
    md = np.full(toy_tract.SHAPE, 8e-4, np.float32)
    md[:10] = 0
    at = tuple(np.argwhere(toy_tract.labels() == Region.CAPSULE_LEFT)[0])
    md[at] = md[10:12, 14:17, 19:22] = 0.9  # in its middle the background is nearest
    maps = metrics_files.plausible({"md": md, "fa": height().astype(np.float32)}, AFFINE)
    assert maps["md"][10:].min() == maps["md"].max() == pytest.approx(8e-4)
    assert np.abs(maps["fa"] - height()).max() < 2 * SIZE / 150
    assert metrics_files.plausible({"md": np.zeros_like(md)}, AFFINE)["md"].max() == 0


def test_a_folder_that_is_forgotten_is_named(published: Path, tmp_path: Path) -> None:
    """Without streamlines there are no numbers, and no success; nothing is written."""
    names = ("orient", "fod", "tensor", "register", "rois", "track", "cst")
    for forgotten, said in (
        ("cst", "no file dwi/*_desc-CSTleft_tractogram.trk in"),
        ("track", "no folder has the metrics.json of dwi-track"),
        ("fod", "no file dwi/*_param-ODF_dwimap.json in"),
    ):
        folders = [published.parent / name for name in names if name != forgotten]
        ended = small.tool("dwi-metrics", [*folders, "--output", tmp_path / "metrics"])
        assert ended.exit_code == 66, ended.output
        assert said in ended.output
        assert not list(tmp_path.iterdir())


def test_regions_are_means_where_the_tract_is_in_them() -> None:
    numbers = metrics.compute(both(), measured(height()))
    places = [float(numbers[f"left_fa_{name}"] or 0) * 150 - 66
              for name in ("pontine", "plic", "precentral")]  # fmt: skip
    assert -60 < places[0] < -20
    assert places[1] == pytest.approx(6, abs=2)
    assert 55 <= places[2] < 62


def test_sizes_are_those_of_the_streamlines() -> None:
    tracts = both()
    numbers = metrics.compute(tracts, measured())
    assert numbers["left_n_streamlines"] == 60
    points = toy_tract.tract("left")
    length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
    assert numbers["left_mean_length_mm"] == pytest.approx(length, rel=1e-4)
    # The bundle's cross-section is 5 mm x 5 mm; a visited voxel counts whole.
    above = length - np.linalg.norm(np.array([-5, 0, -60]) - points[points[:, 2] < -25][-1])
    volume = float(numbers["left_core_volume_mm3"] or 0)
    assert above * 5 * 5 * 0.8 < volume < above * (5 + SIZE) ** 2 * 1.2
    assert volume % SIZE**3 == pytest.approx(0)
    assert float(numbers["left_tract_volume_mm3"] or 0) >= volume


def test_laterality_is_left_minus_right_over_their_sum() -> None:
    fa = np.where(toy_tract.coordinates()[..., 0] < 0, 0.6, 0.4)
    numbers = metrics.compute(both(90, 30), measured(fa))
    assert numbers["fa_weighted_laterality_index"] == pytest.approx(0.2, abs=0.01)
    assert numbers["fa_laterality_index"] == pytest.approx(0.2, abs=0.01)
    assert numbers["streamline_count_laterality_index"] == pytest.approx(0.5)
    left, right = (float(numbers[f"{side}_core_volume_mm3"] or 0) for side in selection.SIDES)
    assert numbers["core_volume_laterality_index"] == pytest.approx(
        (left - right) / (left + right), abs=1e-5
    )


def test_a_fibre_volume_counts_voxels_by_how_much_of_them_the_tract_fills() -> None:
    """Half of each voxel runs up, as the tract does where it is vertical, half of it across."""
    up, across = (
        harmonics.basis(np.array([way]), 8)[0] for way in ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0))
    )
    # A point on the sphere, smoothed to a lobe that ends within 30 degrees.
    smooth = np.exp(-0.02 * harmonics.degrees(8) * (harmonics.degrees(8) + 1))
    given = measured()
    whole, half = (
        np.broadcast_to((part * smooth).astype(np.float32), (*toy_tract.SHAPE, len(up)))
        for part in (up, (up + across) / 2)
    )
    straight = [points[points[:, 2] > 3] for points in toy_tract.bundle("left")]
    tract = pack(straight)
    found = []
    for orientations in (whole, half):
        data = dataclasses.replace(given, orientations=orientations)
        numbers = metrics.compute({"left": tract}, data)
        found.append(float(numbers["left_fibre_volume_mm3"] or 0))
    visits = streamlines.visits(tract, toy_tract.AFFINE, toy_tract.SHAPE)
    at = visits > 0
    where = density.levels(given.coordinates[at][:, 2])
    held = density.dense(visits[at][None].astype(float), where, cst.FIBRE_SHARE).sum()
    assert found[0] == pytest.approx(held * given.voxel_mm3, rel=0.2)
    assert found[1] / found[0] == pytest.approx(0.5, abs=0.02)


def test_without_deconvolution_there_is_no_fibre_volume() -> None:
    numbers = metrics.compute(both(), measured())
    assert numbers["left_fibre_volume_mm3"] is None
    assert numbers["fibre_volume_laterality_index"] is None
    assert numbers["fibre_volume_laterality_index_low"] is None


def test_an_empty_side_is_unknown_and_never_0() -> None:
    numbers = metrics.compute({"right": both()["right"]}, measured())
    assert all(value is None for name, value in numbers.items() if name.startswith("left_"))
    assert all(value is None for name, value in numbers.items() if "laterality" in name)
    assert numbers["right_fa_weighted"] == pytest.approx(0.5)


def test_an_interval_holds_the_index_and_grows_with_what_differs_between_seeds() -> None:
    rng = np.random.default_rng(3)
    quiet = 0.5 + 0.02 * rng.normal(size=toy_tract.SHAPE)
    loud = 0.5 + 0.2 * rng.normal(size=toy_tract.SHAPE)
    widths = []
    for fa in (quiet, loud):
        numbers = metrics.compute(both(), measured(fa))
        low, middle, high = (
            float(numbers[f"fa_weighted_laterality_index{end}"] or 0)
            for end in ("_low", "", "_high")
        )
        assert low < middle < high
        widths.append(high - low)
    assert widths[1] > 5 * widths[0]


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Seeds whose streamlines share a value: the mean of 30 of them, 200 times."""
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(200):
        samples = []
        for _side in selection.SIDES:
            level = rng.normal(0.5, 0.05, 30)
            found = laterality.Clusters(np.diag(np.full(30, 7.0)), np.full(30, 7.0), np.arange(30))
            weights = laterality.draws(found, rng)
            samples.append(laterality.weighted(found, level.reshape(30, 1, 1), weights))
        low, high = laterality.interval(*samples, found=0.0)
        covered += low <= 0 <= high
    assert 180 <= covered <= 198


def test_an_interval_is_widened_by_the_error_of_the_method_in_quadrature() -> None:
    left = np.array([0.5, 0.5, 0.5])
    right = np.array([0.4, 0.5, 0.6])
    low, high = laterality.interval(left, right, 0.0)
    wide = laterality.interval(left, right, 0.0, 0.05)
    assert wide[0] == pytest.approx(-np.hypot(low, 1.96 * 0.05))
    assert wide[1] == pytest.approx(np.hypot(high, 1.96 * 0.05))


def test_the_same_streamlines_give_the_same_interval() -> None:
    fa = 0.5 + 0.1 * np.random.default_rng(5).normal(size=toy_tract.SHAPE)
    assert metrics.compute(both(), measured(fa)) == metrics.compute(both(), measured(fa))


def test_methods_cite_what_was_done_and_nothing_else() -> None:
    text = methods.text(
        {"Preprocessing": [{"Name": "unring"}]},
        {"Parameters": {"Method": "tensor", "Sharpening": 4, "BValues": [0, 1500],
                        "Directions": 12, "SphericalHarmonicDegree": 8}},
        {"track_method": "peaks", "track_seeds_per_voxel": 50, "track_step_mm": 0.5,
         "track_angle_degrees": 30, "track_fa_threshold": 0.2, "register_correlation": 0.861,
         "register_atlas": "of-children"},
        {"DIPY": "1.12.1"},
    )  # fmt: skip
    body, listed = text.split("\n\nReferences\n\n")
    assert "MP-PCA" not in text
    assert "r = 0.86" in body
    assert "regions of the atlas of-children" in body
    assert "from 12 directions at b = 1500 s/mm2" in body
    assert "50 streamlines" in body
    cited = {line.split(":")[0] for line in listed.splitlines()}
    assert "Kellner 2016" in cited
    assert not cited & {"Veraart 2016", "Tournier 2007", "Jeurissen 2014", "Tustison 2010",
                        "Raffelt 2012", "Wasserthal 2018"}  # fmt: skip
    named = set(re.findall(r"[A-Z][a-z]+ (?:19|20)\d\d", body))
    assert named == cited


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run dwi-cst and dwi-metrics on the toy."""
    folder = tmp_path_factory.mktemp("metrics")
    lines = [*toy_tract.bundle("left"), *toy_tract.bundle("right", seed=2)]
    files = toy_tract.write(folder, pack(lines), fa=height())
    told = toy_tract.write_told(folder)
    path = next(files.track.glob("dwi/*.trk"))
    small.tool("dwi-cst", [path, *files.made, "--output", folder / "cst"])
    steps = [*told, files.tensor, files.register, files.rois, files.track, folder / "cst"]
    ended = small.tool("dwi-metrics", [*steps, "--output", folder / "metrics"])
    assert ended.exit_code == 0, ended.output
    return folder / "metrics"


def test_the_tool_writes_numbers_profiles_and_methods(published: Path) -> None:
    assert small.tree(published) == [
        "dwi",
        "dwi/sub-01_desc-CST_profile.json",
        "dwi/sub-01_desc-CST_profile.tsv",
        "figures",
        "figures/sub-01_desc-methods.txt",
        "metrics.json",
    ]
    numbers = json.loads((published / "metrics.json").read_text())
    rows = (published / "dwi" / "sub-01_desc-CST_profile.tsv").read_text().splitlines()
    header, *cells = [row.split("\t") for row in rows]
    assert len(cells) == profile.NODES
    assert [row[0] for row in cells][::19] == ["0.0000", "1.0000"]
    told = json.loads((published / "dwi" / "sub-01_desc-CST_profile.json").read_text())
    assert set(header) <= set(told)
    column = [float(row[header.index("left_fa")]) for row in cells]
    assert column == pytest.approx(values(numbers, "left_fa_profile"))
    text = (published / "figures" / "sub-01_desc-methods.txt").read_text()
    assert "MP-PCA in patches of 5 x 5 x 5 voxels" in text
    assert "Susceptibility distortion was not corrected" in text


def test_a_side_that_is_empty_is_na_in_the_profiles(tmp_path: Path) -> None:
    files = toy_tract.write(tmp_path, pack(toy_tract.bundle("right")))
    told = toy_tract.write_told(tmp_path)
    path = next(files.track.glob("dwi/*.trk"))
    small.tool("dwi-cst", [path, *files.made, "--output", tmp_path / "cst"])
    steps = [*told, files.tensor, files.register, files.rois, files.track, tmp_path / "cst"]
    ended = small.tool("dwi-metrics", [*steps, "--output", tmp_path / "metrics"])
    assert ended.exit_code == 0, ended.output
    rows = (tmp_path / "metrics" / "dwi" / "sub-01_desc-CST_profile.tsv").read_text().splitlines()
    header = rows[0].split("\t")
    assert rows[1].split("\t")[header.index("left_fa")] == "n/a"
    assert rows[1].split("\t")[header.index("right_fa")] != "n/a"


def test_files_of_two_units_are_not_mixed(tmp_path: Path) -> None:
    files = toy_tract.write(tmp_path / "one", pack(toy_tract.bundle("left")))
    other = toy_tract.write(tmp_path / "two", pack(toy_tract.bundle("left")))
    ended = small.tool(
        "dwi-metrics", [files.tensor, other.tensor, "--output", tmp_path / "metrics"]
    )
    assert ended.exit_code == 2
    assert "two files of one kind" in ended.output

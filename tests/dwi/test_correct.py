"""The step as a whole: its files, what it says, what it refuses, and pairs that it undoes."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import correct, correct_files
from cohortflow.example import acquire, distortion, dropouts, head
from cohortflow.example.phantom import Phantom
from dwi import moving, scans, small

SIGMA = 1000 / 20
SMALL = (12, 5.0, (38, 46, 24))
"""Directions, voxel size in mm and shape of scans that are not measured finely."""
MOTION = "dwi/sub-01_desc-motion_timeseries"


def noisy(scan: Phantom, share: float = 0.0) -> np.ndarray:
    """Return the scan at SNR 20 with lost slices."""
    return dropouts.spoil(scan, snr=20, share=share, seed=scan.seed).scan.data


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series of a head that moves and loses some slices, without a reversed image."""
    scan = moving.clean(2501, 0.5, *SMALL)
    return moving.written(tmp_path_factory.mktemp("given"), scan, noisy(scan, 0.04))


@pytest.fixture(scope="module")
def made(given: Path) -> Path:
    """What the tool makes of it."""
    output = given.parent / "correct"
    result = small.tool("dwi-correct", [given, "--output", output])
    assert result.exit_code == 0, result.output
    return output


def told(folder: Path) -> dict[str, object]:
    """Return what the sidecar says of the step."""
    fields = json.loads((folder / "dwi/sub-01_desc-corrected_dwi.json").read_text())
    return dict(fields["Preprocessing"][-1])


def metrics(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "metrics.json").read_text()))


def table(folder: Path) -> dict[str, list[str]]:
    rows = [line.split("\t") for line in (folder / f"{MOTION}.tsv").read_text().splitlines()]
    return {name: [row[place] for row in rows[1:]] for place, name in enumerate(rows[0])}


def test_writes_series_motion_picture_and_metrics(made: Path) -> None:
    names = {*(f"dwi/sub-01_desc-corrected_dwi.{end}" for end in ("nii", "bval", "bvec", "json"))}
    names |= {f"{MOTION}.tsv", f"{MOTION}.json", "metrics.json"}
    assert set(scans.tree(made)) == names | {"figures/sub-01_desc-correct_dwi.png"}
    with Image.open(made / "figures/sub-01_desc-correct_dwi.png") as picture:
        assert picture.width == 1000


def test_the_image_has_the_grid_of_the_series_and_no_impossible_values(
    given: Path, made: Path
) -> None:
    before, after = nib.load(given), nib.load(made / "dwi/sub-01_desc-corrected_dwi.nii")
    assert after.shape == before.shape
    assert np.allclose(after.affine, before.affine)
    values = np.asarray(after.dataobj)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert values.min() >= 0


def test_every_column_of_the_motion_table_is_described_with_its_unit(made: Path) -> None:
    columns = table(made)
    fields = json.loads((made / f"{MOTION}.json").read_text())
    assert {len(column) for column in columns.values()} == {15}
    units = {"trans": "mm", "rot": "rad", "eddy": "mm/mm", "framewise": "mm"}
    for name in columns:
        assert fields[name]["Description"]
        assert fields[name].get("Units") == units.get(name.split("_")[0])
    assert fields["outlier_volume"]["Levels"] == {"0": "no", "1": "yes"}


def test_the_numbers_are_those_of_the_table(made: Path) -> None:
    columns, numbers = table(made), metrics(made)
    moved = columns["framewise_displacement"]
    assert moved[0] == "n/a"
    values = np.array(moved[1:], dtype=float)
    assert numbers["fd_mean"] == pytest.approx(values.mean(), abs=1e-5)
    assert numbers["fd_max"] == pytest.approx(values.max(), abs=1e-5)
    assert numbers["outlier_slices"] == sum(map(int, columns["outlier_slices"])) > 0
    assert len(told(made)["OutlierSlices"]) == numbers["outlier_slices"]  # type: ignore[arg-type]


def test_says_plainly_that_susceptibility_is_not_corrected_without_a_pair(
    given: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(made)["Susceptibility"] == correct.NO_PAIR
    numbers = metrics(made)
    assert numbers["susceptibility_corrected"] == "no"
    assert numbers["displacement_max"] is None
    assert numbers["reversed_difference_before"] is None
    said: list[str] = []
    draw = correct_files.mosaic.draw
    monkeypatch.setattr(
        correct_files.mosaic, "draw", lambda *a, **k: said.append(a[1]) or draw(*a, **k)
    )
    data = correct_files.series.read(given)
    correct_files.draw(data, correct.compute(data, method="motion"))
    assert correct.NO_PAIR in said[0], "in the picture"


def test_two_threads_write_the_same_bytes_and_a_folder_without_a_reversed_image_is_no_pair(
    given: Path, made: Path
) -> None:
    (given.parent / "convert" / "dwi").mkdir(parents=True)
    output = given.parent / "two"
    words = [given, "--reverse", given.parent / "convert", "--output", output, "--threads", 2]
    result = small.tool("dwi-correct", words)
    assert result.exit_code == 0, result.output
    assert scans.tree(output) == scans.tree(made)


def test_motion_alone_with_kept_slices(given: Path, made: Path) -> None:
    output = given.parent / "motion"
    words = [given, "--output", output, "--correct", "motion", "--outliers", "keep"]
    assert small.tool("dwi-correct", words).exit_code == 0
    assert not [name for name in table(output) if name.startswith("eddy")]
    assert metrics(output)["eddy_max_mm"] is None
    step = told(output)
    assert step["Correct"] == "motion"
    assert step["Outliers"] == "keep"
    assert step["EddyTerms"] == []
    assert metrics(output)["outlier_slices"] == pytest.approx(
        metrics(made)["outlier_slices"], abs=2
    )


def test_a_dry_run_writes_nothing(given: Path) -> None:
    before = scans.tree(given.parent)
    words = [given, "--output", given.parent / "dry", "--dry-run", "--correct", "motion"]
    assert small.tool("dwi-correct", words).exit_code == 0
    assert scans.tree(given.parent) == before


def test_a_series_of_lost_volumes_is_refused_with_a_picture(tmp_path: Path) -> None:
    """More than half of the volumes lost more than a quarter of their slices."""
    scan = moving.clean(2502, 0.2, 12, 4.0, (46, 54, 30))
    spoilt = dropouts.spoil(scan, snr=20, share=0.45, among=0.75, left=(0.2, 0.6), seed=9)
    path = moving.written(tmp_path / "in", scan, spoilt.scan.data)
    output = tmp_path / "correct"
    result = scans.tool("dwi-correct", path, "--output", output, "--unit", "sub-01")
    assert result.returncode == 65, result.stderr
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("ERROR DATA_INVALID sub-01 ")
    assert "weighted volumes lost signal" in line
    assert "correct-refused.png" in line
    assert not output.exists()
    assert set(scans.tree(tmp_path)) == {
        "correct-refused.png",
        *(f"in/{moving.NAME}.{end}" for end in ("nii", "bval", "bvec", "json")),
    }
    with Image.open(tmp_path / "correct-refused.png") as picture:
        assert picture.width == 1000


def test_seven_volumes_and_one_without_weighting() -> None:
    scan = moving.clean(2503, 0.4, 6, 4.0, (46, 54, 30))
    chosen = np.r_[0, np.flatnonzero(scan.bvals > 0)]
    scan = dataclasses.replace(
        scan,
        data=scan.data[..., chosen],
        bvals=scan.bvals[chosen],
        bvecs=scan.bvecs[chosen],
        gradients=scan.gradients[chosen],
        turns=scan.turns[chosen],
        shifts=scan.shifts[chosen],
    )
    found = moving.moved(scan)
    assert found.data.data.shape[3] == 7
    assert found.off_mm.mean() <= 0.35
    assert np.isfinite(found.result.data).all()


def test_two_shells() -> None:
    low, high = (moving.clean(2504, 0.4, 12, 4.0, (46, 54, 30)) for _ in range(2))
    high = dataclasses.replace(high, bvals=np.where(low.bvals > 0, 2500.0, 0), data=low.data.copy())
    for volume in np.flatnonzero(high.bvals):
        turn, shift = high.turns[volume], high.shifts[volume]
        still = acquire.signal(high.s0, high.tensors, 2500.0, turn.T @ high.gradients[volume])
        near = np.ones(still.shape, dtype=bool)
        high.data[..., volume] = acquire.moved(still, high.affine, turn, shift, head.CENTRE, near)
    both = dataclasses.replace(
        low,
        **{
            name: np.concatenate([getattr(low, name), getattr(high, name)], axis=axis)
            for name, axis in (
                ("data", -1), ("bvals", 0), ("bvecs", 0), ("gradients", 0), ("turns", 0),
                ("shifts", 0),
            )
        },
    )  # fmt: skip
    found = moving.moved(both)
    assert found.off_mm[both.bvals == 1000].mean() <= 0.3
    assert found.off_mm[both.bvals == 2500].mean() <= 0.6, "hardly any signal is left at SNR 20"


def test_an_unknown_phase_encode_axis_is_said(given: Path) -> None:
    data = dataclasses.replace(correct_files.series.read(given), fields={})
    found = correct.compute(data)
    assert found.estimate.poses.shape[1] == 12
    assert any("phase-encode axis is not known" in said for said in found.warnings)
    names = correct_files._columns(found.estimate.frame.names)
    assert names["eddy_xy"]["Units"] == "mm/mm"


def test_too_few_volumes_to_judge_slices_are_said(given: Path) -> None:
    data = correct_files.series.read(given)
    few = dataclasses.replace(
        data,
        data=np.asfortranarray(data.data[..., :3]),
        gradients=dataclasses.replace(
            data.gradients, bvals=data.gradients.bvals[:3], bvecs=data.gradients.bvecs[:3]
        ),
    )
    found = correct.compute(few)
    assert any("too few weighted volumes" in said for said in found.warnings)
    assert correct_files.metrics(few, found)["outlier_fraction"] is None


@pytest.mark.parametrize("wrong", ["nan", "empty"])
def test_what_cannot_be_corrected_is_refused_before_anything_is_written(
    given: Path, wrong: str
) -> None:
    data = correct_files.series.read(given)
    values = data.data.copy()
    if wrong == "nan":
        values[3, 3, 3, 0] = np.nan
    else:
        values[:] = 0
        values[20:24, 20:24, 10:14] = 900
    with pytest.raises(Failure) as caught:
        correct.compute(dataclasses.replace(data, data=values))
    assert caught.value.category is Category.DATA_INVALID


@dataclass(frozen=True)
class Pair:
    """A moving head that susceptibility displaces, corrected with its reversed image."""

    scan: Phantom
    field: np.ndarray
    folder: Path
    result: Path


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Motion of 0.4 mm and degrees an axis, displacements up to 4 voxels along y."""
    folder = tmp_path_factory.mktemp("pair")
    scan = moving.clean(2505, 0.4, 8, 3.0, (60, 72, 28))
    field = distortion.field(2505, scan.affine, scan.mask, peak=4.0)
    rng = np.random.default_rng(2505)

    def seen(volume: np.ndarray, sign: float) -> np.ndarray:
        return acquire.rician(distortion.distort(volume, field, 1, sign), np.float32(SIGMA), rng)

    data = np.stack([seen(volume, 1) for volume in np.moveaxis(scan.data, -1, 0)], axis=-1)
    path = moving.written(folder / "unring", scan, data)
    convert = folder / "convert" / "dwi"
    convert.mkdir(parents=True)
    still = [scan.data[..., volume] for volume in np.flatnonzero(scan.bvals == 0)]
    image = np.stack([seen(volume, -1) for volume in still], axis=-1).astype(np.float32)
    stem = convert / "sub-01_desc-reverse_epi"
    nib.save(nib.Nifti1Image(image, scan.affine), f"{stem}.nii.gz")
    Path(f"{stem}.json").write_text(json.dumps({**moving.PHASE, "PhaseEncodingDirection": "j-"}))
    result = folder / "correct"
    words = [path, "--reverse", convert.parent, "--output", result]
    called = small.tool("dwi-correct", words)
    assert called.exit_code == 0, called.output
    return Pair(scan, field, path, result)


def test_a_pair_undoes_displacements_of_four_voxels_of_a_moving_head(pair: Pair) -> None:
    stem = "dwi/sub-01_space-orig_param-displacement_dwimap"
    found = nib.load(pair.result / f"{stem}.nii.gz").get_fdata()
    off = np.abs(found - pair.field)[pair.scan.mask]
    assert np.abs(pair.field[pair.scan.mask]).max() == pytest.approx(4)
    assert np.percentile(off, 95) <= 0.25
    assert off.max() <= 0.5
    fields = json.loads((pair.result / f"{stem}.json").read_text())
    assert fields["Units"] == "voxels"
    assert fields["Axis"] == "j"


def test_a_pair_is_said_in_sidecar_and_metrics(pair: Pair) -> None:
    step, numbers = told(pair.result), metrics(pair.result)
    assert str(step["Susceptibility"]).startswith("corrected")
    assert str(step["SusceptibilitySource"]).endswith("sub-01_desc-reverse_epi.nii.gz")
    assert numbers["susceptibility_corrected"] == "yes"
    assert numbers["displacement_max"] == pytest.approx(4, abs=0.5)
    before, after = numbers["reversed_difference_before"], numbers["reversed_difference_after"]
    assert isinstance(after, float)
    assert isinstance(before, float)
    assert after < 0.5 * before
    assert (pair.result / "figures/sub-01_desc-susceptibility_dwi.png").is_file()


def test_the_undistorted_series_is_nearer_to_the_still_head(pair: Pair) -> None:
    scan = pair.scan
    before = nib.load(pair.folder).get_fdata(dtype=np.float32)
    after = nib.load(pair.result / "dwi/sub-01_desc-corrected_dwi.nii").get_fdata(dtype=np.float32)
    off = np.zeros(2)
    for volume, bval in enumerate(scan.bvals):
        seen = scan.turns[volume].T @ scan.gradients[volume]
        true = acquire.signal(scan.s0, scan.tensors, bval, seen)
        for place, image in enumerate((before, after)):
            apart = (image[..., volume] - true)[scan.mask]
            off[place] += (apart**2).mean(dtype=np.float64)
    assert off[1] <= 0.3 * off[0]

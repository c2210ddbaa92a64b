"""A diffusion study through every step: what is published, how right it is, what is refused."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohortflow.dwi import tract_lane
from cohortflow.dwi.lane import LANE
from cohortflow.example import acquire, distortion, dropouts, truth
from cohortflow.example.phantom import Phantom, make_phantom
from pipeline.driving import BINARIES, Finished, cohortflow, execute, outputs, write_scan

pytestmark = pytest.mark.pipeline

SEED, SNR, SIZE = 61, 20.0, 5.0
DISPLACEMENT = 2.5  # voxels at most
# The tract has heads of its own, see test_tract.py.
RUN = ("run", "dwi", "--tracking", "none")
LEFT_OUT = [word for name in ("denoise", "unring", "correct") for word in (f"--{name}", "none")]


@pytest.fixture(scope="module")
def still() -> Phantom:
    """Return a scan without noise: 24 directions, a head that moves."""
    return make_phantom(SEED, directions=24, voxel_size=SIZE, snr=math.inf, motion=0.6)


@pytest.fixture(scope="module")
def whole(still: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Run a study once: a distorted scan with its pair, a lost one, and two poor tables."""
    folder = tmp_path_factory.mktemp("dwi")
    study = folder / "study"
    study.mkdir()
    description = {"Name": "Diffusion", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (study / "dataset_description.json").write_text(json.dumps(description))
    _write_pair(study, still)
    lost = dropouts.spoil(still, snr=SNR, share=0.6, among=0.8).scan
    write_scan(study / "sub-lost" / "dwi", "sub-lost", lost)
    five = [0, *np.flatnonzero(still.bvals > 0)[:5]]
    _write_part(study, "five", still, five)
    _write_part(study, "none", still, np.flatnonzero(still.bvals == 0))
    ended = cohortflow(*RUN, study, folder / "out", "--bias", "n4", cwd=folder)
    return Finished(study, folder / "out", ended)


def _write_pair(study: Path, still: Phantom) -> None:
    """Write a scan with lost slices, displaced along y, and a reversed image of it."""
    spoilt = dropouts.spoil(still, snr=math.inf, share=0.02, eddy=0.5).scan
    field = distortion.field(SEED, still.affine, still.mask, peak=DISPLACEMENT)
    rng = np.random.default_rng(SEED)
    data = np.empty_like(spoilt.data)
    for volume in range(data.shape[3]):
        moved = distortion.distort(spoilt.data[..., volume], field)
        data[..., volume] = np.rint(acquire.rician(moved, 1000 / SNR, rng))
    scan = dataclasses.replace(spoilt, data=data)
    write_scan(study / "sub-pair" / "dwi", "sub-pair", scan)
    reverse = distortion.distort(still.data[..., 0], field, sign=-1)
    place = truth.Place(study / "sub-pair" / "fmap", "sub-pair_dir-PA")
    image = np.rint(acquire.rician(reverse, 1000 / SNR, rng)).astype(np.int16)
    nib.save(nib.Nifti1Image(image, still.affine), place.path("epi.nii.gz"))
    fields = {
        "PhaseEncodingDirection": "j-",
        "TotalReadoutTime": 0.05,
        "IntendedFor": "bids::sub-pair/dwi/sub-pair_dwi.nii.gz",
    }
    truth.write_json(place.path("epi.json"), fields)


def _write_part(study: Path, label: str, scan: Phantom, volumes: object) -> None:
    """Write some volumes of a scan."""
    part = dataclasses.replace(
        scan, data=scan.data[..., volumes], bvals=scan.bvals[volumes], bvecs=scan.bvecs[volumes]
    )
    write_scan(study / f"sub-{label}" / "dwi", f"sub-{label}", part)


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "batch_metrics.csv").open() as file:
        return {row["unit"]: row for row in csv.DictReader(file)}


def sidecar(out: Path, unit: str = "sub-pair") -> dict[str, object]:
    path = out / unit / "dwi" / f"{unit}_desc-preproc_dwi.json"
    return dict(json.loads(path.read_text()))


def steps(out: Path) -> list[str]:
    """Return what the sidecar of the preprocessed series says was done, in order."""
    done = sidecar(out)["Preprocessing"]
    assert isinstance(done, list)
    return [step["Name"] for step in done]


def error(out: Path, still: Phantom) -> float:
    """Return the mean absolute error of FA in the brain."""
    path = out / "sub-pair" / "dwi" / "sub-pair_space-orig_model-DTI_param-FA_dwimap.nii.gz"
    fa = np.asarray(nib.load(path).dataobj)
    return float(np.abs(fa - still.fa)[still.mask].mean())


def test_good_units_are_done_and_bad_ones_are_refused(whole: Finished) -> None:
    assert whole.ended.status == 1, whole.ended.text
    found = {unit: (row["status"], row["category"]) for unit, row in rows(whole.out).items()}
    assert found.pop("sub-pair") == ("done", "")
    assert set(found) == {"sub-lost", "sub-five", "sub-none"}
    assert {category for _, category in found.values()} == {"DATA_INVALID"}
    summary = json.loads((whole.out / "batch_summary.json").read_text())
    said = {unit["id"]: unit["message"] for unit in summary["units"]}
    assert "weighted volumes lost signal" in said["sub-lost"]


def test_a_unit_has_every_file_that_the_lane_declares(whole: Finished) -> None:
    found = {Path(path).relative_to("sub-pair").as_posix() for path in outputs(whole.out)}
    tract = {*tract_lane.OUTPUTS, *tract_lane.FIGURES}
    expected = {path.format(prefix="sub-pair") for path in LANE.outputs if path not in tract}
    assert expected <= found
    assert found - expected <= {path.format(prefix="sub-pair") for path in LANE.optional}
    assert "dwi/sub-pair_space-orig_param-displacement_dwimap.nii.gz" in found
    assert "figures/sub-pair_desc-susceptibility_dwi.png" in found


def test_the_whole_output_is_a_valid_bids_derivative(whole: Finished) -> None:
    ended = execute([BINARIES / "bids-validator-deno", whole.out, "--json"], whole.out.parent)
    issues = json.loads(ended.out)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_the_sidecar_tells_what_was_done_in_which_order(whole: Finished) -> None:
    assert steps(whole.out) == ["denoise", "unring", "correct", "bias", "orient"]
    assert "corrected: displacement of the pair" in json.dumps(sidecar(whole.out)["Preprocessing"])


def test_the_numbers_of_every_step_are_in_the_table(whole: Finished) -> None:
    row = rows(whole.out)["sub-pair"]
    assert float(row["noise_sigma"]) == pytest.approx(1000 / SNR, rel=0.1)
    assert float(row["fd_mean"]) > 0.3
    assert float(row["displacement_max"]) == pytest.approx(DISPLACEMENT, abs=0.7)
    assert int(row["outlier_slices"]) > 0
    assert row["gradient_orientation"] == "as given"


def test_the_report_shows_each_step_and_what_was_refused(whole: Finished) -> None:
    page = (whole.out / "report.html").read_text()
    steps = ("denoise", "unring", "correct", "susceptibility", "mask", "bias", "orient", "tensor")
    for step in (*steps, "fod"):
        assert re.search(rf"sub-pair_desc-{step}_dwi", page), step
    assert page.count("what was refused of") == 3
    hidden = whole.out / ".cohortflow"
    drawn = {path.stem for path in hidden.glob("runs/*/refused/*.png")}
    assert drawn == {"sub-five", "sub-none"}, "too few directions, no weighted volume"
    assert len(list(hidden.glob("failed/sub-lost/*/refused.png"))) == 1


def test_a_second_run_has_nothing_to_do_and_a_changed_one_leaves_steps_out(
    whole: Finished, still: Phantom
) -> None:
    words = (*RUN, whole.study, whole.out, "--participant-label", "pair")
    again = cohortflow(*words, "--bias", "n4", cwd=whole.out.parent)
    assert again.submitted() == set()
    # the phantom's k-space is whole: unringing only smooths it
    changed = cohortflow(*words, "--unring", "none", cwd=whole.out.parent)
    assert changed.status == 0, changed.text
    assert steps(whole.out) == ["denoise", "correct", "orient"]
    assert not list((whole.out / "sub-pair").rglob("*bias*"))
    preprocessed = error(whole.out, still)
    without = cohortflow(*words, "--fod", "none", *LEFT_OUT, cwd=whole.out.parent)
    assert without.status == 0, without.text
    assert steps(whole.out) == ["orient"]
    # each step alone is held to more in tests/dwi; here, that they do not fight each other
    assert preprocessed < 0.85 * error(whole.out, still)

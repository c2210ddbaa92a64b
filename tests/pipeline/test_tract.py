"""The corticospinal tract through the whole lane: found where it is, empty or refused elsewhere."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohortflow.dwi import tract_lane
from cohortflow.dwi.lane import LANE
from cohortflow.example import truth
from cohortflow.example.brain import Brain, make_brain
from pipeline.driving import BINARIES, Finished, cohortflow, execute, outputs

pytestmark = pytest.mark.pipeline

SEED, SNR, SIZE = 31, 20.0, 3.0
COARSE = 5.0  # mm: enough to be refused
DICE, WRONG = 0.70, 0.10  # the bars for 2.5 mm, see docs/dwi-accuracy.md
SIDES = ("left", "right")
REFUSED = {
    "vertex": r"motor cortex outside the field of view \(left \d+ %, right \d+ % of it is inside",
    "neck": r"brainstem outside the field of view: \d+ % of it is inside, 70 % are needed",
    "noise": r"FA correlates 0\.[0-5]\d with the template, 0\.60 is needed",
}
"""Units without what a tract needs, with what is said of them."""
UNITS = """subject,dwi,denoise,fod,tracking
whole,,,,
without,,none,,
plain,,none,tensor,none
vertex,,none,tensor,
neck,,none,tensor,
noise,,none,tensor,
"""


@pytest.fixture(scope="module")
def brain() -> Brain:
    return make_brain(SEED, snr=SNR, voxel_size=SIZE)


@pytest.fixture(scope="module")
def whole(brain: Brain, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Run a study once: two good brains, of which one has no left tract, and four coarse ones."""
    folder = tmp_path_factory.mktemp("tract")
    study = folder / "study"
    study.mkdir()
    description = {"Name": "Tracts", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (study / "dataset_description.json").write_text(json.dumps(description))
    _write(study, "whole", brain, brain.data)
    one_sided = make_brain(SEED, snr=SNR, voxel_size=SIZE, without=("left",))
    _write(study, "without", one_sided, one_sided.data)
    coarse = make_brain(SEED, snr=SNR, voxel_size=COARSE, directions=12)
    _write(study, "plain", coarse, coarse.data)
    heights = _heights(coarse)
    _write(study, "vertex", coarse, coarse.data[:, :, : np.searchsorted(heights, 40)])
    lowest = int(np.searchsorted(heights, -25))
    _write(study, "neck", coarse, coarse.data[:, :, lowest:], lowest)
    shuffled = coarse.data.copy()
    shuffled[coarse.mask] = np.random.default_rng(SEED).permutation(shuffled[coarse.mask])
    _write(study, "noise", coarse, shuffled)
    manifest = study / "units.csv"
    manifest.write_text(re.sub(r"^(\w+),,", r"\1,sub-\1/dwi/sub-\1_dwi.nii.gz,", UNITS, flags=re.M))
    words = ("--manifest", manifest, "--unring", "none", "--correct", "none")
    ended = cohortflow("run", "dwi", study, folder / "out", *words, cwd=folder)
    return Finished(study, folder / "out", ended)


def _write(study: Path, label: str, brain: Brain, data: np.ndarray, lowest: int = 0) -> None:
    """Write a scan; `lowest` is the number of the lowest slice that is left of it."""
    place = truth.Place(study / f"sub-{label}" / "dwi", f"sub-{label}")
    affine = brain.affine.copy()
    affine[:3, 3] += lowest * affine[:3, 2]
    nib.save(nib.Nifti1Image(data, affine), place.path("dwi.nii.gz"))
    np.savetxt(place.path("dwi.bval"), brain.bvals[None], fmt="%g")
    np.savetxt(place.path("dwi.bvec"), brain.bvecs.T, fmt="%.8f")
    truth.write_json(place.path("dwi.json"), {"PhaseEncodingDirection": "j"})


def _heights(brain: Brain) -> np.ndarray:
    """Return the median template z of each slice, mm, from below."""
    shape = brain.mask.shape
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    points = index.reshape(-1, 3) @ brain.affine[:3, :3].T + brain.affine[:3, 3]
    return np.median(brain.warp(points)[:, 2].reshape(shape), axis=(0, 1))


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "batch_metrics.csv").open() as file:
        return {row["unit"]: row for row in csv.DictReader(file)}


def published(out: Path, label: str) -> set[str]:
    """Return the outputs of a unit by their names in the lane's declaration."""
    found = {Path(path) for path in outputs(out) if path.startswith(f"sub-{label}/")}
    names = {path.relative_to(f"sub-{label}").as_posix() for path in found}
    return {name.replace(f"sub-{label}", "{prefix}") for name in names}


def of_side(paths: set[str] | tuple[str, ...], side: str) -> set[str]:
    return {path for path in paths if f"CST{side}" in path}


def page_of(out: Path, label: str) -> str:
    """Return what the report shows of a unit."""
    _, begun, rest = (out / "report.html").read_text().partition(f'id="unit-sub-{label}"')
    assert begun
    return rest.partition('id="unit-')[0]


def numbers(row: dict[str, str], side: str) -> dict[str, str]:
    """Return what was measured of a side's tract, not how it was looked for."""
    search = {f"{side}_{name}" for name in ("candidates", "connecting", "reason")}
    return {name: row[name] for name in row if name.startswith(f"{side}_") and name not in search}


def laterality(row: dict[str, str]) -> dict[str, str]:
    found = {name: value for name, value in row.items() if "laterality_index" in name}
    assert len(found) > 10
    return found


def test_good_units_are_done_and_others_refused_by_what_they_lack(whole: Finished) -> None:
    assert whole.ended.status == 1, whole.ended.text
    found = {unit: (row["status"], row["category"]) for unit, row in rows(whole.out).items()}
    assert found == {
        **{f"sub-{label}": ("done", "") for label in ("whole", "without", "plain")},
        **{f"sub-{label}": ("invalid", "DATA_INVALID") for label in REFUSED},
    }
    summary = json.loads((whole.out / "batch_summary.json").read_text())
    said = {unit["id"]: unit["message"] for unit in summary["units"]}
    for label, message in REFUSED.items():
        assert re.match(message, said[f"sub-{label}"]), said[f"sub-{label}"]


@pytest.mark.parametrize("side", SIDES)
def test_the_core_of_a_tract_lies_where_the_tract_is(
    whole: Finished, brain: Brain, side: str
) -> None:
    """Seen with this person: Dice 0.77 to 0.79, 7 to 9 % of the core beside the tract."""
    path = whole.out / f"sub-whole/dwi/sub-whole_space-orig_label-CST{side}_mask.nii.gz"
    core = np.asarray(nib.load(path).dataobj) > 0
    true = brain.truth.core(side)
    assert 2 * (core & true).sum() / (core.sum() + true.sum()) >= DICE
    assert (brain.truth.shares[f"cst_{side}"][core] == 0).mean() <= WRONG
    row = rows(whole.out)["sub-whole"]
    voxel = SIZE**3
    told = float(row[f"{side}_core_volume_mm3"]) / (core.sum() * voxel)
    assert 0.7 < told < 0.9, "what lies below the middle of the pons is not counted"
    assert 0.4 < float(row[f"{side}_fa_weighted"]) < 0.8


def test_a_whole_brain_has_every_file_of_the_tract(whole: Finished) -> None:
    found = published(whole.out, "whole")
    declared = (*tract_lane.OUTPUTS, *tract_lane.FIGURES, *tract_lane.OPTIONAL)
    assert set(declared) <= found
    assert found <= {*LANE.outputs, *LANE.optional}
    assert not any("candidates" in path for path in found), "handed on, not published"
    assert all(laterality(rows(whole.out)["sub-whole"]).values())


def test_a_side_without_a_tract_is_empty_and_says_why(whole: Finished) -> None:
    row = rows(whole.out)["sub-without"]
    found = published(whole.out, "without")
    assert re.fullmatch(
        r"\d+ of \d{3,} candidates belong to the tract, \d+ are needed \(\d+ join .*\)",
        row["left_reason"],
    )
    assert row["right_reason"] == ""
    left, right = (numbers(row, side) for side in SIDES)
    assert set(left.values()) == {""}
    assert len(right) == len(left) > 30
    assert all(right.values())
    assert set(laterality(row).values()) == {""}
    assert of_side(found, "left") == set()
    assert of_side(found, "right") == of_side(tract_lane.OPTIONAL, "right")
    assert set(tract_lane.OUTPUTS) <= found


def test_tracking_is_left_out_for_one_unit_alone(whole: Finished) -> None:
    found = published(whole.out, "plain")
    assert not found & {*tract_lane.OUTPUTS, *tract_lane.FIGURES, *tract_lane.OPTIONAL}
    assert "dwi/{prefix}_space-orig_model-DTI_param-FA_dwimap.nii.gz" in found
    row = rows(whole.out)["sub-plain"]
    assert (row["status"], row["register_correlation"], row["left_fa_weighted"]) == ("done", "", "")
    timings = json.loads((whole.out / "sub-plain" / "_done.json").read_text())["timings"]
    assert not {step.name for step in tract_lane.STEPS} & set(timings)


def test_the_output_with_tracts_is_a_valid_bids_derivative(whole: Finished) -> None:
    ended = execute([BINARIES / "bids-validator-deno", whole.out, "--json"], whole.out.parent)
    issues = json.loads(ended.out)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_the_report_has_checks_curves_methods_and_pictures_of_a_tract(whole: Finished) -> None:
    page = page_of(whole.out, "whole")
    for gate in tract_lane.GATES:
        assert re.search(rf'"row">{gate.title}</th><td>[\d.\u202f]+</td>.*?passed</span>', page), (
            gate
        )
    for curve in tract_lane.CURVES:
        assert f"<b>{curve.title}</b>" in page
    assert "Methods, for a paper" in page
    text = (whole.out / "sub-whole/figures/sub-whole_desc-methods.txt").read_text()
    assert text.split(".")[0] in page
    for step in ("register", "rois", "track", "cst"):
        assert f"sub-whole_desc-{step}_dwi" in page, step
    assert rows(whole.out)["sub-without"]["left_reason"] in page_of(whole.out, "without")
    plain = page_of(whole.out, "plain")
    assert "corticospinal" not in plain


def test_the_report_shows_a_picture_of_each_refusal(whole: Finished) -> None:
    page = (whole.out / "report.html").read_text()
    assert page.count("what was refused of") == len(REFUSED)
    kept = (whole.out / ".cohortflow" / "failed").glob("*/*/refused.png")
    assert {path.parts[-3] for path in kept} == {f"sub-{label}" for label in REFUSED}


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Run the lane as it is by default on a whole head and on a slab, both DICOM."""
    folder = tmp_path_factory.mktemp("real")
    (toshiba,) = (shared_data / "dicom" / "toshiba" / "In").glob("*/7006_*")
    for label, series in (("head", toshiba), ("slab", shared_data / "dicom" / "philips" / "In")):
        (folder / "study" / f"sub-{label}" / "dwi").mkdir(parents=True)
        (folder / "study" / f"sub-{label}" / "dwi" / "dicom").symlink_to(series)
    ended = cohortflow("run", "dwi", folder / "study", folder / "out", cwd=folder)
    return Finished(folder / "study", folder / "out", ended)


@pytest.mark.shared_data
def test_a_real_head_has_both_tracts_by_all_steps(real: Finished) -> None:
    row = rows(real.out)["sub-head"]
    assert row["status"] == "done", real.ended.text
    timings = json.loads((real.out / "sub-head" / "_done.json").read_text())["timings"]
    assert set(timings) == {step.name for step in LANE.steps} - {"bias"}
    assert float(row["motion_max_mm"]) < 3
    for side in SIDES:
        assert row[f"{side}_reason"] == ""
        assert 0.35 <= float(row[f"{side}_fa_weighted"]) <= 0.55
    assert set(tract_lane.OPTIONAL) <= published(real.out, "head")


@pytest.mark.shared_data
def test_a_real_slab_without_brainstem_is_refused(real: Finished) -> None:
    assert real.ended.status == 1, real.ended.text
    summary = json.loads((real.out / "batch_summary.json").read_text())
    (slab,) = (unit for unit in summary["units"] if unit["id"] == "sub-slab")
    assert (slab["status"], slab["category"]) == ("invalid", "DATA_INVALID")
    assert slab["message"].startswith("brainstem outside the field of view: 0 % of it is inside")
    assert not (real.out / "sub-slab").exists()
    assert (real.out / "report.html").read_text().count("what was refused of") == 1

"""Five real series in one DICOM folder: refused without a choice, done with one."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from dwi import scans
from pipeline.driving import RUN, cohortflow, outputs

pytestmark = [pytest.mark.pipeline, pytest.mark.shared_data]


@pytest.fixture(scope="module")
def study(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study whose one subject has all five series in one folder."""
    folder = tmp_path_factory.mktemp("toshiba") / "study"
    (folder / "sub-01" / "dwi").mkdir(parents=True)
    (folder / "sub-01" / "dwi" / "dicom").symlink_to(shared_data / "dicom" / "toshiba" / "In")
    return folder


@pytest.fixture(scope="module")
def choices(study: Path) -> dict[str, str]:
    """Return the UIDs that the refusal lists, by the series' name."""
    ended = cohortflow(
        *(*RUN, study, study.parent / "refused", "--validate-only", "--json"),
        cwd=study.parent,
    )
    assert ended.status == 3, ended.text
    (unit,) = json.loads(ended.out)
    assert unit["category"] == "DATA_INVALID"
    for choice in unit["choices"]:
        assert choice["series_uid"] in unit["message"]
        assert choice["description"] in unit["message"]
        assert choice["files"] == "520"
    return {choice["description"]: choice["series_uid"] for choice in unit["choices"]}


def test_without_a_choice_the_unit_is_invalid_and_the_choices_are_listed(
    choices: dict[str, str], study: Path
) -> None:
    assert len(choices) == len(set(choices.values())) == 5
    assert not (study.parent / "refused").exists()


def test_with_a_session_for_each_series_all_are_done_and_right(
    choices: dict[str, str], study: Path, shared_data: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "units.csv"
    rows = ["subject,session,dicom,series_uid"]
    sessions = {f"s{n}": name for n, name in enumerate(sorted(choices), start=1)}
    folder = study / "sub-01" / "dwi" / "dicom"
    rows += [f"01,{session},{folder},{choices[name]}" for session, name in sessions.items()]
    manifest.write_text("\n".join(rows) + "\n")
    out = tmp_path / "out"
    ended = cohortflow(*RUN, study, out, "--manifest", manifest, cwd=tmp_path)
    assert ended.status == 0, ended.text
    assert len(outputs(out)) == 5 * 22

    references = sorted((shared_data / "dicom" / "toshiba" / "Ref").glob("*.bvec"))
    found = set()
    for session in sessions:
        stem = out / "sub-01" / f"ses-{session}" / "dwi" / f"sub-01_ses-{session}"
        bvec = np.loadtxt(f"{stem}_desc-preproc_dwi.bvec")
        bval = np.loadtxt(f"{stem}_desc-preproc_dwi.bval")
        sidecar = json.loads(Path(f"{stem}_desc-preproc_dwi.json").read_text())
        reference = next(
            path for path in references if path.stem.startswith(f"{sidecar['SeriesNumber']}_")
        )
        found.add(reference.stem)
        assert np.abs(bvec - np.loadtxt(reference)).max() <= 1e-5
        assert np.abs(bval - np.loadtxt(reference.with_suffix(".bval"))).max() <= 1e-5
        assert _fa_difference(str(stem), tmp_path) <= 0.006
    assert len(found) == 5


def _fa_difference(stem: str, scratch: Path) -> float:
    """Return the mean absolute difference to MRtrix3's FA in white matter."""
    image = Path(f"{stem}_desc-preproc_dwi.nii.gz")
    mask = Path(f"{stem}_desc-brain_mask.nii.gz")
    tensor, metric = scratch / "tensor.nii", scratch / "fa.nii"
    scans.mrtrix("dwi2tensor", *scans.mrtrix_input(image), tensor, "-mask", mask)
    scans.mrtrix("tensor2metric", tensor, "-fa", metric, "-mask", mask)
    expected = np.asarray(nib.load(metric).dataobj)
    ours = np.asarray(nib.load(f"{stem}_space-orig_model-DTI_param-FA_dwimap.nii.gz").dataobj)
    inner = ndimage.binary_erosion(np.asarray(nib.load(mask).dataobj) > 0, iterations=2)
    white = inner & (expected > 0.2) & (ours > 0.2)
    assert white.sum() > 5000
    return float(np.abs(ours - expected)[white].mean())

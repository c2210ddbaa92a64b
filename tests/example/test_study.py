"""The example study: real DICOM that converts to the truth, and units broken as they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest

from cohortflow.core.outcome import Category, Failure
from cohortflow.example import dicom, study
from cohortflow.example.phantom import make_phantom

COARSE = {"voxel_size": 7.0, "directions": 6}


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("example") / "study"
    return folder, study.write_study(folder, seed=3, **COARSE)


def convert(folder: Path, out: Path) -> tuple[str, list[Path]]:
    """Run dcm2niix; return what it said and the images it wrote, by series number."""
    out.mkdir(exist_ok=True)
    tool = Path(sys.executable).with_name("dcm2niix")
    command = [tool, "-f", "s%s", "-z", "n", "-b", "y", "-ba", "n", "-o", out, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr, sorted(out.glob("*.nii"))


def same_scan(image: Path, truth: Any) -> None:
    """Compare a conversion with a phantom: image, affine, b-values, b-vectors."""
    converted = nib.load(image)
    np.testing.assert_array_equal(np.asarray(converted.dataobj), truth.data)
    np.testing.assert_allclose(converted.affine, truth.affine, atol=1e-4)
    np.testing.assert_array_equal(np.loadtxt(image.with_suffix(".bval")), truth.bvals)
    np.testing.assert_allclose(np.loadtxt(image.with_suffix(".bvec")).T, truth.bvecs, atol=1e-5)


@pytest.mark.parametrize("tilt", [(0, 0, 0), (14, -9, 21), (-25, 12, 3)])
def test_dicom_converts_to_the_scan_that_was_written(
    tmp_path: Path, tilt: tuple[float, float, float]
) -> None:
    phantom = make_phantom(7, voxel_size=6.0, directions=6, tilt=tilt)
    labels = dicom.Labels("sub-07", "ses-1", 1, "dwi")
    uid = dicom.write_series(tmp_path / "in", phantom, labels)
    said, images = convert(tmp_path / "in", tmp_path / "out")
    assert len(images) == 1, said
    same_scan(images[0], phantom)
    assert json.loads(images[0].with_suffix(".json").read_text())["SeriesInstanceUID"] == uid
    assert "Warning" not in said


def test_a_scan_with_rightward_axes_converts_to_the_same_place(tmp_path: Path) -> None:
    phantom = make_phantom(7, voxel_size=6.0, directions=6, tilt=(10, 5, -5), axes="RAS")
    dicom.write_series(tmp_path / "in", phantom, dicom.Labels("sub-07", "s", 1, "dwi"))
    _, images = convert(tmp_path / "in", tmp_path / "out")
    converted = nib.load(images[0])
    np.testing.assert_array_equal(np.asarray(converted.dataobj)[::-1], phantom.data)
    # FSL's rule makes b-vectors independent of which way the x axis points.
    bvecs = np.loadtxt(images[0].with_suffix(".bvec")).T
    np.testing.assert_allclose(bvecs, phantom.bvecs, atol=1e-5)


def test_dicom_files_are_classic_mr_images(tmp_path: Path) -> None:
    phantom = make_phantom(8, voxel_size=8.0, directions=6)
    uid = dicom.write_series(tmp_path, phantom, dicom.Labels("sub-08", "s", 1, "dwi"))
    slices = [pydicom.dcmread(path) for path in sorted(tmp_path.iterdir())]
    assert len(slices) == phantom.data.shape[2] * phantom.data.shape[3]
    assert {s.SeriesInstanceUID for s in slices} == {uid}
    assert len({s.SOPInstanceUID for s in slices}) == len(slices)
    assert all(s.file_meta.MediaStorageSOPInstanceUID == s.SOPInstanceUID for s in slices)
    assert [s.InstanceNumber for s in slices] == list(range(1, len(slices) + 1))
    for part in slices:
        assert part.SOPClassUID == pydicom.uid.MRImageStorage
        for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            assert getattr(part, name).is_valid
            assert getattr(part, name).startswith("2.25.")
        assert (part.PatientName, part.PatientBirthDate, part.PatientSex) == ("sub-08", "", "")
    weighted = [s for s in slices if s.DiffusionBValue > 0]
    # Public elements, in patient axes: left, posterior, superior.
    first = int(np.flatnonzero(phantom.bvals)[0])
    expected = phantom.gradients[first] * [-1, -1, 1]
    np.testing.assert_allclose(weighted[0].DiffusionGradientOrientation, expected, atol=1e-12)


def test_the_study_has_its_units(example: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = example
    assert [(u["id"], u["form"], u["state"]) for u in summary["units"]] == [
        ("sub-01", "nifti", "complete"),
        ("sub-02", "dicom", "complete"),
        ("sub-03_ses-01", "dicom", "complete"),
        ("sub-03_ses-02", "nifti", "complete"),
        ("sub-04", "dicom", "ambiguous"),
        ("sub-05", "dicom", "truncated"),
        ("sub-06", "nifti", "no bvec"),
    ]
    assert all((folder / u["path"]).is_dir() for u in summary["units"])
    people = sorted(path.name for path in folder.glob("sub-*"))
    table = (folder / "participants.tsv").read_text().split()
    assert people == table[1:] == [f"sub-{n:02d}" for n in range(1, 7)]
    assert json.loads((folder / "dataset_description.json").read_text())["DatasetType"] == "raw"
    json.dumps(summary)


def test_whole_units_hold_the_scan_of_their_truth(
    example: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, _ = example
    said, images = convert(folder / "sub-02/dwi/dicom", tmp_path)
    assert len(images) == 1, said
    truth = folder / "derivatives/truth"
    for found, known in (
        (images[0].with_suffix(".bvec"), truth / "sub-02/dwi/sub-02_dwi.bvec"),
        (folder / "sub-01/dwi/sub-01_dwi.bvec", truth / "sub-01/dwi/sub-01_dwi.bvec"),
    ):
        np.testing.assert_allclose(np.loadtxt(found), np.loadtxt(known), atol=1e-5)
    mask = nib.load(truth / "sub-02/dwi/sub-02_desc-brain_mask.nii.gz")
    converted = nib.load(images[0])
    np.testing.assert_allclose(converted.affine, mask.affine, atol=1e-4)
    brain = np.asarray(mask.dataobj) > 0
    b0 = np.asarray(converted.dataobj)[..., 0]
    assert b0[brain].mean() > 3 * b0[~brain].mean()
    image = nib.load(folder / "sub-01/dwi/sub-01_dwi.nii.gz")
    assert image.shape[3] == len(np.loadtxt(folder / "sub-01/dwi/sub-01_dwi.bval"))
    assert np.linalg.det(image.affine) > 0  # both handednesses are in the study
    assert np.linalg.det(nib.load(images[0]).affine) < 0


def test_the_ambiguous_unit_holds_two_series_that_each_convert(
    example: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, summary = example
    unit = next(u for u in summary["units"] if u["state"] == "ambiguous")
    headers = [
        pydicom.dcmread(path, stop_before_pixels=True) for path in (folder / unit["path"]).iterdir()
    ]
    assert {h.SeriesInstanceUID for h in headers} == set(unit["series_uids"])
    assert len({h.SeriesDescription for h in headers}) == 2
    assert len({h.StudyInstanceUID for h in headers}) == 1
    said, images = convert(folder / unit["path"], tmp_path)
    assert len(images) == 2, said


def test_one_file_of_the_truncated_unit_is_cut_short(
    example: tuple[Path, dict[str, Any]],
) -> None:
    folder, _ = example
    sizes = sorted(path.stat().st_size for path in (folder / "sub-05/dwi/dicom").iterdir())
    assert sizes[0] < 0.6 * sizes[1]
    assert sizes[-1] - sizes[1] < 100  # the others differ by a few header elements only
    smallest = min((folder / "sub-05/dwi/dicom").iterdir(), key=lambda path: path.stat().st_size)
    broken = pydicom.dcmread(smallest)
    with pytest.raises((ValueError, AttributeError)):
        _ = broken.pixel_array


def test_the_last_unit_misses_only_its_b_vectors(example: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = example
    names = sorted(path.name for path in (folder / "sub-06/dwi").iterdir())
    assert names == ["sub-06_dwi.bval", "sub-06_dwi.json", "sub-06_dwi.nii.gz"]


def test_every_scan_has_its_truth(example: tuple[Path, dict[str, Any]]) -> None:
    truth = example[0] / "derivatives" / "truth"
    about = sorted(truth.rglob("*_desc-truth_dwi.json"))
    assert len(about) == 8  # seven units, one of them with two series
    for path in about:
        start = str(path).removesuffix("desc-truth_dwi.json")
        labels = np.asarray(nib.load(start + "desc-tracts_dseg.nii.gz").dataobj)
        mask = np.asarray(nib.load(start + "desc-brain_mask.nii.gz").dataobj)
        fa = nib.load(start + "space-orig_model-DTI_param-FA_dwimap.nii.gz").get_fdata()
        tracts = json.loads(path.read_text())["Tracts"]
        assert set(np.unique(labels)) == {0, 1, 2, 3, 4}
        assert not labels[mask == 0].any()
        assert fa[labels == 1].mean() == pytest.approx(tracts["cst_left"]["FA"], abs=1e-5)
    assert len({json.loads(path.read_text())["Seed"] for path in about}) == 6


def test_the_same_seed_writes_the_same_files(
    example: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, _ = example
    again = tmp_path / "again"
    study.write_study(again, seed=3, **COARSE)
    first, second = (
        {path.relative_to(base): path.read_bytes() for path in base.rglob("*") if path.is_file()}
        for base in (folder, again)
    )
    assert first == second


def test_bids_validator_accepts_all_but_the_missing_b_vectors(
    example: tuple[Path, dict[str, Any]],
) -> None:
    tool = Path(sys.executable).with_name("bids-validator-deno")
    for folder, expected in (
        (example[0], {"DWI_MISSING_BVEC"}),
        (example[0] / "derivatives/truth", set()),
    ):
        command = [tool, "--json", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        issues = json.loads(done.stdout)["issues"]["issues"]
        assert {i["code"] for i in issues if i["severity"] == "error"} == expected


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_nothing_that_is_there_is_overwritten(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "study"
    kept = target
    if kind == "folder":
        target.mkdir()
        kept = target / "mine.txt"
    kept.write_text("mine")
    with pytest.raises(Failure) as refused:
        study.write_study(target, **COARSE)
    assert refused.value.category is Category.USAGE
    assert str(target) in refused.value.message
    assert kept.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [target]


def test_a_study_that_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(dicom, "truncate", fail)
    with pytest.raises(OSError, match="No space"):
        study.write_study(tmp_path / "study", voxel_size=10.0, directions=6)
    assert list(tmp_path.iterdir()) == []

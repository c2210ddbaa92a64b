"""A series and its images of reversed phase encoding are used together, or refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from cohortflow.core.manifest import Input, Unit
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import discover
from dwi import small
from dwi.opposite import epi, names, pair, refused, reversed_series, series, sidecar, unit, used
from dwi.small import BVALS, BVECS


@pytest.mark.parametrize(
    ("one", "other"), [("AP", "PA"), ("LR", "RL"), ("SI", "IS"), ("HF", "FH"), ("ap", "pa")]
)
def test_names_alone_make_a_pair_of_opposite_labels(tmp_path: Path, one: str, other: str) -> None:
    series(tmp_path, f"sub-01_dir-{one}_run-1_dwi")
    reversed_series(tmp_path, name=f"sub-01_dir-{other}_run-1_dwi")
    found = unit(tmp_path)
    assert names(found) == pair(f"dir-{one}_run-1_dwi", f"dir-{other}_run-1_dwi")
    assert [i.role for i in found.inputs] == ["dwi", "bval", "bvec", "reverse", "reverse_bval"]


def test_the_sidecars_decide_whatever_the_names_are(tmp_path: Path) -> None:
    series(tmp_path, "sub-01_acq-b1000_dir-PA_dwi", PhaseEncodingDirection="j-")
    sidecar(reversed_series(tmp_path, name="sub-01_acq-b0_dwi"), {"PhaseEncodingDirection": "j"})
    found = used(unit(tmp_path))
    assert found["dwi"] == "sub-01_acq-b1000_dir-PA_dwi.nii.gz"
    assert found["reverse_json"] == "sub-01_acq-b0_dwi.json"


@pytest.mark.parametrize(
    ("one", "other", "word"),
    [
        ({"PhaseEncodingDirection": "j"}, {"PhaseEncodingDirection": "j"}, "tell j and j"),
        ({"PhaseEncodingDirection": "j"}, {"PhaseEncodingDirection": "i-"}, "tell j and i-"),
        ({"PhaseEncodingDirection": "j"}, {"EchoTime": 0.1}, "no PhaseEncodingDirection"),
        ({"PhaseEncodingDirection": "j"}, {"PhaseEncodingDirection": "y-"}, "dir-PA"),
    ],
)
@pytest.mark.parametrize("both", [True, False])
def test_names_of_a_pair_are_not_believed_against_the_sidecars(
    tmp_path: Path, one: dict[str, object], other: dict[str, object], word: str, both: bool
) -> None:
    series(tmp_path, **one)
    path = series(tmp_path, "sub-01_dir-PA_dwi") if both else reversed_series(tmp_path)
    sidecar(path, other)
    excluded = refused(tmp_path)
    assert excluded.category is Category.DATA_INVALID
    assert word in excluded.message
    assert "sub-01/dwi/sub-01_dir-AP_dwi.nii.gz" in excluded.message
    assert "sub-01/dwi/sub-01_dir-PA_dwi.nii.gz" in excluded.message
    assert len(excluded.choices) == 1 + both


@pytest.mark.parametrize(
    "runs",
    [
        ["run-1", "run-2"],
        ["dir-AP_run-1", "dir-PA_run-2"],
        ["dir-AP", "dir-LR"],
        ["dir-AP", "dir-98"],
        ["dir-AP_run-1", "dir-PA_run-1", "dir-AP_run-2"],
        ["dir-AP_run-1", "dir-PA_run-1", "dir-AP_run-2", "dir-PA_run-2"],
    ],
)
def test_what_is_no_pair_is_ambiguous_as_ever(tmp_path: Path, runs: list[str]) -> None:
    for run in runs:
        series(tmp_path, f"sub-01_{run}_dwi")
    excluded = refused(tmp_path)
    assert [Path(one["path"]).name for one in excluded.choices] == [
        f"sub-01_{run}_dwi.nii.gz" for run in sorted(runs)
    ]


def test_runs_of_one_polarity_by_their_sidecars_are_ambiguous(tmp_path: Path) -> None:
    for run in (1, 2):
        series(tmp_path, f"sub-01_run-{run}_dwi", PhaseEncodingDirection="j")
    assert len(refused(tmp_path).choices) == 2


def test_a_filter_chooses_a_pair_or_a_series_alone(tmp_path: Path) -> None:
    for name in ("dir-AP_run-1", "dir-PA_run-1", "dir-AP_run-2", "dir-PA_run-2"):
        series(tmp_path, f"sub-01_{name}_dwi")
    assert names(unit(tmp_path, filters={"run": 2})) == pair("dir-AP_run-2_dwi", "dir-PA_run-2_dwi")
    alone = unit(tmp_path, filters={"run": 2, "direction": "PA"})
    assert names(alone) == pair("dir-PA_run-2_dwi", None)


def test_the_series_of_more_directions_is_the_main_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seventh = np.array([1, 1, 1]) / np.sqrt(3)
    small.nifti(
        tmp_path,
        "sub-01_dir-PA_dwi",
        data=small.series_data(8),
        bvals=np.append(BVALS, 1000),
        bvecs=np.vstack([BVECS, seventh]),
    )
    # more volumes, but no more directions
    small.nifti(
        tmp_path,
        "sub-01_dir-AP_dwi",
        data=small.series_data(10),
        bvals=np.append(BVALS, [0, 0, 0]),
        bvecs=np.vstack([BVECS, np.zeros((3, 3))]),
    )
    assert names(unit(tmp_path)) == pair("dir-PA_dwi", "dir-AP_dwi")
    assert "dir-AP_dwi.nii.gz only b=0 volumes are used" in caplog.text
    assert "first by name" not in caplog.text


def test_of_equal_directions_more_volumes_decide(tmp_path: Path) -> None:
    series(tmp_path)
    bvals, bvecs = np.append(BVALS, 0), np.vstack([BVECS, np.zeros(3)])
    data = small.series_data(8)
    small.nifti(tmp_path, "sub-01_dir-PA_dwi", data=data, bvals=bvals, bvecs=bvecs)
    assert names(unit(tmp_path)) == pair("dir-PA_dwi", "dir-AP_dwi")


def test_a_tie_goes_to_the_first_by_name_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    series(tmp_path, "sub-01_dir-PA_dwi")
    series(tmp_path, "sub-01_dir-AP_dwi")
    assert names(unit(tmp_path)) == pair("dir-AP_dwi", "dir-PA_dwi")
    assert "is the first by name" in caplog.text


def test_a_change_of_the_reverse_files_changes_the_units_inputs(tmp_path: Path) -> None:
    series(tmp_path, PhaseEncodingDirection="j")
    path = reversed_series(tmp_path)
    sidecar(path, {"PhaseEncodingDirection": "j-"})
    seen = [unit(tmp_path).inputs]
    for end in (".nii.gz", ".bval", ".json"):
        file = path.with_name(path.name.replace(".nii.gz", end))
        stat = file.stat()
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
        seen.append(unit(tmp_path).inputs)
    assert len({str(inputs) for inputs in seen}) == 4


def _one_volume(path: Path) -> None:
    path.with_name("sub-01_dir-PA_dwi.bval").write_text("0")


BROKEN = {
    "broken link": (lambda p: [p.unlink(), p.symlink_to("gone")], "INPUT_MISSING", "broken link"),
    "annex pointer": (
        lambda p: p.write_text("/annex/objects/MD5E-s1--c.nii.gz\n"),
        "INPUT_MISSING", "placeholder"),
    "not NIfTI": (lambda p: p.write_bytes(b"x" * 900), "DATA_INVALID", "not a NIfTI"),
    "volumes disagree": (_one_volume, "DATA_INVALID", "2 volumes but 1 b-values"),
    "no b=0": (
        lambda p: p.with_name("sub-01_dir-PA_dwi.bval").write_text("1000 1000"),
        "DATA_INVALID", "the smallest is 1000"),
    "no bval": (
        lambda p: p.with_name("sub-01_dir-PA_dwi.bval").unlink(), "INPUT_MISSING", "no bval"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_reverse_image_that_cannot_be_used_is_refused_until_a_filter_leaves_it_out(
    tmp_path: Path, name: str
) -> None:
    make, category, word = BROKEN[name]
    series(tmp_path)
    make(reversed_series(tmp_path))
    excluded = refused(tmp_path)
    assert excluded.category == category
    assert word in excluded.message
    assert "sub-01/dwi/sub-01_dir-PA_dwi" in excluded.message
    assert names(unit(tmp_path, filters={"direction": "AP"})) == pair("dir-AP_dwi", None)


def test_another_subjects_image_is_no_partner(tmp_path: Path) -> None:
    series(tmp_path, PhaseEncodingDirection="j")
    path = series(tmp_path, "sub-01_dir-PA_dwi", PhaseEncodingDirection="j-")
    for file in path.parent.glob("sub-01_dir-PA*"):
        file.rename(file.with_name(file.name.replace("sub-01", "sub-02")))
    assert names(unit(tmp_path)) == pair("dir-AP_dwi", None)


def test_a_manifest_names_the_pair_or_the_series_alone(tmp_path: Path) -> None:
    series(tmp_path, PhaseEncodingDirection="j")
    series(tmp_path, "sub-01_dir-PA_dwi", PhaseEncodingDirection="j-")
    found = unit(tmp_path)
    assert discover.complete(found, tmp_path) == found
    blank = Unit(id="sub-01", folder="sub-01", entities={"subject": "01"})
    inputs = [
        Input(role="dwi", path="sub-01/dwi/sub-01_dir-PA_dwi.nii.gz"),
        Input(role="reverse", path="sub-01/dwi/sub-01_dir-AP_dwi.nii.gz"),
    ]
    both = discover.complete(blank.model_copy(update={"inputs": inputs}), tmp_path)
    assert names(both) == pair("dir-PA_dwi", "dir-AP_dwi")
    assert used(both)["reverse_bval"] == "sub-01_dir-AP_dwi.bval"
    assert used(both)["reverse_json"] == "sub-01_dir-AP_dwi.json"
    alone = discover.complete(blank.model_copy(update={"inputs": inputs[:1]}), tmp_path)
    assert names(alone) == pair("dir-PA_dwi", None)


def test_a_manifest_tells_a_direction_that_no_sidecar_has(tmp_path: Path) -> None:
    small.nifti(tmp_path, "sub-01_dwi")
    path = epi(tmp_path, "sub-01_acq-up_epi")
    inputs = [
        Input(role="dwi", path="sub-01/dwi/sub-01_dwi.nii.gz"),
        Input(role="reverse", path=str(path)),
    ]
    blank = Unit(id="sub-01", folder="sub-01", inputs=inputs)
    with pytest.raises(Failure, match="not certain"):
        discover.complete(blank, tmp_path)
    options = {"phase_encoding": "AP"}
    found = discover.complete(blank.model_copy(update={"options": options}), tmp_path)
    assert names(found) == pair("dwi", "acq-up_epi")
    assert found.options == options
    with pytest.raises(Failure, match="no direction") as caught:
        discover.complete(blank.model_copy(update={"options": {"phase_encoding": "up"}}), tmp_path)
    assert caught.value.category is Category.USAGE


def test_a_unit_that_was_refused_runs_when_a_manifest_names_its_series(tmp_path: Path) -> None:
    for run in (1, 2):
        series(tmp_path, f"sub-01_run-{run}_dwi")
    edited = unit(tmp_path).model_copy(
        update={"inputs": [Input(role="dwi", path="sub-01/dwi/sub-01_run-2_dwi.nii.gz")]}
    )
    assert names(discover.complete(edited, tmp_path)) == pair("run-2_dwi", None)


def by_hand(*inputs: tuple[str, Path | str], **options: str) -> Unit:
    given = [Input(role=role, path=str(path)) for role, path in inputs]
    return Unit(id="sub-01", folder="sub-01", inputs=given, options=options)


@pytest.mark.parametrize("options", [{}, {"phase_encoding": "AP"}])
def test_a_series_is_not_its_own_reverse_image_under_any_name(
    tmp_path: Path, options: dict[str, str]
) -> None:
    path = small.nifti(tmp_path, "sub-01_dwi")
    link = tmp_path / "other_dwi.nii.gz"
    link.symlink_to(path)
    for name in (path, link):
        with pytest.raises(Failure, match="its own image") as caught:
            discover.complete(by_hand(("dwi", path), ("reverse", name), **options), tmp_path)
        assert caught.value.category is Category.USAGE


@pytest.mark.parametrize("role", ["reverse_bval", "reverse_json"])
def test_sidecars_of_a_reverse_image_that_is_not_named_are_refused(
    tmp_path: Path, role: str
) -> None:
    path = series(tmp_path)
    (tmp_path / "scans").mkdir()
    for one in (("dwi", path), ("dicom", tmp_path / "scans")):
        with pytest.raises(Failure, match=f"{role} is given without reverse") as caught:
            discover.complete(by_hand(one, (role, tmp_path / "x")), tmp_path)
        assert caught.value.category is Category.USAGE


def test_two_images_named_for_one_direction_are_no_pair_whatever_a_manifest_says(
    tmp_path: Path,
) -> None:
    path = series(tmp_path, "sub-01_dir-AP_run-1_dwi")
    other = reversed_series(tmp_path, name="sub-01_dir-AP_run-2_dwi")
    given = ("dwi", path), ("reverse", other)
    with pytest.raises(Failure, match="both named dir-AP"):
        discover.complete(by_hand(*given, phase_encoding="AP"), tmp_path)
    sidecar(other, {"PhaseEncodingDirection": "j"})  # a sidecar is believed before a name
    assert discover.complete(by_hand(*given, phase_encoding="AP"), tmp_path).excluded is None


def test_a_damaged_sidecar_of_the_reverse_series_refuses_the_pair(tmp_path: Path) -> None:
    series(tmp_path)
    reversed_series(tmp_path).with_name("sub-01_dir-PA_dwi.json").write_text("{")
    excluded = refused(tmp_path)
    assert "sub-01_dir-PA_dwi.json: not a JSON sidecar" in excluded.message
    assert len(excluded.choices) == 1
    assert names(unit(tmp_path, filters={"direction": "AP"})) == pair("dir-AP_dwi", None)

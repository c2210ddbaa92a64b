"""Discovery lists every unit of a study: usable, or with the reason why not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cohortflow.core.manifest import Excluded, Input, Unit, checked
from cohortflow.core.outcome import Category, Failure, NothingToRun
from cohortflow.dwi import candidates, discover, files, image
from dwi import small
from dwi.small import BVALS, BVECS


def units(study: Path, **wanted: object) -> dict[str, Unit]:
    found = list(discover.discover(study, **wanted))  # type: ignore[arg-type]
    assert len({unit.id for unit in found}) == len(found)
    for unit in found:
        checked(unit)
    return {unit.id: unit for unit in found}


def reason(study: Path, unit: str = "sub-01") -> Excluded:
    found = units(study)[unit]
    assert found.excluded is not None
    assert str(study) not in found.excluded.message
    return found.excluded


def test_units_with_and_without_sessions_are_found(tmp_path: Path) -> None:
    small.nifti(tmp_path, "sub-02_dwi")
    small.nifti(tmp_path, "sub-01_ses-b_dwi")
    small.nifti(tmp_path, "sub-01_ses-a_dwi", end=".nii")
    small.dicom(tmp_path / "sub-03" / "dwi" / "scanner" / "deep")
    small.dicom(tmp_path / "sub-04" / "dwi")
    (tmp_path / "sub-05" / "anat").mkdir(parents=True)
    (tmp_path / "derivatives" / "sub-06" / "dwi").mkdir(parents=True)
    found = units(tmp_path)
    assert list(found) == ["sub-01_ses-a", "sub-01_ses-b", "sub-02", "sub-03", "sub-04"]
    assert all(unit.excluded is None for unit in found.values())
    assert found["sub-01_ses-a"].folder == "sub-01/ses-a"
    assert found["sub-01_ses-a"].entities == {"subject": "01", "session": "a"}
    assert [i.role for i in found["sub-02"].inputs] == ["dwi", "bval", "bvec"]
    assert found["sub-03"].options == {"series_uid": small.UID.format(1)}
    assert found["sub-03"].inputs[0].path.endswith("sub-03/dwi/scanner/deep")


def test_files_are_fingerprinted_by_size_and_time(tmp_path: Path) -> None:
    path = small.nifti(tmp_path)
    (dwi, *_) = units(tmp_path)["sub-01"].inputs
    assert (dwi.bytes, dwi.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)


def test_a_folder_is_fingerprinted_by_its_series_files_alone(tmp_path: Path) -> None:
    paths = small.dicom(tmp_path / "sub-01" / "dwi")
    before = units(tmp_path)["sub-01"].inputs
    (tmp_path / "sub-01" / "dwi" / "notes").write_text("x")
    assert units(tmp_path)["sub-01"].inputs == before
    assert before[0].bytes == sum(path.stat().st_size for path in paths)
    assert before[0].files == len(paths)
    one, other = sorted(paths)[:2]
    stat = one.stat()
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    os.utime(one, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert units(tmp_path)["sub-01"].inputs[0].listing != before[0].listing


def test_sidecars_may_stand_at_the_study_root(tmp_path: Path) -> None:
    small.nifti(tmp_path, "sub-01_ses-1_dwi", bvals=None)
    small.nifti(tmp_path, "sub-02_dwi", bvals=None)
    np.savetxt(tmp_path / "dwi.bval", BVALS[None])
    (tmp_path / "dwi.json").write_text("{}")
    for unit in units(tmp_path).values():
        assert unit.excluded is None
        assert str(tmp_path / "dwi.bval") in [i.path for i in unit.inputs]
        assert unit.inputs[-1] == files.one("json", str(tmp_path / "dwi.json"))


def _no(name: str) -> None:
    pytest.fail(name)


def test_only_what_is_needed_is_listed_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for subject in range(20):
        small.nifti(tmp_path, f"sub-{subject:02d}_ses-1_dwi")
        (tmp_path / f"sub-{subject:02d}" / "ses-1" / "func").mkdir()
    listed, stated = [], []
    scandir, stat = files.entries, files.status
    monkeypatch.setattr(files, "entries", lambda path: listed.append(path) or scandir(path))
    monkeypatch.setattr(files, "status", lambda path: stated.append(path) or stat(path))
    monkeypatch.setattr(image, "load", lambda *_: _no("voxels were read"))
    assert len(units(tmp_path)) == 20
    # subject, session, dwi; and up in search of a JSON sidecar, but the root once for all
    assert len(listed) <= 1 + 20 * 5 + 1
    assert len([path for path in stated if not Path(path).is_dir()]) == 20 * 3


@pytest.mark.parametrize("label", ["01", "sub-01", "1"])
def test_a_participant_is_chosen(tmp_path: Path, label: str) -> None:
    small.nifti(tmp_path, "sub-01_dwi")
    small.nifti(tmp_path, "sub-02_dwi")
    assert list(units(tmp_path, participants=[label])) == ["sub-01"]


def test_a_session_is_chosen(tmp_path: Path) -> None:
    for name in ("sub-01_ses-a", "sub-01_ses-b", "sub-02_ses-b", "sub-03"):
        small.nifti(tmp_path, f"{name}_dwi")
    assert list(units(tmp_path, sessions=["ses-b"])) == ["sub-01_ses-b", "sub-02_ses-b"]
    with pytest.raises(Failure, match="no ses-c"):
        units(tmp_path, sessions=["c"])


def test_a_participant_without_diffusion_is_listed_when_asked_for(tmp_path: Path) -> None:
    small.nifti(tmp_path, "sub-01_dwi")
    (tmp_path / "sub-02" / "anat").mkdir(parents=True)
    assert list(units(tmp_path)) == ["sub-01"]
    excluded = units(tmp_path, participants=["02"])["sub-02"].excluded
    assert excluded is not None
    assert excluded.category is Category.INPUT_MISSING


def test_several_runs_are_ambiguous_until_a_filter_decides(tmp_path: Path) -> None:
    for name in ("run-1", "run-2", "dir-PA_run-2"):
        small.nifti(tmp_path, f"sub-01_{name}_dwi")
    excluded = reason(tmp_path)
    assert excluded.category is Category.DATA_INVALID
    assert [c["path"] for c in excluded.choices] == [
        f"sub-01/dwi/sub-01_{name}_dwi.nii.gz" for name in ("dir-PA_run-2", "run-1", "run-2")
    ]
    assert all(choice["path"] in excluded.message for choice in excluded.choices)
    chosen = units(tmp_path, filters={"run": 2, "direction": None})["sub-01"]
    assert chosen.excluded is None
    assert chosen.inputs[0].path.endswith("sub-01_run-2_dwi.nii.gz")
    nothing = units(tmp_path, filters={"run": 3})["sub-01"].excluded
    assert nothing is not None
    assert nothing.category is Category.INPUT_MISSING


def test_the_only_usable_run_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small.nifti(tmp_path, "sub-01_dir-AP_dwi")
    small.nifti(tmp_path, "sub-01_dir-PA_dwi", bvecs=None)
    small.nifti(tmp_path, "sub-01_part-phase_dwi")
    unit = units(tmp_path)["sub-01"]
    assert unit.excluded is None
    assert "dir-AP" in unit.inputs[0].path
    assert "dir-PA" in caplog.text


def test_an_image_beside_dicom_is_ambiguous(tmp_path: Path) -> None:
    small.nifti(tmp_path)
    small.dicom(tmp_path / "sub-01" / "dwi" / "dicom")
    assert len(reason(tmp_path).choices) == 2
    by_image = units(tmp_path, filters={"run": None})["sub-01"]
    by_series = units(tmp_path, filters={"SeriesDescription": "DTI six directions"})["sub-01"]
    assert by_image.inputs[0].role == "dwi"
    assert by_series.inputs[0].role == "dicom"


def test_several_series_are_ambiguous_until_a_uid_decides(tmp_path: Path) -> None:
    folder = tmp_path / "sub-01" / "dwi" / "dicom"
    small.dicom(folder, 1, description="DTI SAG")
    small.dicom(folder, 2, description="DTI COR")
    unit = units(tmp_path)["sub-01"]
    excluded = reason(tmp_path)
    assert [choice["series_uid"] for choice in excluded.choices] == [
        small.UID.format(1),
        small.UID.format(2),
    ]
    assert "1 DTI SAG" in excluded.message
    assert "2 DTI COR" in excluded.message
    edited = unit.model_copy(update={"options": {"series_uid": small.UID.format(2)}})
    complete = discover.complete(edited, tmp_path)
    assert complete.excluded is None
    assert complete.inputs[0].files == 28
    filtered = units(tmp_path, filters={"SeriesNumber": 2})["sub-01"]
    assert filtered.inputs == complete.inputs


@pytest.mark.shared_data
def test_five_real_series_in_one_folder_are_listed_with_descriptions(
    tmp_path: Path, shared_data: Path
) -> None:
    folder = tmp_path / "sub-01" / "dwi"
    folder.mkdir(parents=True)
    (folder / "dicom").symlink_to(shared_data / "dicom" / "toshiba" / "In")
    excluded = reason(tmp_path)
    assert excluded.category is Category.DATA_INVALID
    uid = "1.2.392.200036.9116.4.2.9143.89.{}"
    for number, name in ((6007, "SAG 30d"), (7007, "ortho"), (8007, "AX 30d"), (9007, "COR 20d"),
                         (10007, "ALL 20d")):  # fmt: skip
        assert f"{uid.format(number)} ({number - 1} DTI {name}, 520 files)" in excluded.message


@pytest.mark.shared_data
def test_a_real_gzipped_series_is_found_beside_what_is_no_image(
    tmp_path: Path, shared_data: Path
) -> None:
    (tmp_path / "sub-01").mkdir()
    (tmp_path / "sub-01" / "dwi").symlink_to(shared_data / "dicom" / "philips" / "In")
    unit = units(tmp_path)["sub-01"]
    assert unit.excluded is None
    assert unit.inputs[0].files == 544


def _link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _put(study: Path, name: str, text: str) -> None:
    (study / "sub-01" / "dwi" / name).write_text(text)


NAN = np.vstack([BVECS[:6], [np.nan] * 3])
BAD = {
    "volumes disagree": (
        lambda s: small.nifti(s, data=small.series_data(8)), "DATA_INVALID", "8 volumes but 7"),
    "not unit": (lambda s: small.nifti(s, bvecs=BVECS * 0.5), "DATA_INVALID", "unit length"),
    "nan vector": (lambda s: small.nifti(s, bvecs=NAN), "DATA_INVALID", "NaN"),
    "3-D": (lambda s: small.nifti(s, data=small.series_data()[..., 0]), "DATA_INVALID", "3-D"),
    "only b0": (lambda s: small.nifti(s, bvals=0 * BVALS), "DATA_INVALID", "directions"),
    "not NIfTI": (lambda s: small.nifti(s).write_bytes(b"x" * 900), "DATA_INVALID", "gz"),
    "no bval": (lambda s: small.nifti(s, bvals=None), "INPUT_MISSING", "no bval"),
    "no bvec": (lambda s: small.nifti(s, bvecs=None), "INPUT_MISSING", "no bvec"),
    "broken link": (lambda s: _link(small.nifti(s), "gone.nii.gz"), "INPUT_MISSING", "broken"),
    "annex link": (
        lambda s: _link(small.nifti(s), "../../.git/annex/objects/a/b/MD5E-s1--c.nii.gz"),
        "INPUT_MISSING", "placeholder"),
    "annex pointer": (
        lambda s: small.nifti(s).write_text("/annex/objects/MD5E-s1--c.nii.gz\n"),
        "INPUT_MISSING", "placeholder"),
    "link loop": (lambda s: _link(small.nifti(s), "sub-01_dwi.nii.gz"), "INPUT_MISSING", "link"),
    "empty dwi": (
        lambda s: (s / "sub-01" / "dwi").mkdir(parents=True), "INPUT_MISSING", "neither"),
    "other subject": (
        lambda s: small.nifti(s).rename(s / "sub-01" / "dwi" / "sub-02_dwi.nii.gz"),
        "DATA_INVALID", "not of this subject"),
    "dwi beside sessions": (
        lambda s: [small.nifti(s), small.nifti(s, "sub-01_ses-1_dwi")],
        "DATA_INVALID", "beside its sessions"),
    "broken DICOM": (
        lambda s: [small.dicom(s / "sub-01" / "dwi"), _put(s, "x.dcm", "no")],
        "DATA_INVALID", "x.dcm"),
    "one volume": (
        lambda s: small.dicom(s / "sub-01" / "dwi", volumes=1), "DATA_INVALID", "several volumes"),
    "broken subject link": (
        lambda s: (s / "sub-01").symlink_to("gone"), "INPUT_MISSING", "broken link"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_listed_with_its_reason(tmp_path: Path, name: str) -> None:
    make, category, word = BAD[name]
    make(tmp_path)
    small.nifti(tmp_path, "sub-09_dwi")
    excluded = reason(tmp_path)
    assert excluded.category == category
    assert word in excluded.message
    assert excluded.remedy
    if name.startswith("annex"):
        assert "datalad get sub-01/dwi/sub-01_dwi.nii.gz" in excluded.remedy
    assert units(tmp_path)["sub-09"].excluded is None


@pytest.mark.parametrize(
    "label", ["..", "01..", "0 1", "ä1", "0\n1", "0\t1", "a_b", "a-b", "$(x)", "a" * 65, ""]
)
@pytest.mark.parametrize("session", [False, True])
def test_an_identifier_that_is_no_label_is_refused(
    tmp_path: Path, label: str, session: bool
) -> None:
    name = f"sub-01/ses-{label}" if session else f"sub-{label}"
    (tmp_path / name / "dwi").mkdir(parents=True)
    small.nifti(tmp_path, "sub-02_dwi")
    found = units(tmp_path)
    good = found.pop("sub-02")
    (bad,) = found.values()
    assert bad.excluded is not None
    assert bad.excluded.category is Category.DATA_INVALID
    assert "\n" not in bad.excluded.message
    assert good.excluded is None


def test_labels_that_are_too_long_together_are_refused(tmp_path: Path) -> None:
    small.nifti(tmp_path, f"sub-{'a' * 64}_ses-{'b' * 64}_dwi")
    (unit,) = units(tmp_path).values()
    assert unit.excluded is not None
    assert "together" in unit.excluded.message


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/sub-\xff/dwi")).mkdir(parents=True)
    (unit,) = units(tmp_path).values()
    assert unit.id == "sub-_ff"
    assert "\\xff" in json.loads(unit.model_dump_json())["excluded"]["message"]


@pytest.mark.parametrize("folders", [[], ["sub-01"], ["sub-01/anat"], ["code", "dwi"]])
def test_a_study_without_diffusion_has_nothing_to_run(tmp_path: Path, folders: list[str]) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(NothingToRun):
        units(tmp_path)
    done = small.tool("dwi-discover", [tmp_path, "--output", tmp_path / "m.jsonl"])
    assert done.exit_code == 3
    assert done.stderr.startswith("ERROR INPUT_MISSING - ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "m.jsonl").exists()


def test_an_empty_subject_is_listed_beside_others(tmp_path: Path) -> None:
    (tmp_path / "sub-01").mkdir()
    small.nifti(tmp_path, "sub-02_dwi")
    assert "datalad get" in reason(tmp_path).remedy


@pytest.mark.parametrize("folder", ["sub-01", "sub-01/dwi", "sub-01/dwi/sub-01_dwi.bval"])
def test_what_may_not_be_read_is_listed_as_permission(tmp_path: Path, folder: str) -> None:
    small.nifti(tmp_path)
    small.nifti(tmp_path, "sub-02_dwi")
    for path in (tmp_path, *tmp_path.parents[:3]):  # pytest's own folders are its user's alone
        if "pytest" in str(path):
            path.chmod(0o755)
    (tmp_path / folder).chmod(0)
    nobody = ["setpriv", "--reuid", "65534", "--clear-groups"] if os.getuid() == 0 else []
    command = [sys.executable, "-B", str(small.BIN / "dwi-discover"), str(tmp_path)]
    done = subprocess.run([*nobody, *command], capture_output=True, text=True, check=False)
    (tmp_path / folder).chmod(0o755)
    assert done.returncode == 0, done.stderr
    _, bad, good = (json.loads(line) for line in done.stdout.splitlines())
    assert bad["excluded"]["category"] == "PERMISSION"
    assert folder in bad["excluded"]["message"]
    assert "excluded" not in good


def test_the_tool_writes_a_manifest_that_is_read_back(tmp_path: Path) -> None:
    from cohortflow.core import manifest

    study = tmp_path / "study"
    small.nifti(study)
    target = tmp_path / "m.jsonl"
    assert small.tool("dwi-discover", [study, "--output", target]).exit_code == 0
    header, found = manifest.read(target)
    assert header.dataset == str(study)
    assert list(found) == list(units(study).values())
    again = small.tool("dwi-discover", [study, "--output", target])
    assert again.exit_code == 2
    assert "exists" in again.stderr
    assert small.tool("dwi-discover", [study, "--output", target, "--overwrite"]).exit_code == 0
    shown = small.tool("dwi-discover", [study])
    assert shown.stdout == target.read_text()
    before = small.tree(tmp_path)
    assert small.tool("dwi-discover", [study, "--output", tmp_path / "n", "--dry-run"]).stdout
    assert small.tree(tmp_path) == before


def test_an_unknown_label_ends_with_status_2(tmp_path: Path) -> None:
    small.nifti(tmp_path)
    done = small.tool("dwi-discover", [tmp_path, "--participant-label", "02"])
    assert done.exit_code == 2
    assert "sub-01" in done.stderr


def test_a_hand_written_unit_is_completed_like_a_discovered_one(tmp_path: Path) -> None:
    small.nifti(tmp_path, "sub-01_ses-a_dwi", bvals=None)
    np.savetxt(tmp_path / "dwi.bval", BVALS[None])
    found = units(tmp_path)["sub-01_ses-a"]
    image_path = "sub-01/ses-a/dwi/sub-01_ses-a_dwi.nii.gz"
    hand = found.model_copy(update={"inputs": [Input(role="dwi", path=image_path)]})
    assert discover.complete(hand, tmp_path) == found


def test_a_hand_written_unit_with_names_of_its_own_is_completed(tmp_path: Path) -> None:
    path = small.nifti(tmp_path)
    for end in (".nii.gz", ".bval", ".bvec"):
        (path.parent / f"sub-01_dwi{end}").rename(tmp_path / f"my scan.1{end}")
    unit = Unit(id="sub-x", folder="sub-x", inputs=[Input(role="dwi", path="my scan.1.nii.gz")])
    assert [i.role for i in discover.complete(unit, tmp_path).inputs] == ["dwi", "bval", "bvec"]


@pytest.mark.parametrize(
    ("inputs", "category"),
    [
        ({}, "INPUT_MISSING"),
        ({"dwi": "no.nii.gz"}, "INPUT_MISSING"),
        ({"dicom": "no"}, "INPUT_MISSING"),
        ({"dwi": "a", "dicom": "b"}, "USAGE"),
    ],
)
def test_a_hand_written_unit_that_cannot_be_is_refused(
    tmp_path: Path, inputs: dict[str, str], category: str
) -> None:
    unit = Unit(
        id="sub-01", folder="sub-01", inputs=[Input(role=r, path=p) for r, p in inputs.items()]
    )
    with pytest.raises(Failure) as caught:
        discover.complete(unit, tmp_path)
    assert caught.value.category == category


def test_a_uid_that_is_not_there_is_refused(tmp_path: Path) -> None:
    small.dicom(tmp_path, 1)
    unit = Unit(
        id="sub-01",
        folder="sub-01",
        inputs=[Input(role="dicom", path=".")],
        options={"series_uid": "1.2.3"},
    )
    with pytest.raises(Failure, match=r"no series 1\.2\.3, only: .*DTI six directions"):
        discover.complete(unit, tmp_path)


def test_an_excluded_unit_stays_excluded(tmp_path: Path) -> None:
    small.nifti(tmp_path, bvecs=None)
    unit = units(tmp_path)["sub-01"]
    assert discover.complete(unit, tmp_path) is unit


def test_choices_are_listed_up_to_a_limit() -> None:
    text = candidates.describe([{"path": str(n)} for n in range(30)], limit=3)
    assert text == "0; 1; 2; ..."

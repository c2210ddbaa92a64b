"""A series and its b=0 images of reversed phase encoding are used together, or refused."""

from __future__ import annotations

import gzip
import itertools
import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohortflow.core.manifest import Excluded, Input, Unit, checked
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import convert, discover, phase
from cohortflow.dwi.reverse import Files
from dwi import small
from dwi.small import BVALS, BVECS

UID = small.UID
AFFINE = np.diag([2, 2, 2.5, 1])
NEW = "dwi/sub-01_desc-{}"


def series(study: Path, name: str = "sub-01_dir-AP_dwi", **fields: object) -> Path:
    """Write a series of seven volumes, with a sidecar when it has fields."""
    return _sidecar(small.nifti(study, name), fields)


def reversed_series(study: Path, volumes: int = 2, name: str = "sub-01_dir-PA_dwi") -> Path:
    """Write a series without diffusion weighting."""
    bvals, bvecs = np.zeros(volumes), np.zeros((volumes, 3))
    data = small.series_data(volumes)
    return small.nifti(study, name, data=data, bvals=bvals, bvecs=bvecs)


def epi(
    study: Path,
    name: str = "sub-01_dir-PA_epi",
    *,
    data: np.ndarray | None = None,
    affine: np.ndarray = AFFINE,
    **fields: object,
) -> Path:
    """Write an image of ``fmap``."""
    folder = study / "sub-01" / "fmap"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.nii.gz"
    nib.save(nib.Nifti1Image(small.series_data(3) if data is None else data, affine), path)
    return _sidecar(path, fields)


def _sidecar(path: Path, fields: dict[str, object]) -> Path:
    if fields:
        beside = path.with_name(path.name.replace(".nii.gz", ".json"))
        beside.write_text(json.dumps(fields))
    return path


def unit(study: Path, **wanted: object) -> Unit:
    (found,) = discover.discover(study, **wanted)  # type: ignore[arg-type]
    checked(found)
    return found


def used(found: Unit) -> dict[str, str]:
    """Return the file names of a unit that runs, by role."""
    assert found.excluded is None, found.excluded
    return {one.role: Path(one.path).name for one in found.inputs}


def refused(study: Path, **wanted: object) -> Excluded:
    excluded = unit(study, **wanted).excluded
    assert excluded is not None
    assert str(study) not in excluded.message + excluded.remedy + str(excluded.choices)
    assert excluded.remedy
    return excluded


def pair(main: str, reverse: str | None) -> tuple[str, str | None]:
    return f"sub-01_{main}.nii.gz", reverse and f"sub-01_{reverse}.nii.gz"


def names(found: Unit) -> tuple[str, str | None]:
    return used(found)["dwi"], used(found).get("reverse")


def told(folder: Path, desc: str) -> dict[str, object]:
    return dict(json.loads((folder / f"{NEW.format(desc)}.json").read_text()))


def metrics(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "metrics.json").read_text()))


def values(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).get_fdata(dtype=np.float64))


def made(source: Path, target: Path, **options: object) -> Path:
    target.mkdir(parents=True)
    convert.convert(source, target, prefix="sub-01", **options)
    return target


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
    _sidecar(reversed_series(tmp_path, name="sub-01_acq-b0_dwi"), {"PhaseEncodingDirection": "j"})
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
    _sidecar(path, other)
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
    _sidecar(path, {"PhaseEncodingDirection": "j-"})
    seen = [unit(tmp_path).inputs]
    for end in (".nii.gz", ".bval", ".json"):
        file = path.with_name(path.name.replace(".nii.gz", end))
        stat = file.stat()
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
        seen.append(unit(tmp_path).inputs)
    assert len({str(inputs) for inputs in seen}) == 4


@pytest.mark.parametrize(
    "claim",
    [
        {"IntendedFor": "bids::sub-01/dwi/sub-01_dwi.nii.gz"},
        {"IntendedFor": ["func/sub-01_task-rest_bold.nii.gz", "dwi/sub-01_dwi.nii.gz"]},
        {"B0FieldIdentifier": ["other", "pepolar"]},
        {},
    ],
)
@pytest.mark.parametrize("volumes", [1, 3])
def test_an_opposite_image_of_fmap_is_used(
    tmp_path: Path, claim: dict[str, object], volumes: int
) -> None:
    source = {"B0FieldSource": "pepolar"} if "B0FieldIdentifier" in claim else {}
    series(tmp_path, "sub-01_dwi", PhaseEncodingDirection="j-", **source)
    data = small.series_data(volumes)
    epi(tmp_path, data=data, PhaseEncodingDirection="j", **claim)
    epi(tmp_path, "sub-01_dir-AP_epi", PhaseEncodingDirection="j-", **claim)
    found = unit(tmp_path)
    assert names(found) == pair("dwi", "dir-PA_epi")
    assert [i.role for i in found.inputs][-2:] == ["reverse", "reverse_json"]


@pytest.mark.parametrize(
    "claim",
    [
        {"IntendedFor": "func/sub-01_task-rest_bold.nii.gz"},
        {"IntendedFor": "bids:other:sub-01/dwi/sub-01_dir-AP_dwi.nii.gz"},
        {"B0FieldIdentifier": "another"},
    ],
)
def test_an_image_of_fmap_that_is_for_others_is_not_used(
    tmp_path: Path, claim: dict[str, object]
) -> None:
    series(tmp_path, PhaseEncodingDirection="j-")
    epi(tmp_path, PhaseEncodingDirection="j", **claim)
    assert names(unit(tmp_path)) == pair("dir-AP_dwi", None)


def test_a_claim_goes_before_what_nothing_claims(tmp_path: Path) -> None:
    series(tmp_path)
    epi(tmp_path, "sub-01_acq-b_dir-PA_epi")
    epi(tmp_path, "sub-01_acq-a_dir-PA_epi", IntendedFor="dwi/sub-01_dir-AP_dwi.nii.gz")
    assert names(unit(tmp_path)) == pair("dir-AP_dwi", "acq-a_dir-PA_epi")


def test_what_nothing_claims_is_not_asked_beside_a_pair(tmp_path: Path) -> None:
    series(tmp_path)
    reversed_series(tmp_path)
    epi(tmp_path)
    assert names(unit(tmp_path)) == pair("dir-AP_dwi", "dir-PA_dwi")


@pytest.mark.parametrize("claim", [{}, {"IntendedFor": "dwi/sub-01_dir-AP_dwi.nii.gz"}])
def test_more_than_one_reverse_image_is_refused_with_choices(
    tmp_path: Path, claim: dict[str, object]
) -> None:
    series(tmp_path)
    for run in (1, 2):
        epi(tmp_path, f"sub-01_dir-PA_run-{run}_epi", **claim)
    excluded = refused(tmp_path)
    assert [one["reverse"] for one in excluded.choices] == [
        f"sub-01/fmap/sub-01_dir-PA_run-{run}_epi.nii.gz" for run in (1, 2)
    ]
    assert all(one["reverse"] in excluded.message for one in excluded.choices)


def test_a_pair_and_a_claim_are_more_than_one(tmp_path: Path) -> None:
    series(tmp_path)
    reversed_series(tmp_path)
    epi(tmp_path, IntendedFor="dwi/sub-01_dir-AP_dwi.nii.gz")
    assert len(refused(tmp_path).choices) == 2


def test_a_claim_without_a_known_direction_is_refused(tmp_path: Path) -> None:
    series(tmp_path, "sub-01_dwi")
    epi(tmp_path, PhaseEncodingDirection="j", IntendedFor="dwi/sub-01_dwi.nii.gz")
    excluded = refused(tmp_path)
    assert "PhaseEncodingDirection is known of sub-01/dwi/sub-01_dwi.nii.gz" in excluded.message
    assert "sub-01_dir-PA_epi" in excluded.message


def _moved(distance: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[1, 3] += distance
    return affine


def _turned() -> np.ndarray:
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    return np.asarray(turn @ AFFINE)


OTHER_GRIDS = {
    "matrix": (small.series_data(2, (6, 5, 3)), AFFINE, "6 x 5 x 4 voxels and 6 x 5 x 3"),
    "voxel size": (small.series_data(2), np.diag([2, 2, 3, 1]), "2 x 2 x 3 mm"),
    "place": (small.series_data(2), _moved(0.5), "0.5 mm apart"),
    "orientation": (small.series_data(2), _turned(), "mm apart"),
}


@pytest.mark.parametrize("name", OTHER_GRIDS)
def test_a_reverse_image_of_another_grid_is_refused_and_an_unclaimed_one_passed_over(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    data, affine, word = OTHER_GRIDS[name]
    main = series(tmp_path)
    path = epi(tmp_path, data=data, affine=affine)
    assert names(unit(tmp_path)) == pair("dir-AP_dwi", None)
    assert str(path) in caplog.text
    assert word in caplog.text
    _sidecar(path, {"IntendedFor": f"dwi/{main.name}"})
    excluded = refused(tmp_path)
    assert word in excluded.message
    assert main.name in excluded.message
    assert path.name in excluded.message
    with pytest.raises(Failure, match=word):
        convert.prepare(main, reverse=Files(path))


def test_a_grid_that_differs_by_rounding_is_the_same(tmp_path: Path) -> None:
    series(tmp_path)
    epi(tmp_path, affine=_moved(0.02))
    assert names(unit(tmp_path)) == pair("dir-AP_dwi", "dir-PA_epi")


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
    own = inputs[0].model_copy(update={"role": "reverse"})
    with pytest.raises(Failure, match="not opposite"):
        discover.complete(blank.model_copy(update={"inputs": [inputs[0], own]}), tmp_path)


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


AXES = [
    np.array([np.eye(3)[axis] * sign for axis, sign in zip(order, signs, strict=True)]).T
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize(
    ("label", "axis", "towards"),
    [("LR", 0, 1), ("RL", 0, -1), ("PA", 1, 1), ("AP", 1, -1), ("IS", 2, 1), ("SI", 2, -1)],
)
def test_a_label_gives_the_image_axis_that_leads_there(label: str, axis: int, towards: int) -> None:
    tilt = np.array([[0.98, -0.17, 0.1], [0.17, 0.98, 0], [-0.1, 0, 0.99]])
    for axes in AXES:
        affine = np.eye(4)
        affine[:3, :3] = tilt @ axes * [1.7, 2.2, 4]
        direction = phase.of_label(label, affine)
        assert direction is not None
        step = affine[:3, "ijk".index(direction[0])] * (-1 if direction.endswith("-") else 1)
        assert np.abs(step).argmax() == axis
        assert np.sign(step[axis]) == towards


def test_only_one_word_of_direction_may_differ() -> None:
    for one, other in (("AP", "PA"), ("cmrr dwi_LR b0", "cmrr dwi_rl  b0"), ("x-AP-AP", "x-AP-PA")):
        assert phase.differ_by_direction(one, other)
    for one, other in (
        ("DTI AP", "DTI AP"), ("DTI AP 30", "DTI PA 60"), ("DTI AP LR", "DTI PA RL"),
        ("MAP", "MPA"), ("DTI AP", "DTI"), ("DTI AP", "DTI RL"),
    ):  # fmt: skip
        assert not phase.differ_by_direction(one, other)


def test_only_the_b0_volumes_of_the_reverse_series_are_kept(tmp_path: Path) -> None:
    main = series(tmp_path / "in", PhaseEncodingDirection="j-", TotalReadoutTime=0.05)
    data = np.random.default_rng(11).integers(0, 900, (6, 5, 4, 9)).astype(">i2")
    bvals = np.array([1000, 0, 1000, 1000, 50, 1000, 1000, 1000, 5.0])
    bvecs = np.vstack([BVECS[1:2], BVECS[1:], BVECS[1:3]])
    other = small.nifti(tmp_path / "in", "sub-01_dir-PA_dwi", bvals=bvals, bvecs=bvecs)
    head = nib.Nifti1Header(endianness=">")
    head.set_data_dtype(">i2")
    head["descrip"] = b"Doe, Jane"
    picture = nib.Nifti1Image(data, AFFINE, head)
    picture.header.set_slope_inter(0.5, 3)
    nib.save(picture, other)
    kept = {"PhaseEncodingDirection": "j", "TotalReadoutTime": 0.06, "PatientName": "Doe, Jane"}
    _sidecar(other, kept)
    out = made(main, tmp_path / "out", reverse=Files(other))
    path = out / f"{NEW.format('reverse_epi')}.nii.gz"
    assert np.array_equal(values(path), values(other)[..., [1, 4, 8]])
    assert np.array_equal(nib.load(path).affine, AFFINE)
    assert nib.load(path).get_data_dtype() == np.dtype(">i2")
    assert b"Doe" not in gzip.decompress(path.read_bytes())
    fields = told(out, "reverse_epi")
    assert fields["PhaseEncodingDirection"] == "j"
    assert fields["TotalReadoutTime"] == 0.06
    assert fields["Sources"] == ["bids:raw:sub-01/dwi/sub-01_dir-PA_dwi.nii.gz"]
    assert "6 others are not used" in str(fields["Description"])
    assert "Doe" not in json.dumps(fields)
    own = told(out, "converted_dwi")
    assert own["PhaseEncodingDirection"] == "j-"
    assert own["TotalReadoutTime"] == 0.05
    assert own["Warnings"] == [
        "6 weighted volumes of bids:raw:sub-01/dwi/sub-01_dir-PA_dwi.nii.gz are not used"
    ]
    assert "PhaseEncodingDirectionSource" not in own
    assert metrics(out)["reverse_volumes"] == 3
    assert metrics(out)["phase_encoding"] == "j-"
    assert metrics(out)["volumes"] == 7


@pytest.mark.parametrize("volumes", [None, 1, 3])
def test_all_volumes_of_an_image_of_fmap_are_kept(tmp_path: Path, volumes: int | None) -> None:
    data = small.series_data(volumes or 1)
    main = series(tmp_path / "in")
    path = epi(tmp_path / "in", data=data if volumes else data[..., 0])
    out = made(main, tmp_path / "out", reverse=Files(path))
    after = values(out / f"{NEW.format('reverse_epi')}.nii.gz")
    assert np.array_equal(after.reshape(data.shape), data)
    assert told(out, "reverse_epi")["Sources"] == ["bids:raw:sub-01/fmap/sub-01_dir-PA_epi.nii.gz"]
    assert metrics(out)["reverse_volumes"] == (volumes or 1)
    assert metrics(out)["warnings"] == 0


@pytest.mark.parametrize(("anterior", "wanted"), [(2.0, "j-"), (-2.0, "j")])
def test_a_label_and_the_affine_give_a_direction_that_is_missing(
    tmp_path: Path, anterior: float, wanted: str
) -> None:
    path = series(tmp_path / "in")
    nib.save(nib.Nifti1Image(small.series_data(), np.diag([2, anterior, 2.5, 1])), path)
    out = made(path, tmp_path / "out")
    fields = told(out, "converted_dwi")
    assert fields["PhaseEncodingDirection"] == wanted
    assert "dir-AP" in str(fields["PhaseEncodingDirectionSource"])
    assert metrics(out)["phase_encoding"] == wanted
    given = _sidecar(path, {"PhaseEncodingDirection": "i"})
    assert metrics(made(given, tmp_path / "told"))["phase_encoding"] == "i"
    doubtful = _sidecar(path, {"PhaseEncodingAxis": "i"})
    assert metrics(made(doubtful, tmp_path / "doubt"))["phase_encoding"] is None


def test_a_direction_that_is_given_must_agree_with_the_sidecar(tmp_path: Path) -> None:
    path = series(tmp_path, "sub-01_dwi", PhaseEncodingAxis="j")
    out = made(path, tmp_path / "out", phase_encoding="AP")
    assert metrics(out)["phase_encoding"] == "j-"
    assert "phase_encoding" in str(told(out, "converted_dwi")["PhaseEncodingDirectionSource"])
    with pytest.raises(Failure, match="tells phase encoding j, the option"):
        convert.prepare(path, phase_encoding="LR")


def _nan(path: Path) -> None:
    data = small.series_data(3)
    data[2, 2, 2, 1] = np.nan
    nib.save(nib.Nifti1Image(data, AFFINE), path)


BAD = {
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:900]), "DATA_INVALID", "truncated"),
    "NaN in the head": (_nan, "DATA_INVALID", "1 values in the head"),
    "empty": (
        lambda p: nib.save(nib.Nifti1Image(np.zeros((6, 5, 4, 3)), AFFINE), p),
        "DATA_INVALID", "one value"),
    "absent": (lambda p: p.unlink(), "INPUT_MISSING", "No such file"),
    "same way": (
        lambda p: _sidecar(p, {"PhaseEncodingDirection": "j-"}), "DATA_INVALID", "not opposite"),
    "no direction": (
        lambda p: _sidecar(p, {"EchoTime": 1}), "DATA_INVALID", "is known of"),
    "bad sidecar": (
        lambda p: p.with_name("sub-01_dir-PA_epi.json").write_text("{"), "DATA_INVALID", "not a"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_the_tool_refuses_a_reverse_image_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    make, category, word = BAD[name]
    main = series(tmp_path / "in", PhaseEncodingDirection="j-")
    path = epi(tmp_path / "in", PhaseEncodingDirection="j")
    make(path)
    arguments = [main, "--output", tmp_path / "out", "--reverse", path]
    done = small.tool("dwi-convert", arguments)
    assert done.stderr.startswith(f"ERROR {category} ")
    assert word in done.stderr
    assert "sub-01_dir-PA_epi" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_tool_takes_sidecars_from_elsewhere_and_repeats_itself(tmp_path: Path) -> None:
    main = series(tmp_path / "in", "sub-01_dwi", PhaseEncodingDirection="j-")
    other = reversed_series(tmp_path / "in", 3)
    bval, text = tmp_path / "b.bval", tmp_path / "s.json"
    bval.write_text("0 1000 0")
    text.write_text('{"PhaseEncodingDirection": "j"}')
    given = ["--reverse", other, "--reverse-bval", bval, "--reverse-json", text]
    for name in ("one", "two"):
        done = small.tool("dwi-convert", [main, "--output", tmp_path / name, *given])
        assert done.exit_code == 0, done.stderr
    assert metrics(tmp_path / "one")["reverse_volumes"] == 2
    for path in (tmp_path / "one").rglob("*.*"):
        assert (
            path.read_bytes()
            == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
        )
    lonely = [main, "--output", tmp_path / "three", "--reverse-bval", bval]
    assert small.tool("dwi-convert", lonely).exit_code == 2
    uid = [main, "--output", tmp_path / "three", "--reverse-series-uid", "1.2"]
    assert small.tool("dwi-convert", uid).exit_code == 2


def dicom(
    folder: Path, number: int, description: str, order: str | None, volumes: int = 7, **more: object
) -> None:
    """Write a series of GE, whose headers tell in which order lines were encoded."""
    weighted = volumes >= 7
    paths = small.dicom(folder, number, description=description, volumes=volumes, weighted=weighted)
    for path in paths:
        tags = {"InPlanePhaseEncodingDirection": "COL", "Manufacturer": "GE MEDICAL SYSTEMS"}
        if order:
            tags |= {"RectilinearPhaseEncodeReordering": order, "ScanOptions": "EPI_GEMS"}
        small.rewrite(path, **{**tags, **more})


@pytest.mark.parametrize("volumes", [1, 2, 7])
def test_two_dicom_series_that_differ_by_direction_are_a_pair(tmp_path: Path, volumes: int) -> None:
    folder = tmp_path / "in" / "sub-01" / "dwi" / "scans"
    dicom(folder / "b", 1, "DTI PA", "REVERSE_LINEAR", volumes)
    dicom(folder / "a", 2, "DTI AP", "LINEAR")
    found = unit(tmp_path / "in")
    uids = {"series_uid": UID.format(2), "reverse_series_uid": UID.format(1)}
    assert found.excluded is None
    assert found.options == uids
    assert [(i.role, Path(i.path).name, i.files) for i in found.inputs] == [
        ("dicom", "scans", 28 + 4 * volumes)
    ]
    assert discover.complete(found, tmp_path) == found
    out = made(folder, tmp_path / "out", **uids)
    assert metrics(out)["reverse_volumes"] == min(volumes, 2) - (volumes == 7)
    assert metrics(out)["phase_encoding"] == "j"
    assert metrics(out)["series_uid"] == UID.format(2)
    assert metrics(out)["source_files"] == 28
    fields = told(out, "reverse_epi")
    assert fields["PhaseEncodingDirection"] == "j-"
    assert fields["Sources"] == [f"urn:oid:{UID.format(1)}"]
    assert ("6 weighted volumes" in str(told(out, "converted_dwi")["Warnings"])) is (volumes == 7)
    alone = made(folder, tmp_path / "alone", series_uid=UID.format(1 if volumes == 7 else 2))
    assert metrics(alone)["reverse_volumes"] == 0


def test_a_dicom_pair_must_be_verified_by_its_headers(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    dicom(folder, 1, "DTI AP", None)
    dicom(folder, 2, "DTI PA", None)
    uids = {"series_uid": UID.format(1), "reverse_series_uid": UID.format(2)}
    with pytest.raises(Failure) as caught:
        made(folder, tmp_path / "unknown", **uids)
    assert caught.value.category is Category.DATA_INVALID
    for word in ("DTI AP", "DTI PA", *uids.values(), "no PhaseEncodingDirection"):
        assert word in caught.value.message
    assert "phase_encoding" in caught.value.remedy
    assert "series_uid alone" in caught.value.remedy
    out = made(folder, tmp_path / "said", phase_encoding="AP", **uids)
    assert metrics(out)["phase_encoding"] == "j-"
    assert told(out, "reverse_epi")["PhaseEncodingDirection"] == "j"
    with pytest.raises(Failure, match="phase encoding j, the option"):
        made(folder, tmp_path / "axis", phase_encoding="LR", **uids)


def test_dicom_series_encoded_the_same_way_are_no_pair(tmp_path: Path) -> None:
    dicom(tmp_path / "in", 1, "DTI AP", "LINEAR")
    dicom(tmp_path / "in", 2, "DTI PA", "LINEAR")
    uids = {"series_uid": UID.format(1), "reverse_series_uid": UID.format(2)}
    with pytest.raises(Failure, match="j and j is not opposite"):
        made(tmp_path / "in", tmp_path / "out", **uids)


def test_more_dicom_series_are_ambiguous_until_uids_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "sub-01" / "dwi" / "scans"
    for number, name in enumerate(("DTI AP", "DTI PA", "DTI PA"), start=1):
        small.dicom(folder, number, description=name)
    found = unit(tmp_path)
    assert len(refused(tmp_path).choices) == 3
    uids = {"series_uid": UID.format(1), "reverse_series_uid": UID.format(3)}
    complete = discover.complete(found.model_copy(update={"options": uids}), tmp_path)
    assert complete.excluded is None
    assert complete.options == uids
    assert complete.inputs[0].files == 56
    filtered = unit(tmp_path, filters={"SeriesNumber": [1, 3]})
    assert filtered.options == uids
    assert filtered.inputs == complete.inputs


def test_two_short_dicom_series_of_reversed_direction_are_both_listed(tmp_path: Path) -> None:
    folder = tmp_path / "sub-01" / "dwi" / "scans"
    small.dicom(folder, 1, description="DTI AP")
    for number in (2, 3):
        small.dicom(folder, number, description="DTI PA", volumes=1, weighted=False)
    excluded = refused(tmp_path)
    assert [one["reverse_series_uid"] for one in excluded.choices] == [UID.format(2), UID.format(3)]
    assert all(one["reverse_series_uid"] in excluded.message for one in excluded.choices)


@pytest.mark.parametrize(
    ("roles", "options"),
    [
        ({"dicom": "in", "reverse": "x.nii.gz"}, {}),
        ({"dwi": "in/sub-01/dwi/sub-01_dwi.nii.gz"}, {"reverse_series_uid": "1.2"}),
    ],
)
def test_images_and_dicom_are_not_mixed(
    tmp_path: Path, roles: dict[str, str], options: dict[str, str]
) -> None:
    small.nifti(tmp_path / "in", "sub-01_dwi")
    inputs = [Input(role=role, path=path) for role, path in roles.items()]
    hand = Unit(id="sub-01", folder="sub-01", inputs=inputs, options=options)
    with pytest.raises(Failure) as caught:
        discover.complete(hand, tmp_path)
    assert caught.value.category is Category.USAGE

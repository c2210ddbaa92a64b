"""Two DICOM series of reversed phase encoding are converted together, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from cohortflow.core.manifest import Input, Unit
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import convert, discover
from dwi import small
from dwi.opposite import dicom, made, metrics, refused, told, unit
from dwi.small import UID


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


def test_a_series_is_not_its_own_reverse_series(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    small.dicom(folder, 1, description="DTI AP")
    uids = {"series_uid": UID.format(1), "reverse_series_uid": UID.format(1)}
    inputs = [Input(role="dicom", path=str(folder))]
    hand = Unit(id="sub-01", folder="sub-01", inputs=inputs, options=uids)
    for refuse in (
        lambda: discover.complete(hand, tmp_path),
        lambda: convert.prepare(folder, **uids, phase_encoding="AP"),
    ):
        with pytest.raises(Failure, match="its own series") as caught:
            refuse()
        assert caught.value.category is Category.USAGE
    alone = hand.model_copy(update={"options": {"reverse_series_uid": UID.format(1)}})
    with pytest.raises(Failure, match="no diffusion series beside"):
        discover.complete(alone, tmp_path)


def test_a_short_series_that_may_be_reversed_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "sub-01" / "dwi" / "scans"
    small.dicom(folder, 1, description="DTI AP")
    small.dicom(folder, 2, description="DTI b0 PA", volumes=1, weighted=False)
    assert unit(tmp_path).options == {"series_uid": UID.format(1)}
    assert UID.format(2) in caplog.text
    assert "reverse_series_uid" in caplog.text


def test_the_refusal_of_two_reversed_series_names_the_option_that_chooses(tmp_path: Path) -> None:
    folder = tmp_path / "sub-01" / "dwi" / "scans"
    small.dicom(folder, 1, description="DTI AP")
    for number in (2, 3):
        small.dicom(folder, number, description="DTI PA", volumes=1, weighted=False)
    excluded = refused(tmp_path)
    assert "reverse_series_uid" in excluded.remedy
    chosen = discover.complete(
        unit(tmp_path).model_copy(
            update={
                "options": {
                    key: excluded.choices[1][key] for key in ("series_uid", "reverse_series_uid")
                }
            }
        ),
        tmp_path,
    )
    assert chosen.excluded is None
    assert chosen.options["reverse_series_uid"] == UID.format(3)

"""Options of csttool's manifest, and parameters of one unit in any manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cohortflow.core import importers
from cohortflow.core.manifest import Unit
from cohortflow.core.outcome import Category
from cohortflow.dwi.csttool_options import of_csttool
from cohortflow.dwi.lane import LANE
from dwi import small


def read(path: Path) -> list[Unit]:
    return list(importers.read(path, "dwi")[1])


def batch(folder: Path, study: dict[str, object], own: dict[str, object]) -> dict[str, str]:
    """Return the options of a unit whose csttool manifest has options of study and subject."""
    image = small.nifti(folder, "sub-01_dwi")
    path = folder / "batch.json"
    subject = {"id": "sub-01", "nifti": str(image), "options": own}
    path.write_text(json.dumps({"options": study, "subjects": [subject]}))
    (found,) = read(path)
    assert found.excluded is None
    return found.options


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, {}),
        ({"denoise_method": "mppca"}, {"denoise": "mppca"}),
        ({"denoise_method": "none"}, {"denoise": "none"}),
        ({"unring": True}, {"unring": "subvoxel"}),
        ({"unring": False}, {"unring": "none"}),
        ({"perform_motion_correction": True}, {"correct": "eddy"}),
        ({"perform_motion_correction": False}, {"correct": "none"}),
        ({"preprocessing": True, "generate_pdf": True, "fa_thr": 0.2}, {}),
        (
            {"preprocessing": False, "denoise_method": "mppca"},
            {"denoise": "none", "unring": "none", "correct": "none"},
        ),
    ],
)
def test_an_option_with_an_equivalent_becomes_the_units_own(
    tmp_path: Path, given: dict[str, object], wanted: dict[str, str]
) -> None:
    assert batch(tmp_path, given, {}) == wanted
    assert batch(tmp_path, {}, given) == wanted


def test_the_subjects_own_option_goes_before_the_studys(tmp_path: Path) -> None:
    study = {"unring": False, "denoise_method": "none"}
    assert batch(tmp_path, study, {"unring": True}) == {"denoise": "none", "unring": "subvoxel"}


@pytest.mark.parametrize("method", ["nlmeans", "patch2self", 7])
def test_a_method_without_equivalent_is_said(
    tmp_path: Path, method: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert batch(tmp_path, {"denoise_method": method}, {}) == {}
    assert str(method) in caplog.text


def test_what_an_option_becomes_is_a_value_of_the_parameter() -> None:
    known = {parameter.name: parameter for parameter in LANE.parameters}
    for method in ("mppca", "none"):
        for on in (True, False):
            given = {"denoise_method": method, "unring": on, "perform_motion_correction": on}
            for options in (given, {"preprocessing": on, **given}):
                for name, value in of_csttool(options).items():
                    assert known[name].checked(value) == value


def test_a_table_gives_each_unit_its_own_parameters(tmp_path: Path) -> None:
    for label in ("01", "02", "03"):
        small.nifti(tmp_path, f"sub-{label}_dwi")
    rows = [f"{n},sub-{n}/dwi/sub-{n}_dwi.nii.gz,{value}" for n, value in
            (("01", "none"), ("02", ""), ("03", "nlmeans"))]  # fmt: skip
    path = tmp_path / "units.csv"
    path.write_text("\n".join(["subject,dwi,denoise", *rows]))
    first, second, third = read(path)
    assert (first.options, second.options) == ({"denoise": "none"}, {})
    assert third.excluded is not None
    assert third.excluded.category is Category.USAGE
    assert "denoise cannot be 'nlmeans'" in third.excluded.message

"""The output folder: which one is accepted, and what a run finds and makes there."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from cohortflow.core import layout
from cohortflow.core.outcome import Category, Failure
from core.engine_factory import LANE


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study"
    path.mkdir()
    return path


def refusal(out: Path, study: Path, lane: str = "fake", *, bids: bool = True) -> str:
    """Return why an output is refused; empty when it is accepted."""
    try:
        layout.check_output(out, study, lane, bids=bids)
    except Failure as failure:
        assert failure.category is Category.USAGE
        return failure.message
    return ""


def test_a_new_or_empty_folder_is_accepted(study: Path, tmp_path: Path, out: Path) -> None:
    assert refusal(out, study) == ""
    assert refusal(tmp_path / "not" / "there", study) == ""


@pytest.mark.parametrize(
    ("place", "accepted"),
    [
        ("derivatives/x", True),
        ("derivatives", False),
        ("derivatives/x/y", False),
        ("sub-01", False),
        (".", False),
        ("..", False),
        ("derivatives/../sub-01", False),
    ],
)
def test_input_and_output_do_not_lie_inside_each_other(
    study: Path, place: str, accepted: bool
) -> None:
    assert ("inside each other" in refusal(study / place, study)) != accepted


@pytest.mark.parametrize(
    ("place", "accepted"), [("results", True), ("a/b", True), (".", False), ("..", False)]
)
def test_a_lane_without_subjects_may_write_into_a_folder_beside_its_files(
    study: Path, place: str, accepted: bool
) -> None:
    assert (refusal(study / place, study, bids=False) == "") == accepted


def test_a_link_cannot_hide_it(study: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(study)
    assert "inside each other" in refusal(tmp_path / "link" / "sub-01", study)


def test_foreign_files_are_not_built_upon(study: Path, out: Path) -> None:
    (out / "thesis.docx").write_text("x")
    assert "not cohortflow's" in refusal(out, study)
    assert "is a file" in refusal(out / "thesis.docx", study)


def test_one_folder_holds_one_lane(study: Path, out: Path) -> None:
    layout.prepare(out, study, LANE)
    assert refusal(out, study) == ""
    assert "not lane other" in refusal(out, study, "other")


@pytest.mark.parametrize("text", ["{", "[]", '{"Name": "fMRIPrep"}', "\udcff"])
def test_another_programs_dataset_is_refused(study: Path, out: Path, text: str) -> None:
    path = out / "dataset_description.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert refusal(out, study)


def test_the_output_becomes_a_derivative_dataset(study: Path, out: Path) -> None:
    (study / "dataset_description.json").write_text('{"DatasetDOI": "doi:10.1/x"}')
    layout.prepare(out, study, replace(LANE, bidsignore=("**/*_b.png",)))
    found = json.loads((out / "dataset_description.json").read_text())
    assert found["DatasetType"] == "derivative"
    assert found["GeneratedBy"][0]["Name"] == "cohortflow"
    assert found["SourceDatasets"] == [{"DOI": "doi:10.1/x"}]
    ignored = (out / ".bidsignore").read_text().splitlines()
    assert {".cohortflow/", "**/_done.json", "**/*_b.png"} <= set(ignored)


@pytest.mark.parametrize("text", [None, "{", "[]", "{}"])
def test_a_study_without_doi_is_named_by_its_place(
    study: Path, out: Path, text: str | None
) -> None:
    if text is not None:
        (study / "dataset_description.json").write_text(text)
    layout.prepare(out, study, LANE)
    found = json.loads((out / "dataset_description.json").read_text())
    assert found["SourceDatasets"] == [{"URL": os.path.relpath(study, out)}]
    assert found["DatasetLinks"] == {"raw": os.path.relpath(study, out)}


def test_what_the_output_says_of_itself_fits_its_lane(study: Path, out: Path) -> None:
    layout.prepare(out, study, LANE)
    text = (out / "README.md").read_text()
    assert "`sub-…/ses-…`" in text
    assert "logs/" not in text
    assert "logs/" not in (out / ".bidsignore").read_text()
    other = out.with_name("other")
    layout.prepare(other, study, replace(LANE, bids=False, unit_logs=True))
    text = (other / "README.md").read_text()
    assert "sub-" not in text
    assert "`logs/`" in text
    assert "logs/" in (other / ".bidsignore").read_text().splitlines()


def test_preparing_again_changes_nothing(study: Path, out: Path) -> None:
    layout.prepare(out, study, LANE)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    layout.prepare(out, study, LANE)
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before

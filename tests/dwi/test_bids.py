"""BIDS names, labels, inheritance and filters behave as a BIDS user expects."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortflow.core import names
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import bids, filters

LABEL = st.from_regex(r"[A-Za-z0-9]{1,64}", fullmatch=True)
ANY_LABEL = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40
)


@given(LABEL, st.none() | LABEL)
def test_a_valid_label_is_in_the_unit_name_unchanged(subject: str, session: str | None) -> None:
    name, folder = bids.unit_name(subject, session)
    want = [f"sub-{subject}"] + ([f"ses-{session}"] if session else [])
    assert folder == "/".join(want)
    assert name == "_".join(want) or len("_".join(want)) > 128


@given(ANY_LABEL, st.none() | ANY_LABEL)
def test_every_name_becomes_one_safe_file_name(subject: str, session: str | None) -> None:
    name, folder = bids.unit_name(subject, session)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}", name)
    assert ".." not in name
    assert len(folder.split("/")) == (1 if session is None else 2)


@given(st.tuples(ANY_LABEL, st.none() | ANY_LABEL), st.tuples(ANY_LABEL, st.none() | ANY_LABEL))
def test_different_labels_never_share_a_unit(
    one: tuple[str, str | None], other: tuple[str, str | None]
) -> None:
    assert (bids.unit_name(*one) == bids.unit_name(*other)) == (one == other)


def test_an_undecodable_name_is_escaped() -> None:
    assert bids.unit_name(b"a\xff".decode("utf-8", "surrogateescape"), None)[0] == "sub-a_ff"
    assert names.name("sub-a_ff") == "sub-a_ff"


@given(st.text(max_size=60))
def test_parsing_a_name_never_fails(text: str) -> None:
    name = bids.parse(text)
    assert name is None or text.endswith(name.suffix + name.extension)


@pytest.mark.parametrize(
    ("asked", "present", "found"),
    [
        (["01"], ["01", "02"], {"01"}),
        (["sub-01"], ["01", "02"], {"01"}),
        (["001"], ["01", "001"], {"001"}),
        (["1"], ["01", "02"], {"01"}),  # Nextflow makes an integer of 01
        (["1"], ["1", "01"], {"1"}),
        (["a", "sub-b"], ["a", "b", "c"], {"a", "b"}),
    ],
)
def test_labels_are_found(asked: list[str], present: list[str], found: set[str]) -> None:
    assert bids.choose_labels(asked, present, "sub-") == found


@pytest.mark.parametrize(
    ("asked", "present", "named"),
    [
        ("001", ["01", "02"], "sub-01"),  # labels are text: 001 is not 01
        ("1", ["01", "001"], "sub-001, sub-01"),  # either could be meant
        ("contrl1", ["control1", "patient1"], "sub-control1"),
    ],
)
def test_a_label_that_is_not_there_is_refused_with_close_ones(
    asked: str, present: list[str], named: str
) -> None:
    with pytest.raises(Failure) as caught:
        bids.choose_labels([asked], present, "sub-")
    assert caught.value.category is Category.USAGE
    assert named in caught.value.remedy


IMAGE = "sub-01_ses-02_dir-AP_dwi.nii.gz"


@pytest.mark.parametrize(
    ("levels", "found"),
    [
        ([("d", {"sub-01_ses-02_dir-AP_dwi.bval"})], "d/sub-01_ses-02_dir-AP_dwi.bval"),
        ([("d", set()), ("s", {"sub-01_dwi.bval"})], "s/sub-01_dwi.bval"),
        ([("d", set()), ("r", {"dwi.bval"})], "r/dwi.bval"),
        ([("d", set()), ("r", {"dwi.bval", "dir-AP_dwi.bval"})], "r/dir-AP_dwi.bval"),
        ([("d", {"sub-01_dir-PA_dwi.bval"}), ("r", {"bold.bval", "dwi.json"})], None),
        ([("d", {"sub-01_ses-02_dir-AP_run-1_dwi.bval"})], None),
    ],
)
def test_sidecars_are_inherited(levels: list[tuple[str, set[str]]], found: str | None) -> None:
    assert bids.sidecar(IMAGE, ".bval", levels) == found


def test_two_sidecars_that_apply_equally_are_refused() -> None:
    with pytest.raises(Failure, match="equally"):
        bids.sidecar(IMAGE, ".bval", [("d", {"sub-01_dwi.bval", "ses-02_dwi.bval"})])


@pytest.mark.parametrize(
    ("query", "yes"),
    [
        ({}, True),
        ({"direction": "AP"}, True),
        ({"direction": "dir-AP"}, True),
        ({"direction": ["PA", "AP"]}, True),
        ({"direction": "PA"}, False),
        ({"run": 1}, True),
        ({"run": "001"}, True),
        ({"run": 2}, False),
        ({"acquisition": None}, True),
        ({"run": None}, False),
        ({"datatype": "dwi", "suffix": "dwi"}, True),
    ],
)
def test_a_filter_chooses_by_entities(query: dict[str, object], yes: bool) -> None:
    assert filters.matches({"sub": "01", "dir": "AP", "run": "01"}, query) is yes


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b'{"bold": {}}', b'{"dwi": {"rum": 1}}', b'{"dwi": {"run": 1.5}}', b"\xff"],
)
def test_a_filter_file_that_cannot_be_meant_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "filter.json"
    path.write_bytes(content)
    with pytest.raises(Failure) as caught:
        filters.read_filters(path)
    assert caught.value.status == 2


def test_a_filter_file_may_hold_other_queries(tmp_path: Path) -> None:
    path = tmp_path / "filter.json"
    path.write_text(json.dumps({"t1w": {"anything": 1}, "dwi": {"run": 1}}))
    assert filters.read_filters(path) == {"run": 1}

"""The manifest: what is written is read again, streaming, and an error names its line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortflow.core import manifest
from cohortflow.core.manifest import Excluded, Header, Input, Unit
from cohortflow.core.outcome import Category, Failure
from core.engine_factory import unit

HEADER = Header(lane="fake", dataset="/study", generated_by="a test")
LINE = '{"id":"sub-01","folder":"sub-01"}'

texts = st.text(max_size=20)
whole = st.none() | st.integers(min_value=0, max_value=2**63)
labels = st.dictionaries(texts, texts, max_size=3)
inputs = st.builds(
    Input,
    role=st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True),
    path=texts,
    bytes=whole,
    mtime_ns=whole,
    sha256=st.none() | texts,
    files=whole,
    listing=st.none() | texts,
)
excluded = st.builds(
    Excluded,
    category=st.sampled_from(Category),
    message=texts,
    remedy=texts,
    choices=st.lists(labels, max_size=2),
)
units = st.builds(
    Unit,
    id=texts,
    folder=texts,
    entities=labels,
    inputs=st.lists(inputs, max_size=3),
    options=labels,
    excluded=st.none() | excluded,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder that is written without waiting for the device: examples are many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield tmp_path_factory.mktemp("manifest")


@given(given_units=st.lists(units, max_size=4))
def test_what_is_written_is_read_again(folder: Path, given_units: list[Unit]) -> None:
    path = folder / "manifest.jsonl"
    manifest.write(path, HEADER, given_units)
    header, found = manifest.read(path)
    assert header == HEADER
    assert list(found) == given_units
    assert len(path.read_bytes().splitlines()) == 1 + len(given_units)


def test_the_golden_file_is_read_and_written_byte_for_byte(root: Path, tmp_path: Path) -> None:
    golden = root / "tests/golden/manifest/units.jsonl"
    header, found = manifest.read(golden)
    listed = list(found)
    first, second = listed
    assert first.inputs[1].files == 520
    assert first.options == {"series_uid": "1.2.840.1"}
    assert second.excluded is not None
    assert second.excluded.category is Category.DATA_INVALID
    assert [choice["series_uid"] for choice in second.excluded.choices] == ["1.2", "1.3"]
    manifest.write(tmp_path / "again", header, listed)
    assert (tmp_path / "again").read_bytes() == golden.read_bytes()


def test_reading_streams(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text(f"{HEADER.model_dump_json()}\n{LINE}\nnonsense\n")
    _, found = manifest.read(path)
    assert next(found).id == "sub-01"  # before the bad line is seen
    with pytest.raises(Failure):
        next(found)


def test_writing_streams_and_the_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"

    def made() -> Iterator[Unit]:
        for number in range(100):
            assert not path.exists()
            yield unit(str(number))

    manifest.write(path, HEADER, made())
    assert len(list(manifest.read(path)[1])) == 100


def test_discovery_that_fails_leaves_no_half_manifest(tmp_path: Path) -> None:
    def broken() -> Iterator[Unit]:
        yield unit("01")
        raise Failure(Category.PERMISSION, "a folder")

    with pytest.raises(Failure):
        manifest.write(tmp_path / "manifest.jsonl", HEADER, broken())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nonsense", "Invalid JSON"),
        ('{"folder":"sub-01"}', "id: Field required"),
        ('{"id":"a","folder":"a","colour":"red"}', "colour: Extra inputs"),
        ('{"id":"a","folder":"a","inputs":[{"role":"Image","path":"x"}]}', "inputs.0.role"),
        (
            '{"id":"a","folder":"a","excluded":{"category":"BAD","message":"x"}}',
            "excluded.category",
        ),
        ("[]", "line: "),
        ('{"id":"\udcff","folder":"a"}', "Invalid unicode"),
    ],
)
def test_an_error_names_its_line(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "manifest.jsonl"
    text = f"{HEADER.model_dump_json()}\n{LINE}\n\n{line}\n"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(Failure) as caught:
        list(manifest.read(path)[1])
    assert caught.value.category is Category.USAGE
    assert f"{path} line 4: " in caught.value.message
    assert reason.lower() in caught.value.message.lower()


@pytest.mark.parametrize("text", ["", "\n", LINE, '{"schema_version":2}', "{"])
def test_a_file_without_a_header_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text(text)
    with pytest.raises(Failure, match="line 1") as caught:
        manifest.read(path)
    assert caught.value.category is Category.USAGE


def test_a_manifest_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text(json.dumps({**HEADER.model_dump(), "schema_version": 2}))
    with pytest.raises(Failure, match="schema_version"):
        manifest.read(path)


def test_what_editors_add_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEADER.model_dump_json()}\r\n{LINE}\r\n\r\n".encode())
    header, found = manifest.read(path)
    assert header == HEADER
    assert [one.id for one in found] == ["sub-01"]


def test_identifiers_that_could_leave_the_output_are_refused() -> None:
    assert manifest.checked(unit("01", "a")) == unit("01", "a")
    for change in (
        {"id": "../x"},
        {"id": "a b"},
        {"folder": ""},
        {"folder": "/etc"},
        {"folder": "sub-01/.."},
        {"folder": "sub-01//ses-a"},
        {"folder": ".cohortflow/runs"},
    ):
        with pytest.raises(Failure):
            manifest.checked(unit("01", "a", **change))


def test_values_cannot_be_changed() -> None:
    one: Any = unit()
    with pytest.raises(ValueError, match="frozen"):
        one.id = "other"

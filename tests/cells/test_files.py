"""What a dataset is called, and which file is HDF5."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortflow.cells import files
from cohortflow.core.outcome import Category, Failure

SIGNATURE = b"\x89HDF\r\n\x1a\n"


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("dataset@special", "dataset_special"),
        ("a b", "a_b"),
        ("a@b", "a_b"),
        ("a  @ b", "a_b"),
        ("__a__b__", "a_b"),
        ("(a)", "a"),
        ("blut-zählung v2.1", "blut-z_hlung_v2.1"),
        ("@@@", ""),
        ("10x.v3", "10x.v3"),
    ],
)
def test_a_dataset_is_called_as_the_older_program_called_it(stem: str, name: str) -> None:
    assert files.dataset_name(stem) == name


@given(st.text())
def test_a_name_has_only_letters_that_any_folder_may_have(stem: str) -> None:
    name = files.dataset_name(stem)
    assert re.fullmatch(r"[A-Za-z0-9.-]([A-Za-z0-9_.-]*[A-Za-z0-9.-])?|", name)
    assert "__" not in name
    assert files.dataset_name(name) == name


@given(st.text(alphabet="ab_.-", max_size=12))
def test_a_name_that_is_one_already_stays(stem: str) -> None:
    if "__" not in stem and stem.strip("_") == stem:
        assert files.dataset_name(stem) == stem


def test_the_examples_are_true() -> None:
    assert doctest.testmod(files).failed == 0


@pytest.mark.parametrize("offset", [0, 512, 1024, 2048, 1 << 16])
def test_the_signature_may_stand_behind_a_user_block(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "a.h5ad"
    path.write_bytes(b"x" * offset + SIGNATURE + b"more")
    files.check_hdf5(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\x89HDF", "is not an HDF5 file"),
        (b"PK\x03\x04" * 1000, "is not an HDF5 file"),
        (b"x" * 100 + SIGNATURE, "is not an HDF5 file"),
        (b"x" * 512 + SIGNATURE[:-1], "is not an HDF5 file"),
        (b"x" * 1536 + SIGNATURE, "is not an HDF5 file"),
    ],
)
def test_another_file_is_refused_by_name(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.h5ad"
    path.write_bytes(content)
    with pytest.raises(Failure) as caught:
        files.check_hdf5(path)
    assert caught.value.category is Category.DATA_INVALID
    assert caught.value.message == f"a.h5ad: {said}"


def test_hidden_files_of_a_folder_are_left_out(tmp_path: Path) -> None:
    for name in ("a.h5ad", "._a.h5ad", ".h5ad", "b.txt"):
        (tmp_path / name).touch()
    assert files.datasets(tmp_path, batch=True) == [("a", tmp_path / "a.h5ad")]


@pytest.mark.parametrize("name", ["@@.h5ad", "Ω.h5ad", "_...h5ad", "-a.h5ad"])
def test_no_file_of_a_folder_may_have_the_folder_of_all_or_one_above(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "a.h5ad").touch()
    (tmp_path / name).touch()
    with pytest.raises(Failure) as caught:
        files.datasets(tmp_path, batch=True)
    assert caught.value.message.startswith(f"{name}: ")
    assert caught.value.remedy == "rename the file"


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        files.check_hdf5(tmp_path / "a.h5ad")
    assert caught.value.category is Category.INPUT_MISSING

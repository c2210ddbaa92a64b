"""Tables of cells as odd as anndata writes them: every column comes through, or is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from cells import makers, reference
from cells.driving import make
from cohortflow.cells import age, split
from cohortflow.core.outcome import Category, Failure

COUNTS = np.arange(1, 19, dtype="f4").reshape(6, 3)
IDS = makers.numbered("cell", 6)


def by_anndata(path: Path, obs: pd.DataFrame) -> Path:
    """Write a file with anndata; nullable strings are written as such."""
    with anndata.settings.override(allow_write_nullable_strings=True):
        anndata.AnnData(COUNTS, obs=obs).write_h5ad(path)
    return path


def column(path: Path, name: str, folder: Path) -> list[Any]:
    make(path, folder)
    rows = reference.rows(folder)
    return [rows[cell][name] for cell in IDS]


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        (pd.array(["a", None, ""] * 2, dtype="string"), ["a", None, ""] * 2),
        (pd.array([True, None, False] * 2, dtype="boolean"), [True, None, False] * 2),
        (pd.array([1, None, 2**62] * 2, dtype="Int64"), [1, None, 2**62] * 2),
        (pd.Categorical(pd.array(["b", None, "a"] * 2, dtype="string")), ["b", None, "a"] * 2),
        (pd.Categorical([3, 1, None] * 2, [3, 1], ordered=True), [3, 1, None] * 2),
        (pd.Categorical([True, None, False] * 2), [True, None, False] * 2),
        (pd.Categorical([None] * 6, []), [None] * 6),
        (np.array([1, np.nan, 2] * 2, "f2"), [1, None, 2] * 2),
        (np.array([0, 2**64 - 1] * 3, "u8"), [0, 2**64 - 1] * 3),
        (np.array([1, 2] * 3, ">i4"), [1, 2] * 3),
        (np.array([0.5, 2] * 3, ">f8"), [0.5, 2] * 3),
    ],
)  # fmt: skip
def test_a_column_of_any_kind_keeps_its_values(
    stored: Any, read: list[Any], tmp_path: Path
) -> None:
    path = by_anndata(tmp_path / "a.h5ad", pd.DataFrame({"one": stored}, index=IDS))
    assert column(path, "one", tmp_path / "out") == read


def test_a_column_that_is_called_as_the_index_is_kept(tmp_path: Path) -> None:
    obs = pd.DataFrame({"barcode": IDS}, index=pd.Index(IDS, name="barcode"))
    assert column(by_anndata(tmp_path / "a.h5ad", obs), "barcode", tmp_path / "out") == IDS


def test_without_a_list_of_columns_the_index_is_none(tmp_path: Path) -> None:
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS, obs={"batch": list("aabbcc")})
    with h5py.File(path, "a") as file:
        del file["obs"].attrs["column-order"]
    assert column(path, "batch", tmp_path / "out") == list("aabbcc")
    assert "_index" not in reference.rows(tmp_path / "out")["cell0"]


def test_a_column_with_a_slash_in_its_name_is_found(tmp_path: Path) -> None:
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS)
    with h5py.File(path, "a") as file:
        file["obs/a/b"] = np.arange(6)
        file["obs"].attrs["column-order"] = ["a/b"]
    assert column(path, "a/b", tmp_path / "out") == list(range(6))


def test_numbers_may_be_categories_in_the_old_layout(tmp_path: Path) -> None:
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS)
    table = np.zeros(6, [("index", "S5"), ("dose", "i1"), ("batch", "i1")])
    table["index"] = IDS
    table["dose"] = table["batch"] = [0, 1, -1, 1, 0, 0]
    with h5py.File(path, "a") as file:
        del file["obs"]
        file["obs"] = table
        file["uns/dose_categories"] = [0.5, 2.0]
        file["uns/batch_categories"] = np.array([b"a", b"b"])
    assert column(path, "dose", tmp_path / "out") == [0.5, 2.0, None, 2.0, 0.5, 0.5]
    assert column(path, "batch", tmp_path / "out2") == ["a", "b", None, "b", "a", "a"]


@pytest.mark.parametrize("by", ["donor", "cell", "age"])
def test_a_cell_without_a_name_is_refused(by: str, tmp_path: Path) -> None:
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS, obs={"donor_id": list("aabbcc")})
    with h5py.File(path, "a") as file:
        del file["obs/_index"]
        file["obs/_index/values"] = IDS
        file["obs/_index/mask"] = np.arange(6) == 2
    with pytest.raises(Failure) as caught:
        split.of_file(path, split.Wish(by))
    assert caught.value.category is Category.DATA_INVALID
    assert "cell 2 of 6, counted from 0, has no name" in caught.value.message


def test_nullable_text_that_is_no_utf8_is_the_files_fault(tmp_path: Path) -> None:
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS)
    with h5py.File(path, "a") as file:
        file["obs/one/values"] = np.array([b"\xff"] * 6)
        file["obs/one/mask"] = np.zeros(6, bool)
        file["obs"].attrs["column-order"] = ["one"]
    with pytest.raises(Failure) as caught:
        make(path, tmp_path / "out")
    assert caught.value.category is Category.DATA_INVALID


@pytest.mark.parametrize("organism", [9606, ["Mus musculus"], h5py.Empty("f4")])
def test_an_organism_that_is_no_text_says_nothing(organism: Any, tmp_path: Path) -> None:
    stages = {"development_stage": ["middle aged stage"] * 6}
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS, obs=stages)
    with h5py.File(path, "a") as file:
        file["uns"].create_dataset("organism", data=organism)
    assert [row.age for row in age.of_file(path).rows] == [None]
    with h5py.File(path, "a") as file:
        del file["uns/organism"]
        file["uns/organism"] = "Mus musculus"
    assert [row.unit for row in age.of_file(path).rows] == ["month"]

"""Disk space is reckoned before a run, and freed without losing logs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from cohortflow.core.manifest import Input, Unit
from cohortflow.core.outcome import Category, Failure
from cohortflow.front import space


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def unit(name: str, size: int | None) -> Unit:
    return Unit(id=name, folder=name, inputs=[Input(role="dwi", path=name, bytes=size)])


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every disk have 1,000 bytes free."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2000, 1000, 1000))


@pytest.mark.usefixtures("free")
def test_a_unit_that_cannot_fit_is_refused_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(Failure) as failure:
        space.check([unit("a", 300)], tmp_path / "out", tmp_path, 4.0)
    assert failure.value.category is Category.OUTPUT_WRITE
    assert "free" in failure.value.message


@pytest.mark.usefixtures("free")
def test_a_batch_that_may_not_fit_is_warned_of(tmp_path: Path) -> None:
    many = [unit(str(number), 100) for number in range(3)]
    assert "--clean unit" in space.check(many, tmp_path / "out", tmp_path, 4.0)
    assert space.check(many[:2], tmp_path / "out", tmp_path, 4.0) == ""


@pytest.mark.usefixtures("free")
def test_nothing_to_run_and_unknown_sizes_need_nothing(tmp_path: Path) -> None:
    assert space.check([], tmp_path, tmp_path, 4.0) == ""
    assert space.check([unit("a", None)], tmp_path, tmp_path, 4.0) == ""


def test_scratch_is_freed_but_logs_records_and_inputs_stay(tmp_path: Path) -> None:
    study = tmp_path / "scan.nii.gz"
    study.write_text("precious")
    folder = tmp_path / "work" / "ab" / "cdef1234"
    (folder / "convert" / "dwi").mkdir(parents=True)
    (folder / "convert" / "dwi" / "image.nii.gz").write_text("large")
    (folder / "scan.nii.gz").symlink_to(study)
    kept = {".command.sh", ".command.log", ".exitcode", ".supervise.json"}
    for name in kept:
        (folder / name).write_text(name)
    other = tmp_path / "work" / "ab" / "ffff0000" / "convert"
    other.mkdir(parents=True)
    space.free_task(tmp_path / "work", "ab/cdef12")
    assert {path.name for path in folder.iterdir()} == kept
    assert study.read_text() == "precious"
    assert other.is_dir()

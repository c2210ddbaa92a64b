"""A small study of real phantom scans, run once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cohortflow.example.phantom import Phantom, make_phantom
from pipeline.driving import RUN, Finished, cohortflow, write_scan


@pytest.fixture(scope="session")
def scan() -> Phantom:
    return make_phantom(7, directions=12, voxel_size=5.0)


@pytest.fixture(scope="session")
def make_study(scan: Phantom) -> Callable[..., Path]:
    """Return a function that writes a study of good subjects."""

    def make(folder: Path, *labels: str) -> Path:
        folder.mkdir(parents=True)
        description = {"Name": "A small study", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
        (folder / "dataset_description.json").write_text(json.dumps(description))
        for label in labels:
            write_scan(folder / f"sub-{label}" / "dwi", f"sub-{label}", scan)
        return folder

    return make


@pytest.fixture(scope="session")
def finished(make_study: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Run a study of two subjects once; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("finished")
    study = make_study(folder / "study", "01", "02")
    out = folder / "out"
    ended = cohortflow(*RUN, study, out, cwd=folder)
    assert ended.status == 0, ended.text
    return Finished(study, out, ended)


@pytest.fixture
def copied(finished: Finished, tmp_path: Path) -> Finished:
    """Give a copy of the finished run that a test may change."""
    study = Path(shutil.copytree(finished.study, tmp_path / "study"))
    out = Path(shutil.copytree(finished.out, tmp_path / "out", symlinks=True))
    return Finished(study, out, finished.ended)

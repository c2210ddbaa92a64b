"""One study through every engine: the same bytes.

`make engines` takes the whole example study and a real series; `make test` two of its subjects.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cohortflow.example.study import write_study
from engines.running import RUN, Engine
from pipeline.driving import cohortflow, outputs

pytestmark = pytest.mark.pipeline

WHOLE = os.environ.get("COHORTFLOW_ENGINES") == "whole"
ENGINES = ("podman", "charliecloud", "slurm", "slurm,podman")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example") / "study"
    write_study(folder, **({} if WHOLE else {"voxel_size": 5.0, "directions": 12}))
    return folder


@pytest.fixture(scope="module")
def words() -> list[str]:
    """Return which subjects run: 01 is NIfTI, 02 is DICOM."""
    return [] if WHOLE else ["--participant-label", "01", "02"]


@pytest.fixture(scope="module")
def expected(study: Path, words: list[str]) -> dict[str, str]:
    out = study.parent / "out"
    ended = cohortflow(*RUN, study, out, *words, cwd=study.parent)
    assert ended.status == (1 if WHOLE else 0), ended.text
    return outputs(out)


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_gives_the_bytes_of_a_local_run(
    name: str,
    engine_of: Callable[[str], Engine],
    study: Path,
    words: list[str],
    expected: dict[str, str],
    root: Path,
    tmp_path: Path,
) -> None:
    engine, out = engine_of(name), tmp_path / "out"
    ended = engine.run(study, out, *words, root=root)
    assert ended.status == (1 if WHOLE else 0), ended.text
    assert outputs(out) == expected
    assert not engine.left(out)


@pytest.mark.parametrize("name", ["podman", "charliecloud", "slurm"])
def test_a_bare_run_gives_them_too(
    name: str,
    engine_of: Callable[[str], Engine],
    study: Path,
    expected: dict[str, str],
    root: Path,
    tmp_path: Path,
) -> None:
    engine, out = engine_of(name), tmp_path / "new" / "out"
    ended = engine.bare(study, out, "--participant_label", "01", root=root)
    assert ended.status == 0, ended.text
    found = outputs(out)
    assert found == {path: digest for path, digest in expected.items() if "sub-01" in path}
    assert found
    assert (out / "report.html").is_file()


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ENGINES if WHOLE else ["podman"])
def test_a_real_series_behind_a_link_gives_the_same_bytes(
    name: str,
    engine_of: Callable[[str], Engine],
    shared_data: Path,
    root: Path,
    tmp_path: Path,
) -> None:
    study = tmp_path / "study"
    (study / "sub-01" / "dwi").mkdir(parents=True)
    (study / "sub-01" / "dwi" / "dicom").symlink_to(shared_data / "dicom" / "toshiba" / "In")
    units = tmp_path / "units.csv"
    uid = "1.2.392.200036.9116.4.2.9143.89.7007"
    units.write_text(
        f"subject,session,dicom,series_uid\n01,s1,{study / 'sub-01' / 'dwi' / 'dicom'},{uid}\n"
    )
    found = {}
    for one in (engine_of("local"), engine_of(name)):
        out = tmp_path / f"out-{one.name}"
        ended = one.run(study, out, "--manifest", units, root=root)
        assert ended.status == 0, ended.text
        found[one.name] = outputs(out)
    assert found["local"] == found[name]
    assert found["local"]

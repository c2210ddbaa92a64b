"""A run through the front door: odd paths, an engine that fails, an installed copy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cohortflow.core import layout
from cohortflow.example.phantom import make_phantom
from cohortflow.front import engine
from dwi.small import tool
from front.factories import front, study, unit, write_lines
from pipeline.driving import BINARIES, bare, cohortflow, execute, runs, tree, write_scan
from setup.test_install import bare as without_checkout
from setup.test_install import dependencies, installed

__all__ = ["dependencies", "installed"]

ODD = 'a b $(touch x)`touch x`;\'q"d" é日 [1]*{b}? \\ %20 -rf'


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A real scan whose folder and file names are odd, in a study that is odd, too."""
    folder = tmp_path / ODD / "study"
    write_scan(folder / "raw $(touch x)", "s 'can", make_phantom(3, directions=6, voxel_size=6.0))
    return folder


@pytest.mark.pipeline
def test_odd_paths_are_only_names_in_any_locale(scan: Path, tmp_path: Path) -> None:
    listed = write_lines(
        tmp_path / ODD / "units.jsonl", scan, unit("sub-01", "raw $(touch x)/s 'can_dwi.nii.gz")
    )
    out = scan.parent / "out"
    launch = tmp_path / "launch"
    launch.mkdir()
    words = ["run", "dwi", scan, out, "--manifest", listed]
    ended = execute([BINARIES / "cohortflow", *words], launch, LC_ALL="C")
    assert ended.status == 0, ended.text
    assert (out / "sub-01" / "_done.json").is_file()
    assert (runs(out)[0] / "nextflow.log").is_file()
    assert list(tmp_path.rglob("x")) == []
    assert list(launch.iterdir()) == []
    told = cohortflow("why", out, "sub-01", cwd=launch)
    assert told.status == 0, told.text


@pytest.mark.pipeline
def test_odd_paths_are_only_names_to_the_bare_pipeline(root: Path, tmp_path: Path) -> None:
    folder = study(tmp_path / ODD / "study", "sub-01")
    ended = bare(root, folder, tmp_path / ODD / "out", "-stub-run", cwd=tmp_path)
    assert ended.status == 0, ended.text
    assert "CORE_REPORT" in ended.out
    assert list(tmp_path.rglob("x")) == []


@pytest.mark.parametrize("name", ["a\nb", "a\x07b", "a\u2028b", os.fsdecode(b"a\xffb")])
@pytest.mark.parametrize("place", ["study", "out", "work"])
def test_a_name_that_no_script_can_hold_is_refused(tmp_path: Path, place: str, name: str) -> None:
    places = {"study": tmp_path / "study", "out": tmp_path / "out", "work": tmp_path / "work"}
    places[place] = tmp_path / name / place
    study(places["study"], "sub-01")
    before = tree(tmp_path)
    result = front("run", "dwi", places["study"], places["out"], "--work-dir", places["work"])
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    assert "has a line break, a control character or no UTF-8" in result.stderr
    assert tree(tmp_path) == before


def test_the_bare_pipelines_plan_refuses_it_too(tmp_path: Path) -> None:
    listed = write_lines(tmp_path / "units.jsonl", tmp_path / "study", unit("sub-01", "x.nii"))
    result = tool("core-plan", [listed, "--outdir", tmp_path / "a\nb"])
    assert result.exit_code == 2
    assert "has a line break" in result.stderr


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a nextflow on PATH that keeps its arguments, then runs what a test writes."""
    path = tmp_path / "bin" / "nextflow"
    path.parent.mkdir()
    script = 'printf "%s\\n" "$@" > ../arguments\nmkdir -p .nextflow && touch .nextflow/history\n'
    path.write_text(f"#!/bin/sh\n{script}")
    path.chmod(0o755)
    monkeypatch.setattr(engine, "search_path", lambda: f"{path.parent}:{os.defpath}")
    return path


def arguments(out: Path) -> list[str]:
    return layout.hidden(out, "arguments").read_text().splitlines()


def test_nextflow_gets_what_was_asked_for(fake: Path, tmp_path: Path) -> None:
    folder, out = study(tmp_path / "study", "sub-01"), tmp_path / "out"
    front("run", "dwi", folder, out)
    first = arguments(out)
    assert first[first.index("run") + 1] == str(engine.pipeline())
    for word, value in (("--lane", "dwi"), ("--outdir", str(out)), ("-ansi-log", "false")):
        assert first[first.index(word) + 1] == value
    assert {"-resume", "-qs", "-profile"} & set(first) == set()
    log = first[first.index("-log") + 1]
    assert not Path(log).is_absolute(), "the rest of the path may hold a %"
    assert (layout.hidden(out, "nextflow") / log).resolve().parent == runs(out)[0]
    words = ("--jobs", "3", "--profile", "a,b", "--work-dir", tmp_path / "scratch")
    front("run", "dwi", folder, out, *words)
    second = arguments(out)
    for word, value in (("-qs", "3"), ("-profile", "a,b"), ("-work-dir", f"{tmp_path}/scratch")):
        assert second[second.index(word) + 1] == value
    assert "-resume" in second
    assert len(runs(out)) == 2


def test_an_engine_that_fails_is_quoted_without_its_stack(fake: Path, tmp_path: Path) -> None:
    fake.write_text(
        "#!/bin/sh\necho Launching\necho 'WARN: a warning'\necho 'ERROR ~ Unknown profile: x'\n"
        "for n in $(seq 60); do printf '\\tat some.java.Class(Class.java:%s)\\n' $n; done\nexit 1\n"
    )
    out = tmp_path / "out"
    result = front("run", "dwi", study(tmp_path / "study", "sub-01"), out)
    assert result.exit_code in {1, 3}
    assert "ERROR ~ Unknown profile: x" in result.stderr
    assert "some.java.Class" not in result.stderr
    assert "1 unit: 0 done" in result.stdout
    assert (out / "report.html").is_file()


def test_json_is_all_that_stdout_has_when_the_engine_fails(fake: Path, tmp_path: Path) -> None:
    fake.write_text("#!/bin/sh\necho broken\nexit 1\n")
    result = front("run", "dwi", study(tmp_path / "study", "sub-01"), tmp_path / "out", "--json")
    value = json.loads(result.stdout)
    assert value["counts"]["done"] == 0
    assert value["status"] == result.exit_code


def test_without_nextflow_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "search_path", lambda: "/nowhere")
    result = front("run", "dwi", study(tmp_path / "study", "sub-01"), tmp_path / "out")
    assert result.exit_code == 3
    assert result.stderr.startswith("ERROR CONFIG - Nextflow is not installed")
    assert not (tmp_path / "out").exists()


@pytest.mark.pipeline
def test_an_installed_copy_runs_a_study_from_another_folder(
    installed: Path, tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("nextflow", "dcm2niix"):
        (programs / name).symlink_to(shutil.which(name, path=str(BINARIES)) or "")
    folder = tmp_path / "study"
    write_scan(folder / "sub-01" / "dwi", "sub-01", make_phantom(3, directions=6, voxel_size=6.0))
    launch = tmp_path / "launch"
    launch.mkdir()
    environment = without_checkout(installed)
    environment["PATH"] += f":{programs}"
    words = [str(installed / "cohortflow"), "run", "dwi", str(folder), "../out"]
    for said in ("1 unit: 1 done", "1 unit: 0 done, 1 skipped"):
        ended = subprocess.run(
            words, cwd=launch, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert said in ended.stdout
    log = next((tmp_path / "out").glob(".cohortflow/runs/*/nextflow.log")).read_text()
    assert str(installed.parent / "share" / "cohortflow" / "main.nf") in log
    assert list(launch.iterdir()) == []

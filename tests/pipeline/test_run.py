"""The front door and the bare pipeline on a small real study."""

from __future__ import annotations

import fcntl
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from referencing import Registry, Resource

from cohortflow.example.phantom import Phantom
from pipeline.driving import (
    BINARIES,
    PARTIAL,
    RUN,
    STEPS,
    Finished,
    bare,
    cohortflow,
    execute,
    outputs,
    plan,
    runs,
    tree,
    write_scan,
)

pytestmark = pytest.mark.pipeline


def test_a_good_study_is_published_whole(finished: Finished) -> None:
    for unit in ("sub-01", "sub-02"):
        marker = json.loads((finished.out / unit / "_done.json").read_text())
        assert marker["unit"] == unit
        assert marker["lane"] == "dwi"
        assert set(marker["timings"]) == set(STEPS)
        assert all(seconds > 0 for seconds in marker["timings"].values())
        assert all(not Path(i["path"]).is_absolute() for i in marker["inputs"])
    summary = json.loads((finished.out / "batch_summary.json").read_text())
    assert summary["counts"]["done"] == 2
    assert "2 units: 2 done, 0 invalid, 0 failed" in finished.ended.out
    assert (finished.out / "report.html").is_file()


def test_the_bare_pipeline_publishes_the_same_bytes_and_then_has_nothing_to_do(
    finished: Finished, root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bare"
    first = bare(root, finished.study, out, cwd=tmp_path)
    assert first.status == 0, first.text
    assert outputs(out) == outputs(finished.out)
    assert json.loads((out / "batch_summary.json").read_text())["counts"]["done"] == 2

    before = tree(out / "sub-01")
    second = bare(root, finished.study, out, "-resume", cwd=tmp_path)
    assert second.status == 0, second.text
    assert second.submitted() == set()
    assert tree(out / "sub-01") == before

    shutil.rmtree(out)
    third = bare(root, finished.study, out, "-resume", cwd=tmp_path)
    assert third.status == 0, third.text
    assert third.submitted() == set(), "the steps come from Nextflow's cache"
    assert outputs(out) == outputs(finished.out)


def test_a_second_run_starts_no_engine_and_changes_nothing(
    copied: Finished, tmp_path: Path
) -> None:
    before = {unit: tree(copied.out / unit) for unit in ("sub-01", "sub-02")}
    left = copied.out / ".cohortflow" / "work" / "sub-01.0123abcd"
    (left / "dwi").mkdir(parents=True)
    ended = cohortflow(*RUN, copied.study, copied.out, cwd=tmp_path)
    assert ended.status == 0, ended.text
    assert "2 skipped" in ended.out
    assert not left.exists(), "what a killed publish left is cleared up"
    assert not (runs(copied.out)[-1] / "nextflow.log").exists()
    assert {unit: tree(copied.out / unit) for unit in before} == before


def test_what_changed_is_run_and_nothing_else(
    copied: Finished, scan: Phantom, tmp_path: Path
) -> None:
    write_scan(copied.study / "sub-03" / "dwi", "sub-03", scan)
    bval = copied.study / "sub-02" / "dwi" / "sub-02_dwi.bval"
    bval.write_text(bval.read_text() + "\n")
    ended = cohortflow(*RUN, copied.study, copied.out, cwd=tmp_path)
    assert ended.status == 0, ended.text
    assert plan(copied.out) == {
        "sub-01": ("skip", "up to date"),
        "sub-02": ("run", "input changed"),
        "sub-03": ("run", "new"),
    }
    assert (copied.out / "sub-03" / "_done.json").is_file()


def test_an_edit_reruns_the_steps_that_import_it(
    root: Path, make_study: Callable[..., Path], tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    for name in ("bin", "modules", "conf"):
        shutil.copytree(root / name, checkout / name, ignore=PARTIAL)
    for name in ("main.nf", "nextflow.config"):
        shutil.copy(root / name, checkout / name)
    study = make_study(tmp_path / "study", "01")
    out = tmp_path / "out"
    assert bare(checkout, study, out, cwd=tmp_path).status == 0
    module = checkout / "bin" / "cohortflow" / "dwi" / "coherence.py"
    module.write_text(module.read_text() + "\n# edited\n")
    ended = bare(checkout, study, out, "-resume", cwd=tmp_path)
    assert ended.status == 0, ended.text
    # orient imports it, and the tensor is fitted to what orient makes
    assert ended.submitted() == {"DWI:DWI_ORIENT (sub-01)", "DWI:DWI_TENSOR (sub-01)"}


@pytest.mark.parametrize("label", ["01", "sub-01"])
def test_a_participant_is_found_by_its_label(
    finished: Finished, label: str, tmp_path: Path
) -> None:
    ended = cohortflow(
        *(*RUN, finished.study, tmp_path / "out", "participant"),
        *("--participant_label", label, "--dry-run", "--json"),
        cwd=tmp_path,
    )
    assert ended.status == 0, ended.text
    assert [row["unit"] for row in json.loads(ended.out)] == ["sub-01"]


def test_a_label_that_is_not_there_is_refused(finished: Finished, tmp_path: Path) -> None:
    ended = cohortflow(
        *(*RUN, finished.study, tmp_path / "out", "--participant-label", "001"),
        cwd=tmp_path,
    )
    assert ended.status == 2
    assert "001" in ended.err
    assert "01" in ended.err
    assert not (tmp_path / "out").exists()


def test_a_bare_run_takes_a_label_that_nextflow_made_a_number(
    finished: Finished, root: Path, tmp_path: Path
) -> None:
    ended = bare(
        *(root, finished.study, tmp_path / "out", "--participant_label", "01", "-stub-run"),
        cwd=tmp_path,
    )
    assert ended.status == 0, ended.text
    assert ended.submitted() == {f"DWI:DWI_{step.upper()} (sub-01)" for step in STEPS}


@pytest.mark.parametrize("option", ["--dry-run", "--validate-only"])
def test_looking_writes_nothing(finished: Finished, option: str, tmp_path: Path) -> None:
    before = tree(finished.study), tree(finished.out), tree(tmp_path)
    for out in (finished.out, tmp_path / "other"):
        ended = cohortflow(*RUN, finished.study, out, option, cwd=tmp_path)
        assert ended.status == 0, ended.text
    assert (tree(finished.study), tree(finished.out), tree(tmp_path)) == before


def test_the_whole_pipeline_runs_as_a_stub(finished: Finished, root: Path, tmp_path: Path) -> None:
    ended = bare(root, finished.study, tmp_path / "out", "-stub-run", cwd=tmp_path)
    assert ended.status == 0, ended.text
    assert "CORE_REPORT" in ended.out
    assert not (tmp_path / "out").exists(), "a stub publishes nothing"


def test_the_strict_parser_runs_the_pipeline(
    finished: Finished, root: Path, tmp_path: Path
) -> None:
    command = [BINARIES / "nextflow-strict", "run", root / "main.nf", "-ansi-log", "false"]
    command += ["--input", finished.study, "--outdir", tmp_path / "out", "-stub-run"]
    ended = execute(command, tmp_path)
    assert ended.status == 0, ended.text


def test_the_output_is_a_valid_bids_derivative(finished: Finished, tmp_path: Path) -> None:
    ended = execute([BINARIES / "bids-validator-deno", finished.out, "--json"], tmp_path)
    issues = json.loads(ended.out)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    description = json.loads((finished.out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "cohortflow"
    assert description["SourceDatasets"]


def test_one_bad_unit_fails_alone_and_says_why(
    make_study: Callable[..., Path], tmp_path: Path
) -> None:
    study = make_study(tmp_path / "study", "01", "02")
    broken = study / "sub-02" / "dwi" / "sub-02_dwi.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-5000])
    out = tmp_path / "out"
    ended = cohortflow(*RUN, study, out, cwd=tmp_path)
    assert ended.status == 1, ended.text
    assert (out / "sub-01" / "_done.json").is_file()
    assert not (out / "sub-02").exists()
    rerun = json.loads((out / "rerun.json").read_text())
    assert [unit["id"] for unit in rerun["units"]] == ["sub-02"]
    assert "DATA_INVALID" in ended.out

    told = cohortflow("why", out, "sub-02", cwd=tmp_path)
    assert told.status == 0
    for word in ("DATA_INVALID", "truncated", "dwi-convert", "Try it again"):
        assert word in told.out

    again = cohortflow(*RUN, study, out, cwd=tmp_path)
    assert again.status == 1
    assert plan(out)["sub-02"] == ("invalid", "failed before")
    assert not (runs(out)[-1] / "nextflow.log").exists()

    rerun_failed = (*RUN, study, out, "--manifest", out / "rerun.json", "--rerun-failed")
    third = cohortflow(*rerun_failed, cwd=tmp_path)
    assert third.status == 1
    assert plan(out) == {"sub-02": ("run", "failed before")}


def test_an_interrupted_run_reports_and_resumes(
    finished: Finished, make_study: Callable[..., Path], tmp_path: Path
) -> None:
    study = make_study(tmp_path / "study", "01", "02")
    out = tmp_path / "out"
    process = subprocess.Popen(
        [BINARIES / "cohortflow", *RUN, study, out, "--jobs", "1"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list((out / ".cohortflow" / "nextflow").glob("work/*/*/.command.begin")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    summary = json.loads((out / "batch_summary.json").read_text())
    assert summary["counts"]["done"] < 2
    ended = cohortflow(*RUN, study, out, cwd=tmp_path)
    assert ended.status == 0, ended.text
    assert outputs(out) == outputs(finished.out)


def test_two_runs_never_share_an_output(copied: Finished, tmp_path: Path) -> None:
    lock = copied.out / ".cohortflow" / "run.lock"
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ended = cohortflow(*RUN, copied.study, copied.out, cwd=tmp_path)
    assert ended.status == 3
    assert "another run holds" in ended.err


@pytest.mark.parametrize("place", ["inside", "sub-01/inside", "derivatives/a/b"])
def test_an_output_inside_the_study_is_refused(
    finished: Finished, place: str, tmp_path: Path
) -> None:
    before = tree(finished.study)
    ended = cohortflow(*RUN, finished.study, finished.study / place, cwd=tmp_path)
    assert ended.status == 2
    assert len(ended.err.strip().splitlines()) == 1
    assert tree(finished.study) == before


def test_a_derivative_folder_inside_the_study_is_accepted(
    finished: Finished, tmp_path: Path
) -> None:
    out = finished.study / "derivatives" / "cohortflow-dwi"
    ended = cohortflow(*RUN, finished.study, out, "--dry-run", cwd=tmp_path)
    assert ended.status == 0, ended.text


@pytest.mark.parametrize("subjects", [(), ("sub-01/anat",)])
def test_a_study_without_diffusion_exits_3(subjects: tuple[str, ...], tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    for place in subjects:
        (study / place).mkdir(parents=True)
    ended = cohortflow(*RUN, study, tmp_path / "out", cwd=tmp_path)
    assert ended.status == 3
    assert len(ended.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_what_a_run_writes_follows_the_shipped_schemas(finished: Finished, root: Path) -> None:
    schemas = root / "bin" / "cohortflow" / "schemas"
    (run,) = runs(finished.out)
    read = {
        "manifest": [json.loads(t) for t in (run / "manifest.jsonl").read_text().splitlines()],
        "plan": [json.loads(t) for t in (run / "plan.jsonl").read_text().splitlines()],
        "marker": [json.loads(p.read_text()) for p in finished.out.glob("sub-*/_done.json")],
        "batch_summary": [json.loads((finished.out / "batch_summary.json").read_text())],
    }
    contents = {path.name: json.loads(path.read_text()) for path in schemas.glob("*.json")}
    resources = [(name, Resource.from_contents(value)) for name, value in contents.items()]
    registry = Registry().with_resources(resources)
    for name, values in read.items():
        schema = contents[f"{name}.schema.json"]
        assert values
        for value in values:
            jsonschema.Draft202012Validator(schema, registry=registry).validate(value)


def test_the_ledger_of_a_run_is_what_its_files_say(copied: Finished, tmp_path: Path) -> None:
    before = cohortflow("ledger", "where", copied.out, "--json", cwd=tmp_path)
    rebuilt = cohortflow("ledger", "rebuild", copied.out, "--json", cwd=tmp_path)
    assert before.status == rebuilt.status == 0, before.text + rebuilt.text
    assert json.loads(before.out)["rows"] == json.loads(rebuilt.out)["rows"]
    assert json.loads(before.out)["rows"]["units"] == 2

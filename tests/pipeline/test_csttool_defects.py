"""What csttool's batch mode got wrong, done here: each defect that its users know is a test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cohortflow.core import lanes, marker, verify
from cohortflow.example.phantom import Phantom
from dwi import small
from pipeline.csttool_story import CHANGED, Story, tell
from pipeline.driving import BINARIES, LEFT_OUT, RUN, STEPS, cohortflow, outputs, runs

pytestmark = pytest.mark.pipeline

DONE = {"sub-01", "sub-02", "sub-04_ses-b"}
CONVERTED = f"{CHANGED}/dwi/sub-04_ses-b_desc-preproc_dwi.nii.gz"


@pytest.fixture(scope="module")
def story(
    make_study: Callable[..., Path], scan: Phantom, tmp_path_factory: pytest.TempPathFactory
) -> Story:
    return tell(tmp_path_factory.mktemp("story"), make_study, scan)


def published(digests: dict[str, str]) -> set[str]:
    """Return the folders of the units that have a marker."""
    return {path.removesuffix("/metrics.json") for path in digests if path.endswith("metrics.json")}


def planned(study: Path, out: Path, *words: str | Path) -> dict[str, tuple[str, str]]:
    """Return decision and reason of each unit, without a run."""
    option = ("--parameter", "gradient_check=warn", "--dry-run", "--json")
    ended = cohortflow(*RUN, study, out, *option, *words, cwd=out.parent)
    return {row["unit"]: (row["decision"], row["reason"]) for row in json.loads(ended.out)}


# "A missing input … is recorded as success, gets _done.json and is skipped next time."


def test_a_missing_input_is_never_recorded_as_done(story: Story) -> None:
    assert story.first.ended.status == 1, story.first.ended.text
    assert story.first.summary["sub-02"]["status"] == "invalid"
    assert published(story.first.digests) == {"sub-01"}
    assert story.first.rows["sub-02"]["status"] == "invalid"


def test_it_is_tried_again_when_it_is_there(story: Story) -> None:
    assert story.second.plan["sub-02"] == ("run", "new")
    assert story.second.summary["sub-02"]["status"] == "done"
    assert "sub-02" in published(story.second.digests)


def test_what_failed_is_not_skipped_by_the_next_run(story: Story) -> None:
    assert planned(story.study, story.out)["sub-05"] == ("invalid", "failed before")
    again = planned(story.study, story.out, "--rerun-failed")
    assert again["sub-05"] == ("run", "failed before")


# "… or a failed environment check …"


def without(program: str, folder: Path) -> dict[str, str]:
    """Return an environment that has all programs of this one but the named one."""
    binaries, modules = folder / "bin", folder / "modules"
    modules.mkdir()
    binaries.mkdir()
    (modules / f"{program}.py").write_text("raise ImportError\n")
    for place in (str(BINARIES), *os.environ["PATH"].split(os.pathsep)):
        for path in Path(place).iterdir() if Path(place).is_dir() else ():
            if path.name != program and not (binaries / path.name).is_symlink():
                (binaries / path.name).symlink_to(path)
    paths = [str(modules), *(path for path in sys.path if path)]
    return {"PATH": str(binaries), "PYTHONPATH": os.pathsep.join(paths)}


def test_a_missing_program_fails_the_unit_and_is_tried_again(tmp_path: Path) -> None:
    study, out = tmp_path / "study", tmp_path / "out"
    small.dicom(study / "sub-01" / "dwi")
    environment = without("dcm2niix", tmp_path)
    start = "from cohortflow.main import main; main()"
    command = [tmp_path / "bin" / "python3", "-c", start, *RUN, study, out]
    process = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert process.returncode == 1, process.stdout + process.stderr
    (unit,) = json.loads((out / "batch_summary.json").read_text())["units"]
    assert (unit["status"], unit["category"]) == ("failed", "CONFIG")
    assert "dcm2niix" in unit["message"]
    assert not list(out.glob("sub-*/**/_done.json"))
    assert planned(study, out)["sub-01"] == ("run", "failed before")


# "Promoted outputs nest twice, and the metrics CSV looks where nothing is: blank numbers on
# success." "`outputs` in the marker is always empty."


def test_outputs_lie_where_they_belong_and_nowhere_twice(story: Story) -> None:
    lane = lanes.get("dwi")
    expected = {
        f"{unit.replace('_', '/')}/{path}"
        for unit in DONE
        for path in lane.expected(unit, LEFT_OUT)
    }
    assert set(outputs(story.out)) == expected
    found = {p.relative_to(story.out) for p in story.out.glob("sub-*/**/*") if p.is_file()}
    assert all(len(set(path.parts)) == len(path.parts) for path in found)
    assert {path.as_posix() for path in found if path.name != marker.NAME} == expected


def test_done_means_numbers(story: Story) -> None:
    for unit in DONE:
        row = story.third.rows[unit]
        assert row["status"] in {"done", "skipped"}
        assert 0.3 < float(row["fa_mean_white_matter"]) < 0.9
        assert 0.0004 < float(row["md_mean_white_matter"]) < 0.0012
        assert int(row["volumes"]) > 12
    assert all(row["fa_mean_white_matter"] == "" for row in failed(story)), "never a zero"


def failed(story: Story) -> list[dict[str, str]]:
    return [row for row in story.first.rows.values() if row["status"] != "done"]


def test_the_markers_list_of_outputs_is_whole_and_true(story: Story) -> None:
    assert list(verify.every(story.out)) == []
    for unit in DONE:
        done = marker.read(story.out / unit.replace("_", "/"))
        assert isinstance(done, marker.Marker)
        assert {output.path for output in done.outputs} == lanes.get("dwi").expected(unit, LEFT_OUT)


# "On resume, skipped rows carry no metrics."


def test_a_skipped_row_has_its_numbers(story: Story) -> None:
    assert story.second.plan["sub-01"] == ("skip", "up to date")
    before, after = story.first.rows["sub-01"], story.second.rows["sub-01"]
    assert (before["status"], after["status"]) == ("done", "skipped")
    numbers = [name for name in before if name not in {"status", "session"}]
    assert {name: after[name] for name in numbers} == {name: before[name] for name in numbers}
    assert after["fa_mean_white_matter"]


# "The batch never preprocesses (an option's name is misspelt)."


def test_a_misspelt_parameter_is_an_error(story: Story, tmp_path: Path) -> None:
    option = ("--parameter", "gradient_chek=warn")
    ended = cohortflow(*RUN, story.study, tmp_path / "out", *option, cwd=tmp_path)
    assert ended.status == 2
    assert "gradient_chek" in ended.err
    assert not (tmp_path / "out").exists()


def test_a_parameter_reaches_the_step_that_reads_it(story: Story) -> None:
    commands = [r["command"] for r in story.first.records if r["step"] == "orient"]
    assert commands
    assert all("--gradient-check 'warn'" in command for command in commands)


def test_every_parameter_is_read_by_a_step_and_every_step_reads_declared_ones() -> None:
    for name in lanes.LANES:
        lane = lanes.get(name)
        read = {parameter for step in lane.steps for parameter in step.parameters}
        # One that names an input reaches the steps as that input.
        inputs = {parameter.name for parameter in lane.parameters if parameter.input}
        assert inputs <= set(lane.roles)
        assert read == {parameter.name for parameter in lane.parameters} - inputs


# "`series_uid` is dropped before conversion."


def test_the_chosen_series_is_the_one_that_is_converted(story: Story) -> None:
    assert story.second.rows["sub-04_ses-b"]["series_uid"] == story.uids[1]
    commands = [r["command"] for r in story.second.records if r["unit"] == "sub-04_ses-b"]
    assert any(story.uids[1] in command for command in commands)
    assert story.third.rows["sub-04_ses-b"]["series_uid"] == story.uids[0]
    sidecar = next((story.out / CHANGED).glob("dwi/*_desc-preproc_dwi.json"))
    assert json.loads(sidecar.read_text())["SeriesInstanceUID"] == story.uids[0]


# "The configuration hash covers neither inputs nor per-subject options."


def test_another_option_of_one_unit_runs_that_unit_alone(story: Story) -> None:
    assert story.third.plan == {
        "sub-01": ("skip", "up to date"),
        "sub-02": ("skip", "up to date"),
        "sub-04_ses-b": ("run", "input changed"),  # another series: other files, too
    }
    assert {record["unit"] for record in story.third.records} == {"sub-04_ses-b"}
    before, after = story.second.digests, story.third.digests
    assert before.keys() == after.keys()
    changed = {path for path in before if before[path] != after[path]}
    assert CONVERTED in changed
    assert all(path.startswith(CHANGED) for path in changed)


def test_a_changed_input_runs_its_unit(story: Story, tmp_path: Path) -> None:
    study = Path(shutil.copytree(story.study, tmp_path / "study", symlinks=True))
    out = Path(shutil.copytree(story.out, tmp_path / "out", symlinks=True))
    assert planned(study, out)["sub-01"] == ("skip", "up to date")
    bval = study / "sub-01/dwi/sub-01_dwi.bval"
    facts = bval.stat()
    bval.write_text(bval.read_text().replace("1000", "1001"))
    assert bval.stat().st_size == facts.st_size
    assert planned(study, out)["sub-01"] == ("run", "input changed")


# "Categories INPUT_MISSING and VALIDATION are never assigned."


@pytest.mark.parametrize(
    ("unit", "category", "said"),
    [
        ("sub-02", "INPUT_MISSING", "sub-02_dwi.nii.gz"),
        ("sub-03", "DATA_INVALID", "run-1"),
        ("sub-04", "DATA_INVALID", "dwi 1"),
        ("sub-05", "DATA_INVALID", "truncated"),
    ],
)
def test_what_is_wrong_has_its_category_message_and_remedy(
    story: Story, unit: str, category: str, said: str
) -> None:
    found = story.first.summary[unit]
    assert (found["status"], found["category"]) == ("invalid", category)
    assert said in found["message"]
    assert found["remedy"]
    assert story.first.rows[unit]["category"] == category


# "Promotion is per item, not atomic." (tests/core/test_publish.py kills at each system call.)


def test_a_reader_beside_a_run_sees_the_old_unit_or_the_new_one(story: Story) -> None:
    old, new = (run.name for run in runs(story.out)[1:3])
    seen = [run for run, _ in story.seen]
    assert seen[0] == old
    assert set(seen) <= {old, new}
    assert seen == sorted(seen), "never back"
    assert [findings for _, findings in story.seen if findings] == []


def publishing(story: Story, out: Path, run: str) -> tuple[list[str], bytes]:
    """Return the command and the input of a task that publishes sub-01."""
    line = next(
        value
        for text in (runs(story.out)[0] / "plan.jsonl").read_text().splitlines()[1:]
        if (value := json.loads(text))["unit"]["id"] == "sub-01"
    )
    work = story.out / ".cohortflow/nextflow/work"
    folders = [
        next(p for p in sorted(work.glob(f"*/*/{step}")) if holds(p, "sub-01")) for step in STEPS
    ]
    tool = Path(lanes.__file__).parents[2] / "core-publish"
    command = [sys.executable, tool, "--unit", "sub-01", "--outdir", out, *folders]
    return [str(word) for word in command], json.dumps({**line, "run": run}).encode()


def holds(folder: Path, unit: str) -> bool:
    return not folder.is_symlink() and any(folder.glob(f"dwi/{unit}_*"))


@pytest.fixture
def copied_out(story: Story, tmp_path: Path) -> Path:
    """Return a copy of the output without its engine's files."""
    ignore = shutil.ignore_patterns("nextflow")
    return Path(shutil.copytree(story.out, tmp_path / "out", ignore=ignore))


def run_of(out: Path) -> str:
    done = marker.read(out / "sub-01")
    assert isinstance(done, marker.Marker), done
    return done.run


def interrupted(command: list[str], line: bytes, work: Path, after: float | None) -> float:
    """Start a publish and kill it so long after it began to stage; return how long that was."""
    known = set(work.iterdir())
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(line)
        process.stdin.close()
        while process.poll() is None and not set(work.iterdir()) - known:
            time.sleep(0.001)
        began = time.monotonic()
        if after is not None:
            time.sleep(after)
            process.kill()
        process.wait()
        return time.monotonic() - began


def test_a_publish_that_is_killed_leaves_the_old_unit_or_the_new_one(
    story: Story, copied_out: Path
) -> None:
    work = copied_out / ".cohortflow/work"
    whole = interrupted(*publishing(story, copied_out, "20990101T000000Z-0000"), work, None)
    before, left = run_of(copied_out), 0
    for number in range(10):
        name = f"20990101T00000{number}Z-0001"
        interrupted(*publishing(story, copied_out, name), work, whole * number / 10)
        assert run_of(copied_out) in {before, name}
        assert list(verify.unit(copied_out, "sub-01")) == []
        before, left = run_of(copied_out), left + any(work.iterdir())
    assert left, "none was killed in its middle"
    interrupted(*publishing(story, copied_out, "20990102T000000Z-0000"), work, None)
    assert run_of(copied_out) == "20990102T000000Z-0000"
    assert list(verify.every(copied_out)) == [], "what the killed ones left is cleared up"


# "The lock file is unlinked on release (a race)."


def test_a_lock_file_stays_the_same_over_all_runs(story: Story) -> None:
    for earlier, later in ((story.first, story.second), (story.second, story.third)):
        assert earlier.locks.items() <= later.locks.items()
    assert {"run.lock", "sub-01.lock"} <= set(story.first.locks)
    assert "sub-04_ses-b.lock" in story.second.locks, "the third run has published it again"


def test_two_publishers_of_one_unit_exclude_each_other(story: Story, copied_out: Path) -> None:
    before = run_of(copied_out)
    lock = copied_out / ".cohortflow/locks/sub-01.lock"
    command, line = publishing(story, copied_out, "20990101T000000Z-0000")
    held = ["flock", str(lock), *command]
    refused = subprocess.run(held, input=line, capture_output=True, check=False)
    assert refused.returncode == 75, refused.stderr
    assert b"ERROR TEMPORARY sub-01" in refused.stderr
    assert run_of(copied_out) == before
    subprocess.run(command, input=line, check=True)
    assert run_of(copied_out) == "20990101T000000Z-0000"


# "Only the first NIfTI of a folder is used; an ambiguous DICOM subject vanishes."


def choices(found: dict[str, Any], key: str) -> set[str]:
    return {Path(choice[key]).name for choice in found["choices"]}


def test_several_images_are_listed_and_none_is_taken(story: Story) -> None:
    found = story.first.summary["sub-03"]
    assert choices(found, "path") == {"sub-03_run-1_dwi.nii.gz", "sub-03_run-2_dwi.nii.gz"}
    assert not (story.out / "sub-03").exists()
    assert not [r for r in story.first.records if r["unit"] == "sub-03"]


def test_an_ambiguous_dicom_subject_is_listed_with_its_series(story: Story) -> None:
    found = story.first.summary["sub-04"]
    assert choices(found, "series_uid") == set(story.uids)
    assert "sub-04" in story.first.rows
    assert "sub-04" in story.first.ended.out
    rerun = [unit["id"] for unit in json.loads((story.out / "rerun.json").read_text())["units"]]
    assert rerun == ["sub-05"], "what failed in a step stays listed, also after a run of others"

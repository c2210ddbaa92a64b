"""Runs that are stopped at any moment leave no process, and resume to the same bytes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cohortflow.front import leftovers
from pipeline.driving import BINARIES, RUN, SHORT, bare, cohortflow, outputs

pytestmark = pytest.mark.pipeline

# `make faults` asks for more; a moment costs about six seconds.
MOMENTS = int(os.environ.get("COHORTFLOW_MOMENTS", "1"))
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]
LONGEST = 9.0


@pytest.fixture(scope="module")
def study(make_study: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("signals") / "study", "01", "02")


@pytest.fixture(scope="module")
def expected(study: Path) -> dict[str, str]:
    """Return the bytes of a run that nobody stopped."""
    out = study.parent / "whole"
    ended = cohortflow(*RUN, study, out, cwd=study.parent)
    assert ended.status == 0, ended.text
    return outputs(out)


def start(command: list[str | Path], cwd: Path) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(BINARIES), os.environ["PATH"]])
    heard = ["env", "--default-signal=HUP,INT"]  # tests in the background would ignore them
    return subprocess.Popen(
        [*heard, *map(str, command)],
        cwd=cwd,
        env={**os.environ, "PATH": path, "COHORTFLOW_GRACE": "2"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ours(folder: Path) -> list[str]:
    """Return the command lines of processes whose current folder lies below a folder."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "cwd").readlink().is_relative_to(folder):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def wait_until_nothing_runs(folder: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while left := ours(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def moments(number: int, seed: str) -> list[float]:
    """Return times after the start, spread over a run."""
    chance = random.Random(seed)
    return [chance.uniform(k, k + 1) * LONGEST / number for k in range(number)]


def wait_for_a_task(out: Path) -> None:
    deadline = time.monotonic() + 300
    while not list(out.glob(".cohortflow/nextflow/work/*/*/.supervise.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_stopped_front_door_leaves_nothing_and_resumes(
    number: signal.Signals, study: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for moment in moments(MOMENTS, f"front {number}"):
        process = start([BINARIES / "cohortflow", *RUN, study, out], tmp_path)
        time.sleep(moment)
        ended_before = process.poll() is not None
        running = bool(list(out.glob(".cohortflow/runs/*/run.json")))
        process.send_signal(number)
        text, _ = process.communicate(timeout=200)
        if running and not ended_before and number != signal.SIGKILL:
            summary = json.loads((out / "batch_summary.json").read_text())
            complete = summary["counts"]["done"] + summary["counts"]["skipped"] == 2
            assert process.returncode == 128 + number or complete, text
        wait_until_nothing_runs(tmp_path, 60)
        if ended_before:
            shutil.rmtree(out)
    ended = cohortflow(*RUN, study, out, cwd=tmp_path)
    assert ended.status == 0, ended.text
    assert outputs(out) == expected
    assert not list((out / ".cohortflow" / "work").glob("*"))


@pytest.mark.parametrize("number", SIGNALS)
def test_a_stopped_bare_run_leaves_nothing_and_resumes(
    number: signal.Signals, study: Path, expected: dict[str, str], root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [BINARIES / "nextflow", "run", root / "main.nf", "-ansi-log", "false"]
    command += ["--input", study, "--outdir", out, *SHORT, "-resume"]
    for moment in moments(MOMENTS, f"bare {number}"):
        process = start(command, tmp_path)
        time.sleep(moment)
        process.send_signal(number)
        process.communicate(timeout=200)
        wait_until_nothing_runs(tmp_path, 60)
    ended = bare(root, study, out, "-resume", cwd=tmp_path)
    assert ended.status == 0, ended.text
    assert outputs(out) == expected


def test_a_signal_in_the_middle_is_reported_as_interrupted(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start([BINARIES / "cohortflow", *RUN, study, out, "--jobs", "1"], tmp_path)
    wait_for_a_task(out)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=200)
    assert process.returncode == 143
    summary = json.loads((out / "batch_summary.json").read_text())
    assert summary["counts"]["interrupted"] == 2
    assert {unit["category"] for unit in summary["units"]} == {"INTERRUPTED"}


def test_signals_that_the_shell_ignores_are_heard(study: Path, tmp_path: Path) -> None:
    """A shell starts background jobs with SIGINT ignored."""
    out = tmp_path / "out"
    script = f"trap '' INT TERM; exec '{BINARIES}/cohortflow' run dwi '{study}' '{out}'"
    process = start(["bash", "-c", script], tmp_path)
    wait_for_a_task(out)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=200)
    assert process.returncode == 130
    wait_until_nothing_runs(tmp_path, 60)


def wait_until_marked(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process has its environment, which Linux fills in a moment after its start."""
    until = time.monotonic() + 20
    while not Path(f"/proc/{process.pid}/environ").read_bytes():
        assert time.monotonic() < until, "the process never had an environment"
        time.sleep(0.01)


def test_what_a_killed_run_left_is_ended_by_the_next_run(study: Path, tmp_path: Path) -> None:
    """A step that outlived everything is found by its run's label; a stranger's is not touched."""
    out = tmp_path / "out"
    first = cohortflow(*RUN, study, out, "--limit", "1", cwd=tmp_path)
    assert first.status == 0, first.text
    run = next((out / ".cohortflow" / "runs").iterdir()).name
    environment = {**os.environ, "COHORTFLOW_RUN": run}
    stranger = {**os.environ, "COHORTFLOW_RUN": f"{run}x"}
    with (
        subprocess.Popen(["sleep", "300"], env=environment) as left,
        subprocess.Popen(["sleep", "300"], env=stranger) as other,
    ):
        try:
            wait_until_marked(left)
            assert list(leftovers.processes([run])) == [left.pid]
            ended = cohortflow(*RUN, study, out, "--limit", "1", cwd=tmp_path)
            assert ended.status == 0, ended.text
            assert left.wait(5) == -signal.SIGTERM
            assert other.poll() is None
            assert "an earlier run left" in ended.err
        finally:
            left.kill()
            other.kill()


def test_podmans_shared_process_is_not_taken_for_a_steps() -> None:
    """The first podman of a user leaves one behind, with the environment of who started it."""
    environment = {**os.environ, "COHORTFLOW_RUN": "run-of-a-pause"}
    # bash takes the words after its script as its arguments, and the name that it is called by.
    command = ["catatonit", "-P", "-c", "sleep 60; true"]
    step = subprocess.Popen(["sleep", "60"], env=environment)
    pause = subprocess.Popen(command, executable="/bin/bash", env=environment)
    try:
        time.sleep(0.5)
        found = set(leftovers.processes(["run-of-a-pause"]))
        assert step.pid in found
        assert pause.pid not in found
    finally:
        for process in (step, pause):
            process.kill()
            process.wait()
        leftovers.end(["run-of-a-pause"], 0)

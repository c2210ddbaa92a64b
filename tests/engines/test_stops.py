"""A run that is stopped or killed: the next one finds no container and no job, and goes on.

`make engines` stops ten times by each signal; `make test` once.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.running import RUN, Engine, checkout, steps
from pipeline.driving import cohortflow, outputs

pytestmark = pytest.mark.pipeline

MOMENTS = 10 if os.environ.get("COHORTFLOW_ENGINES") == "whole" else 1
# The front door treats SIGINT as it treats SIGTERM (tests/faults).
SIGNALS = [signal.SIGTERM, signal.SIGKILL, *([signal.SIGINT] if MOMENTS > 1 else [])]
LONGEST = 12.0

# While the file `wait` is there, the step does not end.
TOOL = r"""#!/usr/bin/env python3
import os, sys, time
from pathlib import Path

while Path(__file__).with_name("wait").exists():
    time.sleep(0.1)
os.execv(__file__ + "-real", sys.argv)
"""


@pytest.fixture(scope="module")
def copy(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout(root, tmp_path_factory.mktemp("stops") / "checkout", dwi_convert=TOOL)


@pytest.fixture(scope="module")
def study(make_study: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("stops") / "study", "01", "02")


@pytest.fixture(scope="module")
def expected(study: Path) -> dict[str, str]:
    """Return the bytes of a run that nobody stopped."""
    out = study.parent / "whole"
    ended = cohortflow(*RUN, study, out, cwd=study.parent)
    assert ended.status == 0, ended.text
    return outputs(out)


def start(engine: Engine, command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, cwd=engine.folder, env=engine.variables(), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def stop(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal; SIGKILL goes to Nextflow, too, so that nobody is left to tidy up."""
    if number == signal.SIGKILL:
        for child in below(process.pid):
            if "nextflow.cli" in child.read_text(errors="replace"):
                os.kill(int(child.parent.name), signal.SIGKILL)
    process.send_signal(number)
    process.wait(90)


def below(pid: int) -> list[Path]:
    """Return the command lines of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Path(f"/proc/{one}/cmdline") for one in (pid, *children)]


def wait_for_a_step(engine: Engine, out: Path) -> None:
    deadline = time.monotonic() + 300
    while not steps(out / ".cohortflow" / "nextflow" / "work"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert engine.left(out)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("name", ["podman", "slurm"])
def test_the_run_after_a_stop_finds_nothing_of_it_and_gives_the_same_bytes(
    name: str,
    number: signal.Signals,
    engine_of: Callable[[str], Engine],
    study: Path,
    copy: Path,
    expected: dict[str, str],
    tmp_path: Path,
) -> None:
    engine, out = engine_of(name), tmp_path / "out"
    command = engine.command(study, out, root=copy)
    chance, wait = random.Random(f"{name} {number}"), copy / "bin" / "wait"
    try:
        for _ in range(MOMENTS - 1):  # at any moment, before a task and after the end, too
            process = start(engine, command)
            time.sleep(chance.uniform(0.5, LONGEST))
            stop(process, number)
        wait.touch()  # and once in the middle of a step that goes on when nobody ends it
        if MOMENTS > 1:
            out = tmp_path / "another"
            command = engine.command(study, out, root=copy)
        process = start(engine, command)
        wait_for_a_step(engine, out)
        stop(process, number)
        if number == signal.SIGKILL:
            assert engine.left(out)
    finally:
        wait.unlink(missing_ok=True)
    for folder in sorted({out, tmp_path / "out"}):
        ended = engine.run(study, folder, root=copy)
        assert ended.status == 0, ended.text
        assert not engine.left(folder)
        assert outputs(folder) == expected


@pytest.mark.parametrize("name", ["podman", "slurm"])
def test_a_bare_run_ends_what_a_killed_bare_run_left(
    name: str,
    engine_of: Callable[[str], Engine],
    study: Path,
    copy: Path,
    expected: dict[str, str],
    tmp_path: Path,
) -> None:
    engine, out, wait = engine_of(name), tmp_path / "out", copy / "bin" / "wait"
    wait.touch()
    try:
        process = start(engine, engine.bare_command(study, out, root=copy))
        deadline = time.monotonic() + 120
        while not steps(engine.folder / "work"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.kill()
        process.wait()
        assert engine.left(out)
    finally:
        wait.unlink(missing_ok=True)
    ended = engine.bare(study, out, "-resume", root=copy)
    assert ended.status == 0, ended.text
    assert not engine.left(out)
    assert outputs(out) == expected


def test_a_status_that_a_cancelled_job_left_is_not_taken_for_the_next_runs(
    engine_of: Callable[[str], Engine], study: Path, root: Path, tmp_path: Path
) -> None:
    """Nextflow uses the folder of a task again whose run was killed, with all that is in it."""
    copy = checkout(root, tmp_path / "checkout", core_probe=TOOL)
    engine, out, wait = engine_of("slurm"), tmp_path / "out", copy / "bin" / "wait"
    wait.touch()
    process = start(engine, engine.command(study, out, root=copy))
    deadline = time.monotonic() + 300
    while not (began := list(out.glob(".cohortflow/nextflow/work/*/*/.supervise.json"))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    stop(process, signal.SIGKILL)
    wait.unlink()
    engine.execute(["scancel", "--state=RUNNING"])
    engine_is_idle(engine, out)
    began[0].with_name(".exitcode").write_text("143")  # as a wrapper that was told in time does
    ended = engine.run(study, out, root=copy)
    assert ended.status == 0, ended.text


def engine_is_idle(engine: Engine, out: Path) -> None:
    deadline = time.monotonic() + 300
    while engine.left(out):
        assert time.monotonic() < deadline
        time.sleep(0.2)

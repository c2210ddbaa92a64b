"""The kernel's word that it ended a process for lack of memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cohortflow.core import memory
from core.supervised import Bench

V1 = "9:name=systemd:/x\n4:cpu,memory:/job/7\n0::/\n"
V1_CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
V2 = "0::/system.slice/job/7\n"
V2_EVENTS = "low 0\nhigh 1\nmax 9\noom 4\noom_kill 3\noom_group_kill 0\n"

# The real supervisor with a kernel whose counts are given, first and last.
DRIVER = """
import os, sys
from cohortflow.core import memory, supervise
counts = [int(count) for count in sys.argv[1:3]]
memory.kills = lambda: counts.pop(0)
environment = dict(os.environ)
memory.alone = lambda: sys.argv[3] != "job"
if sys.argv[3] == "shared":
    environment["COHORTFLOW_ENGINE"] = str(os.getppid())
sys.exit(supervise.run(["bash", "-c", sys.argv[4]], environment, "."))
"""


def machine(base: Path, groups: str, files: dict[str, str]) -> tuple[str, str]:
    """Write what a kernel shows of the control groups of a process."""
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text)
    return str(base / "proc"), str(base / "groups")


@pytest.mark.parametrize(
    ("groups", "file", "text"),
    [
        (V1, "groups/memory/job/7/memory.oom_control", V1_CONTROL),
        (V1, "groups/memory/memory.oom_control", V1_CONTROL),
        (V1, "groups/memory/7/memory.oom_control", V1_CONTROL),
        ("4:memory:/\n", "groups/memory/memory.oom_control", V1_CONTROL),
        (V2, "groups/system.slice/job/7/memory.events", V2_EVENTS),
        (V2, "groups/memory.events", V2_EVENTS),
        ("0::/\n", "groups/memory.events", V2_EVENTS),
        ("0::/../../job\n", "groups/memory.events", V2_EVENTS),
    ],
    ids=[
        "version 1",
        "version 1 in a container",
        "version 1 in a container within",
        "version 1 in a namespace",
        "version 2",
        "version 2 in a container",
        "version 2 in a namespace",
        "version 2 outside its namespace",
    ],
)
def test_the_kernels_count_is_found(tmp_path: Path, groups: str, file: str, text: str) -> None:
    proc, mounted = machine(tmp_path, groups, {file: text})
    assert memory.kills(proc, mounted) == 3


def test_the_nearest_group_counts(tmp_path: Path) -> None:
    files = {
        "groups/memory/job/7/memory.oom_control": V1_CONTROL,
        "groups/memory/memory.oom_control": V1_CONTROL.replace("3", "8"),
    }
    assert memory.kills(*machine(tmp_path, V1, files)) == 3


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("", {}),
        (V1, {}),
        (V2, {}),
        (V1, {"groups/memory.events": V2_EVENTS}),  # memory is version 1's here
        (V1, {"groups/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\n"}),
    ],
)
def test_where_the_kernel_does_not_tell_there_is_none(
    tmp_path: Path, groups: str, files: dict[str, str]
) -> None:
    assert memory.kills(*machine(tmp_path, groups, files)) == 0


def test_there_is_an_answer_for_this_process() -> None:
    assert memory.kills() >= 0


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("run/.containerenv", "", True),
        (".dockerenv", "", True),
        ("proc/self/cgroup", "4:memory:/slurm/uid_1000/job_17/step_batch\n", True),
        ("proc/self/cgroup", "4:memory:/system.slice/slurmd.service\n", False),
    ],
)
def test_a_container_or_a_jobs_own_group_is_told(
    tmp_path: Path, file: str, text: str, expected: bool
) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    assert memory.alone(f"{tmp_path}/") is expected


@pytest.fixture
def bench(root: Path, tmp_path: Path, environment: dict[str, str]) -> Bench:
    return Bench(root / "bin" / "core-supervise", tmp_path, environment)


def end(bench: Bench, counts: tuple[int, int], where: str, script: str) -> int:
    first, last = map(str, counts)
    return subprocess.run(
        [sys.executable, "-c", DRIVER, first, last, where, script],
        cwd=bench.folder,
        env=bench.environment,
        check=False,
    ).returncode


@pytest.mark.parametrize(
    ("where", "script"),
    [
        ("own", "kill -KILL $$"),
        ("own", "(kill -KILL $BASHPID); exit $?"),
        ("own", "exit 1"),  # a tool whose worker was ended says no more than that
        ("shared", "kill -KILL $$"),
    ],
)
def test_a_step_that_the_kernel_ended_is_out_of_memory(
    bench: Bench, where: str, script: str
) -> None:
    assert end(bench, (2, 3), where, script) == 137
    record = bench.record()
    assert (record["exit"], record["reason"]) == (137, "memory")
    assert (bench.folder / "oom").exists()


@pytest.mark.parametrize(
    ("where", "counts", "script", "status"),
    [
        ("own", (2, 2), "kill -KILL $$", 137),  # somebody else's SIGKILL
        ("own", (2, 2), "exit 65", 65),
        ("own", (2, 3), "exit 0", 0),  # it did without what was ended
        ("shared", (2, 3), "exit 65", 65),  # what was ended may be another step's
        ("job", (2, 3), "exit 65", 65),  # of a scheduler that has no control groups
    ],
)
def test_otherwise_memory_is_not_to_blame(
    bench: Bench, where: str, counts: tuple[int, int], script: str, status: int
) -> None:
    assert end(bench, counts, where, script) == status
    record = bench.record()
    assert (record["exit"], record["reason"]) == (status, "")
    assert not (bench.folder / "oom").exists()

"""The supervisor: a step ends within its limits, with all its descendants, and is recorded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cohortflow.core import supervise

# A grandchild in a session of its own that ignores SIGTERM: what plain `kill` does not end.
STUBBORN = """
setsid bash -c 'trap "" TERM HUP INT; echo $$ > stubborn; while :; do sleep 0.1; done' &
while [ ! -s stubborn ]; do sleep 0.02; done
"""


class Bench:
    """Starts `core-supervise` in a folder and looks at what it leaves."""

    def __init__(self, tool: Path, folder: Path, environment: dict[str, str]) -> None:
        self.tool, self.folder, self.environment = tool, folder, environment

    def start(self, *command: str, limits: dict[str, str] | None = None, **more: Any) -> Any:
        names = {
            "COHORTFLOW_RUN": "run-1",
            "COHORTFLOW_UNIT": "sub-01",
            "COHORTFLOW_STEP": "DWI:DWI_MASK",
            "COHORTFLOW_ATTEMPT": "2",
            "COHORTFLOW_GRACE": "0.5",
        }
        return subprocess.Popen(
            [sys.executable, str(self.tool), *command],
            cwd=self.folder,
            env={**self.environment, **names, **(limits or {})},
            **more,
        )

    def shell(self, script: str, **more: Any) -> Any:
        return self.start("bash", "-c", script, **more)

    def record(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.folder / supervise.RECORD).read_text())
        return value

    def wait_for(self, name: str) -> str:
        """Wait until a file has content; return it."""
        path = self.folder / name
        until(lambda: path.exists() and path.read_text().endswith("\n"))
        return path.read_text().strip()


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def alive(pid: str) -> bool:
    """Tell whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def bench(root: Path, tmp_path: Path, environment: dict[str, str]) -> Bench:
    return Bench(root / "bin" / "core-supervise", tmp_path, environment)


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 0", 0),
        ("exit 1", 1),
        ("exit 65", 65),
        ("exit 255", 255),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
        ("kill -SEGV $$", 139),
    ],
)
def test_the_exit_status_passes_through(bench: Bench, script: str, status: int) -> None:
    assert bench.shell(script).wait() == status
    record = bench.record()
    assert record["exit"] == status
    assert record["reason"] == ""  # the supervisor ended nothing


@pytest.mark.parametrize(("command", "status"), [("./none", 127), ("/etc/passwd", 126)])
def test_what_cannot_be_started_says_so(bench: Bench, command: str, status: int) -> None:
    process = bench.start(command, stderr=subprocess.PIPE, text=True)
    _, said = process.communicate()
    assert process.returncode == status
    assert said.startswith(f"core-supervise: {command}: ")
    assert len(said.splitlines()) == 1
    assert bench.record()["exit"] == status


def test_the_record(bench: Bench) -> None:
    assert bench.shell("sleep 0.2; head -c 50000000 /dev/zero | tail -c 1 >/dev/null").wait() == 0
    record = bench.record()
    names = {key: record[key] for key in ("schema_version", "run", "unit", "step", "attempt")}
    assert names == {
        "schema_version": 1,
        "run": "run-1",
        "unit": "sub-01",
        "step": "mask",
        "attempt": 2,
    }
    assert 0.2 <= record["seconds"] < 20
    assert 1_000_000 < record["peak_memory_bytes"] < 1_000_000_000
    started = time.strptime(record["started"], "%Y-%m-%dT%H:%M:%SZ")
    assert abs(time.mktime(started) - time.mktime(time.gmtime())) < 60


def test_there_is_a_record_while_the_step_runs(bench: Bench) -> None:
    process = bench.shell("echo up > up; read line", stdin=subprocess.PIPE)
    bench.wait_for("up")
    assert bench.record()["exit"] is None
    process.communicate(b"go\n")
    assert process.returncode == 0
    assert bench.record()["exit"] == 0


def test_a_record_that_cannot_be_written_does_not_change_the_end(bench: Bench) -> None:
    limits = {"NXF_TASK_WORKDIR": "/nonexistent"}
    process = bench.shell("exit 65", limits=limits, stderr=subprocess.PIPE, text=True)
    _, said = process.communicate()
    assert process.returncode == 65
    assert "/nonexistent" in said


def test_input_and_output_pass_through(bench: Bench) -> None:
    pipe = subprocess.PIPE
    process = bench.shell("cat; echo err >&2", stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.communicate(b"\0some bytes\xff") == (b"\0some bytes\xff", b"err\n")


def test_the_time_limit_ends_everything(bench: Bench) -> None:
    began = time.monotonic()
    process = bench.shell(STUBBORN + "sleep 60", limits={"COHORTFLOW_TIME": "0.7"})
    assert process.wait() == 124
    assert time.monotonic() - began < 20
    assert not alive(bench.wait_for("stubborn"))
    record = bench.record()
    assert (record["exit"], record["reason"]) == (124, "time")
    assert record["seconds"] >= 1.2  # the limit and the time that was left to end well


def test_a_step_may_end_well_before_it_is_killed(bench: Bench) -> None:
    script = "trap 'echo tidied > tidied; exit 3' TERM; while :; do sleep 0.05; done"
    process = bench.shell(script, limits={"COHORTFLOW_TIME": "0.5", "COHORTFLOW_GRACE": "20"})
    assert process.wait() == 124
    assert bench.wait_for("tidied") == "tidied"
    assert bench.record()["seconds"] < 15  # nobody waits for what has ended


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR2"])
def test_a_signal_ends_everything(bench: Bench, name: str) -> None:
    number = signal.Signals[name]
    process = bench.shell(STUBBORN + "sleep 60")
    pid = bench.wait_for("stubborn")
    process.send_signal(number)
    until(lambda: bench.record()["reason"] == "signal")
    assert bench.record()["exit"] is None  # known at once; the end is still to come
    assert process.wait() == 128 + number
    assert not alive(pid)
    record = bench.record()
    assert (record["exit"], record["signal"]) == (128 + number, name)


def test_the_memory_limit_ends_everything(bench: Bench) -> None:
    hog = f"{sys.executable} -c \"x = b'x' * 300_000_000; import time; time.sleep(60)\""
    process = bench.shell(STUBBORN + hog, limits={"COHORTFLOW_MEMORY": "150e6"})
    assert process.wait() == 137
    assert not alive(bench.wait_for("stubborn"))
    record = bench.record()
    assert (record["exit"], record["reason"]) == (137, "memory")
    assert record["peak_memory_bytes"] > 150_000_000


def test_the_memory_of_all_processes_counts(bench: Bench) -> None:
    hog = f"{sys.executable} -c \"x = b'x' * 100_000_000; import time; time.sleep(60)\" & "
    process = bench.shell(hog * 3 + "wait", limits={"COHORTFLOW_MEMORY": "250e6"})
    assert process.wait() == 137


def test_what_runs_in_the_background_is_ended(bench: Bench) -> None:
    assert bench.shell(STUBBORN + "sleep 60 & echo $! > sleeper; exit 5").wait() == 5
    assert not alive(bench.wait_for("stubborn"))
    assert not alive(bench.wait_for("sleeper"))


def test_a_daemon_is_ended(bench: Bench) -> None:
    script = "(setsid bash -c '(sleep 60 & echo $! > daemon)' &) ; until [ -s daemon ]; do :; done"
    assert bench.shell(script).wait() == 0
    assert not alive(bench.wait_for("daemon"))


def test_signals_that_the_parent_ignores_or_blocks_work(bench: Bench) -> None:
    def parent() -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})

    process = bench.shell("exit 7", preexec_fn=parent)
    assert process.wait() == 7
    look = "import signal as s; print(s.getsignal(15), s.getsignal(13), s.pthread_sigmask(0, []))"
    process = bench.start(
        sys.executable, "-c", look, preexec_fn=parent, stdout=subprocess.PIPE, text=True
    )
    seen, _ = process.communicate()
    assert seen.split() == ["0", "1", "set()"]  # Python itself ignores SIGPIPE
    process = bench.shell("echo $$ > pid; exec sleep 60", preexec_fn=parent)
    pid = bench.wait_for("pid")
    process.terminate()
    assert process.wait() == 143
    assert not alive(pid)


def test_it_works_on_when_its_parent_was_killed(bench: Bench) -> None:
    """Nextflow may be killed; its tasks must still end at their limits."""
    tool = f"{sys.executable} {bench.tool} bash -c 'echo $$ > pid; exec sleep 60' & wait"
    parent = subprocess.Popen(
        ["bash", "-c", tool],
        cwd=bench.folder,
        env={**bench.environment, "COHORTFLOW_TIME": "1", "COHORTFLOW_GRACE": "0.5"},
        stdout=subprocess.PIPE,
    )
    pid = bench.wait_for("pid")
    parent.kill()
    parent.wait()
    assert alive(pid)
    until(lambda: bench.record()["exit"] == 124)
    assert not alive(pid)


def test_options_set_the_limits_by_hand(bench: Bench) -> None:
    process = bench.start("--time", "0.4", "--grace", "0.1", "sleep", "60")
    assert process.wait() == 124
    assert bench.start("--time", "30", "bash", "-c", "exit 9").wait() == 9


@pytest.mark.parametrize(
    ("text", "seconds"), [("60", 60.0), ("0.5", 0.5), ("", None), ("x", None), ("inf", None)]
)
def test_limits_come_by_environment(text: str, seconds: float | None) -> None:
    limit = supervise.limits({"COHORTFLOW_TIME": text, "COHORTFLOW_MEMORY": text})
    assert limit.seconds == seconds
    assert limit.memory == (None if seconds is None else int(seconds))
    assert limit.grace == 30


def test_descendants_are_all_generations(bench: Bench) -> None:
    script = "bash -c 'sleep 60 & echo $$ $! > pids; wait' & wait"
    process = bench.shell(script)
    pids = {int(pid) for pid in bench.wait_for("pids").split()}
    assert pids <= set(supervise.descendants(process.pid))
    assert os.getpid() not in supervise.descendants(process.pid)
    process.terminate()
    process.wait()
    assert list(supervise.descendants(process.pid)) == []

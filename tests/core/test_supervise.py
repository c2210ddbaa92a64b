"""The supervisor: a step ends within its limits, with all its descendants, and is recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cohortflow.core import processes, supervise
from cohortflow.core.records import _ERROR_LINE
from core.supervised import STUBBORN, Bench, alive, until
from engines.absent import absent


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
    process = bench.shell(STUBBORN + "sleep 60", limits={"COHORTFLOW_TIME": "3"})
    assert process.wait() == 124
    assert time.monotonic() - began < 20
    assert not alive(bench.wait_for("stubborn"))
    record = bench.record()
    assert (record["exit"], record["reason"]) == (124, "time")
    assert record["seconds"] >= 3.5  # the limit and the time that was left to end well


def test_a_step_may_end_well_before_it_is_killed(bench: Bench) -> None:
    script = "trap 'echo tidied > tidied; exit 3' TERM; while :; do sleep 0.05; done"
    process = bench.shell(script, limits={"COHORTFLOW_TIME": "3", "COHORTFLOW_GRACE": "20"})
    assert process.wait() == 124
    assert bench.wait_for("tidied") == "tidied"
    assert bench.record()["seconds"] < 15  # nobody waits for what has ended


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR2"])
def test_a_signal_ends_everything(bench: Bench, name: str) -> None:
    number = signal.Signals[name]
    process = bench.shell(STUBBORN + "sleep 60", limits={"COHORTFLOW_GRACE": "3"})
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
        env={**bench.environment, "COHORTFLOW_TIME": "5", "COHORTFLOW_GRACE": "0.5"},
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
    limit = supervise.Limits({"COHORTFLOW_TIME": text, "COHORTFLOW_MEMORY": text})
    assert limit.seconds == seconds
    assert limit.memory == (None if seconds is None else int(seconds))
    assert limit.grace == 30


def test_descendants_are_all_generations(bench: Bench) -> None:
    script = "bash -c 'sleep 60 & echo $$ $! > pids; wait' & wait"
    process = bench.shell(script)
    pids = {int(pid) for pid in bench.wait_for("pids").split()}
    assert pids <= set(processes.descendants(process.pid))
    assert os.getpid() not in processes.descendants(process.pid)
    process.terminate()
    process.wait()
    assert processes.descendants(process.pid) == []


def test_the_family_is_found_without_a_look_at_every_process(bench: Bench) -> None:
    """What a thread started is found, too: the kernel lists it with that thread."""
    started, done = threading.Event(), threading.Event()

    def start() -> None:
        process = bench.shell("sleep 60 & echo $$ $! > pids; wait")
        started.set()
        done.wait()
        process.terminate()
        process.wait()

    thread = threading.Thread(target=start)
    thread.start()
    try:
        assert started.wait(20)
        pids = {int(pid) for pid in bench.wait_for("pids").split()}
        assert pids <= set(processes.family())
        assert os.getpid() not in processes.family()
    finally:
        done.set()
        thread.join()
    assert not pids & set(processes.family())


def test_the_step_ends_with_its_engine(bench: Bench) -> None:
    tool = f"{sys.executable} {bench.tool} bash -c 'echo $$ > pid; exec sleep 60' & wait"
    engine = subprocess.Popen(
        ["bash", "-c", f"export COHORTFLOW_ENGINE=$$; {tool}"],
        cwd=bench.folder,
        env=bench.environment,
        stdout=subprocess.PIPE,
    )
    pid = bench.wait_for("pid")
    engine.kill()
    engine.wait()
    until(lambda: bench.record()["exit"] == 143)
    assert bench.record()["reason"] == "engine"
    assert not alive(pid)


@pytest.mark.parametrize("engine", ["another", "none"])
def test_a_number_that_is_not_the_engines_here_is_not_watched(bench: Bench, engine: str) -> None:
    """In a container the engine is out of sight, and its number may be another process's."""
    other = subprocess.Popen(["sleep", "0.3"])
    number = str(other.pid) if engine == "another" else "4194305"
    process = bench.shell("sleep 1.5; exit 5", limits={"COHORTFLOW_ENGINE": number})
    other.wait()
    assert process.wait() == 5


def test_the_mask_of_new_files_is_the_users(bench: Bench) -> None:
    limits = {"COHORTFLOW_UMASK": "0007"}
    assert bench.shell("umask > mask; touch made", limits=limits).wait() == 0
    assert bench.wait_for("mask") == "0007"
    for name in ("made", supervise.RECORD):
        assert (bench.folder / name).stat().st_mode & 0o777 == 0o660


@pytest.mark.parametrize("mask", ["", "rwx", "9"])
def test_without_a_mask_there_is_the_callers(bench: Bench, mask: str) -> None:
    process = bench.shell("umask > mask", limits={"COHORTFLOW_UMASK": mask}, umask=0o027)
    assert process.wait() == 0
    assert bench.wait_for("mask") == "0027"


def test_a_refused_task_says_what_the_scheduler_said(bench: Bench) -> None:
    words = "sbatch: error: Batch job submission failed:\n  Invalid account\n"
    limits = {"COHORTFLOW_REFUSED": words}
    process = bench.shell("echo ran > ran", limits=limits, stderr=subprocess.PIPE, text=True)
    _, said = process.communicate()
    assert process.returncode == 78
    assert said == (
        "ERROR CONFIG sub-01 sbatch: error: Batch job submission failed: Invalid account: "
        "ask for less, or correct the queue, account or limits of the profile\n"
    )
    line = _ERROR_LINE.search(said)
    assert line is not None
    assert line[3].rpartition(": ")[0].endswith("failed: Invalid account")
    assert not (bench.folder / "ran").exists()
    record = bench.record()
    assert (record["exit"], record["reason"], record["unit"]) == (78, "refused", "sub-01")


def test_as_the_first_process_of_a_container_it_gets_signals(bench: Bench) -> None:
    """The kernel drops those that such a process does not expect."""
    apart = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    probe = subprocess.run([*apart, "true"], check=False, capture_output=True, text=True)
    if probe.returncode:
        absent(f"no process namespaces here: {probe.stderr.strip()}")
    command = [sys.executable, str(bench.tool), "bash", "-c", STUBBORN + "sleep 60"]
    outside = subprocess.Popen(
        [*apart, "--kill-child", *command],
        cwd=bench.folder,
        env={**bench.environment, "COHORTFLOW_GRACE": "0.5", "COHORTFLOW_ENGINE": "2"},
    )
    bench.wait_for("stubborn")
    (first,) = [p for p in processes.family() if processes.parent(p) == outside.pid]
    os.kill(first, signal.SIGTERM)
    assert outside.wait() == 143
    record = bench.record()
    assert (record["exit"], record["reason"], record["signal"]) == (143, "signal", "SIGTERM")
    assert not alive(str(first))

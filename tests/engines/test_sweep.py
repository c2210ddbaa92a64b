"""The sweep on real engines: whose a container or job is decides, and nothing else."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from cohortflow.core import sweep
from cohortflow.core.outcome import Category, Failure
from cohortflow.core.sweep import Patience
from engines.absent import absent
from engines.slurm import Cluster
from engines.tiny import tiny_image

HERE = socket.gethostname()
Start = Callable[..., AbstractContextManager[Cluster]]


class Place(Protocol):
    """An engine in which a test leaves something, as a run of Nextflow does."""

    kind: str

    def leave(self, out: Path, run: str, host: str, pid: int, script: str = "sleep 600") -> str: ...

    def holds(self, one: str) -> bool: ...


class Containers:
    """Containers that podman starts; `kind` is the command that sweeps them."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.image = tiny_image()
        self.started: list[str] = []

    def start(self, *words: str) -> str:
        command = ["podman", "run", "--detach", "--network=none", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        self.started.append(done.stdout.strip())
        return self.started[-1]

    def leave(self, out: Path, run: str, host: str, pid: int, script: str = "sleep 600") -> str:
        return self.start(
            "--init", "--rm", *labels(out, run, host, pid), self.image, "sh", "-c", script
        )

    def holds(self, one: str) -> bool:
        done = subprocess.run(["podman", "container", "exists", one], check=False, timeout=60)
        return done.returncode == 0

    def clear(self) -> None:
        if self.started:
            subprocess.run(
                ["podman", "rm", "--force", "--time=0", "--ignore", *self.started],
                stdout=subprocess.DEVNULL, check=False, timeout=60,
            )  # fmt: skip


def labels(out: Path, run: str, host: str, pid: int) -> list[str]:
    marks = {"run": run, "out": sweep.label(out), "engine": f"{host}:{pid}"}
    return [f"--label=cohortflow.{name}={value}" for name, value in marks.items()]


class Jobs:
    """Jobs of a cluster."""

    kind = "slurm"

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.started: list[str] = []

    def leave(self, out: Path, run: str, host: str, pid: int, script: str = "sleep 600") -> str:
        return self.submit(script, f"--comment=cohortflow:{sweep.label(out)}:{run}:{host}:{pid}")

    def submit(self, script: str, *options: str) -> str:
        done = self.cluster.command(
            "sbatch", "--parsable", "--output=/dev/null", "--mem=10", *options, "--wrap", script
        )
        assert done.returncode == 0, done.stderr
        self.started.append(done.stdout.strip())
        return self.started[-1]

    def holds(self, one: str) -> bool:
        return one in {job.id.partition("_")[0] for job in self.cluster.jobs()}

    def clear(self) -> None:
        if self.started:
            self.cluster.command("scancel", *self.started)
            self.cluster.wait_until_empty()


@contextmanager
def docker_of_podman(folder: Path) -> Iterator[str]:
    """Let podman answer the docker command; yield what DOCKER_HOST names."""
    if shutil.which("docker") is None:
        absent("no docker: apt-get install docker.io")
    socket_of_it = folder / "docker.sock"
    url = f"unix://{socket_of_it}"
    service = subprocess.Popen(["podman", "system", "service", "--time=0", url])
    try:
        until(socket_of_it.exists)
        yield url
    finally:
        service.terminate()
        service.wait()


@pytest.fixture(scope="module")
def slurm(cluster: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("slurm"), nodes=2, cpus=8) as running:
        yield running


@pytest.fixture
def containers(podman: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Containers]:
    for name, value in podman.items():
        monkeypatch.setenv(name, value)
    started = Containers("podman")
    yield started
    started.clear()


@pytest.fixture
def jobs(slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    started = Jobs(slurm)
    yield started
    started.clear()


@pytest.fixture(params=sweep.KINDS)
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """Return each engine in turn."""
    if request.param == "slurm":
        yield request.getfixturevalue("jobs")
        return
    containers: Containers = request.getfixturevalue("containers")
    containers.kind = request.param
    if request.param == "podman":
        yield containers
        return
    with docker_of_podman(tmp_path) as url:
        monkeypatch.setenv("DOCKER_HOST", url)
        yield containers


@contextmanager
def process(*words: str) -> Iterator[int]:
    """Run a process with some words in its command line; yield its id."""
    running = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", *words])
    try:
        yield running.pid
    finally:
        running.kill()
        running.wait()


@pytest.fixture
def gone() -> int:
    """Return the id of a process that has ended."""
    with process("nextflow") as pid:
        pass
    return pid


def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def swept(place: Place, out: Path, *dead: str) -> sweep.Swept:
    return sweep.sweep(out, dead, [place.kind])


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return an output folder; what is left carries its name only."""
    return tmp_path / "out"


def test_what_is_left_by_a_run_whose_nextflow_is_gone_is_ended(
    place: Place, out: Path, gone: int
) -> None:
    left = [place.leave(out, "r1", HERE, gone), place.leave(out, "r2", HERE, gone)]
    assert swept(place, out).ended == {place.kind: 2}
    assert not any(place.holds(one) for one in left)
    assert swept(place, out).lines() == []


def test_what_is_left_by_a_run_whose_process_is_another_program_now_is_ended(
    place: Place, out: Path
) -> None:
    with process("something else") as pid:
        left = place.leave(out, "r1", HERE, pid)
        assert swept(place, out).ended == {place.kind: 1}
    assert not place.holds(left)


def test_another_output_s_is_never_touched(place: Place, out: Path, gone: int) -> None:
    other = place.leave(out.with_name("other"), "r1", HERE, gone)
    assert swept(place, out, "r1").lines() == []
    assert place.holds(other)


def test_a_working_nextflow_s_is_never_touched(place: Place, out: Path) -> None:
    with process("nextflow", "run", "--run_id", "r1") as pid:
        running = place.leave(out, "r1", HERE, pid)
        assert swept(place, out).lines() == []
        assert swept(place, out, "r1").lines() == []
        assert place.holds(running)
    assert swept(place, out).ended == {place.kind: 1}


def test_a_run_that_is_known_to_be_over_is_ended_wherever_its_nextflow_was(
    place: Place, out: Path
) -> None:
    with process("nextflow", "run", "--run_id", "r9") as pid:  # the process id was given again
        left = [place.leave(out, "r1", "elsewhere", 1), place.leave(out, "r2", HERE, pid)]
        assert swept(place, out, "r1", "r2").ended == {place.kind: 2}
    assert not any(place.holds(one) for one in left)


def test_another_machine_s_is_left_alone_and_told(place: Place, out: Path, gone: int) -> None:
    unknown = place.leave(out, "r1", "elsewhere", gone)
    found = swept(place, out, "r2")
    assert (found.ended, found.silent) == ({place.kind: 0}, ())
    assert len(found.left) == 1
    assert "run r1" in found.left[0]
    assert "elsewhere" in found.left[0]
    assert place.holds(unknown)


def test_a_dry_run_ends_nothing(place: Place, out: Path, gone: int) -> None:
    left = place.leave(out, "r1", HERE, gone)
    assert sweep.sweep(out, kinds=[place.kind], dry_run=True).ended == {place.kind: 1}
    assert place.holds(left)


def test_what_carries_no_label_is_never_touched(
    containers: Containers, jobs: Jobs, out: Path
) -> None:
    one = containers.start("--init", "--rm", containers.image, "sleep", "600")
    other = jobs.submit("sleep 600", "--comment=mine")
    assert sweep.sweep(out, ["r1", ""], ["podman", "slurm"]).lines() == []
    assert containers.holds(one)
    assert jobs.holds(other)


def test_a_container_that_ignores_sigterm_is_killed_after_its_grace(
    containers: Containers, out: Path, gone: int, tmp_path: Path
) -> None:
    script = "trap '' TERM; echo trapped; while :; do sleep 1; done"
    left = containers.leave(out, "r1", HERE, gone, script)
    until(lambda: subprocess.check_output(["podman", "logs", left]))
    sweep.sweep(out, kinds=["podman"], patience=Patience(grace=1))
    assert not containers.holds(left)


@pytest.mark.parametrize("state", ["created", "exited", "paused"])
def test_a_container_that_does_not_run_is_removed_too(
    containers: Containers, out: Path, gone: int, state: str
) -> None:
    marks = labels(out, "r1", HERE, gone)
    if state == "created":
        command = ["podman", "create", "--network=none", *marks, containers.image, "sleep", "600"]
        left = subprocess.check_output(command, text=True).strip()
        containers.started.append(left)
    else:
        left = containers.start(
            *marks, containers.image, "sleep", "0" if state == "exited" else "600"
        )
    if state == "paused":
        paused = subprocess.run(["podman", "pause", left], capture_output=True, check=False)
        if paused.returncode:
            absent(paused.stderr)
    look = ["podman", "inspect", "--format={{.State.Status}}", left]
    until(lambda: subprocess.check_output(look, text=True).strip() == state)
    assert sweep.sweep(out, kinds=["podman"]).ended == {"podman": 1}
    assert not containers.holds(left)


def test_jobs_that_wait_and_arrays_are_cancelled(jobs: Jobs, out: Path, gone: int) -> None:
    mark = f"--comment=cohortflow:{sweep.label(out)}:r1:{HERE}:{gone}"
    jobs.submit("sleep 600", mark, "--hold")
    jobs.submit("sleep 600", mark, "--array=1-40%3")
    others = jobs.submit("sleep 600", "--array=1-2", "--comment=mine")
    assert swept(jobs, out).ended == {"slurm": 41}
    assert {job.comment for job in jobs.cluster.jobs()} == {"mine"}
    assert jobs.holds(others)


def test_the_sweep_waits_until_a_job_s_last_process_has_ended(
    jobs: Jobs, out: Path, gone: int, tmp_path: Path
) -> None:
    """Or it would write into a work folder that the next run uses."""
    beat = tmp_path / "beat"
    left = jobs.leave(
        out, "r1", HERE, gone, f"trap '' TERM; while :; do date +%s.%N >{beat}; sleep 0.1; done"
    )
    until(beat.exists)
    assert swept(jobs, out).ended == {"slurm": 1}
    assert not jobs.holds(left)
    written = beat.read_text()
    time.sleep(0.5)
    assert beat.read_text() == written


def test_another_user_s_job_is_never_touched(jobs: Jobs, out: Path, gone: int) -> None:
    mark = f"--comment=cohortflow:{sweep.label(out)}:r1:{HERE}:{gone}"
    theirs = jobs.submit("sleep 600", mark, "--uid=65534", "--hold", "--chdir=/")
    assert swept(jobs, out).lines() == []
    assert jobs.holds(theirs)


def test_a_controller_that_is_down_is_told_in_one_line(
    cluster: Start, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster(tmp_path / "slurm", nodes=1) as slurm:
        monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
        slurm.kill_controller()
        found = sweep.sweep(out, kinds=["slurm"], patience=Patience(answer=5))
    assert found.ended == {}
    assert len(found.silent) == 1
    assert found.silent[0].startswith("slurm does not answer")


def test_a_job_whose_node_does_not_answer_is_a_failure(
    cluster: Start, tmp_path: Path, out: Path, gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster(tmp_path / "slurm", nodes=1) as slurm:
        monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
        left = Jobs(slurm).leave(out, "r1", HERE, gone)
        until(lambda: [job.state for job in slurm.jobs()] == ["RUNNING"])
        slurm.kill_node("n1")
        with pytest.raises(Failure) as caught:
            sweep.sweep(out, kinds=["slurm"], patience=Patience(end=3))
    assert caught.value.category is Category.TEMPORARY
    assert f"squeue --jobs={left}" in caught.value.remedy

"""The cluster that other tests run on: it starts, refuses, forgets nothing and leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from engines.ending import started_for
from engines.slurm import Cluster

Start = Callable[..., AbstractContextManager[Cluster]]


@pytest.fixture(scope="module")
def slurm(cluster: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return two nodes with all that makes sbatch refuse; the second one sees no `hidden`."""
    base = tmp_path_factory.mktemp("slurm")
    hidden = base / "hidden"
    hidden.mkdir()
    (hidden / "there").touch()
    with cluster(
        base / "cluster", cpus=2, max_memory=1000, partitions={"second": "Nodes=n2 MaxTime=1"},
        unshared={"n2": hidden},
    ) as running:  # fmt: skip
        yield running


def submit(slurm: Cluster, script: str, *options: str) -> str:
    done = slurm.command("sbatch", "--parsable", "--output=/dev/null", *options, "--wrap", script)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def appears(path: Path) -> str:
    until = time.monotonic() + 20
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < until, f"no {path}"
        time.sleep(0.05)
    return path.read_text()


def test_jobs_run_on_both_nodes_and_an_unshared_folder_is_empty_on_one(
    slurm: Cluster, tmp_path: Path
) -> None:
    hidden = slurm.folder.parent / "hidden"
    for node in slurm.names:
        submit(slurm, f"ls {hidden} | wc -l >{tmp_path}/{node}", f"--nodelist={node}")
    assert appears(tmp_path / "n1") == "1\n"
    assert appears(tmp_path / "n2") == "0\n"
    slurm.wait_until_empty()


@pytest.mark.parametrize("crash", [False, True])
def test_a_job_survives_its_controller(slurm: Cluster, tmp_path: Path, crash: bool) -> None:
    # slurmctld may take five seconds to write it down: the job lasts until it is told to end.
    waits = f"until [ -e {tmp_path}/go ]; do sleep 0.1; done; echo done >{tmp_path}/end"
    submit(slurm, waits, "--comment=mine")
    try:
        if crash:
            slurm.wait_until_written()
        slurm.restart_controller(crash=crash)
        assert [job.comment for job in slurm.jobs()] == ["mine"]
    finally:
        (tmp_path / "go").touch()
    assert appears(tmp_path / "end") == "done\n"
    slurm.wait_until_empty()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--mem=2000"], "Memory required by task is not available"),
        (["--partition=third"], "invalid partition specified: third"),
        (["--partition=second", "--time=10"], "Requested time limit is invalid"),
    ],
)
def test_sbatch_refuses_what_the_cluster_cannot_give(
    slurm: Cluster, options: list[str], words: str
) -> None:
    done = slurm.command("sbatch", *options, "--wrap", "true")
    assert done.returncode == 1
    assert words in done.stderr
    assert not slurm.jobs()


def test_sbatch_refuses_jobs_over_the_submit_limit(cluster: Start, tmp_path: Path) -> None:
    with cluster(tmp_path / "slurm", nodes=1, submit_limit=2) as slurm:
        said = [slurm.command("sbatch", "--hold", "--wrap", "true") for _ in range(3)]
    assert [done.returncode for done in said] == [0, 0, 1]
    assert "job submit limit" in said[-1].stderr


KILLED = """
import os, sys, time
from pathlib import Path
from engines.slurm import cluster

with cluster(Path(sys.argv[1]), nodes=1) as slurm:
    slurm.command("sbatch", "--output=/dev/null", "--wrap", "setsid sleep 1000 & echo >up; wait")
    while not (slurm.folder / "up").exists():
        time.sleep(0.05)
    os.kill(os.getpid(), int(sys.argv[2]))
"""


@pytest.mark.parametrize("signal", ["9", "2"])
def test_nothing_is_left_when_the_test_is_killed(
    slurm: Cluster, root: Path, tmp_path: Path, signal: str
) -> None:
    conf = tmp_path / "slurm" / "slurm.conf"
    (tmp_path / "slurm").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(conf.parent), signal], cwd=tmp_path / "slurm",
        env={**os.environ, "PYTHONPATH": str(root / "tests")}, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert (conf.parent / "up").exists(), done.stderr
    until = time.monotonic() + 10
    while started_for(str(conf)):
        assert time.monotonic() < until, "left behind"
        time.sleep(0.05)
    assert slurm.answers()


def test_children_see_the_cluster_by_one_variable(slurm: Cluster) -> None:
    environment: Mapping[str, str] = slurm.environment
    assert list(environment) == ["SLURM_CONF"]

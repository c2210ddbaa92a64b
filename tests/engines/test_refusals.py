"""What a scheduler or a runtime refuses is said in one line, in its own words; nothing hangs."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from engines.running import RUN, START, Engine, checkout, steps
from engines.slurm import Cluster
from pipeline.driving import cohortflow, execute, outputs

pytestmark = pytest.mark.pipeline

Start = Callable[..., AbstractContextManager[Cluster]]


@pytest.fixture(scope="module")
def study(make_study: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("refusals") / "study", "01", "02")


def units(out: Path) -> dict[str, dict[str, Any]]:
    listed = json.loads((out / "batch_summary.json").read_text())["units"]
    return {unit["id"]: unit for unit in listed}


def on(cluster: Cluster, folder: Path) -> Engine:
    return Engine("slurm", "slurm", cluster.environment, folder)


def test_a_task_that_asks_for_too_much_fails_its_unit_alone(
    cluster: Start, study: Path, root: Path, tmp_path: Path
) -> None:
    with cluster(tmp_path / "slurm", nodes=1, max_memory=3500) as running:
        engine, out = on(running, tmp_path), tmp_path / "out"
        config = engine.config(
            "process { withName: 'DWI_MASK' {",
            "    memory = { task.tag == 'sub-01' ? 9.GB : 1.GB }",
            "} }",
        )
        ended = engine.run(study, out, root=root, config=config)
    assert ended.status == 1, ended.text
    refused, other = units(out)["sub-01"], units(out)["sub-02"]
    assert (refused["category"], refused["step"]) == ("CONFIG", "mask")
    assert "Memory" in refused["message"]
    assert "sbatch: error" in refused["message"]
    assert "ask for less" in refused["remedy"]
    assert other["status"] == "done"


FAILS_ONCE = r"""#!/usr/bin/env python3
import os, sys

if os.environ["COHORTFLOW_ATTEMPT"] == "1":
    sys.exit(75)
os.execv(__file__ + "-real", sys.argv)
"""


def test_a_retry_that_asks_for_too_much_fails_its_unit_alone(
    cluster: Start, study: Path, root: Path, tmp_path: Path
) -> None:
    copy = checkout(root, tmp_path / "checkout", dwi_mask=FAILS_ONCE)
    with cluster(tmp_path / "slurm", nodes=1, max_memory=3500) as running:
        engine, out = on(running, tmp_path), tmp_path / "out"
        config = engine.config(
            "process { withName: 'DWI_MASK' {",
            "    memory = { task.tag == 'sub-01' && task.attempt > 1 ? 9.GB : 1.GB }",
            "} }",
        )
        ended = engine.run(study, out, root=copy, config=config)
    assert ended.status == 1, ended.text
    assert units(out)["sub-01"]["category"] == "CONFIG"
    assert "Memory" in units(out)["sub-01"]["message"]
    assert units(out)["sub-02"]["status"] == "done"


def test_a_wrong_partition_is_told_before_any_unit_starts(
    cluster: Start, study: Path, root: Path, tmp_path: Path
) -> None:
    with cluster(tmp_path / "slurm", nodes=1) as running:
        engine, out = on(running, tmp_path), tmp_path / "out"
        ended = engine.run(study, out, root=root, config=engine.config("params.queue = 'nowhere'"))
    assert ended.status == 3, ended.text
    assert "invalid partition specified: nowhere" in ended.err
    assert not list(out.glob("sub-*"))


def test_a_submit_limit_ends_the_run_with_the_schedulers_words(
    cluster: Start, study: Path, root: Path, tmp_path: Path
) -> None:
    with cluster(tmp_path / "slurm", nodes=1, submit_limit=3) as running:
        engine, out = on(running, tmp_path), tmp_path / "out"
        config = engine.config("executor.retry.maxAttempts = 2", "executor.retry.delay = '300ms'")
        ended = engine.run(study, out, root=root, config=config)
        assert ended.status == 1, ended.text
        refused = [unit for unit in units(out).values() if unit["category"] == "TEMPORARY"]
        assert refused, ended.text
        assert "job submit limit" in refused[0]["message"]
        assert not engine.left(out)


def test_a_scheduler_that_restarts_loses_nothing(
    cluster: Start, study: Path, root: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    assert cohortflow(*RUN, study, whole, cwd=tmp_path).status == 0
    with cluster(tmp_path / "slurm", nodes=1) as running:
        engine, out = on(running, tmp_path), tmp_path / "out"

        def restart() -> None:
            deadline = time.monotonic() + 300
            while not steps(out / ".cohortflow" / "nextflow" / "work"):
                if time.monotonic() > deadline:
                    return
                time.sleep(0.1)
            running.restart_controller(pause=3)
            restarted.set()

        restarted = threading.Event()
        thread = threading.Thread(target=restart)
        thread.start()
        ended = engine.run(study, out, root=root)
        thread.join()
    assert restarted.is_set()
    assert ended.status == 0, ended.text
    assert outputs(out) == outputs(whole)


def test_a_work_folder_that_a_node_does_not_see_is_told_by_the_probe(
    cluster: Start, study: Path, root: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with cluster(tmp_path / "slurm", nodes=1, unshared={"n1": work}) as running:
        engine, out = on(running, tmp_path), tmp_path / "out"
        ended = engine.run(study, out, "--work-dir", work, root=root)
    assert ended.status == 3, ended.text
    assert f"no node of the cluster sees the work folder {work}" in ended.err
    assert not list(out.glob("sub-*"))


def test_a_missing_image_is_told_before_anything_is_written(
    study: Path, root: Path, tmp_path: Path
) -> None:
    copy, out = checkout(root, tmp_path / "checkout"), tmp_path / "out"
    command = [sys.executable, "-c", START, copy / "bin", *RUN, study, out]
    ended = execute([*command, "--profile", "charliecloud"], tmp_path)
    assert ended.status == 3, ended.text
    assert ended.err.startswith(f"ERROR CONFIG - the image {copy}/.images/cohortflow-dwi-")
    assert ended.err.count("\n") == 1
    assert "build.sh" in ended.err
    assert not out.exists()

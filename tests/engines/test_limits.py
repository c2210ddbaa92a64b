"""Memory and time limits hold in containers, on a cluster, and in both: category, retries, rest."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.running import Engine, checkout

pytestmark = pytest.mark.pipeline

TOOL = r'''#!/usr/bin/env python3
"""Needs memory or time, as the unit's name asks."""
import os, signal, subprocess, sys, time
from pathlib import Path

word = sys.argv[sys.argv.index("--unit") + 1].removeprefix("sub-")
if word in {"hungry", "greedy"}:
    block = bytearray({"hungry": 300, "greedy": 1500}[word] * 1_000_000)
    time.sleep(3)
if word == "stubborn":
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", code, "stubborn-child"], start_new_session=True)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
os.execv(Path(__file__).with_name("dwi-convert-real"), sys.argv)
'''
# The step has 20 s: Nextflow's own limit is a minute longer.
LIMITS = """
params.max_memory = '800 MB'
process {
    withName: 'DWI_CONVERT' {
        memory = { task.tag == 'sub-good' ? 600.MB : [64.MB, 600.MB, 1200.MB][task.attempt - 1] }
        time   = { task.tag == 'sub-stubborn' ? 80.s : 10.min }
    }
}
"""
LEAST = {"hungry": 2, "greedy": 3, "stubborn": 1, "good": 1}


@pytest.fixture(scope="module")
def copy(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout(root, tmp_path_factory.mktemp("limits") / "checkout", dwi_convert=TOOL)


@pytest.fixture(scope="module")
def study(make_study: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("limits") / "study", *LEAST)


@pytest.mark.parametrize("name", ["podman", "slurm", "slurm,podman"])
def test_what_exceeds_its_limits_is_ended_and_named_and_the_others_go_on(
    name: str, engine_of: Callable[[str], Engine], study: Path, copy: Path, tmp_path: Path
) -> None:
    engine, out = engine_of(name), tmp_path / "out"
    config = engine.config(LIMITS)
    ended = engine.run(study, out, root=copy, config=config)
    assert ended.status == 1, ended.text
    listed = json.loads((out / "batch_summary.json").read_text())["units"]
    units = {unit["id"].removeprefix("sub-"): unit for unit in listed}
    (run,) = (out / ".cohortflow" / "runs").iterdir()
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    tried = [record for record in records if record["step"] == "convert"]

    assert {name: unit["category"] for name, unit in units.items()} == {
        "hungry": None,
        "greedy": "OUT_OF_MEMORY",
        "stubborn": "TIMEOUT",
        "good": None,
    }, ended.text
    attempts = Counter(record["unit"].removeprefix("sub-") for record in tried)
    assert attempts == LEAST
    first = next(r for r in tried if r["unit"] == "sub-hungry" and r["attempt"] == 1)
    assert first["category"] == "OUT_OF_MEMORY"
    assert not engine.left(out)
    assert not stubborn()


def stubborn() -> list[str]:
    """List processes of the step that ignores SIGTERM; what was killed may take a moment."""
    deadline = time.monotonic() + 5
    while found := [
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if "stubborn-child" in words(path)
    ]:
        if time.monotonic() > deadline:
            return found
        time.sleep(0.1)
    return []


def words(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""

"""Every way that a step can end, in one batch that goes on: category, retries, verdict, logs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cohortflow.core.outcome import OUTCOMES, Category
from pipeline.driving import BINARIES, PARTIAL, RUN

pytestmark = pytest.mark.pipeline

# Label of a subject → what its convert step does (a status, or a word), the category that must
# come of it, and the number of attempts.
ENDS = {
    "e2": ("2", "USAGE", 1),
    "e64": ("64", "USAGE", 1),
    "e65": ("65", "DATA_INVALID", 1),
    "e66": ("66", "INPUT_MISSING", 1),
    "e69": ("69", "UNAVAILABLE", 3),
    "e1": ("1", "SOFTWARE", 1),
    "e70": ("70", "SOFTWARE", 1),
    "e73": ("73", "OUTPUT_WRITE", 2),
    "e74": ("74", "IO_ERROR", 2),
    "e75": ("75", "TEMPORARY", 3),
    "e77": ("77", "PERMISSION", 1),
    "e78": ("78", "CONFIG", 1),
    "e140": ("140", "TIMEOUT", 1),
    "sleeps": ("sleep", "TIMEOUT", 1),
    "stubborn": ("stubborn", "TIMEOUT", 1),
    "eats": ("eat 3000", "OUT_OF_MEMORY", 3),
    "lost": ("lost", "LOST", 2),
    "empty": ("empty", "SOFTWARE", 1),
    "budget": ("slow", "TIMEOUT", 1),
    "flaky": ("flaky", None, 2),
    "hungry": ("eat 600", None, 2),
    "good": ("good", None, 1),
}

TOOL = r'''#!/usr/bin/env python3
"""Ends as the unit's name asks."""
import json, os, signal, subprocess, sys, time
from pathlib import Path

unit = sys.argv[sys.argv.index("--unit") + 1].removeprefix("sub-")
word, *more = json.loads(Path(__file__).with_name("ends.json").read_text())[unit][0].split()
Path("partial.txt").write_text("what was computed so far")
if word.isdigit():
    sys.exit(int(word))
if word == "sleep":
    time.sleep(600)
if word == "stubborn":
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", code, "stubborn-child"], start_new_session=True)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
if word == "eat":
    block = bytearray(int(more[0]) * 1_000_000)
    time.sleep(3)
if word == "lost":
    os.kill(os.getppid(), signal.SIGKILL)  # the shell
    supervisor = int(os.environ["SUPERVISOR"])
    os.kill(supervisor, signal.SIGKILL)
    time.sleep(1)
if word == "empty":
    sys.exit(0)
if word == "slow":
    time.sleep(14)
if word == "flaky" and os.environ["COHORTFLOW_ATTEMPT"] == "1":
    sys.exit(75)
os.execv(Path(__file__).with_name("dwi-convert-real"), sys.argv)
'''

SLOW_MASK = r'''#!/usr/bin/env python3
"""Takes its time for one unit."""
import os, sys, time
from pathlib import Path

if sys.argv[sys.argv.index("--unit") + 1] == "sub-budget":
    time.sleep(600)
os.execv(Path(__file__).with_name("dwi-mask-real"), sys.argv)
'''

LIMITS = """
    withName: 'DWI_CONVERT' {
        memory = { 400.MB * task.attempt }
        time   = { task.tag in ['sub-sleeps', 'sub-stubborn'] ? 80.s : 10.min }
    }
"""
BUDGET = "(task.tag == 'sub-budget' ? 30 : 3600)"


@dataclass(frozen=True)
class Batch:
    out: Path
    status: int
    text: str
    summary: dict[str, dict[str, Any]]
    attempts: Counter[tuple[str, str]]
    seconds: dict[tuple[str, str], float]


def checkout(root: Path, folder: Path) -> Path:
    """Copy the checkout, its convert and mask replaced, its limits short."""
    for name in ("bin", "modules", "conf"):
        shutil.copytree(root / name, folder / name, ignore=PARTIAL)
    for name in ("main.nf", "nextflow.config"):
        shutil.copy(root / name, folder / name)
    for tool, text in (("dwi-convert", TOOL), ("dwi-mask", SLOW_MASK)):
        (folder / "bin" / tool).rename(folder / "bin" / f"{tool}-real")
        (folder / "bin" / tool).write_text(text)
        (folder / "bin" / tool).chmod(0o755)
    (folder / "bin" / "ends.json").write_text(json.dumps(ENDS))
    config = folder / "conf" / "base.config"
    text = config.read_text().rstrip()
    assert text.endswith("}")
    text = text[:-1] + LIMITS + "}\n"
    assert "COHORTFLOW_BUDGET: params.unit_timeout * 60" in text
    config.write_text(text.replace("params.unit_timeout * 60", BUDGET))
    supervisor = folder / "bin" / "core-supervise"
    told = 'environment = {**environment, "SUPERVISOR": str(os.getpid())}\n    folder ='
    supervisor.write_text(supervisor.read_text().replace("folder =", told, 1))
    return folder


@pytest.fixture(scope="module")
def batch(
    root: Path, make_study: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Batch:
    """Run one batch of units that end in every way."""
    folder = tmp_path_factory.mktemp("outcomes")
    copy = checkout(root, folder / "checkout")
    study = make_study(folder / "study", *ENDS)
    out = folder / "out"
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from cohortflow.main import main; main()"
    )
    command = [sys.executable, "-c", code, copy / "bin", *RUN, study, out, "--jobs", "3"]
    path = os.pathsep.join([str(BINARIES), os.environ["PATH"]])
    ended = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**os.environ, "PATH": path, "COHORTFLOW_GRACE": "2"},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert (out / "batch_summary.json").is_file(), ended.stdout + ended.stderr
    units = json.loads((out / "batch_summary.json").read_text())["units"]
    (run,) = (out / ".cohortflow" / "runs").iterdir()
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    return Batch(
        out,
        ended.returncode,
        ended.stdout + ended.stderr,
        {unit["id"].removeprefix("sub-"): unit for unit in units},
        Counter((r["unit"].removeprefix("sub-"), r["step"]) for r in records),
        {(r["unit"].removeprefix("sub-"), r["step"]): r["seconds"] for r in records},
    )


def test_the_batch_goes_on_and_ends_with_1(batch: Batch) -> None:
    assert batch.status == 1, batch.text
    done = {name for name, unit in batch.summary.items() if unit["status"] == "done"}
    assert done == {name for name, (_, category, _) in ENDS.items() if category is None}


@pytest.mark.parametrize("name", ENDS)
def test_each_end_has_its_category_and_attempts(batch: Batch, name: str) -> None:
    _, category, attempts = ENDS[name]
    assert batch.summary[name]["category"] == category
    assert batch.attempts[name, "convert"] == attempts


def test_every_category_of_the_table_that_a_step_can_cause_was_there() -> None:
    caused = {Category(category) for _, category, _ in ENDS.values() if category}
    assert caused == set(OUTCOMES) - {Category.INTERRUPTED}


@pytest.mark.parametrize("name", [name for name, end in ENDS.items() if end[1]])
def test_a_failed_unit_keeps_its_log_command_and_partial_files(batch: Batch, name: str) -> None:
    folders = list((batch.out / ".cohortflow" / "failed" / f"sub-{name}").iterdir())
    assert [folder.name.partition("-")[2] for folder in folders] == [ENDS[name][1]]
    assert "dwi-" in (folders[0] / "command.sh").read_text()
    assert json.loads((folders[0] / "failure.json").read_text())["category"] == ENDS[name][1]
    kept = {path.name for path in (folders[0] / "partial").glob("*")}
    if name == "budget":  # in mask, which had computed nothing: its inputs are no partial files
        assert kept == set()
    else:
        assert "partial.txt" in kept
    assert not (batch.out / f"sub-{name}").exists()


def test_nothing_that_was_ended_runs_on(batch: Batch) -> None:
    time.sleep(0.2)
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                assert b"stubborn-child" not in (process / "cmdline").read_bytes()
            except OSError:
                continue


def test_a_spent_budget_says_so(batch: Batch) -> None:
    unit = batch.summary["budget"]
    assert unit["step"] == "mask"
    assert "--unit-timeout" in unit["remedy"]
    convert, mask = (batch.seconds["budget", step] for step in ("convert", "mask"))
    assert 28 < convert + mask < 40

"""Runs of the lane `cells`: its studies, ways to start and to kill it, and what it left."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cells import makers
from pipeline.driving import BINARIES, runs

TABLE = "hgnc_complete_set.txt"
# What stays of a task whose scratch was freed.
LOGS = (".command", ".exitcode", ".supervise")
COUNTS = np.random.default_rng(3).poisson(0.8, (30, 20)).astype("f4")
_TASK = re.compile(r"(Submitted|Cached) process > (?:CELLS:)?(\w+) \((.+)\)$", re.MULTILINE)


@dataclass(frozen=True)
class Door:
    """A front door that runs, in a process group of its own."""

    process: subprocess.Popen[str]
    folder: Path

    def kill(self, *, everything: bool) -> None:
        """Kill the front door's group, or at one stroke all that runs below the folder, too."""
        doomed = running(self.folder) if everything else []
        os.killpg(self.process.pid, signal.SIGKILL)
        for pid in doomed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate()


def start(words: list[str | Path], cwd: Path, log: Path, **environment: str) -> Door:
    """Start `cohortflow` with what it says in a file; its steps get two seconds to end."""
    path = os.pathsep.join([str(BINARIES), os.environ["PATH"]])
    with log.open("a") as said:
        process = subprocess.Popen(
            [str(word) for word in [BINARIES / "cohortflow", *words]],
            cwd=cwd,
            env={**os.environ, "PATH": path, "COHORTFLOW_GRACE": "2", **environment},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            text=True,
            start_new_session=True,
        )
    return Door(process, cwd)


def running(folder: Path) -> list[int]:
    """Return the processes whose current folder lies below a folder of a test."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if process.name.isdigit() and (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
    return found


def wait_until_nothing_runs(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while left := running(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def study_of(folder: Path, example: Path, *names: str) -> Path:
    """Make a study of some files of the example, with its table of genes."""
    folder.mkdir()
    for name in (*names, TABLE):
        shutil.copy(example / name, folder / name)
    return folder


def units(out: Path) -> dict[str, dict[str, Any]]:
    """Return what the report's summary says of each unit."""
    summary = json.loads((out / "batch_summary.json").read_text())
    return {unit["id"]: unit for unit in summary["units"]}


def tasks(out: Path, what: str) -> set[tuple[str, str]]:
    """Return the steps that the latest run's Nextflow `Submitted`, or found `Cached`."""
    text = (runs(out)[-1] / "nextflow.log").read_text()
    return {(step, unit) for said, step, unit in _TASK.findall(text) if said == what}


def scratch(work: Path) -> dict[str, set[str]]:
    """Return the folders with files that the tasks of each unit left, beside logs and links."""
    left: dict[str, set[str]] = {}
    for record in work.glob("*/*/.supervise.json"):
        unit = json.loads(record.read_text())["unit"]
        files = (p for p in record.parent.rglob("*") if p.is_file() and not p.is_symlink())
        names = {path.relative_to(record.parent).parts[0] for path in files}
        found = {name for name in names if not name.startswith(LOGS)}
        left.setdefault(unit, set()).update(found)
    return left


def part(digests: dict[str, str], *names: str) -> dict[str, str]:
    """Return the digests of some units."""
    return {path: digest for path, digest in digests.items() if path.split("/")[0] in names}


# files with one fault each


def _good(path: Path, **different: Any) -> Path:
    return makers.tiny(path, **{"matrix": COUNTS, "obs": {"batch": ["x"] * 30}, **different})


def _mixed(path: Path) -> None:
    with h5py.File(_good(path), "a") as file:
        attributes = dict(file["obs/batch"].attrs)
        del file["obs/batch"]
        file["obs"].create_dataset("batch", data=np.zeros(30, [("a", "i4"), ("b", "f4")]))
        file["obs/batch"].attrs.update(attributes)


def _twins(path: Path) -> None:
    _good(path, cell_ids=["cell3", *makers.numbered("cell", 29)])


def _not_finite(path: Path) -> None:
    matrix = COUNTS.copy()
    matrix[4, 5] = np.nan
    _good(path, matrix=matrix)


def _empty(path: Path) -> None:
    makers.tiny(path, COUNTS[:0], cell_ids=[])


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda path: makers.truncated(_good(path)), "is truncated"),
    "no_matrix": (lambda path: makers.without_X(_good(path)), "has no matrix X"),
    "no_names": (lambda path: makers.without_var_names(_good(path)), "var has no index"),
    "twins": (_twins, "'cell3' stands 2 times"),
    "scaled": (lambda path: _good(path, matrix=COUNTS - COUNTS.mean(0)), "X holds scaled values"),
    "not_finite": (_not_finite, "no finite number"),
    "mixed": (_mixed, "column 'batch' of obs holds mixed or unknown values"),
    "empty": (_empty, "has no cells"),
}

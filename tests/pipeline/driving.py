"""Ways to run the pipeline, and to look at what it left."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cohortflow.example import truth
from cohortflow.example.phantom import Phantom

BINARIES = Path(sys.executable).parent
# A copy of the checkout keeps what is compiled, but not what another process just writes of it.
PARTIAL = shutil.ignore_patterns("*.tmp.*", "*.pyc.*")


# The engine does the same for any number of steps: its tests leave the long ones out.
LEFT_OUT = dict.fromkeys(("denoise", "unring", "correct", "fod"), "none")
SHORT = tuple(word for name, value in LEFT_OUT.items() for word in (f"--{name}", value))
RUN = ("run", "dwi", *SHORT)
STEPS = ("convert", "mask", "orient", "tensor")


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err

    def submitted(self) -> set[str]:
        """Return the steps of a lane that Nextflow started (it says so on stdout)."""
        lines = [line for line in self.out.splitlines() if "Submitted process > " in line]
        return {line.split("> ")[1] for line in lines if "> DWI:" in line}


def execute(command: Sequence[str | Path], cwd: Path, **environment: str) -> Ended:
    path = os.pathsep.join([str(BINARIES), os.environ["PATH"]])
    ended = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def cohortflow(*words: str | Path, cwd: Path) -> Ended:
    return execute([BINARIES / "cohortflow", *words], cwd)


def bare(root: Path, study: Path, out: Path, *words: str, cwd: Path) -> Ended:
    """Start the pipeline without the front door."""
    command = [BINARIES / "nextflow", "run", root / "main.nf", "-ansi-log", "false"]
    short = () if "cells" in words else SHORT
    return execute([*command, "--input", study, "--outdir", out, *short, *words], cwd)


def write_scan(folder: Path, prefix: str, phantom: Phantom) -> None:
    """Write a phantom as the files of a BIDS diffusion run."""
    truth.write_scan(truth.Place(folder, prefix), phantom)


@dataclass(frozen=True)
class Finished:
    """A study and its output after one good run through the front door."""

    study: Path
    out: Path
    ended: Ended


def outputs(out: Path) -> dict[str, str]:
    """Return the digest of every output that a marker lists, and check that it is true."""
    found = {}
    for path in sorted(out.rglob("_done.json")):
        if ".cohortflow" in path.parts:
            continue
        for output in json.loads(path.read_text())["outputs"]:
            file = path.parent / output["path"]
            assert hashlib.sha256(file.read_bytes()).hexdigest() == output["sha256"]
            found[file.relative_to(out).as_posix()] = output["sha256"]
    return found


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of everything below a folder."""
    return {
        path.relative_to(folder).as_posix(): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
    }


def runs(out: Path) -> list[Path]:
    return sorted((out / ".cohortflow" / "runs").iterdir())


def plan(out: Path) -> dict[str, tuple[str, str]]:
    """Return decision and reason of each unit in the latest plan."""
    lines = (runs(out)[-1] / "plan.jsonl").read_text().splitlines()[1:]
    entries = [json.loads(line) for line in lines]
    return {entry["unit"]["id"]: (entry["decision"], entry["reason"]) for entry in entries}

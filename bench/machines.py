"""What the engines need on this machine: a Slurm cluster, containers, snakemake."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.timing import ROOT

SNAKEMAKE = ROOT / ".venv" / "opt" / "snakemake"
VERSION = "snakemake>=9,<10"


class LeftOutError(RuntimeError):
    """An engine that is not here; the message says why."""


def _of_the_tests() -> None:
    """Let this process import the tests' cluster and what they know about podman here."""
    for folder in (ROOT / "tests", ROOT / "bin"):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


@contextmanager
def cluster(folder: Path, cpus: int) -> Iterator[Mapping[str, str]]:
    """Start Slurm with two virtual nodes; give what a child's environment needs."""
    _of_the_tests()
    from engines import slurm

    lacks = slurm.missing()
    if lacks is not None:
        raise LeftOutError(f"Slurm ({lacks})")
    # A task asks for 2 GB: all CPUs of a node can be used.
    with slurm.cluster(folder, nodes=2, cpus=cpus, memory=4000 * cpus) as running:
        # A controller that just started takes three seconds to its first job.
        running.command("sbatch", "--wait", "--output=/dev/null", "--wrap", "true")
        yield running.environment


def podman(folder: Path, lane: str = "dwi") -> tuple[str, Mapping[str, str]]:
    """Return the image that the pipeline uses, and what a child's environment needs."""
    _of_the_tests()
    from cohortflow.core import images
    from engines import podman as here

    folder.mkdir(exist_ok=True)
    try:
        environment = here.environment(folder)
    except here.CannotStartError as error:
        raise LeftOutError(f"podman ({error})") from error
    image = images.name(lane)
    if not images.present("podman", image, {**os.environ, **environment}):
        _build(environment)
    return image, environment


def _build(environment: Mapping[str, str]) -> None:
    command = [ROOT / "containers" / "build.sh"]
    done = subprocess.run(
        command, env={**os.environ, **environment, "RUNTIME": "podman"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise LeftOutError(f"podman ({_last_line(done.stderr)})")


def snakemake() -> Path:
    """Return the program, of an environment of its own that is made when it is not there."""
    program = SNAKEMAKE / "bin" / "snakemake"
    if not program.exists():
        python = str(SNAKEMAKE / "bin" / "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--no-input", "--retries", "1", VERSION]
        for command in ([sys.executable, "-m", "venv", "--clear", str(SNAKEMAKE)], pip):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise LeftOutError(f"snakemake (not installable: {_last_line(done.stderr)})")
    return program


def _last_line(text: str) -> str:
    return (text.strip() or "no reason given").splitlines()[-1]

"""Disk space: reckoned before a run starts, and freed as units are published."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from cohortflow.core.manifest import Unit
from cohortflow.core.outcome import Category, Failure

_KEPT = (".command", ".exitcode", ".supervise")


def check(units: Sequence[Unit], out: Path, work: Path, factor: float) -> str:
    """Compare what a run needs with what is free.

    Parameters
    ----------
    units : sequence of Unit
        Those that run.
    out, work : Path
        The output and Nextflow's work folder; need not exist.
    factor : float
        Bytes of scratch and output for each byte of input, the lane's.

    Returns
    -------
    str
        A warning when all units together may not fit, else empty.

    Raises
    ------
    Failure
        OUTPUT_WRITE when not even the largest unit fits.
    """
    needs = [factor * sum(i.bytes or 0 for i in unit.inputs) for unit in units]
    if not needs:
        return ""
    free = min(shutil.disk_usage(_existing(folder)).free for folder in (out, work))
    if max(needs) > free:
        raise Failure(
            Category.OUTPUT_WRITE,
            f"{_gigabytes(free)} are free below {out}, one unit needs {_gigabytes(max(needs))}",
            "free space, or name another output or --work-dir",
        )
    if sum(needs) > free:
        return (
            f"all units together may need {_gigabytes(sum(needs))}, {_gigabytes(free)} are free: "
            "use --clean unit, or another --work-dir"
        )
    return ""


def _existing(folder: Path) -> Path:
    return next(p for p in (folder, *folder.parents) if p.exists())


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"


def free_task(work: Path, task: str) -> None:
    """Remove what a task computed; its log, command and record stay.

    Parameters
    ----------
    work : Path
        Nextflow's work folder.
    task : str
        The task's folder, as far as Nextflow names it: ``ab/cdef12``.
    """
    first, _, second = task.partition("/")
    for folder in (work / first).glob(f"{second}*"):
        for path in folder.iterdir():
            if path.name.startswith(_KEPT):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

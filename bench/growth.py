"""How the time and memory of a step on a series grow with its voxels and volumes."""

from __future__ import annotations

import json
import resource
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bench.timing import Table, environment, python, spend, tool

if TYPE_CHECKING:
    from cohortflow.dwi.series import Series

# Voxels x, y, z, directions (with twelve or more there are three volumes with b = 0 as well): the
# first, then more voxels, then fewer and more volumes.
GROWING = ((32, 32, 20, 30), (64, 32, 20, 30), (64, 64, 20, 30), (32, 32, 20, 12), (32, 32, 20, 62))
LARGEST = (96, 96, 60, 62)
TINY = ((12, 12, 8, 12), (24, 12, 8, 12), (12, 12, 8, 30))
COLUMNS = ("what", "wall s", "CPU s", "peak MB", "ns a value")


def table(title: str, module: str, program: str, folder: Path, size: str) -> Table:
    """Time a step alone on series of several sizes, and its tool on the largest.

    Parameters
    ----------
    title : str
    module : str
        Of this package; its command ``alone IMAGE`` calls `alone`.
    program : str
        The tool of bin/.
    folder : Path
        Where the series are made.
    size : str
        ``tiny`` leaves the largest series out.
    """
    sizes = TINY if size == "tiny" else (*GROWING, LARGEST)
    rows = []
    for x, y, z, directions in sizes:
        scan = folder / f"{x}-{y}-{z}-{directions}"
        spend(python("make", "scan", scan, x, y, z, directions))
        image = scan / "sub-01_desc-converted_dwi.nii"
        done = subprocess.run(
            python(module, "alone", image),
            env=environment(), check=True, capture_output=True, text=True,
        )  # fmt: skip
        name, values = f"{x} x {y} x {z} x {directions + 3}", x * y * z * (directions + 3)
        wall, cpu, peak = json.loads(done.stdout)
        rows.append(_row(name, wall, cpu, peak, values))
    spent = spend(tool(program, image, "--output", folder / "grown", "--threads", "2"))
    rows.append(_row(f"{name}, all of {program}", spent.wall, spent.cpu, spent.peak, values))
    note = "ns a value: CPU time for each voxel and volume; peak: of the whole process"
    return Table(title, COLUMNS, rows, [note])


def _row(name: str, wall: float, cpu: float, peak: float, values: int) -> tuple[str, ...]:
    return (name, f"{wall:.2f}", f"{cpu:.2f}", f"{peak:.0f}", f"{1e9 * cpu / values:.0f}")


def alone(work: Callable[[Series], object], image: str) -> None:
    """Print wall and CPU seconds of a function that is compiled, and the peak of memory in MB."""
    from dataclasses import replace

    from cohortflow.dwi import series

    data = series.read(Path(image))
    work(replace(data, data=data.data[:8, :8, :6]))
    wall, cpu = time.perf_counter(), time.process_time()
    made = work(data)
    taken = time.perf_counter() - wall, time.process_time() - cpu
    assert made is not None
    print(json.dumps([*taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def agreements(
    module: str, image: Path, ours: Path, others: Iterable[tuple[str, Path]]
) -> Iterator[str]:
    """Say how a result correlates with others of the same image, those that are there."""
    for name, other in others:
        if not other.exists():
            continue
        command = python(module, "agreement", image, ours, other)
        done = subprocess.run(
            command, env=environment(), check=True, capture_output=True, text=True
        )
        images, changes = json.loads(done.stdout)
        yield f"correlation with {name}: {images:.5f}, of what was taken away {changes:.3f}"


def agreement(*paths: str) -> None:
    """Print how two results correlate, and how their differences to the input do."""
    import nibabel as nib
    import numpy as np

    data, one, other = (np.asarray(nib.load(path).dataobj, np.float32).ravel() for path in paths)
    pairs = ((one, other), (one - data, other - data))
    print(json.dumps([float(np.corrcoef(a, b)[0, 1]) for a, b in pairs]))

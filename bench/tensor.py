"""The tensor fit beside DIPY's and MRtrix3's: from files to files."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.timing import Contender, Table, compare, environment, python, spend

# Voxels x, y, z, directions; rounds.
SIZES = {"full": (64, 64, 40, 30, 5), "small": (64, 64, 40, 30, 3), "tiny": (20, 20, 16, 6, 1)}


def measure(folder: Path, size: str) -> Iterator[Table]:
    x, y, z, directions, rounds = SIZES[size]
    scan = folder / "scan"
    spend(python("make", "scan", scan, x, y, z, directions))
    table = compare(
        f"tensor: {x} x {y} x {z} voxels, {directions + 3} volumes, two threads",
        [
            Contender("cohortflow.dwi.tensor", python("work", "tensor_ours", scan, folder / "a")),
            Contender("DIPY, WLS", python("work", "tensor_dipy", scan, folder / "b")),
            Contender(
                "MRtrix3, dwi2tensor and tensor2metric",
                ["sh", "-euc", MRTRIX, "sh", scan, folder / "c"],
                needs=("dwi2tensor", "tensor2metric"),
            ),
        ],
        rounds,
    )
    notes = [
        f"FA, mean absolute difference from {name}: {_difference(scan, folder, other):.1e}"
        for name, other in (("DIPY", "b"), ("MRtrix3", "c"))
        if (folder / other / "FA.nii").exists()
    ]
    yield Table(table.title, table.columns, table.rows, [*table.notes, *notes])
    yield _fits(scan, rounds)


def _fits(scan: Path, rounds: int) -> Table:
    """Return the fits alone, timed in one process that has started and read its input."""
    taken = json.loads(_said(python("work", "tensor_fits", scan, rounds)))
    ours = next(iter(taken.values()))
    rows = []
    for name, its in taken.items():
        wall, cpu = (statistics.median(one) for one in zip(*its, strict=True))
        ratio = statistics.median(a[0] / b[0] for a, b in zip(ours, its, strict=True))
        rows.append((name, f"{wall:.3f}", f"{cpu:.3f}", f"{ratio:.2f}"))
    return Table(
        "tensor: the fit and its maps alone", ("what", "wall s", "CPU s", "ours / it"), rows
    )


MRTRIX = """
in=$1/sub-01_desc-converted_dwi; mkdir -p "$2"
dwi2tensor -quiet -force -nthreads 2 -fslgrad "$in.bvec" "$in.bval" -mask "$1/mask.nii" \
    "$in.nii" "$2/dt.nii"
tensor2metric -quiet -force -nthreads 2 -mask "$1/mask.nii" "$2/dt.nii" \
    -fa "$2/FA.nii" -adc "$2/MD.nii" -rd "$2/RD.nii" -ad "$2/AD.nii"
"""


def _difference(scan: Path, folder: Path, other: str) -> float:
    maps = (folder / name / "FA.nii" for name in ("a", other))
    command = python("work", "difference", scan / "mask.nii", *maps)
    return float(_said(command))


def _said(command: list[str]) -> str:
    done = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True)
    return done.stdout

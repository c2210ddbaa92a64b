"""The tensor fit beside DIPY's and MRtrix3's: from files to files."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.growth import LARGEST
from bench.timing import (
    ROOT,
    THREADS,
    Contender,
    Table,
    compare,
    emptied,
    environment,
    python,
    search_path,
    spend,
    tool,
)

# Voxels x, y, z, directions; rounds.
SIZES = {"full": (64, 64, 40, 30, 5), "small": (64, 64, 40, 30, 3), "tiny": (20, 20, 16, 6, 1)}
LARGE_ROUNDS = 3


def measure(folder: Path, size: str) -> Iterator[Table]:
    x, y, z, directions, rounds = SIZES[size]
    scan = folder / "scan"
    spend(python("make", "scan", scan, x, y, z, directions))
    table = _files(folder, scan, f"{x} x {y} x {z} voxels, {directions + 3} volumes", rounds)
    notes = [
        f"FA, mean absolute difference from {name}: {_difference(scan, folder, other):.1e}"
        for name, other in (("DIPY", "b"), ("MRtrix3", "c"))
        if (folder / other / "FA.nii").exists()
    ]
    notes += [*_agreement("phantom", scan, folder), *_patient(folder)]
    yield Table(table.title, table.columns, table.rows, [*table.notes, *notes])
    yield _fits(scan, rounds)
    if size != "tiny":
        x, y, z, directions = LARGEST
        large = folder / "large"
        spend(python("make", "scan", large, x, y, z, directions))
        sizes = f"{x} x {y} x {z} voxels, {directions + 3} volumes"
        yield _files(large, large, sizes, LARGE_ROUNDS)


def _files(folder: Path, scan: Path, sizes: str, rounds: int) -> Table:
    """Time the fit from files to files; the maps go into the folder's a, b and c."""
    ours, cache = python("work", "tensor_ours", scan, folder / "a"), folder / "cache"
    spend(ours)  # compiles, if that was not yet done
    image = scan / "sub-01_desc-converted_dwi.nii"
    words = [image, "--mask", scan / "mask.nii", "--output", folder / "tool", "--overwrite"]
    needs = ("dwi2tensor", "tensor2metric")
    return compare(
        f"tensor: {sizes}, two threads",
        [
            Contender("cohortflow.dwi.tensor", ours),
            Contender(
                "the same, compiled anew",
                ours,
                before=emptied(cache),
                more={"NUMBA_CACHE_DIR": str(cache)},
            ),
            Contender(
                "dwi-tensor, with picture and metrics",
                tool("dwi-tensor", *words, "--threads", THREADS),
            ),
            Contender("DIPY, WLS", python("work", "tensor_dipy", scan, folder / "b")),
            Contender(
                "MRtrix3, dwi2tensor", ["sh", "-euc", FIT, "sh", scan, folder / "c"], needs=needs
            ),
            Contender(
                "MRtrix3, dwi2tensor and tensor2metric",
                ["sh", "-euc", FIT + MAPS, "sh", scan, folder / "c"],
                needs=needs,
            ),
        ],
        rounds,
    )


def _agreement(name: str, scan: Path, folder: Path) -> list[str]:
    """Say how far FA and MD are from MRtrix3's in white matter."""
    if not (folder / "c" / "FA.nii").exists():
        return []
    words = python("work", "white_matter", scan, folder / "a", folder / "c")
    return [
        f"white matter of the {name}, {what}, {voxels} voxels, mean absolute difference from "
        f"MRtrix3's: FA {fa:.4f}, MD {md:.5f} um2/ms"
        for what, (voxels, fa, md) in zip(
            ("measurements above 0", "all"), json.loads(_said(words)), strict=True
        )
    ]


def _patient(folder: Path) -> list[str]:
    """Compare with MRtrix3 on a real series, where there is one."""
    data = Path(os.environ.get("COHORTFLOW_DATA", ROOT.parent / "shared" / "data"))
    study = data / "dicom" / "toshiba" / "In"
    if not study.is_dir():
        return ["left out: a real series (set COHORTFLOW_DATA)"]
    if shutil.which("tensor2metric", path=search_path()) is None:
        return []
    place = folder / "patient"
    scan = place / "scan"
    spend(python("work", "patient", study, scan))
    spend(python("work", "tensor_ours", scan, place / "a"))
    spend(["sh", "-euc", FIT + MAPS, "sh", scan, place / "c"])
    return _agreement("patient", scan, place)


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


FIT = """
in=$1/sub-01_desc-converted_dwi; mkdir -p "$2"
dwi2tensor -quiet -force -nthreads 2 -fslgrad "$in.bvec" "$in.bval" -mask "$1/mask.nii" \
    "$in.nii" "$2/dt.nii"
"""
MAPS = """
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

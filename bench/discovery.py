"""`dwi-discover` beside a bare walk of the tree, and beside pydicom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.make import FILES_OF_A_SERIES
from bench.timing import Contender, Table, compare, python, spend, tool

# Subjects (two sessions each), DICOM series, rounds.
SIZES = {"full": (2000, 500, 3), "small": (400, 100, 3), "tiny": (2, 2, 1)}


def measure(folder: Path, size: str) -> Iterator[Table]:
    subjects, series, rounds = SIZES[size]
    tree = folder / "bids"
    spend(python("make", "bids", tree, subjects))
    yield compare(
        f"discovery: {2 * subjects:,} units of NIfTI, four files each",
        [
            _ours(tree, folder / "bids.jsonl"),
            Contender("limit: os.scandir and stat", python("work", "scan_tree", tree)),
            Contender("limit: the same, 4 kB of each read", python("work", "read_tree", tree)),
        ],
        rounds,
    )
    tree = folder / "dicom"
    spend(python("make", "dicom", tree, series))
    yield compare(
        f"discovery: {series * FILES_OF_A_SERIES:,} DICOM headers in {series:,} series",
        [
            _ours(tree, folder / "dicom.jsonl"),
            Contender("pydicom, seven tags", python("work", "pydicom_tree", tree)),
            Contender("limit: os.scandir, 4 kB read", python("work", "read_tree", tree)),
        ],
        rounds,
    )


def _ours(tree: Path, output: Path) -> Contender:
    return Contender("dwi-discover", tool("dwi-discover", tree, "--output", output, "--overwrite"))

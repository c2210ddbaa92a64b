"""Planning many units whose markers are there, beside reading the markers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.timing import Contender, Table, compare, python, spend, tool

# Units, rounds.
SIZES = {"full": (10_000, 3), "small": (1_000, 3), "tiny": (20, 1)}


def measure(folder: Path, size: str) -> Iterator[Table]:
    units, rounds = SIZES[size]
    out = folder / "out"
    spend(python("make", "batch", out, units, "plan"))
    written = folder / "plan.jsonl"
    yield compare(
        f"plan: {units:,} units, nine of ten complete",
        [
            Contender(
                "core-plan",
                tool("core-plan", folder / "manifest.jsonl", "--outdir", out, "--output", written),
                before=lambda: written.unlink(missing_ok=True),
            ),
            Contender("limit: read markers, stat files", python("work", "read_markers", out)),
        ],
        rounds,
    )

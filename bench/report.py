"""The report of a large batch beside reading what it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.timing import Contender, Table, compare, python, spend, tool

# Units, rounds.
SIZES = {"full": (2_000, 3), "small": (200, 3), "tiny": (10, 1)}


def measure(folder: Path, size: str) -> Iterator[Table]:
    units, rounds = SIZES[size]
    out = folder / "out"
    spend(python("make", "batch", out, units, "report"))
    table = compare(
        f"report: {units:,} units, one of twenty failed",
        [
            Contender("core-report", tool("core-report", out)),
            Contender("limit: read its inputs", python("work", "read_batch", out)),
        ],
        rounds,
    )
    page = (out / "report.html").stat().st_size / 1e6
    yield Table(table.title, table.columns, table.rows, [*table.notes, f"page: {page:.1f} MB"])

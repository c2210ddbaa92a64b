"""Publishing a unit beside cp, a flush and checksums of the same files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.timing import Contender, Table, compare, emptied, python, spend

# Files, megabytes, rounds.
SIZES = {"full": (30, 200, 5), "small": (30, 50, 3), "tiny": (3, 0.01, 1)}
COPY = 'cp -r "$1" "$2"; find "$2" -type f -exec sync {} +'
CHECKSUMS = '; find "$2" -type f -exec sha256sum {} +'


def measure(folder: Path, size: str) -> Iterator[Table]:
    files, megabytes, rounds = SIZES[size]
    source, ours, copied = folder / "source", folder / "out", folder / "copy"
    spend(python("make", "files", source, files, megabytes))
    copy = emptied(copied)
    yield compare(
        f"publish: a unit of {files} files, {megabytes:g} MB",
        [
            Contender("core.publish", python("work", "publish", source, ours), (), emptied(ours)),
            Contender("cp, sync", ["sh", "-euc", COPY, "sh", source, copied], (), copy),
            Contender(
                "cp, sync, sha256sum",
                ["sh", "-euc", COPY + CHECKSUMS, "sh", source, copied],
                (),
                copy,
            ),
        ],
        rounds,
    )

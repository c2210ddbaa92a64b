"""Print the tables of all benches, or of those that are named."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

BENCHES = (
    "discovery",
    "tensor",
    "denoising",
    "unringing",
    "deconvolution",
    "tracking",
    "cells",
    "engine",
    "slurm",
    "publish",
    "plan",
    "report",
)
SIZES = ("full", "small", "tiny")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}")
    parser.add_argument("--size", choices=SIZES, default="full", help="how much is measured")
    parser.add_argument("--folder", type=Path, help="where the inputs are made; else temporary")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(BENCHES))
    if unknown:
        parser.error(f"no bench {unknown[0]!r}: use {', '.join(BENCHES)}")
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, size {given.size}; medians of whole processes, "
        "one beside the other; ours / it: below 1 is faster than it",
        flush=True,
    )
    for name in given.names or BENCHES:
        start = time.perf_counter()
        module = importlib.import_module(f"bench.{name}")
        with tempfile.TemporaryDirectory(prefix="bench-", dir=given.folder) as folder:
            for table in module.measure(Path(folder), given.size):
                print(f"\n{table.text()}", flush=True)
        print(f"  ({name}: {time.perf_counter() - start:.0f} s with its inputs)", file=sys.stderr)


if __name__ == "__main__":
    main()

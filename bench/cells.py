"""`cells-convert` beside the least that its work can cost, and beside other ways to do it."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.timing import Table, environment, python, spend, tool

# Cells and genes, genes of a cell, rounds; cells for memory.
SIZES = {
    "full": (20_000, 30_000, 2_000, 3, (20_000, 500_000)),
    "small": (4_000, 30_000, 2_000, 2, (4_000, 20_000)),
    "tiny": (300, 400, 50, 1, (300, 600)),
}
WAYS = (
    ("cohortflow, CSR", "ours", "csr"),
    ("limit: h5py read, parquet write", "limit", "csr"),
    ("cohortflow, CSC", "ours", "csc"),
    ("cohortflow, CSR, gzip", "ours", "gzip"),
    ("limit, gzip", "limit", "gzip"),
    ("anndata.read_h5ad, pandas", "whole", "csr"),
    ("backed, dense chunks, argpartition", "chunks", "csr"),
)
MEMORY = ("what", "wall s", "CPU s", "peak MB")


def measure(folder: Path, size: str) -> Iterator[Table]:
    cells, genes, per_cell, rounds, many = SIZES[size]
    sources = {}
    for name in ("csr", "csc", "gzip"):
        sources[name] = folder / f"{name}.h5ad"
        _write(sources[name], cells, genes, per_cell, name)
    yield _conversion(folder, sources, rounds, f"{cells:,} cells x {genes:,} genes, {per_cell:,}")
    yield _memory(folder, many, genes, per_cell)


def _write(path: Path, cells: int, genes: int, per_cell: int, layout: str) -> None:
    spend(python("cells_work", "write", path, cells, genes, per_cell, layout))


def _conversion(folder: Path, sources: dict[str, Path], rounds: int, what: str) -> Table:
    """Time the conversion alone: each process has started, and compiled on a small file."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name, _, _ in WAYS}
    for _ in range(rounds):
        for name, way, layout in WAYS:
            command = python("cells_work", way, sources[layout], folder / f"{way}-{layout}")
            done = subprocess.run(
                command, env=environment(), check=True, capture_output=True, text=True
            )
            taken[name].append(tuple(json.loads(done.stdout.splitlines()[-1])))
    ours = taken[WAYS[0][0]]
    rows = []
    for name, its in taken.items():
        wall, cpu = (statistics.median(one) for one in zip(*its, strict=True))
        ratio = statistics.median(a[1] / b[1] for a, b in zip(ours, its, strict=True))
        rows.append((name, f"{wall:.2f}", f"{cpu:.2f}", f"{ratio:.2f}"))
    return Table(
        f"cells: {what} each; the conversion alone, warm; the ratio is of CPU",
        ("what", "wall s", "CPU s", "ours / it"),
        rows,
    )


def _memory(folder: Path, many: tuple[int, ...], genes: int, per_cell: int) -> Table:
    """Run cells-convert as a whole on files of several sizes."""
    rows = []
    for layout in ("csr", "csc"):
        for cells in many:
            source = folder / "large.h5ad"
            _write(source, cells, genes, per_cell, layout)
            table = folder / "hgnc.tsv"
            spend(python("cells_work", "gene_table", table, genes))
            steps = {"genes": ("--hgnc", table), "age": (), "split": ()}
            for step, more in steps.items():
                words = (source, *more, "--output", folder / step, "--overwrite")
                spend(tool(f"cells-{step}", *words))
            given = [word for step in steps for word in (f"--{step}", folder / step)]
            words = (source, *given, "--output", folder / "out", "--overwrite")
            spent = spend(tool("cells-convert", *words))
            name = f"cells-convert, {layout.upper()}, {cells:,} cells"
            rows.append((name, f"{spent.wall:.1f}", f"{spent.cpu:.1f}", f"{spent.peak:.0f}"))
            source.unlink()
    return Table("cells: memory of the whole process", MEMORY, rows)

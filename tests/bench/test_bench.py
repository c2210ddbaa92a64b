"""The benches run and print their tables; how fast anything is, is no matter here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from engines.absent import absent

COLUMNS = ["what", "wall s", "CPU s", "peak MB", "ours / it"]
OURS = {
    "discovery": ["dwi-discover", "dwi-discover"],
    "tensor": ["cohortflow.dwi.tensor", "cohortflow.dwi.tensor.compute"],
    "publish": ["core.publish"],
    "plan": ["core-plan"],
    "report": ["core-report"],
}
FITS = ["what", "wall s", "CPU s", "ours / it"]
ENGINE = ["what", "start s", "unit ms", "task ms", "over bare ms", "CPU ms a task"]
SLURM = ["what", "wall s", "units a second", "it / sbatch --array"]
CELLS = re.compile(r" {2,}")


@cache
def bench(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *words],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def present_or_absent(text: str) -> None:
    """Leave the test out when the bench left an engine out (CI fails)."""
    left = re.findall(r"left out: (.*)", text)
    if left:
        absent(f"a bench without {'; '.join(left)}")


def tables(text: str) -> list[list[list[str]]]:
    """Return the cells of each table: its lines are those with as many cells as the columns."""
    found = []
    for part in text.split("\n\n")[1:]:
        rows = [CELLS.split(line.strip()) for line in part.splitlines()[1:]]
        found.append([row for row in rows if len(row) == len(rows[0])])
    return found


@pytest.mark.parametrize("name", OURS)
def test_a_bench_prints_ours_first_and_something_to_compare_it_with(root: Path, name: str) -> None:
    done = bench(root, name, "--size", "tiny")
    assert done.returncode == 0, done.stderr
    made = tables(done.stdout)
    assert [table[1][0] for table in made] == OURS[name]
    for head, ours, *others in made:
        assert head == (FITS if "compute" in ours[0] else COLUMNS)
        assert ours[-1] == "1.00"
        assert others, "nothing to compare with"
        assert all(float(cell) >= 0 for row in (ours, *others) for cell in row[1:])


@pytest.mark.pipeline
def test_the_engines_are_timed_beside_bare_nextflow_and_what_else_runs_tasks(root: Path) -> None:
    done = bench(root, "engine", "--size", "tiny")
    assert done.returncode == 0, done.stderr
    made = [table for table in tables(done.stdout) if len(table) > 1]
    assert all(head == ENGINE for head, *_ in made)
    present_or_absent(done.stdout)
    assert [[row[0] for row in rows] for _, *rows in made] == [
        ["cohortflow", "bare Nextflow", "snakemake -j2", "xargs -P2, supervisor", "xargs -P2"],
        ["cohortflow", "bare Nextflow", "xargs -P2 podman run"],
        ["cohortflow", "bare Nextflow", "sbatch --array"],
    ]


@pytest.mark.pipeline
def test_slurm_is_timed_beside_a_bare_array(root: Path) -> None:
    done = bench(root, "slurm", "--size", "tiny")
    assert done.returncode == 0, done.stderr
    present_or_absent(done.stdout)
    ((head, *rows),) = tables(done.stdout)
    assert head == SLURM
    assert [row[0].split()[0] for row in rows] == ["cohortflow", "cohortflow,", "bare", "sbatch"]
    assert rows[-1][-1] == "1.00"


def test_cells_are_timed_beside_their_limit_and_other_ways(root: Path) -> None:
    done = bench(root, "cells", "--size", "tiny")
    assert done.returncode == 0, done.stderr
    (head, ours, *others), (columns, *sizes) = tables(done.stdout)
    assert head == FITS
    assert ours[0] == "cohortflow, CSR"
    assert ours[-1] == "1.00"
    named = " ".join(row[0] for row in others)
    assert all(word in named for word in ("limit", "CSC", "gzip", "read_h5ad", "argpartition"))
    assert columns == ["what", "wall s", "CPU s", "peak MB"]
    assert [row[0].split(", ")[1:] for row in sizes] == [
        [layout, f"{cells} cells"] for layout in ("CSR", "CSC") for cells in (300, 600)
    ]


def test_the_tensors_that_are_timed_agree(root: Path) -> None:
    done = bench(root, "tensor", "--size", "tiny")
    found = re.findall(r"FA, mean absolute difference from (\w+): (\S+)", done.stdout)
    peers = {"DIPY"} | ({"MRtrix3"} if shutil.which("dwi2tensor") else set())
    assert {name for name, _ in found} == peers
    assert all(float(value) < 0.01 for _, value in found)


@pytest.mark.parametrize(
    ("name", "ours"),
    [("denoising", "cohortflow.dwi.denoise"), ("unringing", "cohortflow.dwi.subvoxel")],
)
def test_steps_on_series_are_timed_beside_others_and_as_they_grow(
    root: Path, name: str, ours: str
) -> None:
    done = bench(root, name, "--size", "tiny")
    assert done.returncode == 0, done.stderr
    (head, first, *others), (columns, *sizes) = tables(done.stdout)
    assert head == COLUMNS
    assert (first[0], first[-1]) == (ours, "1.00")
    named = " ".join(row[0] for row in others)
    assert all(word in named for word in ("compiled anew", "with picture", "DIPY"))
    assert columns == ["what", "wall s", "CPU s", "peak MB", "ns a value"]
    assert [row[0].split(",")[0] for row in sizes] == [
        "12 x 12 x 8 x 15", "24 x 12 x 8 x 15", "12 x 12 x 8 x 33", "12 x 12 x 8 x 33",
    ]  # fmt: skip
    found = dict(re.findall(r"correlation with (\w+): (\S+),", done.stdout))
    program = {"denoising": "dwidenoise", "unringing": "mrdegibbs"}[name]
    assert set(found) == {"DIPY"} | ({"MRtrix3"} if shutil.which(program) else set())
    assert all(float(value) > 0.95 for value in found.values())


def test_a_name_that_is_no_bench_is_refused(root: Path) -> None:
    done = bench(root, "no-such")
    assert done.returncode == 2
    assert "discovery, tensor, denoising, unringing, deconvolution, tracking, cells" in done.stderr

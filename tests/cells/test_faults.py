"""What is wrong with a file is said in one line that names it; nothing half-made is left."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from cells import driving, makers
from cells.driving import make
from cohortflow.cells import settings
from cohortflow.core.outcome import Category, Failure

COUNTS = np.random.default_rng(1).poisson(0.7, (40, 25)).astype("f4")
ENTRIES = int((COUNTS != 0).sum())


def broken(path: Path, change: Callable[[h5py.File], object]) -> Path:
    """Write a good file, then change something in it."""
    makers.tiny(path, COUNTS, obs={"batch": ["x"] * 40})
    with h5py.File(path, "a") as file:
        change(file)
    return path


def replace(name: str, value: object, **options: object) -> Callable[[h5py.File], None]:
    """Return a change that gives a dataset another value and keeps its attributes."""

    def change(file: h5py.File) -> None:
        kept = dict(file[name].attrs) if name in file else {}
        if name in file:
            del file[name]
        file.create_dataset(name, data=value, **options)
        file[name].attrs.update(kept)

    return change


FAULTS = {
    "no matrix": (lambda f: f.pop("X"), "has no matrix X"),
    "no cells table": (lambda f: f.pop("obs"), "has no table obs"),
    "no gene names": (lambda f: f["var"].pop("_index"), "var has no index"),
    "no genes table": (lambda f: f.pop("var"), "has no table var"),
    "no indices": (lambda f: f["X"].pop("indices"), "lacks data, indices or indptr"),
    "unknown encoding": (
        lambda f: f["X"].attrs.update({"encoding-type": "coo_matrix"}), "unknown way (coo)"
    ),
    "fewer cells than named": (
        lambda f: f["X"].attrs.update(shape=[39, 25]), "X is not consistent"
    ),
    "fewer genes than named": (lambda f: f["X"].attrs.update(shape=[40, 24]), "24 genes"),
    "an index beyond the genes": (replace("X/indices", np.full(ENTRIES, 25)), "not consistent"),
    "pointers that fall": (
        replace("X/indptr", np.r_[0, 9, 5, np.full(38, ENTRIES)]), "X is not consistent"
    ),
    "names no UTF-8": (
        replace("obs/_index", [b"\xff\xfe%d" % n for n in range(40)], dtype=h5py.string_dtype()),
        "cannot be understood",
    ),
    "matrix of text": (replace("X/data", [b"a"] * ENTRIES), "holds no numbers"),
    "column of mixed values": (
        replace("obs/batch", np.zeros(40, [("a", "i4"), ("b", "f4")])),
        "column 'batch' of obs holds mixed or unknown values",
    ),
    "column of another length": (replace("obs/batch", np.zeros(39)), "has 39 values, not 40"),
    "column in two dimensions": (replace("obs/batch", np.zeros((40, 2))), "mixed or unknown"),
    "column that is gone": (lambda f: f["obs"].pop("batch"), "'batch' of obs is missing"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named(fault: str, tmp_path: Path) -> None:
    change, words = FAULTS[fault]
    path = broken(tmp_path / "a.h5ad", change)
    with pytest.raises(Failure) as caught:
        make(path, tmp_path / "out")
    assert caught.value.category is Category.DATA_INVALID
    assert words in caught.value.message
    assert caught.value.message.startswith("a.h5ad: ")
    assert caught.value.remedy


def refused(path: Path, folder: Path) -> Failure:
    with pytest.raises(Failure) as caught:
        make(path, folder)
    assert caught.value.message.startswith(f"{path.name}: ")
    return caught.value


def test_cells_of_one_name_are_refused_and_named(tmp_path: Path) -> None:
    ids = makers.numbered("cell", 40)
    ids[7] = ids[31] = ids[3]
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS, cell_ids=ids)
    failure = refused(path, tmp_path / "out")
    assert failure.category is Category.DATA_INVALID
    assert "'cell3' stands 3 times" in failure.message
    assert "obs_names_make_unique" in failure.remedy


def test_a_file_without_cells_is_refused(tmp_path: Path) -> None:
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS[:0], cell_ids=[])
    assert "has no cells" in refused(path, tmp_path / "out").message


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 0.6, 0.95, 0.999])
def test_a_truncated_file_is_refused(fraction: float, tmp_path: Path) -> None:
    path = makers.truncated(makers.tiny(tmp_path / "a.h5ad", COUNTS), fraction)
    failure = refused(path, tmp_path / "out")
    assert failure.category is Category.DATA_INVALID
    if fraction > 0.5:
        size = path.stat().st_size
        assert f"is truncated: {size:,} of its " in failure.message


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def exchange(path: Path) -> None:
    shutil.copy(path, path.with_name("other"))
    path.with_name("other").replace(path)


@pytest.mark.parametrize("change", [append, exchange, Path.unlink])
def test_a_file_that_changes_while_it_is_read_is_tried_again(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS)
    said: list[str] = []

    def say(line: str) -> None:
        if not said:
            change(path)
        said.append(line)

    with pytest.raises(Failure) as caught:
        make(path, tmp_path / "out", settings.Options(chunk_size=10), say=say)
    assert len(said) == 4
    assert caught.value.category is Category.TEMPORARY
    assert "was changed while it was read" in caught.value.message


MUTATE = """
import os, random, signal, sys, traceback
from collections import Counter
from pathlib import Path
sys.path[:0] = sys.argv[4:]
from cells.driving import make
from cohortflow.core.outcome import Failure

def one(path, out):
    try:
        make(path, out)
    except Failure:
        return 1
    except BaseException:
        traceback.print_exc()
        return 2
    return 0

content, folder = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
make(Path(sys.argv[1]), folder / "first")  # compiled once, for all
chance, ends = random.Random(1), Counter()
for number in range(int(sys.argv[3])):
    changed = bytearray(content)
    for _ in range(chance.choice((1, 3, 30))):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    path = folder / "mutated.h5ad"
    path.write_bytes(changed)
    child = os.fork()
    if not child:
        signal.alarm(5)
        os._exit(one(path, folder / "out"))
    status = os.waitpid(child, 0)[1]
    ends["library" if os.WIFSIGNALED(status) else str(os.WEXITSTATUS(status))] += 1
print(ends["0"], ends["1"], ends["2"], ends["library"])
"""


def test_a_damaged_file_is_converted_or_refused_never_a_bug(tmp_path: Path, root: Path) -> None:
    obs = {"donor_id": ("categorical", [0, 1] * 20, ["a", "b"]), "n": list("ab") * 20}
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS, obs=obs, compression="gzip")
    told = driving.python(MUTATE, path, tmp_path, 300, root / "bin", root / "tests")
    fine, refused, bugs, library = map(int, told.split())
    assert bugs == 0
    assert min(fine, refused) > 10, "both kinds are met"
    # A few files make the HDF5 library itself hang or crash; the supervisor ends such a step.
    assert library <= 6


TABLE = "symbol\tensembl_gene_id\tprev_symbol\talias_symbol\nGENE\t\tgene1\t\n"


@pytest.fixture
def many(tmp_path: Path) -> tuple[object, ...]:
    """Return the words of a command that converts 6,000 cells."""
    matrix = np.random.default_rng(2).poisson(1, (6000, 200)).astype("f4")
    path = makers.tiny(tmp_path / "a.h5ad", matrix, layout="csc")
    (tmp_path / "hgnc.tsv").write_text(TABLE)
    return path, "--hgnc", tmp_path / "hgnc.tsv", "--chunk-size", 500


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a folder with room for 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        message = "a disk of 1 MB needs root"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("layout", ["csc", "csr"])
def test_a_full_disk_in_the_middle_of_a_file_leaves_nothing(
    layout: str, tmp_path: Path, small_disk: Path
) -> None:
    matrix = np.random.default_rng(2).poisson(1, (6000, 200)).astype("f4")
    path = makers.tiny(tmp_path / "a.h5ad", matrix, layout=layout)
    (tmp_path / "hgnc.tsv").write_text(TABLE)
    words = (path, "--hgnc", tmp_path / "hgnc.tsv", "--output", small_disk / "out")
    ended = driving.tool("cells-convert", *words, status=73)
    assert ended.stderr.splitlines()[-1].startswith("ERROR OUTPUT_WRITE - ")
    assert os.strerror(errno.ENOSPC) in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list(small_disk.iterdir())


def test_killed_at_any_moment_nothing_half_made_is_left_and_a_rerun_gives_the_same(
    many: tuple[object, ...], tmp_path: Path
) -> None:
    out = tmp_path / "results" / "out"
    driving.tool("cells-convert", *many, "--output", tmp_path / "whole")
    whole = files(tmp_path / "whole")
    moments = int(os.environ.get("COHORTFLOW_KILLS", "8"))
    command = [sys.executable, str(driving.BIN / "cells-convert"), *map(str, many)]
    killed = 0
    for seed in range(moments):
        process = subprocess.Popen(
            [*command, "--output", str(out), "--overwrite"],
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(random.Random(seed).uniform(0.2, 4))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
        assert not out.exists() or files(out) == whole, "what is there is complete"
    assert killed, "no kill came before the end"
    driving.tool("cells-convert", *many, "--output", out, "--overwrite")
    assert files(out) == whole

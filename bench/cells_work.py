"""What bench.cells times, each in a process of its own: ours, its limit, other ways."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

TOP = 2000
BLOCK = 1000


def timed(function: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def write(path: str, cells: str, genes: str, per_cell: str, layout: str) -> None:
    from cohortflow.example.cells import Recipe, write_h5ad

    form = "csr" if layout == "gzip" else layout
    packed = "gzip" if layout == "gzip" else None
    recipe = Recipe(int(cells), int(genes), float(per_cell), layout=form, compression=packed)
    write_h5ad(Path(path), recipe)


def gene_table(path: str, genes: str) -> None:
    from cohortflow.example import genes as names

    Path(path).write_text(names.table(int(genes)), encoding="utf-8")


def ours(source: str, folder: str) -> None:
    """Convert a file, after a small one that makes the compiler run."""
    from cohortflow.cells import convert, decide, heap, settings, split
    from cohortflow.cells.hgnc import Table

    heap.steady()
    basis = decide.Basis(None, None, None, Table(frozenset(), {}, {}, {}, "", 0))
    small = Path(f"{folder}.small.h5ad")
    layout = "csc" if source.endswith("csc.h5ad") else "csr"
    write(str(small), "50", "300", "20", layout)
    for path in (small, Path(source)):
        decided = decide.decide(path, "X", basis, split.Wish())
        Path(folder).mkdir(exist_ok=True)

        def one(path: Path = path, decided: settings.Decided = decided) -> None:
            convert.convert(path, Path(folder), decided, settings.Options())

        taken = timed(one)
    print(json.dumps(taken))


def limit(source: str, folder: str) -> None:
    """Read the matrix with h5py, and write with pyarrow what a conversion gives, as it does."""
    import h5py
    import pyarrow as pa
    import pyarrow.parquet as pq

    def read() -> None:
        with h5py.File(source, rdcc_nbytes=8 << 20) as file:
            matrix = file["X"]
            pointers = matrix["indptr"][:]
            for start in range(0, len(pointers) - 1, BLOCK):
                first, last = pointers[start], pointers[min(start + BLOCK, len(pointers) - 1)]
                matrix["data"][first:last]
                matrix["indices"][first:last]

    layout = Path(source).stem
    files = sorted(Path(folder).parent.glob(f"ours-{layout}/data/*.parquet"))
    tables = [pq.read_table(path) for path in files]
    Path(folder).mkdir(exist_ok=True)

    def put() -> None:
        for number, table in enumerate(tables):
            small = [name for name in table.column_names if name != "cell_sentence"]
            pq.write_table(
                table, Path(folder, f"{number}.parquet"), row_group_size=BLOCK, compression="zstd",
                compression_level=3, use_dictionary=small, write_statistics=small,
            )  # fmt: skip

    pa.default_memory_pool().release_unused()
    print(json.dumps([a + b for a, b in zip(timed(read), timed(put), strict=True)]))


def whole(source: str, folder: str) -> None:
    """Read the file as a whole, sort each row, write with pandas."""
    import anndata
    import numpy as np
    import pandas as pd

    def one() -> None:
        data = anndata.read_h5ad(source)
        names = data.var_names.to_numpy()
        matrix = data.X
        told = []
        for number in range(data.n_obs):
            # (Not matrix[number]: SciPy looks at the whole matrix for each row.)
            row = slice(matrix.indptr[number], matrix.indptr[number + 1])
            order = np.argsort(-matrix.data[row], kind="stable")[:TOP]
            told.append(" ".join(names[matrix.indices[row][order]]))
        frame = data.obs.assign(cell_id=data.obs_names, cell_sentence=told)
        frame.to_parquet(Path(folder + ".parquet"), compression="zstd", index=False)

    pd.DataFrame({"a": [1]})  # imported before the clock runs
    print(json.dumps(timed(one)))


def chunks(source: str, folder: str) -> None:
    """Go by dense chunks of a backed file, then collect all for a stratified split."""
    import anndata
    import numpy as np
    import pandas as pd

    out = Path(folder)
    out.mkdir(exist_ok=True)

    def one() -> None:
        data = anndata.read_h5ad(source, backed="r")
        names = data.var_names.to_numpy()
        top = min(TOP, data.n_vars)
        files = []
        for start in range(0, data.n_obs, 10_000):
            stop = min(start + 10_000, data.n_obs)
            dense = data.X[start:stop].toarray()
            told = []
            for row in dense:
                kept = np.argpartition(row, -top)[-top:]
                told.append(" ".join(names[kept[np.argsort(-row[kept])]]))
            frame = data.obs.iloc[start:stop].assign(cell_sentence=told)
            files.append(out / f"chunk_{start:07d}.parquet")
            frame.to_parquet(files[-1], compression="zstd")
        everything = pd.concat([pd.read_parquet(path) for path in files])
        groups = everything.groupby("development_stage", observed=True)
        test = groups.sample(frac=0.05, random_state=42)
        test.to_parquet(out / "test.parquet", compression="zstd")
        everything.drop(test.index).to_parquet(out / "train.parquet", compression="zstd")

    print(json.dumps(timed(one)))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

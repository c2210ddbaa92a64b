"""Conversion: the right sentences from every layout, nothing lost, nothing guessed."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import sparse

from cells import driving, makers, reference
from cells.driving import make
from cohortflow.cells import genes, hgnc, matrix, settings, shards, split
from cohortflow.core.outcome import Category, Failure

COUNTS = sparse.random(
    57, 23, 0.3, "csr", random_state=5, data_rvs=lambda n: np.arange(n) % 9 + 1
).toarray()
LAYOUTS = ("csr", "csc", "dense")


def expected(matrix: np.ndarray, names: list[str] | None = None, top: int = 2000) -> list[str]:
    return reference.sentences(matrix, names or makers.numbered("gene", matrix.shape[1]), top)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "u2", "i8"])
def test_sentences_are_right_for_every_layout_and_type(
    layout: str, compression: str | None, dtype: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5ad"
    makers.tiny(path, COUNTS, layout=layout, compression=compression, dtype=dtype)
    make(path, tmp_path / "out")
    assert reference.converted(tmp_path / "out") == expected(COUNTS)


@pytest.mark.parametrize("layout", ["csr", "csc"])
@pytest.mark.parametrize("indices", ["int32", "int64", "uint16"])
@pytest.mark.parametrize("pointers", ["int32", "int64"])
def test_indices_may_be_of_any_integer(
    layout: str, indices: str, pointers: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5ad"
    makers.tiny(path, COUNTS, layout=layout, index_dtype=indices, pointer_dtype=pointers)
    make(path, tmp_path / "out")
    assert reference.converted(tmp_path / "out") == expected(COUNTS)


@pytest.mark.parametrize("chunks", [(57, 1), (57, 4), (10, 23), (16, 5), (1, 23)])
@pytest.mark.parametrize("limit", [64, 16 << 20])
@pytest.mark.parametrize("dtype", ["f4", "i8"])
def test_a_dense_matrix_may_be_cut_into_chunks_of_any_form(
    chunks: tuple[int, int], limit: int, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS, layout="dense")
    with h5py.File(path, "a") as file:
        kept = dict(file["X"].attrs)
        del file["X"]
        file.create_dataset("X", data=COUNTS.astype(dtype), chunks=chunks, compression="gzip")
        file["X"].attrs.update(kept)
    monkeypatch.setattr(matrix, "_DENSE_BYTES", limit)
    make(path, tmp_path / "out")
    assert reference.converted(tmp_path / "out") == expected(COUNTS)


class Recorded:
    """A dataset that counts how often each of its chunks is read."""

    def __init__(self, item: h5py.Dataset) -> None:
        self.item = item
        self.reads: Counter[tuple[int, int]] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.item, name)

    def __getitem__(self, key: Any) -> np.ndarray:
        slices = (key, slice(None))[:2] if isinstance(key, slice) else key
        ranges = []
        for part, size, chunk in zip(slices, self.item.shape, self.item.chunks, strict=True):
            start, stop, _ = part.indices(size)
            ranges.append(range(start // chunk, -(-stop // chunk)))
        self.reads.update(itertools.product(*ranges))
        return self.item[key]


@pytest.mark.parametrize("chunks", [(57, 2), (20, 23), (20, 5), (4, 5), (1, 23)])
@pytest.mark.parametrize("limit", [100, 1000, 16 << 20])
def test_no_chunk_of_a_dense_matrix_is_read_twice(
    chunks: tuple[int, int], limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "_DENSE_BYTES", limit)
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS, layout="dense")
    with h5py.File(path, "a") as file:
        del file["X"]
        file.create_dataset("X", data=COUNTS, chunks=chunks)
    with h5py.File(path) as file:
        chosen = matrix.choose(file, "X")
        recorded = Recorded(chosen.item)
        rows = list(matrix.blocks(replace(chosen, item=recorded), tmp_path))
    assert sum(block.cells for block in rows) == 57
    assert set(recorded.reads.values()) == {1}
    assert len(recorded.reads) == -(-57 // chunks[0]) * -(-23 // chunks[1])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fractions_and_large_counts_are_ordered_exactly(layout: str, tmp_path: Path) -> None:
    # 2^24 + 1 is no float32; the last two differ in the last bit of a float64 only.
    matrix = np.zeros((3, 6))
    matrix[0] = [2**24, 2**24 + 1, 5, 2**31 + 1, 2**31, 0]
    matrix[1] = [0.1, np.nextafter(0.1, 1), 0.1, 0, 1e-300, 1e300]
    matrix[2] = np.log1p([3, 1, 1, 2, 3, 0])
    path = makers.tiny(tmp_path / "a.h5ad", matrix, layout=layout, dtype="f8")
    make(path, tmp_path / "out")
    assert reference.converted(tmp_path / "out") == expected(matrix)
    assert expected(matrix)[1] == "gene5 gene1 gene0 gene2 gene4"


def test_raw_and_layers_are_read_when_asked_for(tmp_path: Path) -> None:
    raw_names = makers.numbered("r", 31)
    raw = np.pad(COUNTS, ((0, 0), (0, 8)), constant_values=2)
    path = makers.tiny(
        tmp_path / "a.h5ad", COUNTS, raw=(raw, raw_names), layers={"spliced": COUNTS[:, ::-1]}
    )
    make(path, tmp_path / "raw", settings.Options(matrix="raw"))
    make(path, tmp_path / "layer", settings.Options(matrix="layers/spliced"))
    assert reference.converted(tmp_path / "raw") == expected(raw, raw_names)
    assert reference.converted(tmp_path / "layer") == expected(COUNTS[:, ::-1])


def test_at_most_the_top_genes_are_kept(tmp_path: Path) -> None:
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS)
    made = make(path, tmp_path / "out", settings.Options(top_genes=3))
    assert reference.converted(tmp_path / "out") == expected(COUNTS, top=3)
    assert len(made.lengths) == 4


def test_more_genes_than_there_are_may_be_asked_for(tmp_path: Path) -> None:
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS)
    make(path, tmp_path / "out", settings.Options(top_genes=10**17), page=True)
    assert reference.converted(tmp_path / "out") == expected(COUNTS)


def test_genes_of_one_symbol_are_summed_before_they_are_ranked(tmp_path: Path) -> None:
    table = hgnc.Table(frozenset({"TP53", "BRCA1"}), {}, {"P53": "TP53"}, {}, "0" * 64, 2)
    matrix = np.array([[3, 4, 2, 0], [1, 1, 1, 1], [0, 0, 0, 5]])
    path = makers.tiny(tmp_path / "a.h5ad", matrix, names=["TP53", "BRCA1", "P53", "X"])
    make(path, tmp_path / "out", table=table)
    assert reference.converted(tmp_path / "out") == ["TP53 BRCA1", "TP53 BRCA1 X", "X"]


def test_gene_ids_are_rows_of_the_gene_table(tmp_path: Path) -> None:
    table = hgnc.Table(frozenset({"TP53"}), {}, {"P53": "TP53"}, {}, "0" * 64, 1)
    path = makers.tiny(
        tmp_path / "a.h5ad", np.array([[3, 4, 2], [0, 0, 0]]), names=["P53", "B", "TP53"]
    )
    make(path, tmp_path / "out", settings.Options(gene_ids=True), table=table)
    rows = reference.rows(tmp_path / "out")
    assert rows["cell0"]["cell_sentence"] == "TP53 B"
    assert rows["cell0"]["gene_ids"] == [0, 1]
    assert rows["cell1"]["gene_ids"] == []


STAGES = ["29-year-old stage", "unknown", "3-month-old stage"]
OBS = {
    "cell_type": ("categorical", [0, 1, -1, 1], ["T cell", "B cell"]),
    "n_counts": np.array([1.5, np.nan, 2, 3], "f4"),
    "passed": np.array([True, False, True, True]),
    "batch": ["a", "", "ä", "日本"],
    "score": ("nullable-integer", [1, 2, 3, 4], [False, True, False, False]),
    "age": ["thirty", "forty", "ten", "two"],
    "cell_id": np.arange(4),
    "obs_age": np.arange(4) * 2,
    "development_stage": ("categorical", [0, 1, 2, -1], STAGES),
}


def test_every_column_of_obs_is_kept_and_ages_are_added(tmp_path: Path) -> None:
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS[:4], obs=OBS)
    made = make(path, tmp_path / "out", page=True)
    rows = reference.rows(tmp_path / "out")
    first, second, third, last = (rows[f"cell{n}"] for n in range(4))
    assert [r["cell_type"] for r in rows.values()].count(None) == 1
    assert (first["cell_type"], second["cell_type"], third["cell_type"]) == (
        "T cell",
        "B cell",
        None,
    )
    assert (first["n_counts"], second["n_counts"]) == (1.5, None)
    assert (first["passed"], second["passed"]) == (True, False)
    assert (third["batch"], last["batch"]) == ("ä", "日本")
    assert (first["score"], second["score"]) == (1, None)
    # Columns that the dataset has of its own are kept under another name, and the file says so.
    assert made.renamed == {"age": "obs_obs_age", "cell_id": "obs_cell_id"}
    assert (first["obs_obs_age"], first["obs_cell_id"], second["obs_age"]) == ("thirty", 0, 2)
    assert "`age` is `obs_obs_age`" in (tmp_path / "out/README.md").read_text()
    names = ("age", "age_low", "age_high", "age_unit")
    ages = [tuple(row[name] for name in names) for row in (first, second, third, last)]
    none = (None, None, None, None)
    assert ages == [(29, 29, 30, "year"), none, (3, 3, 4, "month"), none]
    numbers = json.loads((tmp_path / "out/metrics.json").read_text())
    assert (numbers["cells_with_age"], numbers["cells_without_age"]) == (2, 2)


@pytest.mark.parametrize("by", ["donor", "cell", "age"])
def test_cells_go_where_the_split_says_and_none_is_lost(by: str, tmp_path: Path) -> None:
    donors = np.arange(57) % 7 - 1
    stages = np.arange(57) % 4 - 1
    obs = {
        "donor_id": ("categorical", donors, [f"D{n}" for n in range(6)]),
        "development_stage": ("categorical", stages, ["29-year-old stage", "unknown", "x"]),
    }
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS, obs=obs)
    made = make(path, tmp_path / "out", wish=split.Wish(by=by, test_size=0.3))
    rows = reference.rows(tmp_path / "out")
    assert len(rows) == 57
    parts = [str(rows[f"cell{n}"]["part"]) for n in range(57)]
    assert (made.train, made.test) == (parts.count("train"), parts.count("test"))
    decided = split.read(tmp_path / "out/split.json")
    assert made.test == decided.test_cells
    if by == "donor":
        places = set(zip(donors, parts, strict=True))
        assert len(places) == 7, "no donor is in both parts"
    elif by == "cell":
        assert made.test == 17
    else:
        for stage in range(-1, 3):
            own = [p for p, s in zip(parts, stages, strict=True) if s == stage]
            assert abs(own.count("test") - 0.3 * len(own)) < 1


@pytest.mark.parametrize(
    ("by", "what"), [("donor", "column of donors"), ("age", "column development_stage")]
)
def test_a_file_without_donors_or_stages_is_split_by_cell_and_says_so(
    by: str, what: str, tmp_path: Path
) -> None:
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS)
    decided = split.of_file(path, split.Wish(by=by))
    assert (decided.by, decided.test_cells) == ("cell", 3)
    assert decided.note == f"obs has no {what}, so the split is by cell"


def test_without_a_test_part_everything_is_train(tmp_path: Path) -> None:
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS)
    made = make(path, tmp_path / "out", wish=split.Wish(test_size=0), page=True)
    assert [p.name for p in made.files] == ["train-00000-of-00001.parquet"]
    assert made.train == 57
    assert "split: test" not in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_chunk_stands_in_one_file_and_row_groups_are_whole(layout: str, tmp_path: Path) -> None:
    many = np.tile(COUNTS, (45, 1))  # 2,565 cells: three blocks
    path = makers.tiny(tmp_path / "a.h5ad", many, layout=layout)
    form = shards.Form(shard_bytes=1)
    made = make(path, tmp_path / "out", settings.Options(chunk_size=1200, form=form))
    trains = [p for p in made.files if p.name.startswith("train")]
    assert [p.name for p in trains] == [f"train-{n:05d}-of-00003.parquet" for n in range(3)]
    rows = reference.rows(tmp_path / "out")
    assert [str(rows[f"cell{n}"]["cell_sentence"]) for n in range(len(many))] == expected(many)
    for number, file in enumerate(trains):
        ids = pq.read_table(file, columns=["cell_id"])["cell_id"].to_pylist()
        assert {int(name[4:]) // 1200 for name in ids} == {number}
    whole = make(path, tmp_path / "whole", wish=split.Wish(test_size=0))
    footer = pq.ParquetFile(whole.files[0]).metadata
    assert [footer.row_group(n).num_rows for n in range(3)] == [1000, 1000, 565]


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS, obs={"donor_id": ["a", "b", "c"] * 19})
    for name in ("one", "two"):
        make(path, tmp_path / name, page=True)
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*"))
    assert len(files) == 8
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_parquet_says_where_it_comes_from(tmp_path: Path) -> None:
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS)
    options = settings.Options(provenance={"code": "abc", "hgnc_sha256": "def"})
    made = make(path, tmp_path / "out", options)
    facts = json.loads(pq.read_schema(made.files[0]).metadata[b"cohortflow"])
    assert facts["source"] == "a.h5ad"
    assert facts["source_sha256"] == sha256(path.read_bytes()).hexdigest()
    assert (facts["matrix"], facts["cells"], facts["genes"]) == ("X", 57, 23)
    assert (facts["code"], facts["hgnc_sha256"]) == ("abc", "def")
    assert "ties by the order of genes" in facts["order"]
    assert str(tmp_path) not in json.dumps(facts)


@pytest.mark.parametrize("method", ["zstd", "snappy", "gzip", "lz4", "brotli", "none"])
def test_every_compression_can_be_read_again(method: str, tmp_path: Path) -> None:
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS)
    made = make(path, tmp_path / "out", settings.Options(form=shards.Form(method, 3)))
    assert reference.converted(tmp_path / "out") == expected(COUNTS)
    column = pq.ParquetFile(made.files[0]).metadata.row_group(0).column(1)
    assert column.compression == {"none": "UNCOMPRESSED"}.get(method, method.upper())


def refused(path: Path, folder: Path, matrix: str = "X") -> Failure:
    with pytest.raises(Failure) as caught:
        make(path, folder, settings.Options(matrix=matrix))
    assert caught.value.category is Category.DATA_INVALID
    assert path.name in caught.value.message
    return caught.value


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scaled_values_are_refused_with_the_way_out(layout: str, tmp_path: Path) -> None:
    scaled = (COUNTS - COUNTS.mean(axis=0)) / COUNTS.std(axis=0)
    path = makers.tiny(tmp_path / "a.h5ad", scaled, layout=layout, raw=COUNTS, layers={"n": COUNTS})
    failure = refused(path, tmp_path / "out")
    assert "scaled values" in failure.message
    assert failure.remedy == "use --matrix raw or --matrix layers/n"
    positive = COUNTS / COUNTS.std(axis=0, ddof=1)
    path = makers.tiny(tmp_path / "b.h5ad", positive, layout=layout)
    assert "variance 1" in refused(path, tmp_path / "out2").message


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused_with_its_cell(
    layout: str, value: float, tmp_path: Path
) -> None:
    matrix = COUNTS.astype("f8")
    matrix[31, 4] = value
    path = makers.tiny(tmp_path / "a.h5ad", matrix, layout=layout)
    assert "in cell 31" in refused(path, tmp_path / "out").message


def test_a_matrix_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    path = makers.without_X(makers.tiny(tmp_path / "a.h5ad", COUNTS, raw=COUNTS))
    failure = refused(path, tmp_path / "out")
    assert "has no matrix X" in failure.message
    assert "--matrix raw" in failure.remedy
    assert "has no matrix layers/none" in refused(path, tmp_path / "out", "layers/none").message


@pytest.mark.shared_data
@pytest.mark.filterwarnings("ignore")  # anndata says that the files are old
def test_real_files_end_as_they_should(shared_data: Path, tmp_path: Path) -> None:
    table = hgnc.read(shared_data / "hgnc/hgnc_complete_set.min.parquet")
    folder = shared_data / "h5ad"
    for name in ("anndata_v0.7.0", "cxg_valid"):
        source = anndata.read_h5ad(folder / f"{name}.h5ad")
        make(folder / f"{name}.h5ad", tmp_path / name, table=table)
        symbols = genes.read(tmp_path / name / "genes.tsv").symbols
        found = reference.rows(tmp_path / name)
        told = [found[str(cell)]["cell_sentence"] for cell in source.obs_names]
        assert told == reference.sentences(source.X.toarray(), symbols)
    old = folder / "anndata_v0.5.0.h5ad"
    failure = refused(old, tmp_path / "old")
    assert failure.remedy == "use --matrix raw"
    make(old, tmp_path / "raw", settings.Options(matrix="raw"), table=table, page=True)
    source = anndata.read_h5ad(old)
    symbols = genes.read(tmp_path / "raw/genes.tsv").symbols
    found = reference.rows(tmp_path / "raw")
    told = [found[str(cell)]["cell_sentence"] for cell in source.obs_names]
    assert told == reference.sentences(source.raw.X.toarray(), symbols)
    types = [found[str(cell)]["bulk_labels"] for cell in source.obs_names]
    assert types == source.obs["bulk_labels"].tolist()
    numbers = json.loads((tmp_path / "raw/metrics.json").read_text())
    kinds = [numbers[f"genes_{kind}"] for kind in ("approved", "previous", "alias", "none")]
    assert kinds == [698, 53, 4, 10]


READ_BACK = """
import sys, datasets
whole = datasets.load_dataset(sys.argv[1])
flowing = datasets.load_dataset(sys.argv[1], streaming=True)
for part in whole:
    assert [row for row in flowing[part]] == [row for row in whole[part]]
print({part: len(whole[part]) for part in whole}, whole["train"][0]["cell_sentence"])
"""


def test_datasets_opens_the_folder_as_it_is(tmp_path: Path) -> None:
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS, obs=OBS | {k: (["x"] * 57) for k in OBS})
    make(path, tmp_path / "out", page=True)
    assert driving.python(READ_BACK, tmp_path / "out", HF_HOME=str(tmp_path / "hub")).startswith(
        "{'train': 54, 'test': 3} gene"
    )


def test_the_tool_does_the_same_with_and_without_the_steps_before_it(tmp_path: Path) -> None:
    source = makers.tiny(tmp_path / "a b.h5ad", COUNTS, obs={"donor_id": ["a", "b", "c"] * 19})
    table = tmp_path / "hgnc.tsv"
    table.write_text("symbol\tensembl_gene_id\tprev_symbol\talias_symbol\nGENE\t\tgene1\t\n")
    driving.tool("cells-genes", source, "--hgnc", table, "--output", tmp_path / "genes")
    driving.tool("cells-age", source, "--output", tmp_path / "age")
    driving.tool("cells-split", source, "--output", tmp_path / "split")
    steps = [f"--{name}={tmp_path / name}" for name in ("genes", "age", "split")]
    driving.tool("cells-convert", source, *steps, "--output", tmp_path / "one")
    driving.tool("cells-convert", source, "--hgnc", table, "--output", tmp_path / "two")
    names = {p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*")}
    assert {n.as_posix() for n in names} == {
        "README.md", "metrics.json", "figures/a_b_desc-overview.png",
        "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet",
    }  # fmt: skip
    for name in names - {Path("metrics.json")}:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    for step, name in (("genes", "genes.tsv"), ("age", "ages.tsv"), ("split", "split.json")):
        assert (tmp_path / step / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    ended = driving.tool("cells-convert", source, *steps, "--output", tmp_path / "one", status=2)
    assert "--overwrite" in ended.stderr


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("genes", "the genes of X are not the 23 that were mapped"),
        ("age", "has 57 cells, the age step saw 56"),
        ("split", "has 57 cells, the split step saw 56"),
    ],
)
def test_what_was_decided_of_another_file_is_refused(step: str, said: str, tmp_path: Path) -> None:
    table = tmp_path / "hgnc.tsv"
    table.write_text("symbol\tensembl_gene_id\tprev_symbol\talias_symbol\nGENE\t\tgene1\t\n")
    source = makers.tiny(tmp_path / "a.h5ad", COUNTS)
    names = makers.numbered("gene", 23)[::-1]
    other = makers.tiny(tmp_path / "b.h5ad", COUNTS[:56], names=names)
    steps = []
    for name, *more in (("genes", "--hgnc", table), ("age",), ("split",)):
        of = other if name == step else source
        driving.tool(f"cells-{name}", of, *more, "--output", tmp_path / name)
        steps.append(f"--{name}={tmp_path / name}")
    words = (source, *steps, "--output", tmp_path / "out")
    ended = driving.tool("cells-convert", *words, status=65)
    assert f"ERROR DATA_INVALID - a.h5ad: {said}" in ended.stderr
    assert not (tmp_path / "out").exists()


def test_a_level_that_a_compression_has_not_is_refused(tmp_path: Path) -> None:
    source = makers.tiny(tmp_path / "a.h5ad", COUNTS)
    table = tmp_path / "hgnc.tsv"
    table.write_text("symbol\tensembl_gene_id\tprev_symbol\talias_symbol\nGENE\t\tgene1\t\n")
    words = (source, "--hgnc", table, "--output", tmp_path / "out", "--compression", "gzip")
    ended = driving.tool("cells-convert", *words, "--compression-level", 10, status=2)
    assert "gzip has no level 10: give a --compression-level from 1 to 9" in ended.stderr
    driving.tool("cells-convert", *words, "--compression-level", 9)


def test_a_folder_is_converted_file_by_file_and_a_bad_one_stops_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    makers.tiny(folder / "a.h5ad", COUNTS)
    makers.truncated(makers.tiny(folder / "b.h5ad", COUNTS))
    makers.tiny(folder / "c@2.h5ad", COUNTS)
    table = tmp_path / "hgnc.tsv"
    table.write_text("symbol\tensembl_gene_id\tprev_symbol\talias_symbol\nGENE\t\tgene1\t\n")
    words = (folder, "--batch-mode", "--hgnc", table, "--output", tmp_path / "out")
    ended = driving.tool("cells-convert", *words, status=65)
    assert [line for line in ended.stderr.splitlines() if line.startswith("ERROR")] == [
        line
        for line in ended.stderr.splitlines()
        if line.startswith("ERROR DATA_INVALID b b.h5ad:")
    ]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a", "c_2"]
    for name, *more in (("cells-genes", "--hgnc", table), ("cells-age",), ("cells-split",)):
        words = (folder, "--batch-mode", *more, "--output", tmp_path / name)
        driving.tool(name, *words, status=65)
        assert sorted(p.name for p in (tmp_path / name).iterdir()) == ["a", "c_2"]


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    source = makers.tiny(tmp_path / "a.h5ad", COUNTS)
    table = tmp_path / "hgnc.tsv"
    table.write_text("symbol\tensembl_gene_id\tprev_symbol\talias_symbol\nGENE\t\tgene1\t\n")
    for name, *more in (("cells-genes", "--hgnc", table), ("cells-age",), ("cells-split",),
                        ("cells-convert", "--hgnc", table)):  # fmt: skip
        driving.tool(name, source, *more, "--output", tmp_path / "out", "--dry-run")
        assert not (tmp_path / "out").exists()


def test_the_types_of_columns_do_not_depend_on_their_values(tmp_path: Path) -> None:
    path = makers.tiny(tmp_path / "a.h5ad", COUNTS[:4], obs=OBS)
    schema = pq.read_schema(make(path, tmp_path / "out").files[0])
    kinds = {name: schema.field(name).type for name in schema.names}
    assert kinds["n_counts"] == pa.float32()
    assert kinds["passed"] == pa.bool_()
    assert kinds["score"] == pa.int64()
    assert kinds["age"] == pa.float64()
    assert kinds["cell_type"] == pa.string()

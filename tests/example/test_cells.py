"""The example of single cells: valid for anndata, known in every number, broken as it says."""

from __future__ import annotations

import csv
import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from cells import makers
from cohortflow.commands import example as example_command
from cohortflow.core.outcome import Category, Failure
from cohortflow.example import annotation, cells, counts, genes, legacy
from cohortflow.example.cells import Recipe

GOOD = {
    "pbmc-csr.h5ad",
    "marrow csc.h5ad",
    "lung-dense.h5ad",
    "retina-gzip.h5ad",
    "legacy-0.5.h5ad",
    "legacy-0.7.h5ad",
}
BROKEN = {"scaled.h5ad", "truncated.h5ad", "tumor a.h5ad", "tumor@a.h5ad"}
#: Two rows and two columns of tiles, the last ones not full.
LARGER = Recipe(cells=counts.BAND + 100, genes=counts.STRIP + 50, per_cell=20, seed=5)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example") / "study"
    cells.write_study(folder, seed=3)
    return folder


def by_hand(item: h5py.Group | h5py.Dataset) -> np.ndarray:
    """Rebuild a matrix entry by entry, from the file's own numbers."""
    if isinstance(item, h5py.Dataset):
        return item[...]
    attributes = dict(item.attrs)
    shape = attributes.get("shape", attributes.get("h5sparse_shape"))
    kind = attributes.get("encoding-type", attributes.get("h5sparse_format"))[:3]
    data, indices, indptr = (item[name][...].tolist() for name in ("data", "indices", "indptr"))
    dense = np.zeros(shape, item["data"].dtype)
    for line, (start, stop) in enumerate(itertools.pairwise(indptr)):
        assert len(set(indices[start:stop])) == stop - start  # no place twice
        for value, place in zip(data[start:stop], indices[start:stop], strict=True):
            dense[(line, place) if kind == "csr" else (place, line)] = value
    return dense


def matrix_of(path: Path, name: str = "X") -> np.ndarray:
    with h5py.File(path) as file:
        return by_hand(file[name])


def written(folder: Path, recipe: Recipe) -> Path:
    path = folder / f"{recipe.layout}-{recipe.values}-{recipe.compression}.h5ad"
    cells.write_h5ad(path, recipe)
    return path


def dense(matrix: Any) -> np.ndarray:
    return matrix if isinstance(matrix, np.ndarray) else matrix.toarray()


@pytest.mark.parametrize("values", cells.VALUES)
def test_every_layout_holds_the_same_matrix(tmp_path: Path, values: str) -> None:
    found = [
        matrix_of(written(tmp_path, Recipe(**{**vars(LARGER), "layout": layout, "values": values})))
        for layout in cells.LAYOUTS
    ]
    assert found[0].dtype == found[1].dtype == found[2].dtype
    assert found[0].dtype == (np.int32 if values == "integers" else np.float32)
    assert found[0].any()
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_lognormal_values_are_the_counts_normalised_to_ten_thousand_a_cell(tmp_path: Path) -> None:
    whole = matrix_of(written(tmp_path, LARGER)).astype(float)
    logarithm = matrix_of(written(tmp_path, Recipe(**{**vars(LARGER), "values": "lognormal"})))
    expected = np.log1p(whole * 10_000 / whole.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(logarithm, expected, rtol=1e-6)
    np.testing.assert_array_equal(whole, np.round(whole))


def test_cells_have_as_many_genes_as_asked_on_average_and_differ(tmp_path: Path) -> None:
    recipe = Recipe(cells=3000, genes=2000, per_cell=150)
    matrix = anndata.read_h5ad(written(tmp_path, recipe)).X
    seen = np.diff(matrix.indptr)
    assert seen.mean() == pytest.approx(150, rel=0.03)
    assert seen.std() > 30
    assert matrix.data.min() == 1
    assert matrix.data.max() > 50
    assert (matrix.data == 1).mean() > 0.3  # ties, which rankings must settle


def test_another_seed_draws_other_cells() -> None:
    seen = [counts.totals(counts.plan(500, 300, 60, seed)).genes_of_cell for seed in (1, 2)]
    assert abs(np.corrcoef(*seen)[0, 1]) < 0.3


def test_blocks_are_bounded_whatever_the_size_of_the_matrix() -> None:
    plan = counts.plan(LARGER.cells, LARGER.genes, LARGER.per_cell, LARGER.seed)
    totals = counts.totals(plan)
    rows = [(block.start, block.stop) for block in counts.by_cell(plan, totals)]
    columns = [(block.start, block.stop) for block in counts.by_gene(plan, totals)]
    assert rows == [(0, counts.BAND), (counts.BAND, LARGER.cells)]
    assert columns == [(0, counts.STRIP), (counts.STRIP, LARGER.genes)]


@pytest.mark.parametrize("layout", cells.LAYOUTS)
@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
def test_storage_is_as_anndata_chooses_it(
    tmp_path: Path, layout: str, compression: str | None
) -> None:
    ours = written(tmp_path, Recipe(layout=layout, compression=compression))
    theirs = tmp_path / "again.h5ad"
    anndata.read_h5ad(ours).write_h5ad(theirs, compression=compression)
    parts = ["X"] if layout == "dense" else ["X/data", "X/indices", "X/indptr"]
    with h5py.File(ours) as one, h5py.File(theirs) as other:
        assert dict(one["X"].attrs).keys() == dict(other["X"].attrs).keys()
        for name in ("encoding-type", "encoding-version"):
            assert one["X"].attrs[name] == other["X"].attrs[name]
        for name in parts:
            assert one[name].shape == other[name].shape
            assert one[name].compression == other[name].compression == compression
            assert one[name].chunks == other[name].chunks
            assert one[name].maxshape == other[name].maxshape


def test_types_of_indices_and_pointers_are_as_asked(tmp_path: Path) -> None:
    for index, pointer in itertools.product(("int32", "int64"), repeat=2):
        path = written(tmp_path, Recipe(index_dtype=index, pointer_dtype=pointer))
        with h5py.File(path) as file:
            assert (file["X/indices"].dtype, file["X/indptr"].dtype) == (index, pointer)


@pytest.mark.parametrize(
    "wrong", [{"layout": "coo"}, {"values": "words"}, {"per_cell": 299}, {"per_cell": 0}]
)
def test_an_impossible_recipe_is_refused_before_a_file_is_made(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    path = tmp_path / "x.h5ad"
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        cells.write_h5ad(path, Recipe(**wrong))
    assert not path.exists()


def test_annotations_of_cells_read_as_they_were_meant(tmp_path: Path) -> None:
    read = anndata.read_h5ad(written(tmp_path, LARGER))
    obs, matrix = read.obs, dense(read.X)
    assert len(set(obs.index)) == LARGER.cells
    assert all(re.fullmatch("[ACGT]{16}-1", name) for name in obs.index)
    np.testing.assert_array_equal(obs["n_counts"], matrix.sum(axis=1))
    np.testing.assert_array_equal(obs["n_genes"], (matrix > 0).sum(axis=1))
    np.testing.assert_array_equal(read.var["n_cells"], (matrix > 0).sum(axis=0))
    for name in ("donor_id", "development_stage", "cell_type"):
        assert isinstance(obs[name].dtype, pd.CategoricalDtype)
    assert set(obs["donor_id"]) == {f"donor-{number}" for number in range(1, 9)}
    assert obs["is_primary_data"].dtype == bool
    assert 0.8 < obs["is_primary_data"].mean() < 1
    assert obs["sort_gate"].dtype == "Int64"
    assert 0.05 < obs["sort_gate"].isna().mean() < 0.15
    assert set(obs["library"]) == set(annotation.LIBRARIES)
    for donor, of_donor in obs.groupby("donor_id", observed=True):
        expected = annotation.STAGES[int(donor[-1]) - 1]
        stages = of_donor["development_stage"]
        assert stages.isna().all() if expected is None else set(stages) == {expected}


def test_more_donors_than_a_byte_counts_keep_their_names(tmp_path: Path) -> None:
    read = anndata.read_h5ad(written(tmp_path, Recipe(cells=3000, donors=300)))
    assert set(read.obs["donor_id"]) == {f"donor-{number}" for number in range(1, 301)}


def test_stages_are_labels_of_the_ontology() -> None:
    from cellxgene_ontology_guide.ontology_parser import OntologyParser

    known = set(OntologyParser().get_term_label_to_id_map("HsapDv"))
    assert {stage for stage in annotation.STAGES if stage} - known == {"unknown"}


def look_up(
    table: str,
) -> tuple[set[str], dict[str, set[str]], dict[str, set[str]], dict[str, str]]:
    """Read an HGNC table: approved symbols, previous, aliases, Ensembl identifiers."""
    rows = list(csv.DictReader(table.splitlines(), delimiter="\t"))
    previous: dict[str, set[str]] = {}
    alias: dict[str, set[str]] = {}
    for row in rows:
        for field, place in (("prev_symbol", previous), ("alias_symbol", alias)):
            for text in filter(None, row[field].split("|")):
                place.setdefault(text, set()).add(row["symbol"])
    ensembl = {row["ensembl_gene_id"]: row["symbol"] for row in rows}
    return {row["symbol"] for row in rows}, previous, alias, ensembl


@pytest.mark.parametrize("count", [18, 20, 23, 300, 1000])
def test_every_gene_name_is_of_the_kind_it_says_in_the_table(count: int) -> None:
    approved, previous, alias, ensembl = look_up(genes.table(count))
    for name in genes.names(count):
        if name.kind == "approved":
            assert {name.text} == {name.symbol} <= approved
        elif name.kind == "ensembl":
            assert ensembl[name.text.partition(".")[0]] == name.symbol
        else:
            assert name.text not in approved
            meant = previous.get(name.text, set()) | alias.get(name.text, set())
            if name.kind == "unknown":
                assert not meant
            elif name.kind == "ambiguous":
                assert len(meant) == 2
            else:
                where = previous if name.kind == "previous" else alias
                assert where[name.text] == meant == {name.symbol}


def test_gene_names_show_every_kind_and_two_columns_of_one_gene() -> None:
    names = genes.names(300)
    kinds = [name.kind for name in names]
    assert set(kinds) == {"approved", "previous", "alias", "ensembl", "ambiguous", "unknown"}
    assert kinds.count("ensembl") == 1
    assert len({name.text for name in names}) == 300
    symbols = [name.symbol for name in names]
    assert [s for s in set(symbols) if symbols.count(s) > 1] == ["TOY22"]
    assert (names[22].kind, names[23].kind) == ("approved", "previous")
    approved, previous, alias, _ = look_up(genes.table(300))
    assert set(previous) & approved
    assert set(alias) & approved
    quoted = [line for line in genes.table(300).splitlines() if '"' in line]
    assert quoted
    assert all(re.search(r'\t"[^\t"]+\|[^\t"]+"', line) for line in quoted)


def test_the_study_holds_what_it_says_and_is_small(study: Path) -> None:
    names = {path.name for path in study.iterdir()}
    assert names == GOOD | BROKEN | {"hgnc_complete_set.txt", "README.txt"}
    text = (study / "README.txt").read_text()
    assert all(re.search(rf"^{re.escape(name)} ", text, re.MULTILINE) for name in GOOD | BROKEN)
    assert sum(path.stat().st_size for path in study.iterdir()) < 5_000_000


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(GOOD | BROKEN - {"truncated.h5ad"}))
def test_anndata_reads_every_whole_file_and_finds_what_is_written(study: Path, name: str) -> None:
    read = anndata.read_h5ad(study / name)
    matrix = matrix_of(study / name)
    np.testing.assert_array_equal(dense(read.X), matrix)
    assert list(read.var_names) == cells.gene_names(matrix.shape[1])
    assert len(set(read.obs_names)) == len(matrix) == (60 if "tumor" in name else 200)
    assert "unknown" in set(read.obs["development_stage"])
    assert read.obs["development_stage"].isna().any()
    assert isinstance(read.obs["donor_id"].dtype, pd.CategoricalDtype)
    whole = matrix
    if "legacy" in name or name == "scaled.h5ad":
        whole = matrix_of(study / name, "raw.X" if "0.5" in name else "raw/X")
        assert matrix.shape[1] < whole.shape[1] == 300
        np.testing.assert_array_equal(dense(read.raw.X), whole)
        assert list(read.raw.var_names) == cells.gene_names(300)
    if name != "retina-gzip.h5ad":
        np.testing.assert_array_equal(whole, np.round(whole))
        np.testing.assert_array_equal(read.obs["n_counts"], whole.sum(axis=1))
    if name.startswith("legacy"):
        np.testing.assert_array_equal(matrix, whole[:, : matrix.shape[1]])


def shape_of_file(path: Path) -> dict[str, Any]:
    """Say what every item of a file is, without its sizes and numbers."""
    found: dict[str, Any] = {}

    def look(name: str, item: h5py.Group | h5py.Dataset) -> None:
        attributes = {key: type(value).__name__ for key, value in item.attrs.items()}
        if isinstance(item, h5py.Group):
            found[name] = ("group", attributes)
            return
        chunked = item.chunks is not None
        kind = "compound" if item.dtype.names else item.dtype.kind
        found[name] = (kind, item.ndim, chunked, item.compression, attributes)

    with h5py.File(path) as file:
        found[""] = dict(file.attrs)
        file.visititems(look)
    return found


@pytest.mark.shared_data
def test_the_layout_of_05_is_that_of_a_real_file(study: Path, shared_data: Path) -> None:
    ours = shape_of_file(study / "legacy-0.5.h5ad")
    real = shape_of_file(shared_data / "h5ad" / "anndata_v0.5.0.h5ad")
    columns = {"uns/donor_id_categories", "uns/development_stage_categories"}
    columns.add("uns/cell_type_categories")
    for name in set(ours) - columns:
        assert ours[name] == real[name], name
    for name in columns:
        assert ours[name] == real["uns/bulk_labels_categories"]
    for path in (study / "legacy-0.5.h5ad", shared_data / "h5ad" / "anndata_v0.5.0.h5ad"):
        with h5py.File(path) as file:
            assert file["obs"].dtype.names[0] == file["var"].dtype.names[0] == "index"
            assert file["obs"].dtype[0].kind == "S"
            start, stop = file["raw.X/indptr"][:2]
            assert (np.diff(file["raw.X/indices"][start:stop]) < 0).all()


@pytest.mark.shared_data
def test_the_layout_of_07_is_that_of_a_real_file(study: Path, shared_data: Path) -> None:
    ours = shape_of_file(study / "legacy-0.7.h5ad")
    real = shape_of_file(shared_data / "h5ad" / "anndata_v0.7.0.h5ad")
    alike = {
        "donor_id": "obs_cat",
        "development_stage": "obs_cat",
        "cell_type": "obs_cat",
        "n_genes": "int64",
        "n_counts": "float64",
        "library": "_index",
    }
    for name, found in ours.items():
        parent, _, last = name.rpartition("/")
        if last == "is_primary_data":
            continue  # the real file has no column of truth values
        assert found == real[f"{parent}/{alike[last]}" if last in alike else name], name


def test_a_column_that_an_old_layout_cannot_hold_is_refused(tmp_path: Path) -> None:
    ones = np.ones((2, 1), np.float32)
    for write in (legacy.write_05, legacy.write_07):
        obs = {"x": makers.h5ad.NullableInteger(np.arange(2), np.zeros(2, bool))}
        with pytest.raises(TypeError, match="x: this layout has no column of NullableInteger"):
            write(tmp_path / "x.h5ad", ones, ones, ["a", "b"], ["g"], obs)


def test_the_truncated_file_is_refused_by_hdf5(study: Path) -> None:
    with pytest.raises(OSError, match="truncated"):
        h5py.File(study / "truncated.h5ad")


def test_the_scaled_file_has_scores_in_x_and_counts_in_raw(study: Path) -> None:
    scores, whole = (matrix_of(study / "scaled.h5ad", name) for name in ("X", "raw/X"))
    assert scores.min() < 0
    np.testing.assert_allclose(scores.mean(axis=0), 0, atol=0.1)
    assert np.median(scores.std(axis=0)) == pytest.approx(1, abs=0.05)
    assert whole.min() == 0
    np.testing.assert_array_equal(whole, np.round(whole))


def test_exactly_two_names_collide_when_made_safe(study: Path) -> None:
    def safe(stem: str) -> str:
        return re.sub("_+", "_", re.sub(r"[^A-Za-z0-9_.-]", "_", stem)).strip("_")

    names: dict[str, list[str]] = {}
    for path in sorted(study.glob("*.h5ad")):
        names.setdefault(safe(path.stem), []).append(path.name)
    collide = {name: files for name, files in names.items() if len(files) > 1}
    assert collide == {"tumor_a": ["tumor a.h5ad", "tumor@a.h5ad"]}
    one, other = (matrix_of(study / name) for name in collide["tumor_a"])
    assert (one != other).any()


def test_the_same_seed_writes_the_same_bytes_in_another_process(
    study: Path, tmp_path: Path, root: Path
) -> None:
    again, differs = tmp_path / "again", tmp_path / "other"
    code = (
        f"import sys; sys.path.insert(0, {str(root / 'bin')!r}); from pathlib import Path;"
        f"from cohortflow.example.cells import write_study; write_study(Path({str(again)!r}), 3)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    cells.write_study(differs, 4)
    for path in study.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name
        same = path.read_bytes() == (differs / path.name).read_bytes()
        assert same == (path.suffix == ".txt"), path.name


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_nothing_that_is_there_is_overwritten(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "study"
    kept = target
    if kind == "folder":
        target.mkdir()
        kept = target / "mine.txt"
    kept.write_text("mine")
    with pytest.raises(Failure) as refused:
        cells.write_study(target)
    assert refused.value.category is Category.USAGE
    assert kept.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [target]


def test_a_negative_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failure) as refused:
        cells.write_study(tmp_path / "study", -1)
    assert refused.value.category is Category.USAGE
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, fraction: float) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(cells, "_truncate", fail)
    with pytest.raises(OSError, match="No space"):
        cells.write_study(tmp_path / "study")
    assert list(tmp_path.iterdir()) == []


def test_the_generator_shares_nothing_with_the_lane_and_needs_no_anndata() -> None:
    code = (
        "import sys; sys.path.insert(0, 'bin'); import cohortflow.example.cells;"
        "print([m for m in sys.modules if m.startswith(('cohortflow.cells', 'anndata', 'pandas',"
        "'scipy', 'pyarrow'))])"
    )
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("lane", "module"), [("cells", "cells"), ("dwi", "study")])
def test_the_command_writes_the_study_of_the_lane_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lane: str, module: str
) -> None:
    called = []
    place = f"cohortflow.example.{module}.write_study"
    monkeypatch.setattr(place, lambda folder, seed: called.append((folder, seed)))
    arguments = [lane, str(tmp_path / "study"), "--seed", "7"]
    done = CliRunner().invoke(example_command.command, arguments)
    assert done.exit_code == 0, done.output
    assert called == [(tmp_path / "study", 7)]
    assert f"lane {lane}" in done.output


MATRIX = np.array([[0, 2, 0, 1], [0, 0, 0, 0], [5, 0, 7, 0]], np.float64)


@pytest.mark.parametrize("layout", cells.LAYOUTS)
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_tiny_file_holds_exactly_what_the_test_gave(
    tmp_path: Path, layout: str, compression: str | None
) -> None:
    path = makers.tiny(
        tmp_path / "tiny.h5ad",
        MATRIX,
        layout=layout,
        dtype="i4",
        compression=compression,
        cell_ids=["a", "b", "c"],
        raw=MATRIX[:, :2] + 1,
        layers={"twice": 2 * MATRIX},
        obs={
            "stage": ("categorical", [1, -1, 0], ["x", "y"]),
            "gate": ("nullable-integer", [1, 2, 3], [False, True, False]),
            "word": ["ü", "", "z"],
            "number": np.array([0.5, np.nan, 2]),
        },
    )
    with h5py.File(path) as file:
        for name in ("X", "layers/twice"):
            stored = file[name] if layout == "dense" else file[name]["data"]
            assert stored.compression == compression
    read = anndata.read_h5ad(path)
    assert read.X.dtype == np.int32
    np.testing.assert_array_equal(dense(read.X), MATRIX)
    np.testing.assert_array_equal(dense(read.layers["twice"]), 2 * MATRIX)
    np.testing.assert_array_equal(dense(read.raw.X), MATRIX[:, :2] + 1)
    assert list(read.raw.var_names) == ["gene0", "gene1"]
    assert list(read.var_names) == ["gene0", "gene1", "gene2", "gene3"]
    assert list(read.obs_names) == ["a", "b", "c"]
    assert read.obs["stage"].tolist() == ["y", np.nan, "x"]
    assert read.obs["gate"].tolist() == [1, pd.NA, 3]
    assert read.obs["word"].tolist() == ["ü", "", "z"]
    np.testing.assert_array_equal(read.obs["number"], [0.5, np.nan, 2])


@pytest.mark.parametrize("layout", cells.LAYOUTS)
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_tiny_file_may_be_without_entries(
    tmp_path: Path, layout: str, compression: str | None
) -> None:
    path = tmp_path / "tiny.h5ad"
    makers.tiny(path, np.zeros((2, 3)), layout=layout, compression=compression)
    assert not dense(anndata.read_h5ad(path).X).any()


def test_faults_are_where_they_are_said_to_be(tmp_path: Path) -> None:
    with h5py.File(makers.without_X(makers.tiny(tmp_path / "a.h5ad", MATRIX))) as file:
        assert "X" not in file
        assert "obs" in file
    with h5py.File(makers.without_var_names(makers.tiny(tmp_path / "b.h5ad", MATRIX))) as file:
        assert file["var"].attrs["_index"] not in file["var"]
        assert "X" in file
    with pytest.raises(OSError, match="truncated"):
        h5py.File(makers.truncated(makers.tiny(tmp_path / "c.h5ad", MATRIX), 0.6))

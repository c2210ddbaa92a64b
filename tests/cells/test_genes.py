"""The genes of a matrix: each finds its symbol by the rules, no name is guessed."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cells import tables
from cells.tables import gene
from cohortflow.cells import genes, hgnc
from cohortflow.cells.genes import GeneMap
from cohortflow.core.outcome import Category, Failure

TP53 = "ENSG00000141510"
HES4 = "ENSG00000188290"
UNKNOWN = "ENSG00000999999"
GENES = (
    gene("TP53", ensembl=TP53, alias="p53|LFS1|EIF2"),
    gene("HES4", ensembl=HES4, previous="bHLHb42|MOVED", alias="p53|SELT"),
    gene("SELENOT", previous="SELT|EIF2|TP53", alias="HES4|DIO"),
    gene("NEW", previous="EIF2"),
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> hgnc.Table:
    return hgnc.read(tables.written(tmp_path_factory.mktemp("hgnc") / "table.txt", GENES))


def one(
    table: hgnc.Table, name: str, identifier: str | None = None, other: str | None = None
) -> tuple[str, str]:
    """Return symbol and class of a matrix's single gene."""
    found = genes.map_genes(
        [name],
        None if identifier is None else [identifier],
        None if other is None else [other],
        table,
    )
    assert found.names == (name,)
    return found.symbols[0], found.classes[0]


RULES = {
    "an Ensembl gene as name": ((TP53,), ("TP53", "ensembl")),
    "its version is stripped": ((f"{TP53}.18",), ("TP53", "ensembl")),
    "its copy on chromosome Y is the gene": ((f"{TP53}.18_PAR_Y",), ("TP53", "ensembl")),
    "white space around it": ((f" {TP53}\n",), ("TP53", "ensembl")),
    "more digits are another thing": ((f"{TP53}1",), (f"{TP53}1", "none")),
    "an unknown Ensembl gene keeps its name": ((f"{UNKNOWN}.2",), (f"{UNKNOWN}.2", "none")),
    "another species' gene": (("ENSMUSG00000059552",), ("ENSMUSG00000059552", "none")),
    "an identifier goes before an approved name": (("HES4", TP53), ("TP53", "ensembl")),
    "the name's identifier goes first": ((HES4, TP53), ("HES4", "ensembl")),
    "the column's after an unknown one": ((UNKNOWN, f"{TP53}.1"), ("TP53", "ensembl")),
    "an unknown identifier leaves the name": (("TP53", UNKNOWN), ("TP53", "approved")),
    "an identifier that is none is passed over": (("p53x", "TP53"), ("p53x", "none")),
    "approved": (("HES4",), ("HES4", "approved")),
    "approved goes before previous and alias": (("TP53",), ("TP53", "approved")),
    "previous": (("bHLHb42",), ("HES4", "previous")),
    "previous goes before another gene's alias": (("SELT",), ("SELENOT", "previous")),
    "alias": (("DIO",), ("SELENOT", "alias")),
    "white space around a name": (("\tDIO ",), ("SELENOT", "alias")),
    "an ambiguous alias is kept": (("p53",), ("p53", "none")),
    "an ambiguous previous symbol is kept though one gene's alias": (("EIF2",), ("EIF2", "none")),
    "letters' case counts": (("Hes4",), ("Hes4", "none")),
    "a suffix that made a name unique": (("HES4-1",), ("HES4-1", "none")),
    "an unknown name is kept": (("RP11-782C8.1",), ("RP11-782C8.1", "none")),
    "white space inside a kept name": (("  HLA\u00a0A\t b ",), ("HLA_A__b", "none")),
    "the other name, when the name gives none": ((UNKNOWN, "", "MOVED"), ("HES4", "previous")),
    "the name goes before the other name": (("DIO", "", "TP53"), ("SELENOT", "alias")),
    "the other name, when the name is ambiguous": (("p53", "", "TP53"), ("TP53", "approved")),
    "an other name that is unknown leaves the name": ((UNKNOWN, "", "X1"), (UNKNOWN, "none")),
    "an ambiguous other name leaves the name": ((UNKNOWN, "", "EIF2"), (UNKNOWN, "none")),
    "an empty other name": (("X1", "", " "), ("X1", "none")),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_gene_finds_its_symbol_by_the_rules(rule: str, table: hgnc.Table) -> None:
    given_names, expected = RULES[rule]
    assert one(table, *given_names) == expected


def test_the_files_names_are_kept_as_they_are_and_in_order(table: hgnc.Table) -> None:
    found = genes.map_genes([" DIO", "TP53", "a b"], None, None, table)
    assert found == GeneMap(
        (" DIO", "TP53", "a b"), ("SELENOT", "TP53", "a_b"), ("alias", "approved", "none")
    )


def resolved(name: str) -> tuple[str, str] | None:
    """Look a name up row by row, in the table's own words."""
    rows = list(GENES)
    for column, kind in (("symbol", "approved"), ("prev_symbol", "previous")):
        hits = [row["symbol"] for row in rows if name in row[column].split("|") and name]
        if len(hits) == 1:
            return hits[0], kind
        if hits:
            return None
    hits = [row["symbol"] for row in rows if name in row["alias_symbol"].split("|") and name]
    return (hits[0], "alias") if len(hits) == 1 else None


def slowly(name: str, identifier: str, other: str) -> tuple[str, str]:
    for text in (name, identifier):
        number = text.strip().split("_PAR_Y")[0].split(".")[0]
        for row in GENES:
            if row["ensembl_gene_id"] == number != "":
                return row["symbol"], "ensembl"
    kept = "".join("_" if letter.isspace() else letter for letter in name.strip())
    return resolved(name.strip()) or resolved(other.strip()) or (kept, "none")


NAMES = st.one_of(
    st.sampled_from(
        [
            *(f"{number}{end}" for number in (TP53, HES4, UNKNOWN) for end in ("", ".3")),
            f"{TP53}.1_PAR_Y",
            *{word for row in GENES for value in row.values() for word in value.split("|")},
        ]
    ),
    st.text("TP53 \t\u2003x", max_size=4),
).flatmap(lambda name: st.sampled_from([name, f" {name}", f"{name}\n"]))


@given(rows=st.lists(st.tuples(NAMES.filter(str.strip), NAMES, NAMES), max_size=30))
def test_agrees_with_a_look_at_each_row(
    rows: list[tuple[str, str, str]], table: hgnc.Table
) -> None:
    names, identifiers, others = ([row[place] for row in rows] for place in range(3))
    found = genes.map_genes(names, identifiers, others, table)
    expected = [slowly(*row) for row in rows]
    assert list(zip(found.symbols, found.classes, strict=True)) == expected
    bare = genes.map_genes(names, None, None, table)
    expected = [slowly(name, "", "") for name in names]
    assert list(zip(bare.symbols, bare.classes, strict=True)) == expected


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_an_empty_name_is_refused_by_its_position(blank: str, table: hgnc.Table) -> None:
    with pytest.raises(Failure, match="gene 3 of 4 has an empty name") as caught:
        genes.map_genes(["TP53", "x", blank, "y"], ["", "", TP53, ""], None, table)
    assert caught.value.category is Category.DATA_INVALID


def test_a_name_that_is_no_text_is_refused_by_its_position(table: hgnc.Table) -> None:
    with pytest.raises(Failure, match=r"gene 2 of 2 has a name that is no UTF-8") as caught:
        genes.map_genes(["TP53", "x\udcff"], None, None, table)
    assert caught.value.category is Category.DATA_INVALID


@pytest.mark.parametrize("place", [0, 1])
def test_a_column_of_another_length_is_refused(place: int, table: hgnc.Table) -> None:
    extra: list[Sequence[str] | None] = [None, None]
    extra[place] = ["x"]
    with pytest.raises(Failure, match="2 genes but 1") as caught:
        genes.map_genes(["TP53", "x"], *extra, table)
    assert caught.value.category is Category.DATA_INVALID


def test_columns_of_one_symbol_share_its_index_by_first_appearance(table: hgnc.Table) -> None:
    found = genes.map_genes(["DIO", "z", TP53, "SELT", "TP53", "z", "a"], None, None, table)
    symbols, index = genes.columns(found)
    assert symbols == ["SELENOT", "z", "TP53", "a"]
    assert index.dtype == np.int32
    assert index.tolist() == [0, 1, 2, 0, 2, 1, 3]
    assert tuple(symbols[place] for place in index) == found.symbols


def test_no_genes_give_no_columns(table: hgnc.Table) -> None:
    symbols, index = genes.columns(genes.map_genes([], None, None, table))
    assert symbols == []
    assert (index.shape, index.dtype) == ((0,), np.int32)


def test_the_folder_holds_the_table_and_its_numbers(table: hgnc.Table, tmp_path: Path) -> None:
    names = [TP53, "TP53", "HES4", "SELT", "bHLHb42", "MOVED", "DIO", "x", "p53", "y", "z"]
    genes.write(tmp_path, genes.map_genes(names, None, None, table), table)
    assert {path.name for path in tmp_path.iterdir()} == {"genes.tsv", "metrics.json"}
    lines = (tmp_path / "genes.tsv").read_text().splitlines()
    assert lines[:3] == ["name\tsymbol\tclass", f"{TP53}\tTP53\tensembl", "TP53\tTP53\tapproved"]
    assert json.loads((tmp_path / "metrics.json").read_text()) == {
        "genes": 11,
        "genes_ensembl": 1,
        "genes_approved": 2,
        "genes_previous": 3,
        "genes_alias": 1,
        "genes_none": 4,
        "gene_symbols": 7,
        "hgnc_sha256": table.sha256[:12],
        "hgnc_genes": 4,
    }


def test_the_same_genes_give_the_same_bytes(table: hgnc.Table, tmp_path: Path) -> None:
    found = genes.map_genes(["DIO", "x\ty"], None, None, table)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        genes.write(tmp_path / name, found, table)
    for file in ("genes.tsv", "metrics.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


ODD = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\t\r\n\x00,|'))


@given(names=st.lists(ODD.filter(str.strip), max_size=8))
def test_any_name_comes_back_as_it_was(
    names: list[str], table: hgnc.Table, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("written")
    found = genes.map_genes(names, None, None, table)
    genes.write(folder, found, table)
    assert genes.read(folder / "genes.tsv") == found
    assert all(symbol.split() == [symbol] for symbol in found.symbols)


@pytest.mark.parametrize("name", ['a"b', '"a"', "a\tb", "a\nb", "a\rb", "a\r\nb", "a\x00b", "#N/A"])
def test_a_name_that_needs_quotes_comes_back(name: str, table: hgnc.Table, tmp_path: Path) -> None:
    genes.write(tmp_path, genes.map_genes(["TP53", name], None, None, table), table)
    assert genes.read(tmp_path / "genes.tsv").names == ("TP53", name)


def test_a_table_of_sixty_thousand_genes_comes_back(table: hgnc.Table, tmp_path: Path) -> None:
    names = [f"GENE {number}" for number in range(60_000)]
    found = genes.map_genes(names, None, None, table)
    genes.write(tmp_path, found, table)
    assert genes.read(tmp_path / "genes.tsv") == found
    assert genes.columns(found)[1].tolist() == list(range(60_000))


HEAD = "name\tsymbol\tclass\n"
BROKEN = {
    "empty": ("", "does not begin with"),
    "another header": ("name\tsymbol\tkind\n", "does not begin with"),
    "two columns": (f"{HEAD}a\tA\n", "line 2 is no"),
    "four columns": (f"{HEAD}a\tA\tnone\tx\n", "line 2 is no"),
    "unknown class": (f"{HEAD}a\tA\tnone\nb\tB\tguess\n", "line 3 is no"),
    "no name": (f"{HEAD}\tA\tnone\n", "line 2 is no"),
    "no symbol": (f"{HEAD}a\t\tnone\n", "line 2 is no"),
    "white space in a symbol": (f"{HEAD}a\tA B\tnone\n", "line 2 is no"),
    "blank line": (f"{HEAD}\na\tA\tnone\n", "line 2 is no"),
    "open quote": (f'{HEAD}"a\tA\tnone\n', "is no table of genes"),
    "open carriage return": (f"{HEAD}a\rb\tA\tnone\n", "line 2 is no|is no table of genes"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_table_of_genes_is_refused(kind: str, tmp_path: Path) -> None:
    content, reason = BROKEN[kind]
    path = tmp_path / "genes.tsv"
    path.write_bytes(content.encode())
    with pytest.raises(Failure, match=reason) as caught:
        genes.read(path)
    assert caught.value.category is Category.DATA_INVALID
    assert str(path) in caught.value.message


def test_binary_is_no_table_of_genes(tmp_path: Path) -> None:
    path = tmp_path / "genes.tsv"
    path.write_bytes(HEAD.encode() + b"\xff\tA\tnone\n")
    with pytest.raises(Failure, match=re.escape(str(path))) as caught:
        genes.read(path)
    assert caught.value.category is Category.DATA_INVALID


@given(content=st.binary(max_size=80))
def test_bytes_are_read_or_refused(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "genes.tsv"
    path.write_bytes(HEAD.encode() + content)
    try:
        found = genes.read(path)
    except Failure as failure:
        assert failure.category is Category.DATA_INVALID
    else:
        assert set(found.classes) <= set(genes.CLASSES)


def test_a_table_of_genes_that_is_not_there_is_an_input_missing(tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        genes.read(tmp_path / "genes.tsv")
    assert caught.value.category is Category.INPUT_MISSING


@pytest.fixture(scope="module")
def real(shared_data: Path) -> tuple[list[str], hgnc.Table]:
    with h5py.File(shared_data / "h5ad" / "anndata_v0.5.0.h5ad") as file:
        names = [name.decode() for name in file["var"]["index"]]
    return names, hgnc.read(shared_data / "hgnc" / "hgnc_complete_set.min.parquet")


@pytest.mark.shared_data
def test_the_genes_of_pbmc68k_are_found_as_counted(
    real: tuple[list[str], hgnc.Table], tmp_path: Path
) -> None:
    names, table = real
    found = genes.map_genes(names, None, None, table)
    assert Counter(found.classes) == {"approved": 698, "previous": 53, "alias": 4, "none": 10}
    kinds = dict(zip(names, zip(found.symbols, found.classes, strict=True), strict=True))
    assert kinds["SELT"] == ("SELENOT", "alias")
    assert kinds["TMBIM4-1"] == ("TMBIM4-1", "none")
    genes.write(tmp_path, found, table)
    numbers = json.loads((tmp_path / "metrics.json").read_text())
    assert numbers["genes"] == 765
    assert numbers["genes_ensembl"] == 0
    assert numbers["hgnc_genes"] == 44_615
    with (tmp_path / "genes.tsv").open(newline="") as reader:
        assert [row[0] for row in csv.reader(reader, delimiter="\t")][1:] == names


@pytest.mark.shared_data
def test_every_name_of_the_real_table_leads_where_the_table_says(
    real: tuple[list[str], hgnc.Table],
) -> None:
    _, table = real
    by_number = genes.map_genes([f"{name}.1" for name in table.by_ensembl], None, None, table)
    assert by_number.symbols == tuple(table.by_ensembl.values())
    approved = genes.map_genes(sorted(table.symbols), None, None, table)
    assert approved.symbols == approved.names
    assert set(approved.classes) == {"approved"}
    older = [name for name in table.previous if name not in table.symbols]
    previous = genes.map_genes(older, None, None, table)
    assert previous.symbols == tuple(table.previous[name] for name in older)
    assert set(previous.classes) == {"previous"}
    known = table.symbols | set(table.previous)
    older = [name for name in table.aliases if name not in known]
    aliases = genes.map_genes(older, None, None, table)
    assert aliases.symbols == tuple(table.aliases[name] for name in older)
    # one of the two aliases that are identifiers is its gene's identifier as well
    assert Counter(aliases.classes) == {"alias": len(older) - 1, "ensembl": 1}
    assert genes.map_genes(["ENSG00000184796.1"], None, None, table).classes[0] == "alias"

"""The single-cell lane as the engine sees it."""

from __future__ import annotations

from cohortflow.cells import discover
from cohortflow.core.lanes import Lane, Parameter, Step

_TOKEN = "set HF_TOKEN, or HF_TOKEN_PATH to a file that holds it"  # noqa: S105 - advice
_NAME = r"[\w. +/()-]{0,128}"

LANE = Lane(
    name="cells",
    title="Single cells: cell sentences with ages and splits, as parquet",
    steps=(
        Step("genes", parameters=("matrix",)),
        Step("age"),
        Step(
            "split",
            parameters=(
                "test_size", "split_by", "donor_column", "split_seed", "skip_train_test_split",
            ),
        ),
        Step(
            "convert",
            parameters=(
                "matrix", "top_genes", "chunk_size", "compression", "compression_level", "gene_ids",
            ),
        ),
        Step("upload", parameters=("repo_id", "public_repo"), options=("suffix",), network=True,
             unless=(("repo_id", ""),)),
    ),
    parameters=(
        Parameter(
            "hgnc", "", (),
            "The HGNC complete set, a file or an address; a file hgnc_complete_set* beside the "
            "datasets, else HGNC's own, when left out.",
            input=True,
        ),
        Parameter(
            "matrix", "X", (), "The matrix of counts: X, raw or layers/NAME.",
            pattern=r"[\w. +/:()-]{1,128}",
        ),
        Parameter(
            "top_genes", "2000", (), "Genes of a cell's sentence at most.",
            type="integer", minimum=1,
        ),
        Parameter(
            "chunk_size", "10000", (), "Cells that always stand in one file.",
            type="integer", minimum=1,
        ),
        Parameter(
            "compression", "zstd", ("zstd", "snappy", "gzip", "lz4", "brotli", "none"),
            "Compression of the parquet files.",
        ),
        Parameter(
            "compression_level", "3", (), "Level of zstd, gzip (up to 9) and brotli (up to 11).",
            type="integer", minimum=1, maximum=22,
        ),
        Parameter(
            "test_size", "0.05", (), "Share of the cells that are for testing.",
            type="number", minimum=0, below=1,
        ),
        Parameter(
            "split_by", "donor", ("donor", "cell", "age"),
            "What is kept whole: all cells of a donor, or single cells, also by age.",
        ),
        Parameter(
            "donor_column", "", (), "Column of obs that names the donor; found when left out.",
            pattern=_NAME,
        ),
        Parameter(
            "split_seed", "42", (), "Another seed makes another split.", type="integer", minimum=0
        ),
        Parameter(
            "skip_train_test_split", "false", (), "Leave every cell for training.", type="boolean"
        ),
        Parameter(
            "gene_ids", "false", (), "Add the column gene_ids, the sentence as numbers.",
            type="boolean",
        ),
        Parameter(
            "repo_id", "", (),
            "Send each dataset to this repository of a Hugging Face hub, as ORG/NAME; its own "
            "name follows.",
            pattern=r"([\w.-]{1,96}/[\w.-]{1,96})?",
        ),
        Parameter(
            "public_repo", "false", (), "Make repositories that everybody sees.", type="boolean"
        ),
    ),
    outputs=(
        "data/train-*-of-*.parquet",
        "README.md",
        "genes.tsv",
        "ages.tsv",
        "split.json",
        "figures/{prefix}_desc-overview.png",
        "metrics.json",
    ),
    optional=("data/test-*-of-*.parquet", "upload.json"),
    discover=discover.discover,
    complete=discover.complete,
    filters=None,
    roles=("h5ad", "hgnc"),
    bids=False,
    takes_file=True,
    unit_logs=True,
    clean="unit",
    shorthands={
        "--input-dir": "STUDY",
        "--output-dir": "OUT",
        "-o": "OUT",
        "--interim-dir": "--work-dir",
        "--keep-interim": "--clean=never",
        "--public": "--public-repo",
        "--batch-mode": "",
        "--skip-existing": "",
    },
    refused={"--token": _TOKEN},
    default_study="./data/input",
    default_out="./data/output",
)  # fmt: skip

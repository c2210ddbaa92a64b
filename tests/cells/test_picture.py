"""The picture is the same wherever it is drawn, and is drawn without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from cells import driving
from cohortflow.example.cells import Recipe, write_h5ad


def picture(folder: Path, settings: Path) -> tuple[bytes, str]:
    """Convert a file where Matplotlib has this folder of settings; return picture and messages."""
    folder.mkdir()
    write_h5ad(folder / "toy.h5ad", Recipe(cells=20, genes=40, per_cell=8))
    (folder / "hgnc.txt").write_text(
        "symbol\talias_symbol\tprev_symbol\tensembl_gene_id\nA\t\t\t\n"
    )
    ended = driving.tool(
        "cells-convert", folder / "toy.h5ad", "--hgnc", folder / "hgnc.txt",
        "--output", folder / "out", MPLCONFIGDIR=str(settings),
    )  # fmt: skip
    (drawn,) = (folder / "out").rglob("*.png")
    return drawn.read_bytes(), ended.stderr


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    folder = tmp_path_factory.mktemp("usual")
    (folder / "settings").mkdir()
    return picture(folder / "made", folder / "settings")


def test_what_the_user_has_set_for_matplotlib_changes_no_byte(
    usual: tuple[bytes, str], tmp_path: Path
) -> None:
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "matplotlibrc").write_text("font.size: 20\nsavefig.dpi: 50\n")
    assert picture(tmp_path / "made", tmp_path / "settings")[0] == usual[0]


def test_no_line_tells_that_matplotlib_can_keep_no_list_of_fonts(
    usual: tuple[bytes, str], tmp_path: Path
) -> None:
    (tmp_path / "settings").touch()  # a file, where it wants a folder
    assert picture(tmp_path / "made", tmp_path / "settings") == usual
    assert "font" not in usual[1]

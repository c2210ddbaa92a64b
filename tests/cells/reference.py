"""What a conversion must give, computed slowly and plainly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq


def sentence(values: Sequence[float], symbols: Sequence[str], top: int = 2000) -> str:
    """Return a cell's sentence: sum by symbol, sort by value and first column, no zeros."""
    totals: dict[str, float] = {}
    for symbol, value in zip(symbols, values, strict=True):
        totals[symbol] = totals.get(symbol, 0.0) + float(value)
    order = {symbol: place for place, symbol in enumerate(totals)}
    expressed = [symbol for symbol, total in totals.items() if total != 0]
    return " ".join(sorted(expressed, key=lambda s: (-totals[s], order[s]))[:top])


def sentences(matrix: np.ndarray, symbols: Sequence[str], top: int = 2000) -> list[str]:
    return [sentence(row, symbols, top) for row in np.asarray(matrix, np.float64)]


def rows(folder: Path) -> dict[str, dict[str, object]]:
    """Return the rows of all parts of a dataset by their cell ids, with the part they are in."""
    found: dict[str, dict[str, object]] = {}
    for path in sorted((folder / "data").glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            assert row["cell_id"] not in found
            found[row["cell_id"]] = {**row, "part": path.name.split("-")[0]}
    return found


def converted(folder: Path) -> list[str]:
    """Return the sentences of a dataset whose cells are named cell0, cell1 and so on."""
    found = rows(folder)
    return [str(found[f"cell{number}"]["cell_sentence"]) for number in range(len(found))]

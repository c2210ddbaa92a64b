"""Made-up annotations of cells: barcodes, donors, ages, cell types, numbers of quality."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortflow.example.counts import Totals
from cohortflow.example.h5ad import Categorical, Column, NullableInteger

#: The stage of the first donor, the second, and so on, then again: labels of HsapDv, the word that
#: CELLxGENE has for what nobody knows, and no value.
STAGES = (
    "29-year-old stage",
    "3-month-old stage",
    "10th week post-fertilization stage",
    "unknown",
    "sixth decade stage",
    None,
    "90 year-old and over stage",
    "61-year-old stage",
)
CELL_TYPES = ("B cell", "T cell", "macrophage", "monocyte", "natural killer cell")
LIBRARIES = ("Graz 1", "Graz 2", "Köln 1")


def barcodes(cells: int, seed: int) -> list[str]:
    """Name the cells: sixteen letters of DNA and ``-1``, all different."""
    # An odd factor turns the numbers round within 32 bits; none appears twice.
    numbers = np.arange(cells, dtype=np.uint32) * np.uint32(2654435761)
    numbers += np.random.default_rng(seed).integers(1 << 32, dtype=np.uint32)
    letters = np.empty((cells, 18), np.uint8)
    for place in range(16):
        letters[:, place] = np.frombuffer(b"ACGT", np.uint8)[(numbers >> (2 * place)) & 3]
    letters[:, 16:] = np.frombuffer(b"-1", np.uint8)
    return [text.decode() for text in letters.view("S18")[:, 0].tolist()]


def observations(totals: Totals, donors: int, seed: int) -> dict[str, Column]:
    """Make the columns of ``obs``.

    Parameters
    ----------
    totals : Totals
        Of the matrix, for ``n_counts`` and ``n_genes``.
    donors : int
        A donor has one stage (see `STAGES`); donors are drawn evenly.
    seed : int

    Returns
    -------
    dict of str to column
        ``donor_id``, ``development_stage`` and ``cell_type`` (categories), ``n_counts`` (float32),
        ``n_genes`` (int64), ``is_primary_data`` (bool), ``sort_gate`` (whole numbers, one in ten
        not known), ``library`` (strings, not all ASCII).
    """
    cells = len(totals.genes_of_cell)
    rng = np.random.default_rng([seed, cells])
    donor = rng.integers(0, donors, cells)
    stages = [STAGES[number % len(STAGES)] for number in range(donors)]
    libraries = rng.integers(0, len(LIBRARIES), cells)
    return {
        "donor_id": _categorical([f"donor-{number + 1}" for number in range(donors)], donor),
        "development_stage": _categorical(stages, donor),
        "cell_type": _categorical(list(CELL_TYPES), rng.integers(0, len(CELL_TYPES), cells)),
        "n_counts": totals.counts_of_cell.astype(np.float32),
        "n_genes": totals.genes_of_cell,
        "is_primary_data": rng.random(cells) < 0.9,
        "sort_gate": NullableInteger(rng.integers(0, 96, cells), rng.random(cells) < 0.1),
        "library": [LIBRARIES[number] for number in libraries.tolist()],
    }


def _categorical(labels: list[str] | list[str | None], of_cell: NDArray[np.int64]) -> Categorical:
    """Make a column of each cell's label; categories are sorted, as pandas makes them."""
    categories = sorted({label for label in labels if label is not None})
    codes = [-1 if label is None else categories.index(label) for label in labels]
    places = np.array(codes)[of_cell]
    small = places.astype(np.int8) if len(categories) < 128 else places.astype(np.int16)
    return Categorical(small, tuple(categories))

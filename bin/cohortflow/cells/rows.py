"""A block of cells of an expression matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

#: Cells of a block, at most.
BLOCK_CELLS = 250


@dataclass(frozen=True)
class Rows:
    """A block of cells, stored row by row (CSR).

    Attributes
    ----------
    start : int
        Number of the first cell in the file.
    pointers : ndarray of int64, (cells + 1,)
        Cell ``i`` has the entries ``pointers[i]:pointers[i + 1]``.
    columns : ndarray of int32, (entries,)
        Genes, at least 0 and below the matrix's number of genes.
    values : ndarray of float32 or float64, (entries,)
        As stored, exactly; explicit zeros may occur.
    """

    start: int
    pointers: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int32]
    values: npt.NDArray[Any]

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.pointers) - 1

    @property
    def stop(self) -> int:
        """Number of the cell after the last one."""
        return self.start + self.cells

    def piece(self, start: int, stop: int) -> Rows:
        """Return some of the cells, by their numbers in the file."""
        if (start, stop) == (self.start, self.stop):
            return self
        edges = self.pointers[start - self.start : stop - self.start + 1]
        part = slice(edges[0], edges[-1])
        return Rows(start, edges - edges[0], self.columns[part], self.values[part])

"""The ways in which a bvec file can be wrong as a whole: axes flipped, swapped, or the world's."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortflow.dwi import tensor

Array = NDArray[np.float64]

OBLIQUE = 5.0
"""Degrees by which image axes must leave the world's, so that the two can be told apart."""

_SIGNS = ((1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1))


@dataclass(frozen=True)
class Arrangement:
    """Axes in another order or flipped: row i of the file holds ``signs[i] * true[order[i]]``."""

    order: tuple[int, ...]
    signs: tuple[int, ...]

    @property
    def matrix(self) -> Array:
        """Orthogonal (3, 3) matrix: the true vectors to those of the file."""
        result = np.zeros((3, 3))
        result[range(3), self.order] = self.signs
        return result

    @property
    def name(self) -> str:
        """How the file differs from the truth: ``x and y swapped, z flipped`` for example."""
        moved = [i for i in range(3) if self.order[i] != i]
        flipped = ["xyz"[i] + " flipped" for i in range(3) if self.signs[i] < 0]
        parts = []
        if len(moved) == 2:
            parts = [f"{'xyz'[moved[0]]} and {'xyz'[moved[1]]} swapped"]
        elif moved:
            parts = ["axes in the order " + ", ".join("xyz"[i] for i in self.order)]
        return ", ".join(parts + flipped) or "as given"

    @property
    def rows(self) -> str:
        """The file's correct rows in terms of its present ones, ``-x, y, z`` for example."""
        source = [self.order.index(axis) for axis in range(3)]
        return ", ".join(("-" if self.signs[i] < 0 else "") + "xyz"[i] for i in source)

    @property
    def remedy(self) -> str:
        """What the file's owner should do."""
        return f"write its rows as {self.rows}"


ARRANGEMENTS = tuple(
    Arrangement(order, signs) for order in itertools.permutations(range(3)) for signs in _SIGNS
)
"""All 24: six orders of the axes, each with no or one flip; the first is as given."""


@dataclass(frozen=True, eq=False)
class World:
    """Vectors in the scanner's axes instead of the image's, with the attributes of `Arrangement`.

    Attributes
    ----------
    name : str
    matrix : ndarray, shape (3, 3)
    """

    name: str
    matrix: Array
    rows: str = "turned from world axes to image axes"
    remedy: str = "turn its vectors from world axes to the image's (FSL convention)"


Frame = Arrangement | World


def of_image(affine: Array) -> tuple[Frame, ...]:
    """Return the frames that the b-vectors of an image may be in; the first is as given.

    Parameters
    ----------
    affine : ndarray, shape (4, 4)
        Voxel indices to world mm.

    Returns
    -------
    tuple of Frame
        The 24 arrangements, and for image axes that are more than `OBLIQUE` degrees off the
        world's the world's axes as NIfTI (right, anterior, superior) and DICOM (left,
        posterior, superior) have them. Where they are not, those are among the 24.
    """
    # the turn nearest to the affine, which may shear a little
    left, _, right = np.linalg.svd(affine[:3, :3])
    turn = (left @ right) * tensor.fsl_signs(affine)
    if min(angle(turn, one.matrix) for one in ARRANGEMENTS) <= OBLIQUE:
        return ARRANGEMENTS
    dicom = np.array([[-1.0], [-1.0], [1.0]]) * turn
    return (
        *ARRANGEMENTS,
        World("in world axes", turn),
        World("in world axes as DICOM has them (left, posterior, superior)", dicom),
    )


def angle(one: Array, other: Array) -> float:
    """Return the angle in degrees of the turn from one frame to another; g and -g are one."""
    turn = one.T @ other
    turn *= np.sign(np.linalg.det(turn))
    return float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))

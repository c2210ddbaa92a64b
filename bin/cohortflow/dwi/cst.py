"""The corticospinal tract of each side: its streamlines, how often they visit voxels, its core."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import selection, shape
from cohortflow.dwi import streamlines as lines
from cohortflow.dwi.density import dense, levels
from cohortflow.dwi.selection import SIDES, Side
from cohortflow.dwi.streamlines import Streamlines

LEAST = 20
"""Streamlines below which a side has no tract, but a reason."""

LEAST_SHARE = 0.01
"""Share of a side's candidates below which it has none either: of many, a few always find a way.

Of heads without the tract (`cohortflow.example.brain`) 0 to 0.6 % of the candidates do; with a
quarter of it 2 to 3 %, with all of it 6 to 20 %, of people 8 to 14 %.
"""

CORE_SHARE = 0.3
"""Share of the typical density at its level that a voxel of the tract's core has at least."""

FIBRE_SHARE = 0.15
"""The same for the fibre volume: less, since a voxel counts by what the tract fills of it.

Of phantoms (2.5 mm, 32 directions) 1.02 to 1.04 times the true volume is found, at 0.3 only 0.87.
"""

_CONNECTED = ndimage.generate_binary_structure(3, 3)


@dataclass(frozen=True)
class Tract:
    """The tract of one side.

    Attributes
    ----------
    side : {"left", "right"}
    streamlines : Streamlines
        Each from the brainstem up; none where the side is empty.
    visits : ndarray of int32, shape (x, y, z)
        Number of streamlines that visit a voxel.
    core : ndarray of bool, shape (x, y, z)
    counts : dict of str to int
        See `selection.Selection`; ``shape`` is what is left when strays are removed.
    reason : str
        Why the side is empty; empty when it is not.
    """

    side: Side
    streamlines: Streamlines
    visits: NDArray[np.int32]
    core: NDArray[np.bool_]
    counts: dict[str, int]
    reason: str = ""


def find(
    candidates: Streamlines,
    labels: NDArray[np.uint8],
    coordinates: NDArray[np.float32],
    affine: NDArray[np.float64],
    *,
    name: str = "the series",
) -> dict[Side, Tract]:
    """Find the tract of both sides among candidates.

    Parameters
    ----------
    candidates : Streamlines
        World mm.
    labels : ndarray of uint8, shape (x, y, z)
        See `regions.Region`.
    coordinates : ndarray of float32, shape (x, y, z, 3)
        Template mm of each voxel's centre.
    affine : ndarray, shape (4, 4)
    name : str
        Named in the message.

    Raises
    ------
    Failure
        DATA_INVALID when both sides are empty.
    """
    found = selection.along(candidates, labels, coordinates, affine)
    height = coordinates[..., 2]
    tracts = {side: _side(candidates, found, affine, height, side) for side in SIDES}
    if all(tract.reason for tract in tracts.values()):
        told = "; ".join(f"{side}: {tracts[side].reason}" for side in SIDES)
        raise Failure(
            Category.DATA_INVALID,
            f"{name}: no corticospinal tract on either side ({told})",
            "with --tracking none the maps alone are made",
        )
    return tracts


def _side(
    candidates: Streamlines,
    found: selection.Along,
    affine: NDArray[np.float64],
    height: NDArray[np.float32],
    side: Side,
) -> Tract:
    chosen = selection.select(candidates, found, side)
    counts = dict(chosen.counts)
    least = max(LEAST, math.ceil(LEAST_SHARE * counts["candidates"]))
    kept = chosen.kept
    if len(kept) >= least:
        upward = shape.upward(candidates, found.template[:, 2], kept)
        own = shape.without_strays(upward)
        counts["shape"] = len(own)
    else:
        own = candidates.take(kept)
    x, y, z = height.shape
    if len(own) < least:
        nothing = np.zeros((x, y, z), np.int32)
        why = selection.reason(counts, least)
        none = candidates.take(np.zeros(0, np.intp))
        return Tract(side, none, nothing, nothing > 0, counts, why)
    visits = lines.visits(own, affine, (x, y, z))
    return Tract(side, own, visits, core_of(visits, height), counts)


def core_of(visits: NDArray[np.integer], height: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return the core of a tract: where it is dense for its level, the largest piece.

    A share of all streamlines would make the core wide where the tract is narrow and lose it in the
    fan; a share of the density at the same height follows the tract's own outline.

    Parameters
    ----------
    visits : ndarray of int, shape (x, y, z)
    height : ndarray, shape (x, y, z)
        Template z, mm.
    """
    visited = visits > 0
    core = np.zeros(visits.shape, bool)
    own = visits[visited].astype(np.float64)[np.newaxis]
    core[visited] = dense(own, levels(height[visited]), CORE_SHARE)[0]
    pieces, count = ndimage.label(core, _CONNECTED)
    if count <= 1:
        return core
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(pieces == sizes.argmax())

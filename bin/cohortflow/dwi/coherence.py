"""Find out whether the b-vectors are flipped or swapped against the image.

White matter continues along its own direction: one step from a voxel along its principal
direction lands on a voxel of white matter with nearly the same direction and FA. Flipped or
swapped b-vectors break that. The idea is Jeurissen et al. 2014
(doi:10.1016/j.media.2014.05.012) and the fibre coherence index of Schilling et al. 2019
(doi:10.1016/j.mri.2019.01.018); the score here is a local one and needs neither tractography
nor another fit, since permuting or flipping the b-vectors does just the same to the tensor's
eigenvectors.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FA_WHITE_MATTER = 0.3
MINIMUM_VOXELS = 300
MINIMUM_Z = 4.0
"""Least ratio of the mean gain over blocks of voxels to its standard error."""
MINIMUM_GAIN = 0.02
"""Least gain of coherence, relative to the coherence as given."""

_SQUARINGS = 3  # of the cosine of direction and step: half weight at 24 degrees
_FA_SPREAD = 0.1  # of neighbours on one fibre
_BLOCK = 6  # voxels; neighbours' gains are not independent, distant blocks' nearly are
_SIGNS = ((1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1))
_STEPS = np.array([o for o in itertools.product((-1, 0, 1), repeat=3) if o > (0, 0, 0)])


@dataclass(frozen=True)
class Orientation:
    """What the b-vectors look like.

    Attributes
    ----------
    name : str
        ``as given``, or how the file differs from the truth: ``x flipped``,
        ``x and y swapped, z flipped``, ``axes in the order y, z, x``, … Flipping all three
        axes changes no tensor, so of two names that differ by it the one with at most one
        flip is used.
    rows : str
        The bvec file's correct rows in terms of its present ones, ``-x, y, z`` for example.
    score_given, score_best : float
        Coherence between 0 and 1 as given and in the best arrangement; 0 without white matter.
    z : float
        Gain of the best over the given arrangement (over the next best, where the given is
        best), in standard errors over blocks of voxels.
    certain : bool
        Whether z and the relative gain are large enough to act on. Never for too few voxels.
    voxels : int
        How many voxels were looked at.
    """

    name: str
    rows: str
    score_given: float
    score_best: float
    z: float
    certain: bool
    voxels: int

    @property
    def wrong(self) -> bool:
        """Whether the b-vectors are certainly not as the image needs them."""
        return self.certain and self.name != "as given"


@dataclass(frozen=True)
class Arrangement:
    """A way in which a bvec file can be wrong: its row i holds ``signs[i] * true[order[i]]``."""

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
        """Name as in `Orientation`."""
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
        """Correct rows in terms of the file's, as in `Orientation`."""
        source = [self.order.index(axis) for axis in range(3)]
        return ", ".join(("-" if self.signs[i] < 0 else "") + "xyz"[i] for i in source)


ARRANGEMENTS = tuple(
    Arrangement(order, signs) for order in itertools.permutations(range(3)) for signs in _SIGNS
)
"""All 24: six orders of the axes, each with no or one flip; the first is as given."""


def check(
    principal: NDArray[np.floating],
    fa: NDArray[np.floating],
    mask: NDArray[np.bool_],
    steps: Array,
) -> Orientation:
    """Compare how well fibres continue under every arrangement of the b-vectors.

    Parameters
    ----------
    principal : ndarray, shape (x, y, z, 3)
        Unit principal directions in the frame of the b-vectors.
    fa : ndarray, shape (x, y, z)
    mask : ndarray of bool, shape (x, y, z)
        Where to look; white matter in it is FA > `FA_WHITE_MATTER`.
    steps : ndarray, shape (3,)
        Step in mm from a voxel to the next along each image axis, in the frame of the
        b-vectors: x negative where the affine's determinant is positive (FSL convention).

    Returns
    -------
    Orientation
    """
    white = mask & (fa > FA_WHITE_MATTER)
    places = np.argwhere(white)
    if not len(places):
        return Orientation("as given", "x, y, z", 0.0, 0.0, 0.0, False, 0)
    weight = fa[white].astype(np.float64)
    support = _support(principal[white].astype(np.float32), weight, white, np.asarray(steps))
    scores = support @ weight / weight.sum()
    best = int(np.argmax(scores))
    other = int(np.argsort(scores, kind="stable")[-2]) if best == 0 else 0
    blocks = np.ravel_multi_index(tuple((places // _BLOCK).T), white.shape)
    gains = np.bincount(blocks, (support[best] - support[other]) * weight)
    error = float(np.sqrt((gains * gains).sum()))
    z = float(gains.sum()) / error if error > 0 else 0.0
    gain = scores[best] - scores[other]
    certain = (
        len(places) >= MINIMUM_VOXELS and z >= MINIMUM_Z and gain >= MINIMUM_GAIN * scores[other]
    )
    found = ARRANGEMENTS[best]
    return Orientation(
        name=found.name,
        rows=found.rows,
        score_given=float(scores[0]),
        score_best=float(scores[best]),
        z=z,
        certain=bool(certain),
        voxels=len(places),
    )


def _support(
    directions: NDArray[np.float32], fa: Array, white: NDArray[np.bool_], steps: Array
) -> Array:
    """Return for each arrangement and voxel how well its fibre continues, shape (24, voxels).

    It is the mean, over the 26 neighbours weighted by how well the step to each lies along the
    voxel's direction, of the likeness of both: the squared cosine of their directions times a
    Gaussian of the difference of their FA; 0 for a neighbour that is not white matter.
    """
    unit = _STEPS * steps
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    pairs = _pairs(directions, fa, white)
    result = np.empty((len(ARRANGEMENTS), len(directions)))
    for row, arrangement in enumerate(ARRANGEMENTS):
        # correcting the directions by the inverse is the same as turning the steps
        turned = (unit @ arrangement.matrix.T).astype(np.float32)
        along = directions @ turned.T
        for _ in range(_SQUARINGS):  # much faster than a power
            along *= along
        total = np.zeros(len(directions))
        for step, (first, second, same) in enumerate(pairs):
            # a voxel is at most once the first and once the second of a step
            total[first] += along[first, step] * same
            total[second] += along[second, step] * same
        result[row] = total / (2 * along.sum(axis=1))
    return result


def _pairs(
    directions: NDArray[np.float32], fa: Array, white: NDArray[np.bool_]
) -> list[tuple[NDArray[np.intp], NDArray[np.intp], Array]]:
    """Return, for each of the 13 steps, the voxels that it joins and their likeness."""
    index = np.full(np.array(white.shape) + 2, -1, dtype=np.intp)
    index[1:-1, 1:-1, 1:-1][white] = np.arange(len(directions))
    inside = np.argwhere(white) + 1
    result = []
    for step in _STEPS:
        second = index[tuple((inside + step).T)]
        first = np.flatnonzero(second >= 0)
        second = second[first]
        cosine = np.einsum("ij,ij->i", directions[first], directions[second])
        apart = (fa[first] - fa[second]) / _FA_SPREAD
        result.append((first, second, cosine * cosine * np.exp(-apart * apart)))
    return result

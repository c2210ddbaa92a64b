"""Find out whether the b-vectors are flipped, swapped or in other axes against the image.

White matter continues along its own direction: one step from a voxel along its principal
direction lands on a voxel of white matter with nearly the same direction and FA. Flipped or
swapped b-vectors break that. The idea is Jeurissen et al. 2014
(doi:10.1016/j.media.2014.05.012) and the fibre coherence index of Schilling et al. 2019
(doi:10.1016/j.mri.2019.01.018); the score here is a local one and needs neither tractography
nor another fit, since turning or flipping the b-vectors does just the same to the tensor's
eigenvectors.

A table whose volumes are in another order than the image's is none of these: its tensors are
wrong, not turned. Neighbours still resemble each other then, since they are wrong alike, but
their directions lead nowhere in any arrangement.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortflow.dwi.arrangements import ARRANGEMENTS, Frame, angle

Array = NDArray[np.float64]

FA_WHITE_MATTER = 0.3
MINIMUM_VOXELS = 300
MINIMUM_Z = 4.0
"""Least ratio of the mean gain over blocks of voxels to its standard error."""
MINIMUM_GAIN = 0.02
"""Least gain of coherence, relative to the coherence as given."""

NEAR = 63.0
"""Degrees: every frame is nearer than this to one of the 24 arrangements, these are not to
each other. A near frame differs little, so that its gain is small."""
NEAR_Z = 2.0
"""Least z over a near frame: there is one, not 23 to choose from."""
PLENTY_VOXELS = 1000
"""Least voxels to refuse a series."""
ALIKE = 0.2
"""Likeness of neighbours from which on noise does not hide how fibres continue."""
REFUSE_Z = 3.0
"""Least z of the best frame over the given one to refuse where neighbours are `ALIKE`."""
RIGHT_GAIN = 0.08
"""Gain over all far frames that right b-vectors have where neighbours are `ALIKE`."""

_SQUARINGS = 3  # of the cosine of direction and step: half weight at 24 degrees
_FA_SPREAD = 0.1  # of neighbours on one fibre
_BLOCK = 6  # voxels; neighbours' gains are not independent, distant blocks' nearly are
_STEPS = np.array([o for o in itertools.product((-1, 0, 1), repeat=3) if o > (0, 0, 0)])


@dataclass(frozen=True)
class Orientation:
    """What the b-vectors look like.

    Attributes
    ----------
    frame : Frame
        The best one. Its name is ``as given``, or how the file differs from the truth:
        ``x flipped``, ``x and y swapped, z flipped``, ``axes in the order y, z, x``,
        ``in world axes``, … Flipping all three axes changes no tensor, so of two names that
        differ by it the one with at most one flip is used.
    rival : Frame
        The one that comes nearest to it, of those that it does not beat as it should, if there
        are any.
    score_given, score_best, score_rival : float
        Coherence between 0 and 1 as given, in the best frame and in its rival; 0 without white
        matter.
    z : float
        Gain of the best over the given frame (over the next best, where the given is best), in
        standard errors over blocks of voxels.
    certain : bool
        Whether the best frame beats all others, and the given one clearly enough to act on.
        Never for too few voxels.
    hopeless : bool
        Whether the b-vectors are certainly wrong, or lead nowhere in any frame, and no frame can
        be told to be the right one. Never for too few voxels.
    voxels : int
        How many voxels were looked at.
    """

    frame: Frame = ARRANGEMENTS[0]
    rival: Frame = ARRANGEMENTS[0]
    score_given: float = 0.0
    score_best: float = 0.0
    score_rival: float = 0.0
    z: float = 0.0
    certain: bool = False
    hopeless: bool = False
    voxels: int = 0

    @property
    def name(self) -> str:
        """Name of the best frame."""
        return self.frame.name

    @property
    def wrong(self) -> bool:
        """Whether the b-vectors are certainly not as the image needs them, and how is known."""
        return self.certain and self.name != "as given"


@dataclass(frozen=True)
class _Scores:
    """Coherence in each frame, and what its differences are worth."""

    frames: Sequence[Frame]
    support: Array
    weight: Array
    blocks: NDArray[np.intp]
    likeness: float

    @property
    def values(self) -> Array:
        """Coherence in each frame."""
        return np.asarray(self.support @ self.weight / self.weight.sum())

    def gain(self, one: int, other: int) -> tuple[float, float]:
        """Return the gain of a frame over another relative to the other, and its error."""
        gains = np.bincount(self.blocks, (self.support[one] - self.support[other]) * self.weight)
        scale = float(self.support[other] @ self.weight) or 1.0
        return float(gains.sum()) / scale, float(np.sqrt((gains * gains).sum())) / scale

    def z(self, one: int, other: int) -> float:
        """Return the gain of a frame over another in its standard errors."""
        gain, error = self.gain(one, other)
        return gain / error if error > 0 else 0.0

    def rivals(self, best: int) -> tuple[int, int | None]:
        """Return the best frame of those far from a frame, and of those near to it."""
        order = [int(one) for one in np.argsort(-self.values, kind="stable") if one != best]
        own = self.frames[best].matrix
        near = [one for one in order if angle(own, self.frames[one].matrix) < NEAR]
        return next(one for one in order if one not in near), next(iter(near), None)


def check(
    principal: NDArray[np.floating],
    fa: NDArray[np.floating],
    mask: NDArray[np.bool_],
    steps: Array,
    frames: Sequence[Frame] = ARRANGEMENTS,
) -> Orientation:
    """Compare how well fibres continue in every frame that the b-vectors may be in.

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
    frames : sequence of Frame
        As `arrangements.of_image` gives them.

    Returns
    -------
    Orientation
    """
    white = mask & (fa > FA_WHITE_MATTER)
    places = np.argwhere(white)
    if not len(places):
        return Orientation()
    weight = fa[white].astype(np.float64)
    directions = principal[white].astype(np.float32)
    support, alike = _support(directions, weight, white, np.asarray(steps), frames)
    blocks = np.asarray(np.ravel_multi_index(tuple((places // _BLOCK).T), white.shape))
    likeness = float(alike @ weight / weight.sum())
    return _judged(_Scores(frames, support, weight, blocks, likeness))


def _judged(scores: _Scores) -> Orientation:
    """Say what the scores mean."""
    values, voxels = scores.values, len(scores.weight)
    best = int(np.argmax(values))
    far, near = scores.rivals(best)
    other = int(np.argsort(values, kind="stable")[-2]) if best == 0 else 0
    gain, error = scores.gain(best, far)
    sure = gain >= max(MINIMUM_Z * error, least_gain(scores.likeness))
    told = near is None or scores.z(best, near) >= NEAR_Z
    z = scores.z(best, other)
    beats = best == 0 or scores.gain(best, other)[0] >= MINIMUM_GAIN
    certain = voxels >= MINIMUM_VOXELS and sure and told and beats
    alike = scores.likeness >= ALIKE
    beaten = best != 0 and beats and z >= (REFUSE_Z if alike else MINIMUM_Z)
    nowhere = alike and gain + 2 * error < RIGHT_GAIN
    unsettled = (beaten and not (sure and told)) or (nowhere and not sure)
    rival = near if sure and near is not None else far
    return Orientation(
        frame=scores.frames[best],
        rival=scores.frames[rival],
        score_given=float(values[0]),
        score_best=float(values[best]),
        score_rival=float(values[rival]),
        z=z,
        certain=bool(certain and (best == 0 or z >= MINIMUM_Z)),
        hopeless=bool(voxels >= PLENTY_VOXELS and unsettled),
        voxels=voxels,
    )


def least_gain(likeness: float) -> float:
    """Return the gain over all far frames from which on a frame is the right one.

    Noise makes neighbours less alike and takes from the gain, too; wrong tensors that lead
    somewhere by chance gain little.

    Parameters
    ----------
    likeness : float
        Mean likeness of neighbours, 0 to 1, whatever their direction.
    """
    return min(max(0.45 * (likeness - 0.1), MINIMUM_GAIN), 0.05)


def _support(
    directions: NDArray[np.float32],
    fa: Array,
    white: NDArray[np.bool_],
    steps: Array,
    frames: Sequence[Frame],
) -> tuple[Array, Array]:
    """Return for each frame and voxel how well its fibre continues, shape (frames, voxels).

    It is the mean, over the 26 neighbours weighted by how well the step to each lies along the
    voxel's direction, of the likeness of both: the squared cosine of their directions times a
    Gaussian of the difference of their FA; 0 for a neighbour that is not white matter. The
    second value, shape (voxels,), is the plain mean of that likeness.
    """
    unit = _STEPS * steps
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    pairs = _pairs(directions, fa, white)
    alike = np.zeros(len(directions))
    for first, second, same in pairs:
        alike[first] += same
        alike[second] += same
    result = np.empty((len(frames), len(directions)))
    for row, frame in enumerate(frames):
        # correcting the directions by the inverse is the same as turning the steps
        turned = (unit @ frame.matrix.T).astype(np.float32)
        along = directions @ turned.T
        for _ in range(_SQUARINGS):  # much faster than a power
            along *= along
        total = np.zeros(len(directions))
        for step, (first, second, same) in enumerate(pairs):
            # a voxel is at most once the first and once the second of a step
            total[first] += along[first, step] * same
            total[second] += along[second, step] * same
        result[row] = total / (2 * along.sum(axis=1))
    return result, alike / (2 * len(_STEPS))


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

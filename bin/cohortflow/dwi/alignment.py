"""Find the poses of all volumes of a series, and its lost slices.

Each weighted volume is registered to its prediction by the other volumes of its shell, in turns
with the prediction itself (the idea of Andersson, Sotiropoulos 2016,
doi:10.1016/j.neuroimage.2015.10.019). Volumes without weighting are registered to the first of
them, and each shell as a whole to these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.core import threads as pool
from cohortflow.dwi import contrast, harmonics, motion, predict, repair, series, spline
from cohortflow.dwi import pose as poses
from cohortflow.dwi.aligned import State
from cohortflow.dwi.outliers import Slices
from cohortflow.dwi.pose import Frame
from cohortflow.dwi.series import Series

Array = NDArray[np.float64]
Values = NDArray[np.float32]

SMOOTHING_MM = (3.4, 1.0)
"""Standard deviations of the Gaussians, coarse then fine: FWHM of 8 mm to catch large motion."""
ROUNDS = (4, 4)
"""At most so many turns of prediction and registration."""
REFINEMENTS = (0, 2)
"""Turns in which the prediction knows the directions."""
CALM = 0.2
"""Share of the voxels that are trusted fully."""
ENOUGH_MM = 0.02
"""Turns end when no volume moves farther, on a sphere of 50 mm."""
RIM_MM = 3.0
"""How far around the brain images are compared: its edge is what shows motion best."""
MOST = 30000
"""Voxels that registration compares; more add time, not accuracy."""
DRAWN_MM = 0.07
"""About how far contrast that depends on the direction draws poses, on a sphere of 50 mm, at
b = 1000 s/mm2; measured on phantoms, where it grows with the square of b."""
TOLD_APART = 0.3
"""How far a function of the directions must differ from others to be told from them, root mean
square; the functions themselves have 1."""
_FEW = 6  # volumes from which eddy currents' dependence on the gradient can be learnt
_MANY = 12  # from which that of contrast can
_JUDGEMENTS = 3


@dataclass(frozen=True)
class Estimate:
    """What alignment found.

    Attributes
    ----------
    poses : ndarray, shape (n, 6 + m)
        See `pose.centred`; zero for the first volume without weighting.
    slices : Slices
    frame : Frame
    replaced : dict of int to ndarray of float32, shape (x, y, z)
        The volumes that have lost slices, as measured but for these: see `repair.replaced`.
    """

    poses: Array
    slices: Slices
    frame: Frame
    replaced: dict[int, Values]

    def directions(self, gradients: Array) -> Array:
        """Turn gradients (n, 3) in world axes into the head's, as it lay in the reference."""
        turns = np.stack([poses.rotation(pose[3:6]) for pose in self.poses])
        return np.asarray(np.einsum("nji,nj->ni", turns, gradients))


def estimate(
    data: Series,
    brain: NDArray[np.bool_],
    frame: Frame,
    axis: int,
    threads: int = 1,
) -> Estimate:
    """Find poses and lost slices.

    Parameters
    ----------
    data : Series
    brain : ndarray of bool, shape (x, y, z)
        Of the mean image without weighting; about right.
    frame : Frame
    axis : int
        The slices' axis, 0 to 2.
    threads : int
        The result is the same for any number.
    """
    around = ndimage.distance_transform_edt(~brain, sampling=series.voxel_size(data.affine))
    # one voxel more, for slopes
    wide = ndimage.binary_dilation(np.asarray(around) <= RIM_MM)
    count = data.data.shape[3]
    state = State(
        data, frame, axis, threads, motion.region(wide, MOST), np.zeros((count, frame.size))
    )
    everything = list(range(count))
    shells = predict.shells(data.gradients.bvals, ~data.gradients.b0)
    for level in range(len(SMOOTHING_MM)):
        state.smooth(SMOOTHING_MM[level], everything)
        _unweighted(state)
        if level == 0:
            _start(state)
        _weighted(state, shells, level)
        changed = repair.judge(state, shells)
        for _ in range(_JUDGEMENTS if level else 0):
            if not changed:
                break
            state.smooth(SMOOTHING_MM[level], changed)
            _weighted(state, shells, level)
            changed = repair.judge(state, shells)
    for group in shells:
        _level_motion(state, group)
    return Estimate(state.poses, state.slices, frame, repair.replaced(state, shells))


def _unweighted(state: State) -> None:
    """Register the volumes without weighting to the first of them."""
    first, *others = np.flatnonzero(state.data.gradients.b0).tolist()
    expected = state.sampled(first)

    def one(volume: int) -> Array:
        found = motion.register(
            state.images[volume],
            expected,
            state.poses[volume],
            state.frame,
            state.region,
            state.weights(volume),
            np.ones(len(state.region.inner), np.float32),
            6,
        )
        return found.pose

    for volume, pose in zip(others, pool.each(one, others, state.threads), strict=True):
        state.poses[volume] = pose


def _start(state: State) -> None:
    """Let weighted volumes start between the volumes without weighting beside them."""
    b0 = state.data.gradients.b0
    known, wanted = np.flatnonzero(b0), np.flatnonzero(~b0)
    for column in range(6):
        state.poses[wanted, column] = np.interp(wanted, known, state.poses[known, column])


def _weighted(state: State, shells: list[NDArray[np.intp]], level: int) -> None:
    """Align each shell with itself, then with the volumes without weighting."""
    for group in shells:
        for turn in range(ROUNDS[level] if len(group) > 1 else 0):
            before = state.poses[group].copy()
            # eddy currents are looked for once the head lies about right
            free = 6 if level == 0 and turn == 0 else state.frame.size
            _turn(state, group, free, alike=True)
            _level_eddy(state, group)
            changes = state.poses[group] - before
            if max(poses.size(state.frame, change) for change in changes) < ENOUGH_MM:
                break
        for _ in range(REFINEMENTS[level] if len(group) >= predict.SMALLEST else 0):
            _turn(state, group, state.frame.size, alike=False)
            _level_eddy(state, group)
        _onto_unweighted(state, group)


def _trust(values: Values) -> Values:
    """Weight voxels by how little their signal depends on the direction."""
    spread = values.var(axis=1)
    floor = max(float(np.quantile(spread, CALM)), 1e-12)
    return np.asarray((floor / np.maximum(spread, floor)) ** 2, np.float32)


def _turn(state: State, group: NDArray[np.intp], free: int, *, alike: bool) -> None:
    """Predict each volume of a shell, and register it.

    Parameters
    ----------
    free : int
        Parameters that may change.
    alike : bool
        Predict the mean of the other volumes, and trust voxels where volumes are alike. Else by
        the directions; this alone would not notice displacements that depend on the direction as
        the signal does.
    """
    values, mixing = state.predicted(group, alike=alike)
    chosen = values[state.region.inner]
    trust = _trust(chosen) if alike and len(group) > 2 else np.ones(len(chosen), np.float32)

    def one(place: int) -> Array:
        volume = int(group[place])
        found = motion.register(
            state.images[volume],
            values @ mixing[place].astype(np.float32),
            state.poses[volume],
            state.frame,
            state.region,
            state.weights(volume),
            trust,
            free,
        )
        return found.pose

    places = range(len(group))
    for place, pose in zip(places, pool.each(one, places, state.threads), strict=True):
        state.poses[group[place]] = pose


def _level_eddy(state: State, group: NDArray[np.intp]) -> None:
    """Take out of a shell's eddy currents what is not theirs.

    A shell aligned with itself alone may be distorted as a whole; eddy currents are proportional
    to the gradient, so what is left at no gradient is not theirs. And where the signal depends on
    the direction, edges do, which draws poses by a function that is even as the signal is: nearly
    all error of a still phantom's poses is a harmonic of degree 2. Eddy currents are odd.
    """
    strength = np.sqrt(state.data.gradients.bvals[group])[:, None]
    known = np.ones((len(group), 1))
    if len(group) >= _FEW:
        odd = state.data.gradients.bvecs[group] * strength / strength.max()
        known = np.hstack([known, odd])
    own = state.poses[group]
    for column in range(6, state.frame.size):
        own[:, column] -= np.linalg.lstsq(known, own[:, column], rcond=1e-3)[0][0]
        if len(group) >= _MANY:
            own[:, column] -= _drawn(own[:, column], known, _even(state, group), np.inf)
    state.poses[group] = own


def _level_motion(state: State, group: NDArray[np.intp]) -> None:
    """Take out of a shell's motion what its contrast put into it, see `_level_eddy`.

    A head's motion may depend on the direction by chance: it is taken out as far as `DRAWN_MM`
    makes that likelier.
    """
    if len(group) < _MANY:
        return
    still, even = np.ones((len(group), 1)), _even(state, group)
    likely = DRAWN_MM * float(state.data.gradients.bvals[group].mean() / 1000) ** 2
    for column in range(6):
        scale = 1.0 if column < 3 else poses.RADIUS_MM
        values = scale * state.poses[group, column]
        state.poses[group, column] -= _drawn(values, still, even, likely) / scale


def _even(state: State, group: NDArray[np.intp]) -> Array:
    """Return the harmonics of degree 2 at a shell's directions, of mean square 1, (n, 5)."""
    basis = harmonics.basis(state.directions(group), 2)
    return np.asarray(np.sqrt(4 * np.pi) * basis[:, 1:])


def _drawn(values: Array, known: Array, even: Array, likely: float) -> Array:
    """Return the part of values that is a sum of functions, shape (n,).

    The most likely one of a normal prior with a standard deviation of `likely`, given that values
    are that part, plus any sum of the functions `known`, plus independent motion.
    """
    basis = np.linalg.qr(known)[0]
    apart = even - basis @ (basis.T @ even)
    left = values - basis @ (basis.T @ values)
    u, size, turn = np.linalg.svd(apart, full_matrices=False)
    # what hardly differs from the known functions cannot be told from them
    told = size > TOLD_APART * np.sqrt(len(values))
    u, size, turn = u[:, told], size[told], turn[told]
    rest = left - u @ (u.T @ left)
    spread = float(rest @ rest) / max(len(values) - known.shape[1] - len(size), 1)
    found = size / (size**2 + even.shape[1] * spread / likely**2) * (u.T @ left)
    return np.asarray((even - even.mean(axis=0)) @ (turn.T @ found))


def _onto_unweighted(state: State, group: NDArray[np.intp]) -> None:
    """Move a shell as a whole onto the volumes without weighting."""
    grid = np.argwhere(np.ones(state.data.data.shape[:3], dtype=bool)).astype(np.int32)

    def whole(volume: int) -> Values:
        matrix = poses.to_voxels(state.frame, state.poses[volume])
        return spline.sample(state.images[volume], matrix, grid)

    mean = np.zeros(len(grid), np.float32)
    for volume in group.tolist():
        mean += whole(volume)
    b0 = np.flatnonzero(state.data.gradients.b0).tolist()
    still = np.mean([state.sampled(volume) for volume in b0], axis=0)[state.region.inner]
    moving = mean.reshape(state.data.data.shape[:3]) / np.float32(len(group))
    found = contrast.align(moving, still.astype(np.float32), state.frame, state.region)
    turn = poses.rotation(found[3:])
    for volume in group:
        state.poses[volume] = poses.before(state.poses[volume], turn, found[:3])

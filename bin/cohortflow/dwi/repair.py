"""Judge which slices of a series are lost, and put predictions into them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.core import threads as pool
from cohortflow.dwi import outliers, predict, spline
from cohortflow.dwi import pose as poses
from cohortflow.dwi.aligned import Group, State
from cohortflow.dwi.outliers import Slices

Array = NDArray[np.float64]
Values = NDArray[np.float32]
Points = NDArray[np.int32]

_REACH = 3  # voxels around the region in which a moved volume may show it
_COVERED = 0.98


def judge(state: State, shells: list[Group]) -> list[int]:
    """Find the lost slices and repair them for further alignment; return volumes that changed.

    Shells of fewer than `predict.SMALLEST` volumes are not judged.
    """
    before = state.slices.lost.copy()
    lost, judged, loss = before.copy(), state.slices.judged.copy(), state.slices.loss.copy()
    kept = state.images
    # judged without smoothing across slices
    state.images = [state.raw(volume) for volume in range(len(kept))]
    for group in shells:
        if len(group) < predict.SMALLEST:
            continue
        wanted = _wanted(state, group)
        found = _judged(state, group, wanted)
        lost[:, group], judged[:, group], loss[:, group] = found.lost, found.judged, found.loss
        for volume, (expected, points) in zip(group.tolist(), wanted, strict=True):
            _repair(state, volume, expected, points, lost[:, volume])
    state.images = kept
    state.slices = Slices(lost, judged, loss)
    changed: list[int] = np.flatnonzero((lost != before).any(axis=0)).tolist()
    return changed


def _wanted(state: State, group: Group) -> list[tuple[Values, Points]]:
    """Return what each volume of a shell should look like, at voxels of its own."""
    values, mixing = state.predicted(group, alike=False)

    def one(place: int) -> tuple[Values, Points]:
        return _in_volume(state, int(group[place]), values @ mixing[place].astype(np.float32))

    return pool.each(one, range(len(group)), state.threads)


def _judged(state: State, group: Group, wanted: list[tuple[Values, Points]]) -> Slices:
    slices = state.data.data.shape[state.axis]
    table = np.stack(
        [
            outliers.sums(state.data.data[..., volume], expected, points, state.axis, slices)
            for volume, (expected, points) in zip(group.tolist(), wanted, strict=True)
        ],
        axis=-1,
    )
    area = float(np.prod(state.voxel) / state.voxel[state.axis])
    return outliers.judge(table[0], table[1], table[2], area)


def _in_volume(state: State, volume: int, expected: Values) -> tuple[Values, Points]:
    """Return a prediction at voxels of the volume itself, and these voxels."""
    shape = state.data.data.shape[:3]
    image, known = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    image[tuple(state.region.points.T)] = expected
    known[tuple(state.region.points.T)] = 1
    points = np.argwhere(ndimage.binary_dilation(known > 0, iterations=_REACH)).astype(np.int32)
    pose = state.poses[volume]
    covered = outliers.expected(known, pose, state.frame, points) > _COVERED
    points = points[covered]
    return outliers.expected(image, pose, state.frame, points), points


def _repair(
    state: State, volume: int, expected: Values, points: Points, lost: NDArray[np.bool_]
) -> None:
    """Put the prediction into lost slices."""
    if not lost.any():
        state.repaired.pop(volume, None)
        return
    made = np.array(state.data.data[..., volume])
    chosen = lost[points[:, state.axis]]
    made[tuple(points[chosen].T)] = expected[chosen]
    state.repaired[volume] = made


def replaced(state: State, shells: list[Group]) -> dict[int, Values]:
    """Return the volumes that have lost slices, the whole of these slices predicted.

    Unlike what alignment uses, each voxel comes from one interpolation of every other volume of
    the shell, so that it is not blurred.
    """
    made: dict[int, Values] = {}
    for group in shells:
        volumes = [volume for volume in group.tolist() if state.slices.lost[:, volume].any()]
        if not volumes or len(group) < predict.SMALLEST:
            continue
        for volume in group.tolist():
            state.images[volume] = state.raw(volume)
        mixing = state.predicted(group, alike=False)[1]
        splines = pool.each(lambda v: spline.coefficients(state.raw(v)), group, state.threads)
        for volume in volumes:
            place = int(np.flatnonzero(group == volume)[0])
            made[volume] = _replaced(state, group, place, mixing[place], splines)
    return made


def _replaced(
    state: State, group: Group, place: int, shares: Array, splines: list[Values]
) -> Values:
    volume = int(group[place])
    chosen = np.zeros(state.data.data.shape[:3], dtype=bool)
    np.moveaxis(chosen, state.axis, 0)[state.slices.lost[:, volume]] = True
    points = np.argwhere(chosen).astype(np.int32)
    matrices = [poses.to_voxels(state.frame, state.poses[other]) for other in group]
    back = np.linalg.inv(matrices[place])

    def one(other: int) -> Values:
        matrix = matrices[other] @ back
        # as bright as eddy currents of both volumes make it
        bright = np.float32(shares[other] * abs(np.linalg.det(matrix[:3, :3])))
        return spline.sample(splines[other], matrix, points) * bright

    others = [other for other in range(len(group)) if other != place]
    total = np.zeros(len(points), np.float32)
    for part in pool.each(one, others, state.threads):
        total += part
    made = np.array(state.data.data[..., volume])
    made[tuple(points.T)] = np.maximum(total, 0)
    return made

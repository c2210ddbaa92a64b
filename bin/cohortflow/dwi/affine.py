"""Align a brain with the template by an affine map, from wherever it lies in the scanner.

The squared correlation of FA is maximised over the subject's points alone, so that what a slab does
not show counts neither for nor against. Gauss-Newton steps with gain and offset projected out
(variable projection: Golub, Pereyra 1973), from many starts, coarse to fine.
Sums are NumPy's own: those of BLAS would depend on its threads.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.core import threads as pool
from cohortflow.dwi.atlas import Atlas
from cohortflow.dwi.coordinates import pull
from cohortflow.dwi.grids import Grid

SCALES = (0.8, 1.25)
"""Least and most by which the affine stretches along an axis."""

MARGIN_MM = 8.0
"""How far around the brain points count: there FA is 0 in both."""

_COARSE, _FINE = (8.0, 4.0), (4.0, 2.0)
"""Distance of points, and standard deviation of the smoothing, mm."""

_PITCH, _ROLL, _YAW = (-40, -25, -12, 0, 12, 25, 40), (-24, -12, 0, 12, 24), (-24, -12, 0, 12, 24)
"""Degrees about x, y, z of the starts."""
_HEIGHTS = (-60, -45, -30, -15, 0, 15, 30, 45, 60)
"""How much higher than centre on centre the starts are, mm: a slab's centre is anywhere."""
_STARTS, _KEPT = 16, 3
_STEPS_COARSE, _STEPS_FINE = 15, 30

_TRUST = np.array([0.0] * 6 + [0.10] * 3 + [0.05] * 3)
"""Standard deviation of the logarithms of the scales, and of the shears, between people."""
_TRUST_WEIGHT = 0.002

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Affine:
    """A brain's place in the template.

    Attributes
    ----------
    matrix : ndarray of float64, shape (4, 4)
        World mm to template mm.
    correlation : float
        Of the smoothed FA of both, in the brain alone: its outline fits noise, too.
    """

    matrix: Array
    correlation: float


@dataclass(frozen=True)
class _Level:
    """Subject points with their FA, and the template with its slopes, equally smooth."""

    points: Array
    fa: Array
    inside: NDArray[np.bool_]
    template: NDArray[np.float32]
    slopes: tuple[NDArray[np.float32], ...]
    affine: Array


def align(
    fa: NDArray[np.float32],
    mask: NDArray[np.bool_],
    grid: Grid,
    atlas: Atlas,
    threads: int = 1,
) -> Affine:
    """Find the affine map of a brain to the template.

    Parameters
    ----------
    fa : ndarray of float32, shape (x, y, z)
    mask : ndarray of bool, shape (x, y, z)
        The brain.
    grid : Grid
    atlas : Atlas
    threads : int
        The result is the same for any number.
    """
    coarse = _level(fa, mask, grid, atlas, *_COARSE)
    fine = _level(fa, mask, grid, atlas, *_FINE)
    centre = _centre(mask, grid)
    home = _centre(atlas.fa > 0.05, Grid(atlas.fa.shape, atlas.affine))
    starts = pool.each(
        lambda start: (_score(coarse, start, centre, home), start), _starts(), threads
    )
    starts.sort(key=lambda start: -start[0])

    def climb(start: tuple[float, Array], free: int = 6) -> tuple[float, Array]:
        return _climb(coarse, start[1], centre, home, free, _STEPS_COARSE)

    rigid = pool.each(climb, _apart(starts), threads)
    rigid.sort(key=lambda one: -one[0])
    found = pool.each(lambda one: climb(one, 12), rigid[:_KEPT], threads)
    best = max(found, key=lambda one: one[0])
    _, parameters = _climb(fine, best[1], centre, home, 12, _STEPS_FINE)
    seen = pull(_placed(fine, parameters, centre, home), fine.template, fine.affine)
    score = correlation(fine.fa[fine.inside], seen[fine.inside])
    return Affine(_matrix(parameters, centre, home), score)


def _starts() -> list[Array]:
    """Return parameters from which the search begins."""
    starts = []
    for pitch, roll, yaw, height in itertools.product(_PITCH, _ROLL, _YAW, _HEIGHTS):
        parameters = np.zeros(12)
        parameters[:3] = np.radians([pitch, roll, yaw])
        parameters[5] = height
        starts.append(parameters)
    return starts


def _apart(starts: list[tuple[float, Array]]) -> list[tuple[float, Array]]:
    """Return the best starts, of each height at most a few, so that none crowds out the others."""
    kept: list[tuple[float, Array]] = []
    for start in starts:
        alike = sum(abs(start[1][5] - other[1][5]) < 1 for other in kept)
        if alike < _STARTS // 4:
            kept.append(start)
        if len(kept) == _STARTS:
            break
    return kept


def _level(
    fa: NDArray[np.float32],
    mask: NDArray[np.bool_],
    grid: Grid,
    atlas: Atlas,
    distance: float,
    smoothing: float,
) -> _Level:
    """Prepare both images for one resolution."""
    sizes = np.linalg.norm(grid.affine[:3, :3], axis=0)
    known = ndimage.gaussian_filter(np.where(mask, fa, 0), smoothing / sizes, mode="nearest")
    near = ndimage.distance_transform_edt(~mask, sampling=sizes) <= MARGIN_MM
    counts = [max(1, round(n * s / distance)) for n, s in zip(grid.shape, sizes, strict=True)]
    axes = [(np.arange(c) + 0.5) * n / c - 0.5 for c, n in zip(counts, grid.shape, strict=True)]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    index = index[near[tuple(np.rint(index).astype(int).T)]]
    inside = mask[tuple(np.rint(index).astype(int).T)]
    values = ndimage.map_coordinates(known, index.T, order=1, mode="nearest")
    points = index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    spacing = np.linalg.norm(atlas.affine[:3, :3], axis=0)
    step = max(1, int(smoothing / 2 / spacing.max()))
    smooth = ndimage.gaussian_filter(atlas.fa, smoothing / spacing)[::step, ::step, ::step]
    affine = atlas.affine @ np.diag([step, step, step, 1.0])
    slopes = np.gradient(smooth.astype(np.float64))
    to_mm = np.linalg.inv(affine[:3, :3])
    world = [sum(to_mm[a, b] * slopes[a] for a in range(3)) for b in range(3)]
    parts = tuple(np.asarray(slope, np.float32) for slope in world)
    return _Level(
        points, values.astype(np.float64), inside, smooth.astype(np.float32), parts, affine
    )


def _centre(mask: NDArray[np.bool_], grid: Grid) -> Array:
    """Return the centre of a mask in mm."""
    middle = np.array(ndimage.center_of_mass(mask))
    return np.asarray(grid.affine[:3, :3] @ middle + grid.affine[:3, 3])


def _turn(angles: Array) -> Array:
    """Return a rotation about x, then y, then z."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def _linear(parameters: Array) -> Array:
    """Return rotation, then shear and scale along the template's axes, shape (3, 3)."""
    stretch = np.diag(np.exp(parameters[6:9]))
    stretch[0, 1], stretch[0, 2], stretch[1, 2] = parameters[9:12]
    return np.asarray(stretch @ _turn(parameters[:3]))


def _matrix(parameters: Array, centre: Array, home: Array) -> Array:
    """Return the affine map of some parameters, shape (4, 4)."""
    full = np.eye(4)
    full[:3, :3] = _linear(parameters)
    full[:3, 3] = home + parameters[3:6] - full[:3, :3] @ centre
    return full


def _placed(level: _Level, parameters: Array, centre: Array, home: Array) -> Array:
    return np.asarray((level.points - centre) @ _linear(parameters).T + home + parameters[3:6])


def _score(level: _Level, parameters: Array, centre: Array, home: Array) -> float:
    """Return the correlation of FA for some parameters."""
    seen = pull(_placed(level, parameters, centre, home), level.template, level.affine)
    return correlation(level.fa, seen)


def correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return Pearson's correlation of two samples; 0 when one of them is constant."""
    first = one - one.mean(dtype=np.float64)
    second = other - other.mean(dtype=np.float64)
    size = float(np.sqrt((first * first).sum() * (second * second).sum()))
    return float((first * second).sum()) / size if size > 0 else 0.0


def _climb(
    level: _Level, start: Array, centre: Array, home: Array, free: int, steps: int
) -> tuple[float, Array]:
    """Improve the first `free` parameters; return the correlation and all of them."""
    parameters, score = start, _score(level, start, centre, home)
    worth = score - _cost(parameters)
    damping = 1e-2
    for _ in range(steps):
        slope, normal = _normal(level, parameters, centre, home, free)
        moved = False
        while damping < 1e3:
            damped = normal + damping * np.diag(np.diag(normal))
            trial = parameters.copy()
            trial[:free] += np.linalg.solve(damped, slope)
            trial[6:9] = np.clip(trial[6:9], *np.log(SCALES))
            tried = _score(level, trial, centre, home)
            gain = tried - _cost(trial) - worth
            if gain > 0:
                parameters, score, worth, moved = trial, tried, worth + gain, True
                damping = max(damping / 5, 1e-4)
                break
            damping *= 5
        if not moved or gain < 1e-5:
            break
    return score, parameters


def _cost(parameters: Array) -> float:
    """Return what unusual scales and shears cost."""
    return float(_TRUST_WEIGHT * ((parameters[6:] / _TRUST[6:]) ** 2).sum())


def _normal(
    level: _Level, parameters: Array, centre: Array, home: Array, free: int
) -> tuple[Array, Array]:
    """Return the right side and the matrix of a Gauss-Newton step's equations."""
    placed = _placed(level, parameters, centre, home)
    seen = pull(placed, level.template, level.affine).astype(np.float64)
    slopes = np.stack([pull(placed, part, level.affine) for part in level.slopes], axis=-1)
    moved = seen - seen.mean()
    spread = level.fa - level.fa.mean()
    gain = float((moved * spread).sum()) / max(float((moved * moved).sum()), 1e-12)
    residual = spread - gain * moved
    columns = np.empty((len(seen), free))
    for k in range(free):
        if 3 <= k < 6:
            columns[:, k] = slopes[:, k - 3]
        else:
            nudged = parameters.copy()
            nudged[k] += 1e-4
            change = (_linear(nudged) - _linear(parameters)) / 1e-4
            columns[:, k] = ((level.points - centre) @ change.T * slopes).sum(axis=1)
    columns *= gain
    columns -= columns.mean(axis=0)
    moved_unit = moved / max(float(np.linalg.norm(moved)), 1e-12)
    columns -= np.outer(moved_unit, np.einsum("n,ni->i", moved_unit, columns))
    scale = float((spread * spread).sum())
    slope = np.einsum("ni,n->i", columns, residual) / scale
    normal = np.einsum("ni,nj->ij", columns, columns) / scale
    for k in range(6, free):
        weight = 2 * _TRUST_WEIGHT / _TRUST[k] ** 2
        slope[k] -= weight * parameters[k]
        normal[k, k] += weight
    normal[np.diag_indices(free)] += 1e-12
    return slope, normal

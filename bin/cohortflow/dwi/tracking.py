"""Streamlines through orientation distributions or their peaks, from seeds to both sides.

- ``probabilistic``: each step's direction is drawn from the distribution within a cone around the
  last one (Behrens et al. 2003; of spherical deconvolution, Tournier et al. 2012);
- ``deterministic``: it is the largest of the distribution within the cone;
- ``peaks``: it is the mean of the peaks around, see `track_kernels.nearest_peaks`.

A streamline ends where FA is low, at the mask's rim, or where nothing lies within the cone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortflow.core import threads as pool
from cohortflow.dwi import harmonics, track_kernels
from cohortflow.dwi.seeds import Seeds
from cohortflow.dwi.streamlines import Streamlines

WAYS = {
    "probabilistic": track_kernels.PROBABILISTIC,
    "deterministic": track_kernels.DETERMINISTIC,
    "peaks": track_kernels.PEAKS,
}

CUT = 0.1
"""Share of a distribution's largest amplitude, as `_COARSE` directions find it, below which a
direction is none."""

_DIRECTIONS = 724  # of a half sphere, about 5 degrees apart
_COARSE = 100  # for the largest amplitude of a voxel, which they find to 0.8 or better
_UNROLLED = 4  # harmonics that `track_kernels.amplitudes` adds in one go
_LANES = 16  # directions that a processor works on at once, or a multiple of that
_CHUNK = 256  # seeds; the same for any number of threads
_ROUNDED = 1e-6  # of a step: 0.6 mm are three steps of 0.2 mm, though not in floating point

Map = NDArray[np.float32]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """How streamlines are tracked.

    Attributes
    ----------
    way : str
        Of `WAYS`.
    step : float
        mm.
    angle : float
        Largest angle between two steps, degrees.
    fa : float
        Least FA.
    shortest, longest : float
        Length that a streamline has at least and at most, mm; others are discarded.
    random_seed : int
    """

    way: str = "probabilistic"
    step: float = 0.75
    angle: float = 20.0
    fa: float = 0.15
    shortest: float = 60.0
    longest: float = 200.0
    random_seed: int = 1


@dataclass(frozen=True)
class Field:
    """What streamlines are tracked through.

    Attributes
    ----------
    coefficients : ndarray of float32, shape (x, y, z, n)
        Even harmonics in world axes, see `harmonics`; n may be 0 for ``peaks``.
    peaks : ndarray of float32, shape (x, y, z, p, 3)
        World axes, the largest first; p may be 0 for the others.
    fa : ndarray of float32, shape (x, y, z)
    mask : ndarray of bool, shape (x, y, z)
    affine : ndarray, shape (4, 4)
        Voxel indices to world mm.
    power : float
        Power of the amplitude that directions are drawn by.
    """

    coefficients: Map
    peaks: Map
    fa: Map
    mask: NDArray[np.bool_]
    affine: Array
    power: float = 1.0


@dataclass(frozen=True)
class Tracked:
    """What came of it.

    Attributes
    ----------
    streamlines : Streamlines
    ended : dict of str to int
        Why sides of streamlines ended: ``low_fa``, ``outside``, ``turned``, ``too_long``.
    """

    streamlines: Streamlines
    ended: dict[str, int]


def track(field: Field, seeds: Seeds, settings: Settings, threads: int = 1) -> Tracked:
    """Track from seeds.

    Parameters
    ----------
    field : Field
    seeds : Seeds
    settings : Settings
    threads : int
        The result is the same for any number.
    """
    limits = np.array([math.cos(math.radians(settings.angle)), CUT, settings.fa, field.power])
    given = _compiled_field(field, settings, float(limits[0]))
    affine = np.ascontiguousarray(field.affine, dtype=np.float64)
    inverse = np.linalg.inv(affine)
    where = seeds.points @ inverse[:3, :3].T + inverse[:3, 3]
    most = math.floor(settings.longest / settings.step + _ROUNDED) + 1
    least = math.ceil(settings.shortest / settings.step - _ROUNDED) + 1
    parts = [range(at, min(at + _CHUNK, len(where))) for at in range(0, len(where), _CHUNK)]

    def chunk(part: range) -> _Part:
        made = np.empty((len(part) * most, 3), np.float32)
        counts, ended = np.zeros(len(part), np.int64), np.zeros(4, np.int64)
        filled = track_kernels.track(
            WAYS[settings.way], where[part.start : part.stop], part.start, settings.random_seed,
            given, inverse[:3, :3] * settings.step, limits, (least, most), affine, made, counts,
            ended,
        )  # fmt: skip
        return made[:filled].copy(), counts, ended

    return _packed(pool.each(chunk, parts, threads), seeds)


_Part = tuple[Map, NDArray[np.int64], NDArray[np.int64]]  # of a chunk: points, counts, ended


def _packed(results: list[_Part], seeds: Seeds) -> Tracked:
    points = np.concatenate([part[0] for part in results] or [np.zeros((0, 3), np.float32)])
    counts = np.concatenate([part[1] for part in results] or [np.zeros(0, np.int64)])
    ended = sum((part[2] for part in results), np.zeros(4, np.int64))
    kept = counts > 0
    offsets = np.concatenate([[0], np.cumsum(counts[kept])]).astype(np.int64)
    names = {
        "low_fa": track_kernels.LOW_FA,
        "outside": track_kernels.OUTSIDE,
        "turned": track_kernels.TURNED,
        "too_long": track_kernels.TOO_LONG,
    }
    return Tracked(
        Streamlines(points, offsets, seeds.voxel[kept]),
        {name: int(ended[number]) for name, number in names.items()},
    )


def _compiled_field(field: Field, settings: Settings, limit: float) -> tuple[NDArray[Any], ...]:
    """Return what `track_kernels.follow` reads; of what the way does not need, next to nothing."""
    coefficients, largest = np.zeros((1, 1), np.float32), np.zeros(1, np.float32)
    peaks, sphere = np.zeros((1, 1, 3), np.float32), np.zeros((1, 3))
    if settings.way == "peaks":
        peaks = np.zeros((field.mask.size, field.peaks.shape[3], 3), np.float32)
        track_kernels.units(_flat(field.peaks).reshape(-1, 3), peaks.reshape(-1, 3))
    else:
        coefficients = _flat(field.coefficients).reshape(field.mask.size, -1)
        largest, sphere = _flat(_largest(field, settings.fa)), harmonics.half_sphere(_DIRECTIONS)
    number = coefficients.shape[1]
    whole = np.zeros((-(-number // _UNROLLED) * _UNROLLED, len(sphere)), np.float32)
    whole[:number] = harmonics.basis(sphere, harmonics.degree(number)).T
    cones, sizes = _cones(sphere, limit)
    widest = -(-int(sizes[:-1].max()) // _LANES) * _LANES
    around = np.zeros((len(sphere), len(whole), widest), np.float32)
    for row in range(len(sphere)):
        around[row, :, : sizes[row]] = whole[:, cones[row, : sizes[row]]]
    mask = np.ascontiguousarray(field.mask)
    return coefficients, largest, peaks, _flat(field.fa), mask, sphere, whole, around, cones, sizes


def _flat(volume: Map) -> Map:
    return np.ascontiguousarray(volume, dtype=np.float32).reshape(-1)


def _cones(sphere: Array, limit: float) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the numbers of directions around each one, or its opposite; last, all of them."""
    near = np.abs(sphere @ sphere.T) >= limit
    near = np.vstack([near, np.ones(len(sphere), bool)])
    cones = np.zeros(near.shape, np.int32)
    sizes = near.sum(axis=1)
    cones[np.arange(len(sphere)) < sizes[:, np.newaxis]] = np.nonzero(near)[1]
    return cones, sizes.astype(np.int64)


def _largest(field: Field, fa: float) -> Map:
    """Return each voxel's largest amplitude, shape (x, y, z); 0 where no streamline can look."""
    made = np.zeros(field.mask.shape, np.float32)
    degree = harmonics.degree(field.coefficients.shape[3])
    basis = harmonics.basis(harmonics.half_sphere(_COARSE), degree)
    rows = np.ascontiguousarray(basis.T, dtype=np.float32)
    # A place of some FA has a voxel of that FA or more among the eight around it.
    seen = field.mask & _widened(field.fa >= fa)
    for level in np.flatnonzero(seen.any(axis=(0, 1))):
        here = seen[:, :, level]
        made[here, level] = (field.coefficients[:, :, level][here] @ rows).max(axis=1)
    return made


def _widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask with all voxels that share a face, an edge or a corner with it."""
    for axis in range(3):
        given = np.moveaxis(mask, axis, 0)
        made = given.copy()
        made[1:] |= given[:-1]
        made[:-1] |= given[1:]
        mask = np.moveaxis(made, 0, axis)
    return mask

"""Spherical deconvolution whose result is kept from being negative, voxel by voxel.

The signal is linear in the coefficients x of the orientation distribution (and of the tissues
beside it). Tournier et al. 2007 (doi:10.1016/j.neuroimage.2007.02.016) minimise
``|A x - s|^2 + p |L x|^2``, where the rows of L give the amplitudes in those of many directions in
which the last x was negative, and repeat this until these directions stay the same. A larger
penalty p comes as close as one likes to the constraint of Jeurissen et al. 2014
(doi:10.1016/j.neuroimage.2014.07.061) that no amplitude is negative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.compiled import compiled
from cohortflow.dwi import harmonics

Array = NDArray[np.float64]

DIRECTIONS = 300
"""Directions of a half sphere in which the result must not be negative, as in the paper."""

ITERATIONS = 50
"""At most; some five to ten are needed."""

_START = 4  # degree of the first, unconstrained estimate
_RIDGE = 1e-7  # of the largest curvature, so that the equations are solvable for any directions


@dataclass(frozen=True)
class Problem:
    """What is the same for all voxels.

    Attributes
    ----------
    project : ndarray of float64, shape (n, p)
        The transposed pseudo-adjoint: signal times it is the right side A's.
    normal : ndarray of float64, shape (p, p)
        A'A.
    start : ndarray of float64, shape (n, p)
        Signal times it is the first estimate.
    rows : ndarray of float64, shape (m, p)
        Amplitudes that must not be negative, times the square root of the penalty.
    """

    project: Array
    normal: Array
    start: Array
    rows: Array


def problem(forward: Array, lmax: int, penalty: float, extra: int = 0) -> Problem:
    """Prepare the equations.

    Parameters
    ----------
    forward : ndarray of float64, shape (n, p)
        The signals of each coefficient: those of the harmonics, then of `extra` tissues.
    lmax : int
        Degree of the harmonics.
    penalty : float
        Weight of negative amplitudes; 1 means that of the mean signal's misfit.
    extra : int
        Coefficients after the harmonics, which must not be negative themselves.
    """
    number = harmonics.count(lmax)
    normal = forward.T @ forward
    sphere = harmonics.basis(harmonics.half_sphere(DIRECTIONS), lmax)
    rows = np.zeros((DIRECTIONS + extra, number + extra))
    rows[:DIRECTIONS, :number] = sphere
    crossing = np.flatnonzero(harmonics.degrees(lmax) == _START)
    curvature = float(np.diag(normal)[crossing].mean())
    weight = math.sqrt(penalty * curvature / float((sphere[:, crossing] ** 2).sum(axis=0).mean()))
    rows[:DIRECTIONS] *= weight
    for tissue in range(extra):
        curvature = normal[number + tissue, number + tissue]
        rows[DIRECTIONS + tissue, number + tissue] = math.sqrt(penalty * curvature)
    low = np.flatnonzero(np.append(harmonics.degrees(lmax) <= _START, np.ones(extra, dtype=bool)))
    start = np.zeros_like(forward)
    start[:, low] = np.linalg.pinv(forward[:, low]).T
    normal += np.diag(_RIDGE * np.diag(normal).max() * np.ones(len(normal)))
    return Problem(np.ascontiguousarray(forward), normal, start, rows)


def solve(signal: NDArray[np.float32], given: Problem) -> Array:
    """Deconvolve the signals of some voxels.

    Parameters
    ----------
    signal : ndarray of float32, shape (voxels, n)
        Finite.
    given : Problem

    Returns
    -------
    ndarray of float64, shape (voxels, p)
    """
    result = np.empty((len(signal), given.project.shape[1]))
    rows = np.ascontiguousarray(signal, dtype=np.float32)
    solve_rows(rows, given.project, given.normal, given.start, given.rows, ITERATIONS, result)
    return result


@compiled
def solve_rows(
    signal: NDArray[np.float32],
    project: Array,
    normal: Array,
    start: Array,
    rows: Array,
    iterations: int,
    result: Array,
) -> None:
    """Fill `result` (voxels, p); see `Problem`."""
    volumes, size = project.shape
    number = len(rows)
    right, solved = np.empty(size), np.empty(size)
    whole, factor = np.empty((size, size)), np.empty((size, size))
    columns = np.ascontiguousarray(rows.T)
    amplitudes = np.empty(number)
    active = np.zeros(number, np.bool_)
    for voxel in range(len(signal)):
        right[:] = 0.0
        solved[:] = 0.0
        for v in range(volumes):
            value = float(signal[voxel, v])
            for i in range(size):
                right[i] += value * project[v, i]
                solved[i] += value * start[v, i]
        for i in range(size):  # arrays in one line take long to compile
            for j in range(size):
                whole[i, j] = normal[i, j]
        active[:] = False
        for turn in range(iterations):
            amplitudes[:] = 0.0
            for i in range(size):
                for k in range(number):
                    amplitudes[k] += solved[i] * columns[i, k]
            changed = False
            for k in range(number):
                negative = amplitudes[k] < 0
                if negative != active[k]:
                    changed = True
                    active[k] = negative
                    sign = 1.0 if negative else -1.0
                    add(whole, sign, rows[k])
            if turn and not changed:
                break
            cholesky(whole, right, factor, solved)
        for i in range(size):
            result[voxel, i] = solved[i]


@compiled
def add(whole: Array, sign: float, row: Array) -> None:
    """Add the product of a row with itself to an upper triangle."""
    for i in range(len(row)):
        weight = sign * row[i]
        target, source = whole[i, i:], row[i:]
        for j in range(len(source)):
            target[j] += weight * source[j]


@compiled
def cholesky(whole: Array, right: Array, factor: Array, solved: Array) -> None:
    """Solve a positive definite system whose upper triangle is given; fill `solved`."""
    size = len(right)
    for i in range(size):
        for j in range(i, size):
            factor[i, j] = whole[i, j]
    for k in range(size):
        scale = 1.0 / math.sqrt(factor[k, k])
        for j in range(k, size):
            factor[k, j] *= scale
        for i in range(k + 1, size):
            weight = factor[k, i]
            target, source = factor[i, i:], factor[k, i:]
            for j in range(len(source)):
                target[j] -= weight * source[j]
    for i in range(size):
        solved[i] = right[i]
    for k in range(size):
        solved[k] /= factor[k, k]
        for j in range(k + 1, size):
            solved[j] -= factor[k, j] * solved[k]
    for k in range(size - 1, -1, -1):
        total = solved[k]
        for j in range(k + 1, size):
            total -= factor[k, j] * solved[j]
        solved[k] = total / factor[k, k]

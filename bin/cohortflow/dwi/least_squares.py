"""Weighted least squares of the log signal, and the eigenvectors of tensors, voxel by voxel.

What `cohortflow.dwi.fit` and `cohortflow.dwi.tensor` need in their innermost loops, compiled.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.compiled import compiled

Array = NDArray[np.float64]
Signal = NDArray[np.floating]

PARAMETERS = 7
PRODUCTS = PARAMETERS * (PARAMETERS + 1) // 2

SINGULAR = 1e-11
"""A pivot below this share of its diagonal element means that the equations leave it open."""

_SWEEPS = 12  # of Jacobi's rotations; four or five are needed


@compiled
def fit_rows(
    signal: Signal, matrix: Array, products: Array, inverse: Array, weighted: bool, result: Array
) -> None:
    """Fit the log signal of each voxel.

    Parameters
    ----------
    signal : ndarray of float32 or float64, shape (voxels, n)
    matrix : ndarray of float64, shape (n, 7)
        The design matrix.
    products : ndarray of float64, shape (n, 28)
        Products of its columns i >= j, in the order (0, 0), (1, 0), (1, 1), (2, 0), ...
    inverse : ndarray of float64, shape (n, 7)
        Its pseudo-inverse, transposed.
    weighted : bool
        Fit again with the weights that the first fit predicts.
    result : ndarray of float64, shape (voxels, 7)
        Is filled; NaN where the positive measurements leave something open.
    """
    volumes = len(matrix)
    columns = np.ascontiguousarray(matrix.T)
    log, weights = np.empty(volumes), np.empty(volumes)
    normal, right, solved = np.empty(PRODUCTS), np.empty(PARAMETERS), np.empty(PARAMETERS)
    for voxel in range(len(signal)):
        missing = 0
        for v in range(volumes):
            value = float(signal[voxel, v])
            if value > 0:
                log[v] = math.log(value)
                weights[v] = 1.0
            else:
                log[v] = 0.0
                weights[v] = 0.0
                missing += 1
        if missing == 0:
            solved[:] = 0.0
            for v in range(volumes):
                for i in range(PARAMETERS):
                    solved[i] += log[v] * inverse[v, i]
        else:
            equations(log, weights, matrix, products, normal, right)
            if not cholesky(normal, right, solved, SINGULAR):
                result[voxel] = np.nan
                continue
        if weighted:
            predicted_weights(solved, columns, weights)
            equations(log, weights, matrix, products, normal, right)
            cholesky(normal, right, solved, 0.0)
        for i in range(PARAMETERS):  # an array in one line takes two seconds longer to compile
            result[voxel, i] = solved[i]


@compiled
def predicted_weights(solved: Array, columns: Array, weights: Array) -> None:
    """Replace weights above 0 by the squared predicted signal, 1 for the largest."""
    size, volumes = columns.shape
    predicted = np.zeros(volumes)
    for i in range(size):
        for v in range(volumes):
            predicted[v] += solved[i] * columns[i, v]
    largest = -math.inf
    for v in range(volumes):
        largest = max(largest, predicted[v])
    for v in range(volumes):
        if weights[v] > 0:
            weights[v] = math.exp(2 * (predicted[v] - largest))


@compiled
def equations(
    log: Array, weights: Array, matrix: Array, products: Array, normal: Array, right: Array
) -> None:
    """Fill the packed lower triangle of X'WX, and X'W ln S."""
    normal[:] = 0.0
    right[:] = 0.0
    for v in range(len(log)):
        weight = weights[v]
        both = weight * log[v]
        for k in range(PRODUCTS):
            normal[k] += weight * products[v, k]
        for i in range(PARAMETERS):
            right[i] += both * matrix[v, i]


@compiled
def cholesky(normal: Array, right: Array, solved: Array, least: float) -> bool:
    """Solve a packed positive definite system in place; False, and `solved` kept, if it is not.

    Parameters
    ----------
    normal : ndarray, shape (p (p + 1) / 2,)
        Lower triangle; holds the factor afterwards.
    right : ndarray, shape (p,)
        Is used up.
    solved : ndarray, shape (p,)
        Is filled.
    least : float
        A pivot at or below this share of its diagonal element counts as none.
    """
    for i in range(PARAMETERS):
        row = i * (i + 1) // 2
        whole = normal[row + i]
        for j in range(i + 1):
            other = j * (j + 1) // 2
            total = normal[row + j]
            for k in range(j):
                total -= normal[row + k] * normal[other + k]
            if j < i:
                normal[row + j] = total / normal[other + j]
            elif not total > least * whole:
                return False
            else:
                normal[row + i] = math.sqrt(total)
        total = right[i]
        for k in range(i):
            total -= normal[row + k] * right[k]
        right[i] = total / normal[row + i]
    for i in range(PARAMETERS - 1, -1, -1):
        total = right[i]
        for k in range(i + 1, PARAMETERS):
            total -= normal[k * (k + 1) // 2 + i] * solved[k]
        solved[i] = total / normal[i * (i + 1) // 2 + i]
    return True


@compiled
def misfits(signal: Signal, matrix: Array, parameters: Array, result: Array) -> None:
    """Fill each voxel's root mean square difference of signal and model, relative to S0.

    The last of the p parameters is ln S0; see `fit_rows` for the rest.
    """
    volumes, size = matrix.shape
    columns = np.ascontiguousarray(matrix.T)
    predicted = np.empty(volumes)
    for voxel in range(len(signal)):
        base = min(max(parameters[voxel, size - 1], -60.0), 60.0)
        predicted[:] = 0.0
        for i in range(size):
            for v in range(volumes):
                predicted[v] += parameters[voxel, i] * columns[i, v]
        total = 0.0
        for v in range(volumes):
            error = signal[voxel, v] - math.exp(min(max(predicted[v], -60.0), 60.0))
            total += error * error
        result[voxel] = math.sqrt(total / volumes) / math.exp(base)


@compiled
def eigen(parameters: Array, values: Array, principal: Array) -> None:
    """Fill eigenvalues, ascending, and the unit eigenvector of the largest, by Jacobi's rotations.

    Golub, Van Loan 2013, section 8.5: the rotations keep what is small accurate, and close
    eigenvalues need no case of their own, unlike in closed formulas.

    Parameters
    ----------
    parameters : ndarray of float64, shape (voxels, 6 or 7)
        Dxx, Dyy, Dzz, Dxy, Dxz, Dyz.
    values : ndarray of float64, shape (voxels, 3)
    principal : ndarray of float64, shape (voxels, 3)
    """
    matrix, vectors = np.empty((3, 3)), np.empty((3, 3))
    for voxel in range(len(parameters)):
        for i in range(3):
            matrix[i, i] = parameters[voxel, i]
            for j in range(3):
                vectors[i, j] = 1.0 if i == j else 0.0
        matrix[0, 1] = parameters[voxel, 3]
        matrix[0, 2] = parameters[voxel, 4]
        matrix[1, 2] = parameters[voxel, 5]
        for _ in range(_SWEEPS):
            size = abs(matrix[0, 0]) + abs(matrix[1, 1]) + abs(matrix[2, 2])
            rest = abs(matrix[0, 1]) + abs(matrix[0, 2]) + abs(matrix[1, 2])
            if rest <= 1e-17 * size or rest == 0.0:
                break
            rotate(matrix, vectors, 0, 1, 2)
            rotate(matrix, vectors, 0, 2, 1)
            rotate(matrix, vectors, 1, 2, 0)
        first, last = 0, 0
        for i in range(1, 3):
            if matrix[i, i] < matrix[first, first]:
                first = i
            if matrix[i, i] >= matrix[last, last]:
                last = i
        middle = 3 - first - last
        values[voxel, 0] = matrix[first, first]
        values[voxel, 1] = matrix[middle, middle]
        values[voxel, 2] = matrix[last, last]
        for i in range(3):
            principal[voxel, i] = vectors[i, last]


@compiled
def rotate(matrix: Array, vectors: Array, p: int, q: int, r: int) -> None:
    """Make element (p, q), p < q, of an upper triangle 0 by a rotation; r is the third axis."""
    off = matrix[p, q]
    if off == 0.0:
        return
    half = (matrix[q, q] - matrix[p, p]) / (2 * off)
    tangent = 1.0 / (abs(half) + math.sqrt(half * half + 1.0))
    if half < 0:
        tangent = -tangent
    cosine = 1.0 / math.sqrt(tangent * tangent + 1.0)
    sine = tangent * cosine
    matrix[p, p] -= tangent * off
    matrix[q, q] += tangent * off
    matrix[p, q] = 0.0
    a, b = min(p, r), max(p, r)
    c, d = min(q, r), max(q, r)
    one, other = matrix[a, b], matrix[c, d]
    matrix[a, b] = cosine * one - sine * other
    matrix[c, d] = sine * one + cosine * other
    for i in range(3):
        one, other = vectors[i, p], vectors[i, q]
        vectors[i, p] = cosine * one - sine * other
        vectors[i, q] = sine * one + cosine * other


@compiled
def fit_level(
    plane: NDArray[np.float32],
    xs: NDArray[np.intp],
    ys: NDArray[np.intp],
    matrix: Array,
    products: Array,
    inverse: Array,
    maps: Array,
) -> None:
    """Fit voxels of a slice by weighted least squares and fill what the maps show of them.

    Parameters
    ----------
    plane : ndarray of float32, shape (x, y, n)
    xs, ys : ndarray of int, shape (voxels,)
    matrix, products, inverse : ndarray
        As for `fit_rows`.
    maps : ndarray of float64, shape (voxels, 9)
        FA (Basser, Pierpaoli 1996), MD, AD, RD (um2/ms), misfit, the principal direction, and 1
        where an eigenvalue was negative (taken as 0) or nothing could be fitted (all else 0).
    """
    voxels, volumes = len(xs), plane.shape[2]
    signal = np.empty((voxels, volumes), np.float32)
    for v in range(volumes):
        for voxel in range(voxels):
            signal[voxel, v] = plane[xs[voxel], ys[voxel], v]
    parameters, misfit = np.empty((voxels, PARAMETERS)), np.empty(voxels)
    values, principal = np.empty((voxels, 3)), np.empty((voxels, 3))
    fit_rows(signal, matrix, products, inverse, True, parameters)
    failed = np.isnan(parameters[:, 0])
    for voxel in range(voxels):
        if failed[voxel]:
            parameters[voxel] = 0.0
    eigen(parameters, values, principal)
    misfits(signal, matrix, parameters, misfit)
    for voxel in range(voxels):
        if failed[voxel]:
            maps[voxel] = 0.0
            maps[voxel, 8] = 1.0
            continue
        maps[voxel, 8] = 1.0 if values[voxel, 0] < 0 else 0.0
        size = 0.0
        for i in range(3):
            values[voxel, i] = max(values[voxel, i], 0.0)
            size += values[voxel, i] ** 2
        mean = (values[voxel, 0] + values[voxel, 1] + values[voxel, 2]) / 3
        spread = 0.0
        for i in range(3):
            spread += (values[voxel, i] - mean) ** 2
        maps[voxel, 0] = math.sqrt(1.5 * spread / size) if size > 0 else 0.0
        maps[voxel, 1] = mean
        maps[voxel, 2] = values[voxel, 2]
        maps[voxel, 3] = (values[voxel, 0] + values[voxel, 1]) / 2
        maps[voxel, 4] = misfit[voxel]
        for i in range(3):
            maps[voxel, 5 + i] = principal[voxel, i]

"""Weighted least squares fit of the diffusion tensor, many voxels at once.

The model is ``ln S = ln S0 - b g'Dg`` (Basser, Mattiello, LeBihan 1994). The noise of ``ln S``
has the standard deviation sigma/S, so each measurement is weighted by the squared signal, as an
ordinary first fit predicts it (Salvador et al. 2005; Veraart et al. 2013: predicted weights
leave no bias where measured ones do).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PARAMETERS = 7
_BLOCK = 1 << 15  # voxels whose normal equations are held at once: about 13 MB
_UPPER = np.triu_indices(PARAMETERS)
_FULL = np.zeros((PARAMETERS, PARAMETERS), dtype=np.intp)
_FULL[_UPPER] = np.arange(len(_UPPER[0]))
_FULL.T[_UPPER] = np.arange(len(_UPPER[0]))
_TENSOR = np.array([[0, 3, 4], [3, 1, 5], [4, 5, 2]])


def design(bvals: Array, directions: Array) -> Array:
    """Return the design matrix of ``ln S`` for Dxx, Dyy, Dzz, Dxy, Dxz, Dyz (um2/ms) and ln S0.

    Parameters
    ----------
    bvals : ndarray, shape (n,)
        s/mm2. Small values of volumes that count as b=0 are taken as they are.
    directions : ndarray, shape (n, 3)
        Unit vectors; their axes become the tensor's.

    Returns
    -------
    ndarray of float64, shape (n, 7)
    """
    x, y, z = directions.T
    products = (x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z)
    # b in ms/um2 keeps all columns near 1, and so the normal equations well conditioned
    columns = [-bvals / 1000 * product for product in products]
    return np.stack([*columns, np.ones_like(bvals)], axis=1)


def fit(signal: NDArray[np.floating], matrix: Array, *, weighted: bool = True) -> Array:
    """Fit all voxels.

    Parameters
    ----------
    signal : ndarray, shape (voxels, n)
        Measurements. One that is not positive has no logarithm and gets no weight.
    matrix : ndarray, shape (n, 7)
        From `design`.
    weighted : bool
        False stops after the ordinary first fit.

    Returns
    -------
    ndarray of float64, shape (voxels, 7)
        Tensor elements in um2/ms and ln S0; NaN where too few measurements are positive.
    """
    result = np.empty((len(signal), PARAMETERS))
    for start in range(0, len(signal), _BLOCK):
        part = slice(start, start + _BLOCK)
        result[part] = _fit_block(signal[part].astype(np.float64), matrix, weighted)
    return result


def _fit_block(signal: Array, matrix: Array, weighted: bool) -> Array:
    positive = signal > 0
    log = np.log(np.where(positive, signal, 1.0))
    solved = _solve(log, positive.astype(np.float64), matrix)
    if weighted:
        predicted = solved @ matrix.T
        predicted -= predicted.max(axis=1, keepdims=True)
        solved = _solve(log, np.where(positive, np.exp(2 * predicted), 0.0), matrix)
    return solved


def _solve(log: Array, weights: Array, matrix: Array) -> Array:
    """Solve ``(X'WX) beta = X'W ln S`` for every row of weights; NaN where it is singular."""
    products = matrix[:, _UPPER[0]] * matrix[:, _UPPER[1]]
    normal = (weights @ products)[:, _FULL]
    right = (weights * log) @ matrix
    short = np.flatnonzero(~(weights > 0).all(axis=1))
    kept = weights[short, :, None] > 0
    bad = short[np.linalg.matrix_rank(np.where(kept, matrix, 0)) < PARAMETERS]
    normal[bad] = np.eye(PARAMETERS)
    solved = np.asarray(np.linalg.solve(normal, right[..., None])[..., 0], dtype=np.float64)
    solved[bad] = np.nan
    return solved


def tensors(parameters: Array) -> Array:
    """Arrange fitted parameters (voxels, 7 or 6) as symmetric matrices (voxels, 3, 3)."""
    return parameters[:, _TENSOR]


def residual(signal: NDArray[np.floating], matrix: Array, parameters: Array) -> Array:
    """Return each voxel's root mean square difference of signal and model, relative to S0.

    Returns
    -------
    ndarray of float64, shape (voxels,)
    """
    result = np.empty(len(signal))
    for start in range(0, len(signal), _BLOCK):
        part = slice(start, start + _BLOCK)
        predicted = np.exp(np.clip(parameters[part] @ matrix.T, -60, 60))
        base = np.exp(np.clip(parameters[part, 6], -60, 60))
        error = signal[part] - predicted
        result[part] = np.sqrt((error * error).mean(axis=1)) / base
    return result

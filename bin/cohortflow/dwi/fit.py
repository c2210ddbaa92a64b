"""Weighted least squares fit of the diffusion tensor, many voxels at once.

The model is ``ln S = ln S0 - b g'Dg`` (Basser, Mattiello, LeBihan 1994). The noise of ``ln S``
has the standard deviation sigma/S, so each measurement is weighted by the squared signal, as an
ordinary first fit predicts it (Salvador et al. 2005; Veraart et al. 2013: predicted weights
leave no bias where measured ones do).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortflow.dwi import least_squares

Array = NDArray[np.float64]

PARAMETERS = least_squares.PARAMETERS
_LOWER = np.tril_indices(PARAMETERS)
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
    rows = np.ascontiguousarray(signal)
    least_squares.fit_rows(rows, *_tables(matrix), weighted, result)
    return result


def level(
    plane: NDArray[np.float32], xs: NDArray[np.intp], ys: NDArray[np.intp], matrix: Array
) -> Array:
    """Fit some voxels of a slice and return what maps show of them.

    Parameters
    ----------
    plane : ndarray of float32, shape (x, y, n)
    xs, ys : ndarray of int, shape (voxels,)
        Which voxels.
    matrix : ndarray, shape (n, 7)
        From `design`.

    Returns
    -------
    ndarray of float64, shape (voxels, 9)
        See `least_squares.fit_level`.
    """
    maps = np.empty((len(xs), 9))
    least_squares.fit_level(plane, xs, ys, *_tables(matrix), maps)
    return maps


def _tables(matrix: Array) -> tuple[Array, Array, Array]:
    """Return the design matrix, the products of its columns, and its pseudo-inverse transposed."""
    products = matrix[:, _LOWER[0]] * matrix[:, _LOWER[1]]
    inverse = np.array(np.linalg.pinv(matrix).T, dtype=np.float64, order="C")
    return np.ascontiguousarray(matrix), np.ascontiguousarray(products), inverse


def eigen(parameters: Array) -> tuple[Array, Array]:
    """Return eigenvalues (voxels, 3), ascending, and unit vectors (voxels, 3) of the largest."""
    values, principal = np.empty((2, len(parameters), 3))
    least_squares.eigen(parameters, values, principal)
    return values, principal


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
    rows = np.ascontiguousarray(signal)
    least_squares.misfits(rows, np.ascontiguousarray(matrix), parameters, result)
    return result

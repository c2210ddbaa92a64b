"""Compiled parts of the registration of a reversed pair: its equations and their solution.

Arrays are (p, q, n) with the phase-encode axis last, float32 unless said otherwise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.compiled import compiled

Values = NDArray[np.float32]
Numbers = NDArray[np.float64]


@compiled
def likeness(residual: Values, by_value: Values, by_slope: Values) -> tuple[Values, Numbers, float]:
    """Set up the Gauss-Newton equations of the squared residual.

    Parameters
    ----------
    residual : ndarray (p, q, n)
        Difference of the pair, 0 where it does not count.
    by_value, by_slope : ndarray (p, q, n)
        Its derivative by the displacement and by the displacement's slope along the line
        (central differences, one-sided at the ends).

    Returns
    -------
    bands : ndarray (3, p, q, n)
        Of the matrix along a line: diagonal, and to the next and the next but one voxel.
    gradient : ndarray of float64 (p, q, n)
    energy : float
    """
    p, q, n = residual.shape
    bands = np.zeros((3, p, q, n), np.float32)
    gradient = np.zeros((p, q, n))
    energy = 0.0
    for i in range(p):
        for j in range(q):
            for k in range(n):
                r = residual[i, j, k]
                low, mid, high = 0.0, by_value[i, j, k], 0.0
                half = by_slope[i, j, k] / 2
                if k == 0:
                    mid -= 2 * half
                    high = 2 * half
                elif k == n - 1:
                    mid += 2 * half
                    low = -2 * half
                else:
                    low, high = -half, half
                    bands[2, i, j, k - 1] += low * high
                energy += 0.5 * r * r
                bands[0, i, j, k] += mid * mid
                gradient[i, j, k] += mid * r
                if k > 0:
                    bands[0, i, j, k - 1] += low * low
                    bands[1, i, j, k - 1] += low * mid
                    gradient[i, j, k - 1] += low * r
                if k < n - 1:
                    bands[0, i, j, k + 1] += high * high
                    bands[1, i, j, k] += mid * high
                    gradient[i, j, k + 1] += high * r
    return bands, gradient, energy


@compiled
def smoothness(
    displacement: Values,
    weights: Numbers,
    barrier: float,
    reach: float,
    bands: Values,
    gradient: Numbers,
) -> float:
    """Add the equations of a smooth displacement that nowhere folds, in place.

    Parameters
    ----------
    displacement : ndarray (p, q, n)
    weights : ndarray of float64 (3,)
        Of the squared differences of neighbours along each axis.
    barrier : float
        Of ``v^4 / (1 - v^2)``, v being the slope along the line times `reach`.
    reach : float
    bands, gradient : ndarray
        As `likeness` makes them; of what couples lines the diagonal part is added, `multiply`
        does the rest.

    Returns
    -------
    float
        The energy; infinite when v is out of bounds, then the equations are not complete.
    """
    p, q, n = displacement.shape
    energy = 0.0
    for i in range(p):
        for j in range(q):
            for k in range(n):
                here = displacement[i, j, k]
                if k < n - 1:
                    step = displacement[i, j, k + 1] - here
                    v = step * reach
                    if not abs(v) < 1:
                        return np.inf
                    room = 1 - v * v
                    energy += 0.5 * weights[2] * step * step + barrier * v**4 / room
                    push = weights[2] * step
                    push += barrier * reach * (4 * v**3 - 2 * v**5) / room**2
                    curve = (12 * v**2 - 6 * v**4 + 2 * v**6) / room**3
                    stiff = weights[2] + barrier * reach**2 * curve
                    gradient[i, j, k] -= push
                    gradient[i, j, k + 1] += push
                    bands[0, i, j, k] += stiff
                    bands[0, i, j, k + 1] += stiff
                    bands[1, i, j, k] -= stiff
                for axis in range(2):
                    a, b = (i + 1, j) if axis == 0 else (i, j + 1)
                    if a < p and b < q:
                        step = displacement[a, b, k] - here
                        energy += 0.5 * weights[axis] * step * step
                        gradient[i, j, k] -= weights[axis] * step
                        gradient[a, b, k] += weights[axis] * step
                        bands[0, i, j, k] += weights[axis]
                        bands[0, a, b, k] += weights[axis]
    return energy


@compiled
def multiply(bands: Values, weights: Numbers, vector: Numbers) -> Numbers:
    """Multiply the matrix of `likeness` and `smoothness` with a vector (p, q, n)."""
    p, q, n = vector.shape
    out = np.empty((p, q, n))
    for i in range(p):
        for j in range(q):
            for k in range(n):
                total = bands[0, i, j, k] * vector[i, j, k]
                for step in range(1, 3):
                    if k + step < n:
                        total += bands[step, i, j, k] * vector[i, j, k + step]
                    if k >= step:
                        total += bands[step, i, j, k - step] * vector[i, j, k - step]
                if i > 0:
                    total -= weights[0] * vector[i - 1, j, k]
                if i < p - 1:
                    total -= weights[0] * vector[i + 1, j, k]
                if j > 0:
                    total -= weights[1] * vector[i, j - 1, k]
                if j < q - 1:
                    total -= weights[1] * vector[i, j + 1, k]
                out[i, j, k] = total
    return out


@compiled
def factorise(bands: Values) -> Values:
    """Factorise each line's matrix as L D L': D, then the two bands of L, shape (3, p, q, n)."""
    made = np.zeros(bands.shape, np.float32)
    n = bands.shape[3]
    for i in range(bands.shape[1]):
        for j in range(bands.shape[2]):
            d, one, two = np.zeros(n), np.zeros(n), np.zeros(n)
            for k in range(n):
                d[k] = bands[0, i, j, k]
                upper = bands[1, i, j, k]
                if k > 0:
                    d[k] -= one[k - 1] * one[k - 1] * d[k - 1]
                    upper -= one[k - 1] * two[k - 1] * d[k - 1]
                if k > 1:
                    d[k] -= two[k - 2] * two[k - 2] * d[k - 2]
                d[k] = max(d[k], 1e-12)
                if k < n - 1:
                    one[k] = upper / d[k]
                if k < n - 2:
                    two[k] = bands[2, i, j, k] / d[k]
            made[0, i, j], made[1, i, j], made[2, i, j] = d, one, two
    return made


@compiled
def solve_lines(factors: Values, right: Numbers) -> Numbers:
    """Solve each line's equations for a right-hand side (p, q, n)."""
    out = np.empty(right.shape)
    n = right.shape[2]
    for i in range(right.shape[0]):
        for j in range(right.shape[1]):
            for k in range(n):
                value = right[i, j, k]
                if k > 0:
                    value -= factors[1, i, j, k - 1] * out[i, j, k - 1]
                if k > 1:
                    value -= factors[2, i, j, k - 2] * out[i, j, k - 2]
                out[i, j, k] = value
            for k in range(n - 1, -1, -1):
                value = out[i, j, k] / factors[0, i, j, k]
                if k < n - 1:
                    value -= factors[1, i, j, k] * out[i, j, k + 1]
                if k < n - 2:
                    value -= factors[2, i, j, k] * out[i, j, k + 2]
                out[i, j, k] = value
    return out


@compiled
def dots(columns: Numbers, vector: Numbers) -> Numbers:
    """Return the inner products of rows (m, voxels) with a vector (voxels,), always alike."""
    out = np.zeros(columns.shape[0])
    whole = vector.size - vector.size % 4
    for row in range(columns.shape[0]):
        # four sums side by side keep the processor busy
        a, b, c, d = 0.0, 0.0, 0.0, 0.0
        for k in range(0, whole, 4):
            a += columns[row, k] * vector[k]
            b += columns[row, k + 1] * vector[k + 1]
            c += columns[row, k + 2] * vector[k + 2]
            d += columns[row, k + 3] * vector[k + 3]
        for k in range(whole, vector.size):
            a += columns[row, k] * vector[k]
        out[row] = (a + b) + (c + d)
    return out


@compiled
def add_rows(columns: Numbers, shares: Numbers, vector: Numbers) -> None:
    """Add rows (m, voxels), each times its share, to a vector (voxels,) in place."""
    for row in range(columns.shape[0]):
        for k in range(vector.size):
            vector[k] += shares[row] * columns[row, k]

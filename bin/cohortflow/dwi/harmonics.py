"""Real, even spherical harmonics in the order and with the signs that MRtrix3 uses.

A function on the sphere that is the same at u and -u is a sum of the harmonics of degree l = 0, 2,
..., lmax and order m = -l ... l, kept in this order: that of (l, m) is number l (l + 1) / 2 + m.
Each is orthonormal: sqrt(2) N sin(|m| phi) P for m < 0, N P for m = 0, sqrt(2) N cos(m phi) P for
m > 0, P being the associated Legendre function with the Condon-Shortley sign (-1)^m (Tournier et
al. 2019, doi:10.1016/j.neuroimage.2019.116137; a test compares them with MRtrix3's own).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LARGEST = 12
"""The highest degree that is computed."""

GOLDEN = math.pi * (3 - math.sqrt(5))


def count(lmax: int) -> int:
    """Return the number of harmonics up to a degree.

    Examples
    --------
    >>> [count(lmax) for lmax in (0, 2, 4, 6, 8)]
    [1, 6, 15, 28, 45]
    """
    return (lmax + 1) * (lmax + 2) // 2


def degree(number: int) -> int:
    """Return the lmax of that many harmonics.

    Raises
    ------
    ValueError
        When no lmax has that many.
    """
    for lmax in range(0, LARGEST + 1, 2):
        if count(lmax) == number:
            return lmax
    raise ValueError(f"{number} is not the number of even harmonics of any degree")


def degrees(lmax: int) -> NDArray[np.intp]:
    """Return the degree l of each harmonic, shape (count,)."""
    return np.repeat(np.arange(0, lmax + 1, 2), 2 * np.arange(0, lmax + 1, 2) + 1)


def basis(directions: Array, lmax: int) -> Array:
    """Evaluate the harmonics.

    Parameters
    ----------
    directions : ndarray, shape (n, 3)
        Unit vectors.
    lmax : int
        Even.

    Returns
    -------
    ndarray of float64, shape (n, count)
    """
    x, y, z = np.asarray(directions, dtype=np.float64).T
    made = np.empty((len(x), count(lmax)))
    ring = np.ones(len(x), dtype=np.complex128)  # (x + iy)^m = sin^m(theta) e^(i m phi)
    for m in range(lmax + 1):
        for order, values in legendre(z, m, lmax):
            if order % 2:
                continue
            place = order * (order + 1) // 2
            if m == 0:
                made[:, place] = values
            else:
                made[:, place + m] = math.sqrt(2) * values * ring.real
                made[:, place - m] = math.sqrt(2) * values * ring.imag
        ring = ring * (x + 1j * y)
    return made


def legendre(z: Array, m: int, lmax: int) -> list[tuple[int, Array]]:
    """Return normalised associated Legendre functions over sin^m, for l = m ... lmax.

    The stable recurrence in l of Press et al. (Numerical Recipes, section 6.7).
    """
    lowest = 1 / math.sqrt(4 * math.pi)
    for k in range(1, m + 1):
        lowest *= -math.sqrt((2 * k + 1) / (2 * k))
    before, now = np.zeros_like(z), np.full_like(z, lowest)
    made = [(m, now)]
    for order in range(m + 1, lmax + 1):
        one, other = recurrence(order, m)
        before, now = now, one * (z * now - other * before)
        made.append((order, now))
    return made


def recurrence(order: int, m: int) -> tuple[float, float]:
    """Return a and b of P(l) = a (z P(l - 1) - b P(l - 2)), normalised."""
    a = math.sqrt((4 * order * order - 1) / (order * order - m * m))
    b = math.sqrt(((order - 1) ** 2 - m * m) / (4 * (order - 1) ** 2 - 1)) if order > 1 else 0.0
    return a, b


def zonal(cosines: Array, lmax: int) -> Array:
    """Evaluate the harmonics of order 0 at the cosine to their axis, shape (..., lmax / 2 + 1)."""
    flat = np.asarray(cosines, dtype=np.float64)
    return np.stack([v for order, v in legendre(flat, 0, lmax) if order % 2 == 0], axis=-1)


def rotational(coefficients: Array) -> Array:
    """Turn a response's zonal coefficients (lmax / 2 + 1) into factors for each harmonic.

    A response turned to all directions of a function, weighted by it, is the function with each
    coefficient multiplied by its degree's factor (Tournier et al. 2004).

    Returns
    -------
    ndarray of float64, shape (count,)
    """
    orders = np.arange(0, 2 * len(coefficients), 2)
    factors = coefficients * np.sqrt(4 * np.pi / (2 * orders + 1))
    return np.asarray(np.repeat(factors, 2 * orders + 1))


def half_sphere(number: int) -> Array:
    """Spread directions evenly over half a sphere on a spiral, shape (number, 3)."""
    z = (np.arange(number) + 0.5) / number
    angle = GOLDEN * np.arange(number)
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1)

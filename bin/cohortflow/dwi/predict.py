"""What a volume should look like, judged by the other volumes of its shell.

The signal as a function of direction is a Gaussian process, as in Andersson, Sotiropoulos 2015
(doi:10.1016/j.neuroimage.2015.07.067). The covariance here is a sum of Legendre polynomials of
even degree, so that it is valid for axes by construction: the prediction is a fit of spherical
harmonics in which each degree is shrunk by what noise there is. A volume is predicted without
itself, else it would hold on to its own mistakes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NOISES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
"""Variance of the noise over the signal's across directions: what is tried."""
FALLS = (0.03, 0.1, 0.3)
"""How much less variance a degree has than the one before: what is tried."""
DEGREES = (2, 4, 6)
SHELL = 100.0
"""Volumes whose b-values (s/mm2) are closer than this to the next belong to one shell."""
SMALLEST = 3
"""A shell of fewer volumes joins the nearest one."""
_MEAN = 1000.0  # variance of the shell's mean: as good as unknown


def shells(bvals: Array, weighted: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Divide the weighted volumes into shells.

    Parameters
    ----------
    bvals : ndarray, shape (n,)
        s/mm2.
    weighted : ndarray of bool, shape (n,)

    Returns
    -------
    list of ndarray of int
        Ascending volumes of each shell, by ascending b-value.
    """
    volumes = np.flatnonzero(weighted)
    if not len(volumes):
        return []
    order = volumes[np.argsort(bvals[volumes], kind="stable")]
    cuts = np.flatnonzero(np.diff(bvals[order]) > SHELL) + 1
    groups = np.split(order, cuts)
    while len(groups) > 1 and min(map(len, groups)) < SMALLEST:
        small = int(np.argmin([len(group) for group in groups]))
        level = [float(np.log(bvals[group].mean())) for group in groups]
        others = [place for place in range(len(groups)) if place != small]
        near = min(others, key=lambda place: abs(level[place] - level[small]))
        groups[near] = np.concatenate([groups[near], groups[small]])
        del groups[small]
    return [np.sort(group) for group in groups]


def covariance(directions: Array, fall: float) -> Array:
    """Return the covariance of the signal among directions, 1 on the diagonal, shape (n, n).

    Parameters
    ----------
    directions : ndarray, shape (n, 3)
        Unit vectors.
    fall : float
        See `FALLS`.
    """
    cosine = np.clip(directions @ directions.T, -1, 1)
    shares = fall ** np.arange(len(DEGREES))
    total = np.zeros_like(cosine)
    for degree, share in zip(DEGREES, shares / shares.sum(), strict=True):
        total += share * np.polynomial.Legendre.basis(degree)(cosine)
    return total


def mixing(directions: Array, samples: NDArray[np.floating]) -> Array:
    """Return the matrix that predicts each volume of a shell from the others, shape (n, n).

    Noise and smoothness are those that predict `samples` best.

    Parameters
    ----------
    directions : ndarray, shape (n, 3)
        Unit vectors in the head's axes; n at least 2.
    samples : ndarray, shape (voxels, n)
        Signal of some voxels.

    Returns
    -------
    ndarray
        Zero on its diagonal; ``values @ mixing.T`` predicts all volumes.
    """
    values = samples.astype(np.float64)
    best, least = None, np.inf
    for fall in FALLS:
        known = covariance(directions, fall) + _MEAN
        for noise in NOISES:
            inverse = np.linalg.inv(known + noise * np.eye(len(directions)))
            # leaving one out: the error is (inverse @ values) / its diagonal
            error = (inverse / np.diag(inverse)[:, None]).astype(np.float64)
            score = float(np.mean((values @ error.T) ** 2))
            if best is None or score < least:
                best, least = np.eye(len(directions)) - error, score
    assert best is not None  # noqa: S101 - there is something to try
    np.fill_diagonal(best, 0)
    return best


def average(count: int) -> Array:
    """Return the matrix that predicts each volume as the mean of the others, shape (n, n)."""
    return np.asarray((1 - np.eye(count)) / max(count - 1, 1))

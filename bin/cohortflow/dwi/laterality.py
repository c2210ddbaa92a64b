"""Left against right: indices with an interval that tells how sure they are.

The index is (L - R) / (L + R). Its interval comes from a bootstrap over seed voxels (Efron,
Tibshirani 1993): streamlines of one seed are not independent, so seeds are drawn, not streamlines.
It does not know of errors that all streamlines share, as where the regions lie: intervals of
volumes are widened by `METHOD_ERROR`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortflow.dwi import streamlines as lines
from cohortflow.dwi.density import Levels, dense
from cohortflow.dwi.streamlines import Streamlines

DRAWS = 1000
LEVEL = 0.95
DEVIATIONS = 1.96
"""Of a normal distribution, within which `LEVEL` of it lies."""

METHOD_ERROR = {"core_volume": 0.045, "fibre_volume": 0.015}
"""Root mean square error of an index, of phantoms of known laterality (docs/dwi-accuracy.md)."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Clusters:
    """A tract's visits, by the seed voxel of its streamlines.

    Attributes
    ----------
    visits : ndarray of float64, shape (seeds, voxels)
        How many streamlines of a seed visit a voxel; of voxels that any visits.
    streamlines : ndarray of float64, shape (seeds,)
        How many streamlines a seed has.
    where : ndarray of int, shape (voxels,)
        The voxels, as indices of the flat grid.
    """

    visits: Array
    streamlines: Array
    where: NDArray[np.intp]


def clusters(
    tract: Streamlines, affine: NDArray[np.float64], grid: tuple[int, int, int]
) -> Clusters:
    """Count a tract's visits by seed voxel."""
    seeds = np.unique(tract.seed)
    where = np.flatnonzero(lines.visits(tract, affine, grid))
    visits, number = np.zeros((len(seeds), len(where))), np.zeros(len(seeds))
    for row, seed in enumerate(seeds):
        own = np.flatnonzero(tract.seed == seed)
        visits[row] = lines.visits(tract.take(own), affine, grid).ravel()[where]
        number[row] = len(own)
    return Clusters(visits, number, where)


def draws(found: Clusters, rng: np.random.Generator) -> Array:
    """Draw how often each seed is in each bootstrap sample, shape (DRAWS, seeds)."""
    number = len(found.streamlines)
    return rng.multinomial(number, np.full(number, 1 / number), size=DRAWS).astype(np.float64)


def weighted(found: Clusters, values: NDArray[np.floating], weights: Array) -> Array:
    """Return the visit-weighted mean of a map in each sample.

    Parameters
    ----------
    found : Clusters
    values : ndarray, shape (x, y, z)
    weights : ndarray, shape (samples, seeds)

    Returns
    -------
    ndarray, shape (samples,)
    """
    at = values.ravel()[found.where].astype(np.float64)
    above, below = weights @ (found.visits @ at), weights @ found.visits.sum(axis=1)
    return np.asarray(above / below)


def volumes(found: Clusters, counts: Array, where: Levels, weights: Array, share: float) -> Array:
    """Return the volume of each sample's tract.

    Parameters
    ----------
    found : Clusters
    counts : ndarray, shape (voxels,)
        What a voxel counts when the tract is dense enough there, mm3.
    where : Levels
        Of the voxels.
    weights : ndarray, shape (samples, seeds)
    share : float
        See `density.dense`.

    Returns
    -------
    ndarray, shape (samples,)
    """
    return np.asarray(dense(weights @ found.visits, where, share) @ counts)


def index(left: float, right: float) -> float | None:
    """Return (L - R) / (L + R); None when both are 0.

    Examples
    --------
    >>> index(0.5, 0.3), index(0.0, 0.0)
    (0.25, None)
    """
    total = left + right
    return float((left - right) / total) if total > 0 else None


def interval(left: Array, right: Array, found: float, error: float = 0) -> tuple[float, float]:
    """Return the interval of an index: percentiles over samples of both sides, widened.

    Parameters
    ----------
    left, right : ndarray, shape (samples,)
    found : float
        The index of all streamlines.
    error : float
        Standard deviation of what samples do not show; added in quadrature at each end.
    """
    values = (left - right) / (left + right)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    if not error:
        return float(low), float(high)
    below, above = np.hypot([found - low, high - found], DEVIATIONS * error)
    return float(found - below), float(found + above)

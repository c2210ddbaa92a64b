"""The course of a tract: its streamlines turned one way, resampled, and freed of strays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cohortflow.dwi.streamlines import Streamlines

NODES = 30
"""Points of a streamline that its course is judged by."""

STRAY = 4.0
"""Mahalanobis distance from the tract's middle beyond which a node is a stray's."""

ROUNDS = 5

_LEAST_SPREAD = 1.0  # mm2, variance along each axis that a thin tract has at least

Array = NDArray[np.float64]


def upward(
    candidates: Streamlines, height: NDArray[np.floating], kept: NDArray[np.intp]
) -> Streamlines:
    """Take some streamlines, each turned so that it begins at its lower end.

    Parameters
    ----------
    candidates : Streamlines
    height : ndarray, shape (points,)
        Template z of the candidates' points.
    kept : ndarray of int
    """
    taken = candidates.take(kept)
    points = taken.points.copy()
    ends = candidates.offsets
    for place, number in enumerate(kept):
        if height[ends[number]] > height[ends[number + 1] - 1]:
            part = slice(taken.offsets[place], taken.offsets[place + 1])
            points[part] = points[part][::-1]
    return replace(taken, points=points)


def without_strays(tract: Streamlines) -> Streamlines:
    """Remove streamlines whose course is not that of the others (Yeatman et al. 2012).

    At each of `NODES` points at equal shares of their length, streamlines have a mean and a
    covariance; one that is farther off than `STRAY` at any of them is removed, and the rest is
    judged again.

    Parameters
    ----------
    tract : Streamlines
        Turned one way.
    """
    nodes = np.asarray(tract.resampled(NODES), dtype=np.float64)
    kept = np.arange(len(tract))
    for _ in range(ROUNDS):
        far = distances(nodes[kept]).max(axis=1) > STRAY
        if not far.any():
            break
        kept = kept[~far]
        if not len(kept):
            break
    return tract.take(kept)


def distances(nodes: Array) -> Array:
    """Return the Mahalanobis distance of each node from the mean of its place in all lines.

    Parameters
    ----------
    nodes : ndarray, shape (n, nodes, 3)
        mm.

    Returns
    -------
    ndarray, shape (n, nodes)
    """
    away = nodes - nodes.mean(axis=0)
    covariance = np.einsum("nki,nkj->kij", away, away) / max(len(nodes) - 1, 1)
    inverse = np.linalg.inv(covariance + _LEAST_SPREAD * np.eye(3))
    return np.asarray(np.sqrt(np.einsum("nki,kij,nkj->nk", away, inverse, away)))

"""Values along a tract: from the pons to the cortex, by arc length (Yeatman et al. 2012)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.dwi import shape
from cohortflow.dwi.regions import Region
from cohortflow.dwi.selection import Along
from cohortflow.dwi.streamlines import Streamlines

NODES = 20
"""Points of a profile, at equal shares of each streamline's length."""

START = -25.0
"""Template z in mm at which profiles begin: the middle of the pons."""

_MOTOR = (Region.MOTOR_LEFT, Region.MOTOR_RIGHT)

Array = NDArray[np.float64]


def between(tract: Streamlines, found: Along) -> Streamlines:
    """Cut each streamline to its part from the pons to where it enters the motor cortex.

    Parameters
    ----------
    tract : Streamlines
        Each from the brainstem up.
    found : Along
        Of the tract's points.
    """
    pieces = []
    for number in range(len(tract)):
        first, last = int(tract.offsets[number]), int(tract.offsets[number + 1])
        low = np.flatnonzero(found.template[first:last, 2] <= START)
        begin = first + (int(low[-1]) if len(low) else 0)
        motor = np.flatnonzero(np.isin(found.labels[begin:last], _MOTOR))
        end = begin + int(motor[0]) + 1 if len(motor) else last
        pieces.append((begin, max(end, min(begin + 2, last))))
    lengths = [end - begin for begin, end in pieces]
    points = [tract.points[begin:end] for begin, end in pieces]
    return Streamlines(
        points=np.concatenate(points) if points else tract.points[:0],
        offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
        seed=tract.seed,
    )


def profiles(
    tract: Streamlines, maps: dict[str, NDArray[np.floating]], affine: NDArray[np.float64]
) -> dict[str, Array]:
    """Return each map's values along a tract.

    Parameters
    ----------
    tract : Streamlines
        Cut, see `between`; at least one.
    maps : dict of str to ndarray, shape (x, y, z)
    affine : ndarray, shape (4, 4)
        Voxel indices to world mm.

    Returns
    -------
    dict of str to ndarray, shape (NODES,)
        The mean over streamlines; one counts by how near it is to their middle, exp(-d^2 / 2) at
        the Mahalanobis distance d.
    """
    nodes = np.asarray(tract.resampled(NODES), dtype=np.float64)
    weight = np.exp(-(shape.distances(nodes) ** 2) / 2)
    weight /= weight.sum(axis=0)
    return {name: (weight * sample(values, nodes, affine)).sum(axis=0)
            for name, values in maps.items()}  # fmt: skip


def sample(
    values: NDArray[np.floating], points: NDArray[np.floating], affine: NDArray[np.float64]
) -> Array:
    """Interpolate a map at world points, trilinear.

    Parameters
    ----------
    values : ndarray, shape (x, y, z)
    points : ndarray, shape (..., 3)
        World mm.
    affine : ndarray, shape (4, 4)

    Returns
    -------
    ndarray, shape (...)
    """
    inverse = np.linalg.inv(affine)
    index = points.reshape(-1, 3) @ inverse[:3, :3].T + inverse[:3, 3]
    found = ndimage.map_coordinates(
        np.asarray(values, np.float64), index.T, order=1, mode="nearest"
    )
    return np.asarray(found.reshape(points.shape[:-1]))

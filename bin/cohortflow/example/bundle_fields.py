"""Bundles as fields: what is drawn as curves, to be looked up at any point of template space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from cohortflow.example import bundles, head, tracts
from cohortflow.example.bundles import Curves

Array = NDArray[np.floating]

#: Grid of the fields: voxel size and first point in template mm, number of voxels.
SIZE = 1.25
ORIGIN = np.array([-12.5, -112.5, -75.0])
SHAPE = (76, 156, 128)
#: Fibres that give the corticospinal tract's field; they reach beyond its surface, where their
#: place is 1, so that the surface is found between fibres and not at the last one.
FIBRES, BEYOND = 6000, 1.4


@dataclass(frozen=True)
class Bundle:
    """The right side's bundle on a grid of template space.

    Attributes
    ----------
    radius : ndarray (i, j, k) float32
        Below 1 inside the bundle; 0 on the corticospinal tract's centre line.
    tangents : ndarray (i, j, k, 3) float32
        Mean direction of the fibres, mm a mm.
    to_end : ndarray (i, j, k) float32
        See `cohortflow.example.bundles.Curves`.
    """

    radius: NDArray[np.float32]
    tangents: NDArray[np.float32]
    to_end: NDArray[np.float32]

    def at(self, points: Array, side: Array) -> tuple[Array, Array, Array]:
        """Look up radius (n,), direction (n, 3) and distance to the end (n,) at points (n, 3).

        Parameters
        ----------
        points : ndarray (n, 3)
            Template mm.
        side : ndarray (n,)
            -1 for the left bundle, which is the mirror image of the right one, 1 for the right.
        """
        index = points.T * np.stack([side, np.ones(len(points)), np.ones(len(points))])
        index = (index - ORIGIN[:, None]) / SIZE
        near = np.floor(index).astype(np.intp)
        inside = ((near >= 0) & (near < np.array(SHAPE)[:, None] - 1)).all(axis=0)
        radius = np.full(len(points), 2.0)
        radius[inside] = _linear(self.radius, index[:, inside])
        direction, to_end = np.zeros((len(points), 3)), np.zeros(len(points))
        held = np.flatnonzero(radius < 1)
        for axis in range(3):
            direction[held, axis] = _linear(self.tangents[..., axis], index[:, held])
        direction[:, 0] *= side
        direction[held] /= np.linalg.norm(direction[held], axis=1, keepdims=True) + 1e-12
        to_end[held] = _linear(self.to_end, index[:, held])
        return radius, direction, to_end


def _linear(volume: Array, index: Array) -> Array:
    return np.asarray(ndimage.map_coordinates(volume, index, order=1, mode="nearest"), float)


def _rasterise(curves: Curves, *, graded: bool) -> Bundle:
    """Put curves on the grid.

    Parameters
    ----------
    curves : Curves
    graded : bool
        Whether the fibres carry their place in the bundle. If not, the bundle is where fibres
        are, and its surface is smoothed.
    """
    points = curves.points.reshape(-1, 3)
    index = np.rint((points - ORIGIN) / SIZE).astype(np.intp)
    held = ((index >= 0) & (index < SHAPE)).all(axis=1)
    flat = np.ravel_multi_index(tuple(index[held].T), SHAPE)
    radius = np.broadcast_to(curves.radius[:, None], curves.to_end.shape).reshape(-1)

    def spread(values: Array, width: float = 0.35) -> NDArray[np.float32]:
        total = np.bincount(flat, weights=values[held], minlength=int(np.prod(SHAPE)))
        grid = total.reshape(SHAPE).astype(np.float32)
        return np.asarray(ndimage.gaussian_filter(grid, width), np.float32)

    count = np.bincount(flat, minlength=int(np.prod(SHAPE))).reshape(SHAPE)
    weight = spread(np.ones(len(points)))
    safe = np.maximum(weight, 1e-6)
    tangents = np.stack([spread(column) for column in curves.tangents.reshape(-1, 3).T], axis=-1)
    if graded:
        place = np.where(weight > 0.05, spread(radius) / safe, 2.0)
    else:
        filled = ndimage.gaussian_filter((count > 0).astype(np.float32), 0.8)
        place = 1.5 - filled  # 1 where half of the neighbourhood is filled
    to_end = np.where(weight > 1e-6, spread(curves.to_end.reshape(-1)) / safe, 0)
    return Bundle(
        place.astype(np.float32),
        np.asarray(tangents / safe[..., None], np.float32),
        to_end.astype(np.float32),
    )


@lru_cache(maxsize=1)
def drawn() -> Mapping[str, Bundle]:
    """Return the fields of ``cst``, ``callosum`` and ``slf``, right side (kept in memory)."""
    square = bundles.even_square(FIBRES, BEYOND)
    return {
        "cst": _rasterise(bundles.corticospinal(square, 0.7), graded=True),
        "callosum": _rasterise(bundles.callosum(0.8), graded=False),
        "slf": _rasterise(bundles.longitudinal(1500, 0.8), graded=False),
    }


@lru_cache(maxsize=2)
def template(symmetric: bool) -> head.Template:
    """Return the head's template, or its mean with its own mirror image (kept in memory)."""
    real = head.load_template()
    if not symmetric:
        return real
    edges = 0.5 * (
        real.edges + _mirror(real.edges, real.edges_to_voxel) * np.array([1, -1, -1, 1, 1, 1])
    )
    return replace(
        real,
        fa=0.5 * (real.fa + _mirror(real.fa, real.to_voxel)),
        outside=0.5 * (real.outside + _mirror(real.outside, real.shape_to_voxel)),
        hull=0.5 * (real.hull + _mirror(real.hull, real.shape_to_voxel)),
        edges=edges.astype(np.float32),
    )


def _mirror(volume: NDArray[np.float32], to_voxel: Array) -> NDArray[np.float32]:
    """Exchange left and right of a volume whose first axis is template x."""
    index = np.arange(len(volume))
    back = np.linalg.inv(to_voxel)
    swapped = -(index * back[0, 0] + back[0, 3]) * to_voxel[0, 0] + to_voxel[0, 3]
    low = np.clip(np.floor(swapped).astype(np.intp), 0, len(volume) - 2)
    share = np.clip(swapped - low, 0, 1).reshape(-1, *[1] * (volume.ndim - 1))
    return np.asarray(volume[low] * (1 - share) + volume[low + 1] * share, np.float32)


@lru_cache(maxsize=2)
def _other(symmetric: bool) -> NDArray[np.float32]:
    """Return the directions of other white matter as dyads (i, j, k, 6) on the grid of edges."""
    atlas = template(symmetric)
    shape = atlas.edges.shape[:3]
    index = np.argwhere(atlas.fa[::2, ::2, ::2] > 0.06)
    back = np.linalg.inv(atlas.edges_to_voxel)
    points = index @ back[:3, :3].T + back[:3, 3]
    guides = bundles.background()
    axes = tracts._mean_direction(
        points, cKDTree(guides.points), guides, 24, 4.0, head.edges_at(atlas, points)
    )
    out = np.zeros((*shape, 6), np.float32)
    pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    out[tuple(index.T)] = np.stack([axes[:, i] * axes[:, j] for i, j in pairs], axis=1)
    return out


def other_directions(points: Array, symmetric: bool) -> Array:
    """Return unit directions (n, 3) of other white matter at template mm (n, 3).

    They are those of association, thalamic, pontine and callosal fibres near by, turned along
    ridges of FA (see `cohortflow.example.tracts.field`); no corticospinal fibre has a say.
    """
    grid, to_voxel = _other(symmetric), template(symmetric).edges_to_voxel
    index = (points @ to_voxel[:3, :3].T + to_voxel[:3, 3]).T
    columns = [_linear(grid[..., k], index) for k in range(6)]
    full = np.stack([columns[k] for k in (0, 1, 2, 1, 3, 4, 2, 4, 5)], axis=1)
    return np.asarray(np.linalg.eigh(full.reshape(-1, 3, 3))[1][:, :, 2])


def vacated_directions(points: Array) -> Array:
    """Return unit directions (n, 3) for where a corticospinal tract is missing.

    Transverse in the pons and below, as pontine fibres are, and front to back above the
    peduncle: across the tract everywhere, so that nothing leads from brainstem to motor cortex.
    """
    turn = np.clip((points[:, 2] + 26) / 10, 0, 1) * np.pi / 2
    return np.stack([np.cos(turn), np.sin(turn), np.zeros(len(points))], axis=1)

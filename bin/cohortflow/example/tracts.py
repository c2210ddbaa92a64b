"""Fibre geometry of the head phantom: curves in template millimetres, and what they imply.

All curves are this package's own drawings, placed by eye and by textbook anatomy in the space of
the FA template (world axes right, anterior, superior; mm).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

Array = NDArray[np.floating]

#: Half width of one drawn fibre, mm: a voxel centre this near to a curve belongs to the tract.
REACH = 2.2
#: How strongly directions outside the tracts keep to ridges of FA.
RIDGE = 3.0
#: Distance between the points of a drawn fibre, mm.
STEP = 1.5


@dataclass(frozen=True)
class Bundle:
    """Points of a bundle's fibres, with the unit direction of the fibre at each.

    Attributes
    ----------
    points : ndarray (n, 3)
        Template mm.
    tangents : ndarray (n, 3)
        Unit vectors; the sign has no meaning.
    """

    points: Array
    tangents: Array


def fibre(waypoints: Array) -> Bundle:
    """Draw a smooth curve through waypoints (m, 3), sampled every `STEP` mm."""
    waypoints = np.asarray(waypoints, float)
    chord = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(waypoints, axis=0), axis=1))])
    curve = CubicSpline(chord, waypoints)
    at = np.linspace(0, chord[-1], max(3, int(chord[-1] / STEP) + 1))
    tangents = curve(at, 1)
    return Bundle(curve(at), tangents / np.linalg.norm(tangents, axis=1, keepdims=True))


def join(bundles: list[Bundle]) -> Bundle:
    """Put the fibres of several bundles into one."""
    return Bundle(
        np.concatenate([b.points for b in bundles]), np.concatenate([b.tangents for b in bundles])
    )


def mirrored(bundle: Bundle) -> Bundle:
    """Return the bundle of the other side (x to -x)."""
    flip = np.array([-1.0, 1.0, 1.0])
    return Bundle(bundle.points * flip, bundle.tangents * flip)


def _sunflower(count: int) -> Array:
    """Spread points evenly over the unit disk, (count, 2)."""
    index = np.arange(count) + 0.5
    radius, angle = np.sqrt(index / count), np.pi * (1 + np.sqrt(5)) * index
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


# Centre line of the right corticospinal tract: x, y, z, half widths across x and along y.
_TRUNK = np.array(
    [
        [3.5, -40, -64, 2.0, 1.5],
        [3.5, -32, -48, 2.0, 1.5],
        [6.5, -24, -33, 2.5, 2.5],
        [9.5, -18, -19, 2.5, 3.0],
        [16.0, -14, -8, 2.5, 4.0],
        [22.5, -17, 5, 2.5, 4.5],
        [26.0, -21, 20, 3.0, 5.5],
    ]
)
# Foot, hand and face area: where the right tract ends, x, y, z, half width along y.
_MOTOR = np.array(
    [[6, -30, 68, 3], [17, -27, 66, 3], [29, -24, 60, 3], [40, -16, 52, 3], [50, -8, 38, 3.0]]
)


def corticospinal_right() -> Bundle:
    """Draw the right corticospinal tract: medulla, pons, capsule, fan to the motor cortex."""
    ends = CubicSpline(np.linspace(-1, 1, len(_MOTOR)), _MOTOR)
    fibres = []
    for across, along in _sunflower(400):
        # The disk's edge is stretched to a strip: the fan fills all of foot to face.
        place = np.clip(across / np.sqrt(max(1 - along**2, 0.05)), -1, 1)
        end = ends(place)
        end = np.array([end[0], end[1] + along * end[3], end[2]])
        trunk = _TRUNK[:, :3].copy()
        # Medial fibres of the trunk go to the foot, lateral ones to the face.
        trunk[:, 0] += across * _TRUNK[:, 3]
        trunk[:, 1] += along * _TRUNK[:, 4]
        start, lift = trunk[-1], end - trunk[-1]
        spread = start + lift * np.array([0.38, 0.45, 0.55])
        fibres.append(fibre(np.vstack([trunk, spread, end])))
    return join(fibres)


# Midline of the callosum, rostrum to splenium: y, z; and how far each part's fibres reach, x, y, z.
_CALLOSUM = np.array(
    [
        [20, -2, 12, 36, -5],
        [29, 6, 17, 50, 8],
        [22, 15, 17, 40, 28],
        [2, 22, 20, 8, 44],
        [-18, 22, 21, -20, 46],
        [-33, 15, 22, -46, 40],
        [-37, 10, 25, -66, 18],
        [-34, 5, 25, -76, 4.0],
    ]
)


def callosum() -> Bundle:
    """Draw the corpus callosum: arches from one hemisphere to the other, fanning at the ends."""
    part = CubicSpline(np.linspace(0, 1, len(_CALLOSUM)), _CALLOSUM)
    fibres = []
    for place in np.linspace(0, 1, 80):
        y, z, far_x, far_y, far_z = part(place)
        for depth in (-1.2, 1.2):
            inward = np.array([0.0, -6 - y, 4 - z])
            inward *= depth / np.linalg.norm(inward)
            middle = np.array([0, y, z]) + inward
            end = np.array([far_x - depth, far_y, far_z])
            near = middle + np.array([7.0, 0.03 * (far_y - y), 0.05 * (far_z - z)])
            half = middle + (end - middle) * np.array([0.72, 0.36, 0.36])
            sides = np.array([end, half, near])
            flip = np.array([-1, 1, 1])
            fibres.append(fibre(np.vstack([sides * flip, middle, sides[::-1]])))
    return join(fibres)


# Other white matter of the right side; the curves only give directions, never FA.
_GUIDES: tuple[tuple[tuple[float, float, float], ...], ...] = (
    ((36, 42, 18), (37, 20, 28), (36, -10, 32), (36, -40, 30), (44, -50, 8), (50, -40, -6)),
    ((34, 30, 30), (34, 5, 36), (34, -30, 38), (32, -58, 34)),
    ((20, 58, -4), (28, 32, -6), (33, 8, -8), (34, -20, -6), (34, -50, 2), (24, -84, 2)),
    ((40, 6, -32), (42, -18, -22), (40, -45, -12), (30, -75, -6), (22, -92, 0)),
    ((7, 22, -8), (7, 38, 8), (8, 26, 26), (9, 0, 36), (9, -28, 36), (9, -48, 22), (16, -44, 4)),
    ((18, 4, 4), (20, 14, 4), (22, 34, 8), (24, 56, 14)),
    ((14, -4, 8), (18, 6, 12), (22, 26, 22), (26, 44, 30)),
    ((22, -26, -2), (34, -30, -2), (38, -48, 2), (28, -74, 4), (14, -92, 4)),
    ((22, -26, 6), (27, -40, 22), (26, -62, 34), (22, -76, 40)),
    ((20, -14, 6), (26, -6, 24), (30, 8, 40), (34, 14, 52)),
    ((20, -14, 6), (27, -2, 22), (38, 8, 28), (52, 10, 22)),
    ((22, -22, 8), (28, -32, 26), (32, -38, 44), (34, -44, 60)),
    ((22, -22, 8), (30, -30, 24), (44, -32, 34), (56, -34, 38)),
    ((22, -20, 8), (27, -34, 30), (18, -46, 50), (12, -50, 66)),
    ((20, -12, 8), (25, 0, 28), (20, 14, 46), (16, 20, 60)),
    ((32, 0, -14), (30, 6, -20), (26, 24, -16), (18, 44, -14)),
    ((0, -22, -34), (12, -26, -36), (22, -40, -36), (24, -58, -38), (22, -72, -38)),
    ((4, -34, -12), (6, -42, -20), (10, -50, -28), (16, -58, -34)),
    ((8, -40, -60), (8, -42, -46), (12, -50, -38), (14, -62, -30)),
    ((5, -32, -56), (5, -30, -40), (5, -28, -22), (8, -24, -8), (10, -20, 4)),
)


def guides() -> Bundle:
    """Draw association, projection and cerebellar pathways of both sides."""
    right = join([fibre(np.array(points)) for points in _GUIDES])
    return join([right, mirrored(right)])


@dataclass(frozen=True)
class Field:
    """Tract membership and fibre direction at points.

    Attributes
    ----------
    inside : dict of str to ndarray of bool (n,)
        ``cst_left``, ``cst_right``, ``callosum``; no point is in two.
    directions : ndarray (n, 3)
        Unit fibre direction in template axes.
    """

    inside: dict[str, NDArray[np.bool_]]
    directions: Array


@lru_cache(maxsize=1)
def bundles() -> dict[str, Bundle]:
    """Draw all bundles once: the tracts with a defined FA, and the guides."""
    right = corticospinal_right()
    return {
        "cst_left": mirrored(right),
        "cst_right": right,
        "callosum": callosum(),
        "guides": guides(),
    }


@lru_cache(maxsize=1)
def _trees() -> Mapping[str, cKDTree[Any, Any]]:
    """Index the points of each bundle, and of all together under ``all``."""
    trees: dict[str, cKDTree[Any, Any]] = {
        name: cKDTree(bundle.points) for name, bundle in bundles().items()
    }
    trees["all"] = cKDTree(np.concatenate([b.points for b in bundles().values()]))
    return trees


def field(points: Array, edges: Array) -> Field:
    """Say which tract holds each point, and where its fibres go.

    Parameters
    ----------
    points : ndarray (n, 3)
        Template mm.
    edges : ndarray (n, 3, 3)
        Structure tensor of FA at the points, trace 1.

    Returns
    -------
    Field
        The direction in a tract is that of the tract's nearest fibres. Elsewhere it is the
        distance-weighted mean (as dyads) of all fibres near by, turned to where FA changes
        least: a bundle is a ridge of FA, and its fibres run along the ridge.
    """
    trees, drawn = _trees(), bundles()
    directions = _mean_direction(points, trees["all"], join(list(drawn.values())), 24, 4.0, edges)
    inside: dict[str, NDArray[np.bool_]] = {}
    taken = np.zeros(len(points), bool)
    for name in ("callosum", "cst_left", "cst_right"):
        side = {"cst_left": points[:, 0] < 0, "cst_right": points[:, 0] > 0}
        # Near the midline the callosum crosses unbroken; farther out the corticospinal fan does.
        allowed = side.get(name, (np.abs(points[:, 0]) < 30))
        distance, _ = trees[name].query(points, distance_upper_bound=REACH, workers=1)
        inside[name] = (distance < REACH) & allowed
    both = inside["cst_left"] | inside["cst_right"]
    inside["callosum"] &= ~both | (np.abs(points[:, 0]) < 9)
    for name, reached in inside.items():
        mask = reached & ~taken
        inside[name] = mask
        taken |= mask
        directions[mask] = _mean_direction(points[mask], trees[name], drawn[name], 8, 2.0)
    return Field(inside, directions)


def _mean_direction(
    points: Array,
    tree: cKDTree[Any, Any],
    bundle: Bundle,
    near: int,
    width: float,
    edges: Array | None = None,
) -> Array:
    """Average the directions of the nearest fibre points as dyads, weighted by distance (mm)."""
    if not len(points):
        return np.zeros((0, 3))
    distance, index = map(np.asarray, tree.query(points, k=near))
    weight = np.exp(-(distance**2 - distance[:, :1] ** 2) / (2 * width**2))
    weight /= weight.sum(axis=1, keepdims=True)
    tangents = bundle.tangents[index]
    dyads = np.einsum("nk,nki,nkj->nij", weight, tangents, tangents)
    if edges is not None:
        dyads -= RIDGE * edges
    return np.asarray(np.linalg.eigh(dyads)[1][:, :, 2])

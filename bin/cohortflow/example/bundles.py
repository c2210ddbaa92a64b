"""Drawings of crossing bundles: corticospinal tract, callosum, longitudinal and pontine fibres.

Every curve is this package's own drawing, placed by eye on the FA template and by textbook
anatomy (template axes right, anterior, superior; mm). Only the right side is drawn; the left
side is its mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator

from cohortflow.example import tracts

Array = NDArray[np.floating]

#: Sides of the brain, and the sign of their template x.
SIDES = {"left": -1.0, "right": 1.0}
#: Callosal fibres are by themselves so far from the midline, mm; farther on they are among others.
RADIATION = 26.0


@dataclass(frozen=True)
class Curves:
    """Fibres of a bundle, all with the same number of points.

    Attributes
    ----------
    points : ndarray (fibres, k, 3)
        Template mm.
    tangents : ndarray (fibres, k, 3)
        Unit vectors, all of a bundle the same way round.
    to_end : ndarray (fibres, k)
        Length along the fibre to its end in the cortex, mm; of the callosum, to where it
        spreads among other fibres, and 0 beyond.
    radius : ndarray (fibres,)
        Place in the bundle: 0 on its centre line, 1 on its surface.
    """

    points: Array
    tangents: Array
    to_end: Array
    radius: Array


def draw(waypoints: Array, radius: Array, step: float, *, two_ends: bool = False) -> Curves:
    """Draw smooth curves through waypoints, with points about `step` mm apart.

    Parameters
    ----------
    waypoints : ndarray (fibres, m, 3)
        mm.
    radius : ndarray (fibres,)
        See `Curves`.
    step : float
        mm, on the mean of the fibres.
    two_ends : bool
        Whether both ends are in the cortex, or the last one only.
    """
    gaps = np.linalg.norm(np.diff(waypoints, axis=1), axis=2).mean(axis=0)
    chord = np.concatenate([[0], np.cumsum(gaps)])
    curve = CubicSpline(chord, waypoints, axis=1)
    at = np.linspace(0, chord[-1], int(np.ceil(chord[-1] / step)) + 1)
    points, slopes = curve(at), curve(at, 1)
    lengths = np.linalg.norm(np.diff(points, axis=1), axis=2)
    travelled = np.concatenate([np.zeros((len(points), 1)), np.cumsum(lengths, axis=1)], axis=1)
    to_end = travelled[:, -1:] - travelled
    return Curves(
        points=points,
        tangents=slopes / np.linalg.norm(slopes, axis=2, keepdims=True),
        to_end=np.minimum(to_end, travelled) if two_ends else to_end,
        radius=radius,
    )


def even_square(count: int, reach: float = 1.0) -> Array:
    """Spread points evenly over the square from -reach to reach, (count, 2).

    Multiples of the powers of 1/1.3247 (the real root of x^3 = x + 1), modulo 1: the golden
    ratio's rule in two dimensions.
    """
    root = 1.324717957244746
    index = np.arange(1, count + 1)[:, None]
    return np.asarray(((index / np.array([root, root**2])) % 1 * 2 - 1) * reach)


def square_to_disk(square: Array) -> Array:
    """Map the square from -1 to 1 on the unit disk, areas in proportion (Shirley, Chiu 1997).

    Squares about the centre become circles about it, so that a bundle with a round trunk and a
    flat fan keeps the same fibres on its surface all the way.
    """
    across, along = square.T
    wide = np.abs(across) >= np.abs(along)
    radius = np.where(wide, across, along)
    safe = np.where(radius == 0, 1.0, radius)
    turn = np.where(wide, along, across) / safe * np.pi / 4
    angle = np.where(wide, turn, np.pi / 2 - turn)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


# Trunk of the right corticospinal tract in axial sections: x, y, z, half widths across and along
# the section's long axis, and that axis (x, y). Medulla, pons, peduncle, capsule, corona radiata.
_TRUNK = np.array(
    [
        [3.0, -40.2, -60, 2.6, 2.3, 0.0, 1.0],
        [3.0, -35.8, -54, 2.8, 2.4, 0.0, 1.0],
        [3.4, -31.3, -46, 3.0, 2.6, 0.0, 1.0],
        [4.8, -26.3, -38, 3.2, 3.0, 0.0, 1.0],
        [6.3, -21.3, -30, 3.3, 3.4, 0.0, 1.0],
        [8.6, -17.8, -22, 3.2, 4.2, 0.0, 1.0],
        [12.3, -15.6, -14, 3.2, 5.4, -0.1, 1.0],
        [17.3, -14.4, -6, 3.2, 6.0, -0.4, 0.9],
        [21.3, -15.8, 2, 3.2, 7.0, -0.5, 0.85],
        [24.0, -18.2, 10, 3.2, 7.5, -0.3, 0.95],
        [26.0, -20.5, 20, 3.5, 7.4, -0.1, 1.0],
        [27.0, -21.5, 28, 4.2, 6.8, 0.0, 1.0],
    ]
)
# Its fan, from foot to face: below the centrum semiovale, in the stem of the precentral gyrus,
# and in the cortex (x, y, z each); the strip is so thick to either side, mm.
_FAN = np.array(
    [
        [[23.5, -23.5, 36], [15.0, -28.0, 50], [6.5, -31.5, 64.0]],
        [[25.0, -23.0, 37], [20.0, -26.8, 50], [16.0, -27.2, 65.5]],
        [[27.5, -22.0, 37], [26.0, -23.8, 50], [26.0, -24.8, 62.5]],
        [[29.5, -21.0, 36], [31.0, -21.7, 48], [34.0, -21.5, 57.0]],
        [[32.0, -19.5, 35], [36.5, -20.8, 43], [43.0, -17.2, 50.0]],
        [[34.5, -18.0, 33], [42.0, -15.0, 38], [53.0, -8.2, 38.0]],
    ]
)
_FAN_HALF = np.array([5.6, 4.6, 4.2])


def corticospinal(square: Array, step: float = 1.0) -> Curves:
    """Draw fibres of the right corticospinal tract, medulla to motor cortex.

    Parameters
    ----------
    square : ndarray (fibres, 2)
        Where each fibre lies in the bundle: from foot to face (-1 to 1) and through its
        thickness. Beyond 1 a fibre lies outside.
    step : float
        mm between points.
    """
    disk = square_to_disk(square)
    long = _TRUNK[:, 5:7] / np.linalg.norm(_TRUNK[:, 5:7], axis=1, keepdims=True)
    short = np.stack([long[:, 1], -long[:, 0]], axis=1)
    trunk = np.repeat(_TRUNK[None, :, :3], len(square), axis=0)
    trunk[..., :2] += disk[:, :1, None] * (_TRUNK[:, 3:4] * short)
    trunk[..., :2] += disk[:, 1:, None] * (_TRUNK[:, 4:5] * long)
    gaps = np.linalg.norm(np.diff(_FAN[:, 2], axis=0), axis=1)
    knots = np.concatenate([[0], np.cumsum(gaps)]) / gaps.sum() * 2 - 1
    across = PchipInterpolator(knots, _FAN, axis=0, extrapolate=True)(square[:, 0])
    # The precentral gyrus turns forward to the face; the strip's thickness is across it.
    turn = np.radians(15 + 15 * square[:, 0])
    normal = np.stack([-np.sin(turn), np.cos(turn), np.zeros_like(turn)], axis=1)
    fan = across + (square[:, 1:] * normal)[:, None, :] * _FAN_HALF[:, None]
    return draw(np.concatenate([trunk, fan], axis=1), np.abs(square).max(axis=1), step)


# Callosum from rostrum to splenium: midline y, z; a point beside the ventricle; and cortex that
# the part reaches, medial, between and lateral.
_CALLOSUM = np.array(
    [
        [[0, 20, -2], [12, 26, -3], [10, 44, -10], [18, 42, -8], [28, 38, -6]],
        [[0, 28, 5], [14, 38, 8], [10, 58, 10], [20, 56, 8], [34, 46, 4]],
        [[0, 21, 13.5], [15, 28, 23], [10, 48, 36], [24, 40, 34], [40, 32, 22]],
        [[0, 2, 20.5], [17, 3, 29.5], [8, 10, 60], [24, 8, 54], [46, 6, 30]],
        [[0, -18, 20.5], [17, -18, 29.5], [9, -24, 63], [28, -24, 56], [52, -16, 37]],
        [[0, -32, 14], [19, -38, 24], [10, -50, 60], [28, -50, 52], [50, -42, 34]],
        [[0, -37, 10], [20, -50, 17], [12, -72, 40], [22, -74, 28], [40, -68, 18]],
        [[0, -34, 5], [18, -54, 6], [10, -86, 6], [18, -88, 2], [30, -84, 2]],
    ],
    float,
)


def callosum(step: float = 1.0) -> Curves:
    """Draw the right half of the callosum, from the midline, and cross it by 4 mm.

    Its lateral fibres pass through the corticospinal fan.
    """
    parts = CubicSpline(np.linspace(0, 1, len(_CALLOSUM)), _CALLOSUM, axis=0)
    places, depths, reaches = np.meshgrid(
        np.linspace(0, 1, 110), np.linspace(-2.6, 2.6, 5), np.linspace(-1, 1, 21), indexing="ij"
    )
    place, depth, reach = places.ravel(), depths.ravel(), reaches.ravel()
    # Leg and hand areas send few fibres to the other side; those to the face cross the fan.
    motor = (np.abs(place - 4 / 7) < 0.1) & (reach > -0.6) & (reach < 0.4)
    place, depth, reach = place[~motor], depth[~motor], reach[~motor]
    part = parts(place)
    lean = reach[:, None]
    end = part[:, 3] + lean * (part[:, 4] - part[:, 2]) / 2
    end += lean**2 * ((part[:, 4] + part[:, 2]) / 2 - part[:, 3])
    inward = np.array([0.0, -6.0, 4.0]) - part[:, 0] * [0, 1, 1]
    inward *= depth[:, None] / np.linalg.norm(inward, axis=1, keepdims=True)
    middle, beside = part[:, 0] + inward, part[:, 1] + inward
    near = middle + (beside - middle) * [0.45, 0.3, 0.2]
    over = near * [-1, 1, 1]
    # Sideways first, through the corona radiata, then up or down into the gyrus.
    half = beside + (end - beside) * [0.62, 0.5, 0.33] + inward / 2
    waypoints = np.stack([over, middle, near, beside, half, end], axis=1)
    curves = draw(waypoints, np.zeros(len(waypoints)), step)
    travelled = curves.to_end[:, :1] - curves.to_end
    travelled -= np.linalg.norm(over - middle, axis=1, keepdims=True)
    return replace(curves, to_end=np.maximum(RADIATION - travelled, 0))


# Superior longitudinal and arcuate fasciculus of the right side: x, y, z, half widths across
# (x) and up.
_LONGITUDINAL = np.array(
    [
        [44, 28, 18, 2.5, 4.0],
        [39, 16, 26, 3.0, 5.5],
        [36, 2, 31, 3.5, 6.5],
        [35.0, -14, 32, 4.0, 7.0],
        [35.5, -28, 32, 4.0, 7.0],
        [38, -42, 27, 3.5, 6.0],
        [44, -51, 14, 3.2, 4.5],
        [48, -46, 0, 3.0, 3.5],
        [50, -34, -8, 2.5, 3.0],
    ],
    float,
)


def longitudinal(count: int = 400, step: float = 1.0) -> Curves:
    """Draw the right superior longitudinal fasciculus, front to back and down to temporal."""
    disk = square_to_disk(even_square(count))
    waypoints = np.repeat(_LONGITUDINAL[None, :, :3], count, axis=0)
    waypoints[..., 0] += disk[:, :1] * _LONGITUDINAL[:, 3]
    waypoints[..., 2] += disk[:, 1:] * _LONGITUDINAL[:, 4]
    return draw(waypoints, np.linalg.norm(disk, axis=1), step, two_ends=True)


# Descending fibres of the right side that are not corticospinal: frontopontine in front of it in
# peduncle and capsule, parieto-occipito-temporopontine behind it.
_PONTINE: tuple[tuple[tuple[float, float, float], ...], ...] = (
    ((4, -16, -28), (5, -10, -19), (7, -7, -13), (11, -4, -5), (14, -1, 4), (18, 3, 14)),
    ((18, 3, 14), (22, 8, 26), (24, 14, 38), (22, 18, 52)),
    ((18, 3, 14), (24, 10, 24), (32, 22, 34), (38, 30, 38)),
    ((9, -24, -28), (10, -23, -20), (12, -22, -13), (19, -21, -5), (26, -24, 4), (28, -28, 13)),
    ((28, -28, 13), (29, -36, 24), (28, -48, 38), (26, -58, 52)),
    ((26, -24, 4), (34, -33, 2), (44, -36, -6), (52, -34, -10)),
)


def background() -> tracts.Bundle:
    """Draw what gives other white matter its directions, both sides; nothing corticospinal."""
    lines = [tracts.fibre(np.array(points, float)) for points in _PONTINE]
    association = longitudinal(12, tracts.STEP)
    flat = tracts.Bundle(association.points.reshape(-1, 3), association.tangents.reshape(-1, 3))
    right = tracts.join([*lines, flat])
    return tracts.join([tracts.guides(), tracts.callosum(), right, tracts.mirrored(right)])

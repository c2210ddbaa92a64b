"""Where the head lies in a volume, and how eddy currents distort that volume.

A point x of the reference (world mm) is found in a volume at
``centre + stretch @ (turn @ (x - centre) + shift)``: the head moves rigidly, then the scanner's
field, which eddy currents make linear in space, displaces the signal along the phase-encode axis
(Jezzard, Barnett, Pierpaoli 1998, doi:10.1002/mrm.1910390518).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RADIUS_MM = 50.0
"""Radius of the sphere on which a rotation is expressed as a displacement (Power et al. 2012)."""
_STEP = 1e-5


@dataclass(frozen=True)
class Frame:
    """What the poses of a series share.

    Attributes
    ----------
    affine : ndarray, shape (4, 4)
        Voxel indices to world mm, of the volumes and of the reference.
    centre : ndarray, shape (3,)
        World mm about which rotations turn: the middle of the grid.
    terms : ndarray, shape (m, 3, 3)
        What the eddy parameters multiply: ``stretch = identity + sum(parameter * term)``.
    names : tuple of str
        One a term.
    """

    affine: Array
    centre: Array
    terms: Array
    names: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of parameters of a pose."""
        return 6 + len(self.terms)


def frame(affine: Array, shape: tuple[int, ...], eddy: str) -> Frame:
    """Describe the poses of a series.

    Parameters
    ----------
    affine : ndarray, shape (4, 4)
    shape : tuple of int
        Of the grid, x, y, z.
    eddy : {"i", "j", "k", "any", "none"}
        The image axis along which eddy currents displace: three terms, displacement in mm for each
        mm along the image axes i, j and k. ``any`` for an axis that is not known: the six terms of
        a symmetric stretch in world axes. ``none`` for rigid poses.
    """
    centre = affine[:3, :3] @ ((np.array(shape[:3]) - 1) / 2) + affine[:3, 3]
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if eddy == "none":
        return Frame(affine, centre, np.zeros((0, 3, 3)), ())
    if eddy == "any":
        pairs = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
        terms = np.zeros((6, 3, 3))
        for term, (row, column) in zip(terms, pairs, strict=True):
            term[row, column] = term[column, row] = 1
        return Frame(affine, centre, terms, tuple(f"eddy_{'xyz'[a]}{'xyz'[b]}" for a, b in pairs))
    # the image axes need not be orthogonal: the place along one is read with the inverse
    along, places = axes[:, "ijk".index(eddy)], np.linalg.inv(axes)
    terms = np.stack([np.outer(along, place) for place in places])
    return Frame(affine, centre, terms, tuple(f"eddy_{name}" for name in "ijk"))


def rotation(angles: Array) -> Array:
    """Return the matrix that turns about x, then y, then z, by angles in radians (3,)."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def angles(turn: Array) -> Array:
    """Return the angles of `rotation` in radians, shape (3,)."""
    return np.array(
        [
            np.arctan2(turn[2, 1], turn[2, 2]),
            -np.arcsin(np.clip(turn[2, 0], -1, 1)),
            np.arctan2(turn[1, 0], turn[0, 0]),
        ]
    )


def stretch(given: Frame, pose: Array) -> Array:
    """Return the eddy currents' matrix, shape (3, 3)."""
    return np.asarray(np.eye(3) + np.einsum("m,mij->ij", pose[6:], given.terms))


def centred(given: Frame, pose: Array) -> Array:
    """Return the map of `pose` between coordinates about the centre, shape (3, 4).

    Parameters
    ----------
    given : Frame
    pose : ndarray, shape (6 + m,)
        Translation in mm, rotation in radians, eddy parameters.
    """
    matrix = stretch(given, pose)
    return np.column_stack([matrix @ rotation(pose[3:6]), matrix @ pose[:3]])


def slopes(given: Frame, pose: Array) -> Array:
    """Return the derivatives of `centred` by each parameter, shape (6 + m, 3, 4)."""
    steps = _STEP * np.eye(len(pose))
    return np.stack(
        [(centred(given, pose + s) - centred(given, pose - s)) / (2 * _STEP) for s in steps]
    )


def to_voxels(given: Frame, pose: Array) -> Array:
    """Return the affine from voxels of the reference to voxels of the volume, shape (4, 4)."""
    world = np.eye(4)
    world[:3] = centred(given, pose)
    world[:3, 3] += given.centre - world[:3, :3] @ given.centre
    return np.asarray(np.linalg.inv(given.affine) @ world @ given.affine)


def before(pose: Array, turn: Array, shift: Array) -> Array:
    """Return the pose for points that a rigid motion (about the centre) moves first."""
    made = pose.copy()
    own = rotation(pose[3:6])
    made[:3] = own @ shift + pose[:3]
    made[3:6] = angles(own @ turn)
    return made


def size(given: Frame, change: Array) -> float:
    """Return about how far (mm) a small change of a pose moves points at `RADIUS_MM`."""
    rigid = np.linalg.norm(change[:3]) + RADIUS_MM * np.linalg.norm(change[3:6])
    return float(rigid + RADIUS_MM * np.linalg.norm(change[6:]))


def displacement(poses: Array) -> Array:
    """Return the framewise displacement in mm (Power et al. 2012), 0 for the first volume.

    The sum of the absolute changes of translations and rotations from the volume before, these as
    arcs on a sphere of `RADIUS_MM`.

    Parameters
    ----------
    poses : ndarray, shape (n, 6 + m)
    """
    change = np.abs(np.diff(poses[:, :6], axis=0, prepend=poses[:1, :6]))
    change[:, 3:] *= RADIUS_MM
    return np.asarray(change.sum(axis=1))

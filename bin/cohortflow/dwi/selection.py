"""Which candidate streamlines belong to the corticospinal tract of a side, and why others do not.

A streamline belongs to it when it joins brainstem, internal capsule and motor cortex of one side
(the inclusion regions of Wakana et al. 2007, with the capsule between) and takes no way that the
tract cannot take: through the callosum, the cerebellum, the thalamus or the other hemisphere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cohortflow.dwi.regions import Region
from cohortflow.dwi.streamlines import Streamlines

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")

THALAMUS_SHARE = 0.1
"""Share of a streamline's points that may lie in the thalamus, whose border is the capsule's."""

DECUSSATION = -50.0
"""Template z in mm below which a streamline may cross the midline: pyramids and their crossing."""

MIDLINE = 1.0
"""How far, in template mm, a streamline may be on the other side above the decussation."""

_CAPSULE = {"left": Region.CAPSULE_LEFT, "right": Region.CAPSULE_RIGHT}
_MOTOR = {"left": Region.MOTOR_LEFT, "right": Region.MOTOR_RIGHT}
_THALAMUS = {"left": Region.THALAMUS_LEFT, "right": Region.THALAMUS_RIGHT}


@dataclass(frozen=True)
class Along:
    """What lies at the points of streamlines.

    Attributes
    ----------
    labels : ndarray of uint8, shape (points,)
        See `regions.Region`.
    template : ndarray of float32, shape (points, 3)
        Template mm.
    """

    labels: NDArray[np.uint8]
    template: NDArray[np.float32]


@dataclass(frozen=True)
class Selection:
    """The streamlines of a side, and how many others failed each rule.

    Attributes
    ----------
    kept : ndarray of int, shape (n,)
        Numbers of the streamlines.
    counts : dict of str to int
        ``candidates``, then how many of these meet each rule and those before it.
    """

    kept: NDArray[np.intp]
    counts: dict[str, int]


def along(
    candidates: Streamlines,
    labels: NDArray[np.uint8],
    coordinates: NDArray[np.float32],
    affine: NDArray[np.float64],
) -> Along:
    """Look up region and template position of each point, in its voxel.

    Parameters
    ----------
    candidates : Streamlines
    labels : ndarray of uint8, shape (x, y, z)
    coordinates : ndarray of float32, shape (x, y, z, 3)
        Template mm of each voxel's centre.
    affine : ndarray, shape (4, 4)
        Voxel indices to world mm.
    """
    inverse = np.linalg.inv(affine)
    exact = candidates.points @ inverse[:3, :3].T + inverse[:3, 3]
    index = np.rint(exact).astype(np.intp)
    for axis, size in enumerate(labels.shape):
        np.clip(index[:, axis], 0, size - 1, out=index[:, axis])
    where = tuple(index.T)
    return Along(labels[where], coordinates[where])


def select(candidates: Streamlines, found: Along, side: Side) -> Selection:
    """Choose the streamlines of a side.

    Parameters
    ----------
    candidates : Streamlines
    found : Along
    side : {"left", "right"}

    Returns
    -------
    Selection
        Rules in this order: capsule, brainstem, motor, other side, callosum, cerebellum, thalamus.
    """
    if not len(candidates):
        return Selection(np.zeros(0, np.intp), {"candidates": 0})
    other: Side = "right" if side == "left" else "left"
    starts = candidates.offsets[:-1]

    def touching(*regions: Region) -> NDArray[np.bool_]:
        inside = np.isin(found.labels, regions)
        return np.asarray(np.logical_or.reduceat(inside, starts))

    sign = -1.0 if side == "left" else 1.0
    beyond = (sign * found.template[:, 0] < -MIDLINE) & (found.template[:, 2] > DECUSSATION)
    in_thalamus = np.add.reduceat(np.isin(found.labels, _THALAMUS[side]).astype(float), starts)
    share = in_thalamus / np.diff(candidates.offsets)
    rules = {
        "capsule": touching(_CAPSULE[side]),
        "brainstem": touching(Region.BRAINSTEM),
        "motor": touching(_MOTOR[side]),
        "other side": ~touching(_CAPSULE[other], _MOTOR[other], _THALAMUS[other])
        & ~np.logical_or.reduceat(beyond, starts),
        "callosum": ~touching(Region.CALLOSUM),
        "cerebellum": ~touching(Region.CEREBELLUM),
        "thalamus": share <= THALAMUS_SHARE,
    }
    kept = rules.pop("capsule")
    counts = {"candidates": int(kept.sum())}
    for name, passed in rules.items():
        kept = kept & passed
        counts[name] = int(kept.sum())
    return Selection(np.flatnonzero(kept), counts)


def reason(counts: dict[str, int], least: int) -> str:
    """Say why a side has too few streamlines, in one line.

    Examples
    --------
    >>> reason({"candidates": 900, "brainstem": 400, "motor": 0, "other side": 0}, 20)
    'of 900 candidates 400 reach the brainstem and none of these the motor cortex'
    >>> reason({"candidates": 0}, 20)
    'no candidate streamline runs through the internal capsule'
    """
    candidates = counts["candidates"]
    if not candidates:
        return "no candidate streamline runs through the internal capsule"
    brainstem, motor = counts["brainstem"], counts["motor"]
    if not brainstem:
        return f"none of {candidates} candidates reaches the brainstem"
    if not motor:
        return (
            f"of {candidates} candidates {brainstem} reach the brainstem and none of these the "
            "motor cortex"
        )
    left = list(counts.values())[-1]
    return (
        f"{left} of {candidates} candidates belong to the tract, {least} are needed ({motor} join "
        "brainstem and motor cortex)"
    )

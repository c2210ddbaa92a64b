"""What is true of a head with crossing bundles: shares of volume, fibres, and their core."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cohortflow.example import bundles, head
from cohortflow.example.bundles import SIDES

Array = NDArray[np.floating]

#: Fibres drawn for a whole tract; a thinned one keeps those inside what is left of it.
FIBRES = 2000
#: How near a fibre's point lies to where the warp has it, mm.
TOLERANCE = 0.001


@dataclass(frozen=True)
class Fibres:
    """Fibres of one tract, uniformly dense in its cross-section.

    Attributes
    ----------
    points : ndarray (total, 3) float32
        World mm, from the medulla to the cortex, about 1 mm apart.
    offsets : ndarray (n + 1,) int64
        Fibre i is ``points[offsets[i]:offsets[i + 1]]``.
    """

    points: NDArray[np.float32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def lines(self) -> list[NDArray[np.float32]]:
        """Return the fibres one by one, each (k, 3) in world mm."""
        return np.split(self.points, self.offsets[1:-1]) if len(self) else []


@dataclass(frozen=True)
class Truth:
    """The anatomy that a scan was made of. Arrays must not be changed.

    Attributes
    ----------
    shares : dict of str to ndarray (x, y, z) float32
        Share of each voxel's volume: ``cst_left``, ``cst_right``, ``callosum``, ``slf_left``,
        ``slf_right`` and ``other`` white matter. They add up to ``white``.
    white, grey, csf : ndarray (x, y, z) float32
        Share of white matter (its bundles together), of grey matter and of CSF.
    affine : ndarray (4, 4)
        Voxel indices to world mm.
    warp : Warp
        World mm to template mm.
    kept : dict of str to float
        For ``left`` and ``right``, which part of the corticospinal tract is there: its fibres
        with `cohortflow.example.bundles.Curves.radius` below this; 1 is all, 0 none.
    """

    shares: dict[str, NDArray[np.float32]]
    white: NDArray[np.float32]
    grey: NDArray[np.float32]
    csf: NDArray[np.float32]
    affine: Array
    warp: head.Warp
    kept: dict[str, float]

    def volume(self, side: str) -> float:
        """Return the volume of a side's corticospinal tract, mm3: its shares added up."""
        voxel = abs(float(np.linalg.det(self.affine[:3, :3])))
        return float(self.shares[f"cst_{side}"].sum(dtype=np.float64)) * voxel

    def fibres(self, side: str) -> Fibres:
        """Return the fibres of a side's corticospinal tract; none where there is no tract."""
        return self._fibres[side]

    @cached_property
    def _fibres(self) -> dict[str, Fibres]:
        drawn = bundles.corticospinal(bundles.even_square(FIBRES))
        made = {}
        for side, sign in SIDES.items():
            inside = drawn.points[drawn.radius < self.kept[side]]
            world = unwarp(self.warp, inside.reshape(-1, 3) * [sign, 1, 1])
            made[side] = self._trim(world.reshape(inside.shape), side)
        return made

    def _trim(self, lines: Array, side: str) -> Fibres:
        """Cut fibres (n, k, 3) off where their tract leaves the image or the white matter."""
        voxel = self._voxel(lines.reshape(-1, 3))
        share = np.append(self.shares[f"cst_{side}"].ravel(), 0)[voxel]
        held = share.reshape(lines.shape[:2]) > 0
        begun = np.logical_or.accumulate(held, axis=1)
        held = begun & np.logical_or.accumulate(held[:, ::-1], axis=1)[:, ::-1]
        held &= held.sum(axis=1, keepdims=True) >= 2
        counts = held.sum(axis=1)
        offsets = np.concatenate([[0], np.cumsum(counts[counts > 0])])
        return Fibres(lines[held].astype(np.float32), offsets.astype(np.int64))

    def _voxel(self, points: Array) -> NDArray[np.int64]:
        """Return the number of the voxel that holds each point (n, 3) in world mm; -1 for none."""
        shape = self.white.shape
        back = np.linalg.inv(self.affine)
        index = np.rint(points @ back[:3, :3].T + back[:3, 3]).astype(np.int64)
        held = ((index >= 0) & (index < shape)).all(axis=1)
        voxel = np.full(len(points), -1, np.int64)
        voxel[held] = np.ravel_multi_index(tuple(index[held].T), shape)
        return voxel

    def visits(self, side: str) -> NDArray[np.float32]:
        """Return the share of a side's true fibres that visit each voxel, (x, y, z)."""
        fibres = self.fibres(side)
        size = self.white.size
        if not len(fibres):
            return np.zeros(self.white.shape, np.float32)
        number = np.repeat(np.arange(len(fibres)), np.diff(fibres.offsets))
        points = fibres.points.astype(float)
        # Four steps a point, so that corners of voxels are not jumped over.
        joined = np.flatnonzero(number[1:] == number[:-1])
        steps = np.arange(4)[:, None, None] / 4
        between = points[joined] * (1 - steps) + points[joined + 1] * steps
        voxel = self._voxel(np.concatenate([between.reshape(-1, 3), points]))
        owner = np.concatenate([np.tile(number[joined], 4), number])[voxel >= 0]
        pairs = np.unique(owner * np.int64(size) + voxel[voxel >= 0])
        counts = np.bincount(pairs % size, minlength=size)
        return np.asarray(counts.reshape(self.white.shape) / len(fibres), np.float32)

    def core(self, side: str, share: float = 0.02) -> NDArray[np.bool_]:
        """Return the voxels of a side's tract that at least this share of its true fibres visit.

        A voxel that fibres only clip at a corner may hold none of the tract's volume, which is
        counted by points; it is not in the core.
        """
        visited = self.visits(side) >= max(share, 1e-9)
        return np.asarray(visited & (self.shares[f"cst_{side}"] > 0))


def unwarp(warp: head.Warp, points: Array, tolerance: float = TOLERANCE) -> Array:
    """Find the world mm (n, 3) that a warp takes to template mm `points` (n, 3), by Newton steps.

    Raises
    ------
    ArithmeticError
        When 50 steps do not come within `tolerance` mm: the warp folds.
    """
    linear = np.linalg.inv(warp.linear)
    world = (points - head.CENTRE - warp.shift) @ linear.T + head.CENTRE
    for _ in range(50):
        miss = points - warp(world)
        worst = np.linalg.norm(miss, axis=1) if len(points) else np.zeros(1)
        if worst.max() <= tolerance:
            return np.asarray(world)
        todo = worst > tolerance
        step = np.linalg.solve(warp.jacobian(world[todo]), miss[todo, :, None])[..., 0]
        world[todo] += step
    raise ArithmeticError("the warp could not be inverted")

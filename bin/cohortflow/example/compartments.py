"""What fills the voxels of a head with crossing bundles, and the signal that it gives.

Each voxel has 2 x 2 x 2 points inside. A point is air, skull, …, CSF, or solid brain: a share of
white matter and the rest grey. Bundles that pass a point have equal shares of its white matter;
where callosal fibres spread through a hemisphere alone, other white matter has a share as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.example import bundle_fields, head
from cohortflow.example.bundle_truth import Truth
from cohortflow.example.bundles import SIDES
from cohortflow.example.head import Tissue
from cohortflow.example.phantom import MD, S0

Array = NDArray[np.floating]

#: FA of each bundle; that of other white matter is the template's, within bounds.
FA = {"cst": 0.70, "callosum": 0.78, "slf": 0.65}
OTHER_FA = (0.15, 0.70)
#: Points inside a voxel, along each axis: their places in it.
PLACES = (-0.25, 0.25)
INSIDE = len(PLACES) ** 3
#: A bundle's last millimetres go into grey matter: it is all white until `DEEP` mm before its
#: end, and as white as the template's FA says at `SHALLOW` mm.
DEEP, SHALLOW = 7.0, 2.0


@dataclass(frozen=True)
class Content:
    """What a grid of voxels holds; a stick is a cylindrical tensor of one fibre direction.

    Attributes
    ----------
    isotropic : ndarray (voxels, 7) float32
        Share of each `Tissue` except white matter (its column is 0).
    voxel : ndarray (n,) int64
        The voxel that each stick is in.
    share : ndarray (n,) float32
        Its share of that voxel's volume.
    axis : ndarray (n, 3) float32
        Its direction, world axes.
    fa : ndarray (n,) float32
        Its FA; its MD is that of white matter.
    """

    isotropic: NDArray[np.float32]
    voxel: NDArray[np.int64]
    share: NDArray[np.float32]
    axis: NDArray[np.float32]
    fa: NDArray[np.float32]

    def s0(self) -> NDArray[np.float32]:
        """Return the signal without weighting, (voxels,)."""
        return self.signal(0.0, np.zeros(3))

    def signal(self, bval: float, gradient: Array) -> NDArray[np.float32]:
        """Return the signal (voxels,): sum of share * S0 * exp(-b g'Dg) over all that is there.

        Parameters
        ----------
        bval : float
            s/mm2.
        gradient : ndarray (3,)
            Unit vector in world axes.
        """
        decay = [S0[t] * np.exp(-bval * MD[t]) for t in Tissue]
        still = self.isotropic @ np.array(decay, np.float32)
        across, extra = _diffusivities(self.fa)
        along = (self.axis @ np.asarray(gradient, np.float32)) ** 2
        stick = self.share * np.exp(np.float32(-bval) * (across + extra * along))
        total = np.bincount(self.voxel, weights=stick, minlength=len(still))
        return np.asarray(still + S0[Tissue.WHITE] * total, np.float32)


def _diffusivities(fa: NDArray[np.float32]) -> tuple[Array, Array]:
    """Return diffusivity across a cylindrical tensor, and how much more there is along, mm2/s.

    With eigenvalues md (1 + 2 k), md (1 - k), md (1 - k), FA is ``3 k / sqrt(3 + 6 k^2)``.
    """
    k = fa / np.sqrt(3 - 2 * fa**2)
    md = np.float32(MD[Tissue.WHITE])
    return md * (1 - k), 3 * md * k


@dataclass(frozen=True)
class _Points:
    """Points inside voxels: voxel (n,), world and template mm (n, 3), tissue, white share, FA."""

    voxel: NDArray[np.int64]
    world: Array
    template: Array
    tissue: NDArray[np.uint8]
    white: Array
    fa: Array

    def take(self, index: NDArray[np.intp]) -> _Points:
        return _Points(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class _Passing:
    """A bundle at points: where in it they lie (below 1 inside), its direction, how deep."""

    radius: Array
    direction: Array
    to_end: Array


def fill(
    shape: tuple[int, int, int],
    affine: Array,
    warp: head.Warp,
    volumes: dict[str, float],
    *,
    symmetric: bool,
) -> tuple[Content, Truth]:
    """Fill a grid with the warped head.

    Parameters
    ----------
    shape : tuple of int
    affine : ndarray (4, 4)
        Voxel indices to world mm.
    warp : Warp
    volumes : dict of str to float
        For ``left`` and ``right`` the part of the corticospinal tract's volume that is there.
    symmetric : bool
        Use the template's mean with its mirror image.
    """
    points = _spare(_sample(shape, affine, warp, bundle_fields.template(symmetric)))
    isotropic = np.zeros((int(np.prod(shape)), len(Tissue)), np.float32)
    for kind in Tissue:
        if kind < Tissue.GREY:
            isotropic[:, kind] = _shares(points.voxel[points.tissue == kind], len(isotropic))
    points = points.take(np.flatnonzero(points.tissue >= Tissue.GREY))
    passing = _passing(points.template)
    points = replace(points, white=_whiten(points.white, passing))
    grey = 1 - points.white
    isotropic[:, Tissue.GREY] = _shares(points.voxel, len(isotropic), grey)
    present = {name: field.radius < 1 for name, field in passing.items()}
    beside = sum(present[name].astype(int) for name in ("callosum", "slf_left", "slf_right"))
    kept = {}
    for side in SIDES:
        radius = passing[f"cst_{side}"].radius
        kept[side] = _keep(radius, points.white / (1 + beside), volumes[side])
        present[f"cst_{side}"] = radius < kept[side]
    content, shares = _sticks(points, passing, present, isotropic, warp, symmetric=symmetric)
    grids = {name: share.reshape(shape) for name, share in shares.items()}
    white = np.asarray(np.sum(list(grids.values()), axis=0), np.float32)
    fluid, solid = (isotropic[:, kind].reshape(shape) for kind in (Tissue.CSF, Tissue.GREY))
    return content, Truth(grids, white, solid, fluid, affine, warp, kept)


def _sample(
    shape: tuple[int, int, int], affine: Array, warp: head.Warp, atlas: head.Template
) -> _Points:
    """Find the tissue of all points in voxels of the head."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    tissue = head.tissues(atlas, warp(index @ affine[:3, :3].T + affine[:3, 3]))[0]
    near = ndimage.binary_dilation(tissue.reshape(shape) > 0, np.ones((3, 3, 3), bool))
    voxel = np.flatnonzero(near)
    parts = []
    for place in product(PLACES, repeat=3):
        world = (index[voxel] + place) @ affine[:3, :3].T + affine[:3, 3]
        template = warp(world)
        parts.append((voxel, world, template, *head.tissues(atlas, template)))
    return _Points(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _spare(points: _Points) -> _Points:
    """Turn what the template calls CSF into brain where a corticospinal tract runs deep inside.

    Pyramids lie at the brainstem's surface, and average FA is low where bundles cross.
    """
    tissue = points.tissue.copy()
    fluid = np.flatnonzero(tissue == Tissue.CSF)
    for sign in SIDES.values():
        here = np.full(len(fluid), sign)
        radius, _, to_end = bundle_fields.drawn()["cst"].at(points.template[fluid], here)
        tissue[fluid[(radius < 1) & (to_end > DEEP)]] = Tissue.WHITE
    return replace(points, tissue=tissue)


def _passing(points: Array) -> dict[str, _Passing]:
    """Look up every bundle at template mm (n, 3)."""
    drawn = bundle_fields.drawn()
    here = np.where(points[:, 0] < 0, -1.0, 1.0)
    made = {"callosum": _Passing(*drawn["callosum"].at(points, here))}
    for (side, sign), name in product(SIDES.items(), ("cst", "slf")):
        made[f"{name}_{side}"] = _Passing(*drawn[name].at(points, np.full(len(points), sign)))
    return made


def _whiten(white: Array, passing: dict[str, _Passing]) -> Array:
    """Make bundles white matter, except for their ends in the cortex."""
    for field in passing.values():
        deep = np.clip((field.to_end - SHALLOW) / (DEEP - SHALLOW), 0, 1)
        white = np.where(field.radius < 1, np.maximum(white, deep), white)
    return white


def _keep(radius: Array, weight: Array, part: float) -> float:
    """Find the radius that holds a part of the bundle's volume (`weight` a point)."""
    if part >= 1:
        return 1.0
    inside = np.flatnonzero(radius < 1)
    order = inside[np.argsort(radius[inside], kind="stable")]
    total = np.cumsum(weight[order])
    if part <= 0 or not len(order) or total[-1] == 0:
        return 0.0
    return float(radius[order[np.searchsorted(total, part * total[-1])]])


def _shares(voxel: NDArray[np.int64], size: int, weights: Array | None = None) -> Array:
    """Add up points to shares of voxels."""
    return np.asarray(np.bincount(voxel, weights=weights, minlength=size) / INSIDE, np.float32)


def _sticks(
    points: _Points,
    passing: dict[str, _Passing],
    present: dict[str, NDArray[np.bool_]],
    isotropic: NDArray[np.float32],
    warp: head.Warp,
    *,
    symmetric: bool,
) -> tuple[Content, dict[str, NDArray[np.float32]]]:
    """Share the white matter of each point among the bundles that pass it."""
    bundles = np.sum(list(present.values()), axis=0)
    spread = present["callosum"] & (bundles == 1) & (passing["callosum"].to_end == 0)
    others = spread | (bundles == 0)
    count = bundles + others
    parts, shares = [], {}
    for name, here in present.items():
        at = np.flatnonzero(here & (points.white > 0))
        fa = np.full(len(at), FA[name.split("_")[0]])
        parts.append((at, points.white[at] / count[at], passing[name].direction[at], fa))
        shares[name] = _shares(points.voxel[at], len(isotropic), parts[-1][1])
    at = np.flatnonzero(others & (points.white > 0))
    direction = bundle_fields.other_directions(points.template[at], symmetric)
    # Where there would be a corticospinal tract, were it whole.
    empty = np.any([passing[f"cst_{side}"].radius[at] < 1 for side in SIDES], axis=0)
    direction[empty] = bundle_fields.vacated_directions(points.template[at[empty]])
    parts.append((at, points.white[at] / count[at], direction, np.clip(points.fa[at], *OTHER_FA)))
    shares["other"] = _shares(points.voxel[at], len(isotropic), parts[-1][1])
    where, share, axis, fa = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    axis = np.linalg.solve(warp.jacobian(points.world[where]), axis[..., None])[..., 0]
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    content = Content(
        isotropic=isotropic,
        voxel=points.voxel[where],
        share=(share / INSIDE).astype(np.float32),
        axis=axis.astype(np.float32),
        fa=fa.astype(np.float32),
    )
    return content, shares

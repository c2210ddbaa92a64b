"""Head geometry of the phantom: a template warped by a known random deformation, and its tissues.

The only thing taken from outside is the group-average FA template that the Python package
``tractseg`` carries (MNI space, 1.25 mm, Apache-2.0).
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.core.outcome import Category, Failure

Array = NDArray[np.floating]

#: Template mm that every scan is centred on: brainstem and vertex both fit into 156 mm.
CENTRE = np.array([0.0, -18.0, 17.0])


class Tissue(IntEnum):
    """What fills a voxel."""

    AIR = 0
    SKULL = 1
    SCALP = 2
    EYE = 3
    CSF = 4
    GREY = 5
    WHITE = 6


@dataclass(frozen=True)
class Template:
    """Head shape and FA in template space.

    Attributes
    ----------
    fa : ndarray (i, j, k) float32
    to_voxel : ndarray (4, 4)
        Template mm (right, anterior, superior) to indices of `fa`.
    outside, hull : ndarray (i, j, k) float32
        Distance in mm to the surface of the brain, and of the brain with its gaps closed;
        negative inside.
    shape_to_voxel : ndarray (4, 4)
        Template mm to indices of `outside` and `hull`.
    edges : ndarray (i, j, k, 6) float32
        Structure tensor of `fa` (xx, xy, xz, yy, yz, zz), FA2/mm2, on half its grid: across
        which directions anisotropy changes.
    edges_to_voxel : ndarray (4, 4)
        Template mm to indices of `edges`.
    """

    fa: NDArray[np.float32]
    to_voxel: Array
    outside: NDArray[np.float32]
    hull: NDArray[np.float32]
    shape_to_voxel: Array
    edges: NDArray[np.float32]
    edges_to_voxel: Array


def template_path() -> Path:
    """Find the FA template without importing the package that carries it.

    Raises
    ------
    Failure
        CONFIG when the package is not installed.
    """
    spec = importlib.util.find_spec("tractseg")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "resources" / "MNI_FA_template.nii.gz"
        if path.is_file():
            return path
    raise Failure(
        Category.CONFIG,
        "the FA template of the Python package tractseg is not installed",
        "run `make setup`, or `pip install --no-deps tractseg==2.10`",
    )


def load_template() -> Template:
    """Read the template and measure the distance to the brain's surface (kept in memory)."""
    return _load(template_path())


@lru_cache(maxsize=1)
def _load(path: Path) -> Template:
    image = nib.as_closest_canonical(nib.load(path))
    fa = np.asarray(image.dataobj, np.float32)
    # The outlines need no more than half the resolution, and room around the head.
    coarse, pad = fa[::2, ::2, ::2], 16
    size = float(image.header.get_zooms()[0]) * 2
    labels, _ = ndimage.label(coarse > 0.04)
    brain = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    brain = np.pad(brain, pad)
    brain = ndimage.binary_fill_holes(_close(brain, 7.5 / size))
    hull = _close(brain, 30 / size)
    to_voxel = np.linalg.inv(image.affine)
    half = np.diag([0.5, 0.5, 0.5, 1.0]) @ to_voxel
    shape_to_voxel = half.copy()
    shape_to_voxel[:3, 3] += pad
    outlines = _surface(brain, size), _surface(hull, size)
    return Template(fa, to_voxel, *outlines, shape_to_voxel, _structure(fa, size / 2), half)


def _structure(fa: NDArray[np.float32], size: float) -> NDArray[np.float32]:
    """Return the structure tensor of FA (voxels of `size` mm) on every second voxel."""
    slopes = [
        ndimage.gaussian_filter(fa, 1.2 / size, order=[int(i == axis) for i in range(3)])
        for axis in range(3)
    ]
    slopes = [slope[::2, ::2, ::2] / size for slope in slopes]
    pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    products = [ndimage.gaussian_filter(slopes[i] * slopes[j], 1.25 / size) for i, j in pairs]
    return np.stack(products, axis=-1).astype(np.float32)


def edges_at(template: Template, points: Array) -> Array:
    """Return the structure tensor of FA at template mm (n, 3), as (n, 3, 3) of trace 1."""
    columns = [_sample(template.edges[..., k], template.edges_to_voxel, points) for k in range(6)]
    full = np.stack([columns[k] for k in (0, 1, 2, 1, 3, 4, 2, 4, 5)], axis=1)
    matrices = full.reshape(-1, 3, 3)
    trace = np.trace(matrices, axis1=1, axis2=2)
    return np.asarray(matrices / (trace[:, None, None] + 1e-5))


def _close(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Close a mask with a ball of `radius` voxels, by distances."""
    grown = ndimage.distance_transform_edt(~mask) <= radius
    return np.asarray(ndimage.distance_transform_edt(grown) > radius)


def _surface(mask: NDArray[np.bool_], size: float) -> NDArray[np.float32]:
    """Return the signed distance (mm) to a mask's surface, lightly smoothed."""
    out = ndimage.distance_transform_edt(~mask) - ndimage.distance_transform_edt(mask)
    return np.asarray(ndimage.gaussian_filter(out * size, 0.8), np.float32)


@dataclass(frozen=True)
class Warp:
    """A known map from scanner mm to template mm: an affine, then a smooth displacement.

    Attributes
    ----------
    linear : ndarray (3, 3)
    shift : ndarray (3,)
        Template mm = ``linear @ (x - CENTRE) + CENTRE + shift`` before the displacement.
    amplitudes, waves : ndarray (m, 3)
        The displacement is the sum of ``amplitude * sin(wave . x + phase)``, mm and radians/mm.
    phases : ndarray (m,)
    """

    linear: Array
    shift: Array
    amplitudes: Array
    waves: Array
    phases: Array

    def __call__(self, points: Array) -> Array:
        """Map scanner mm (n, 3) to template mm (n, 3)."""
        moved = (points - CENTRE) @ self.linear.T + CENTRE + self.shift
        return np.asarray(moved + np.sin(moved @ self.waves.T + self.phases) @ self.amplitudes)

    def jacobian(self, points: Array) -> Array:
        """Return d(template)/d(scanner) at scanner mm (n, 3), as (n, 3, 3)."""
        moved = (points - CENTRE) @ self.linear.T + CENTRE + self.shift
        slope = np.cos(moved @ self.waves.T + self.phases)
        bend = np.einsum("nm,mi,mj->nij", slope, self.amplitudes, self.waves)
        return np.asarray((np.eye(3) + bend) @ self.linear)


def rotation(degrees: Array) -> Array:
    """Return the rotation matrix about x, then y, then z, by angles in degrees (3,)."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def random_warp(anatomy: np.random.Generator, pose: np.random.Generator) -> Warp:
    """Draw a head: size and shape from `anatomy`, its place in the scanner from `pose`.

    Sizes differ by about 4 %, the displacement is about 2 mm (RMS a axis) over waves of
    80 to 200 mm, and the head lies up to about 5 degrees and 4 mm off.
    """
    scale = np.diag(1 + np.clip(anatomy.normal(0, 0.035, 3), -0.07, 0.07))
    shear = np.eye(3) + np.clip(anatomy.normal(0, 0.015, (3, 3)), -0.03, 0.03) * (1 - np.eye(3))
    modes = 8
    waves = anatomy.normal(size=(modes, 3))
    waves *= (2 * np.pi / anatomy.uniform(80, 200, (modes, 1))) / np.linalg.norm(
        waves, axis=1, keepdims=True
    )
    amplitudes = np.clip(anatomy.normal(0, 1.0, (modes, 3)), -2, 2)
    phases = anatomy.uniform(0, 2 * np.pi, modes)
    turn = rotation(np.clip(pose.normal(0, 2.5, 3), -5, 5))
    shift = np.clip(pose.normal(0, 2.0, 3), -4, 4)
    return Warp(scale @ shear @ turn, shift, amplitudes, waves, phases)


def tissues(template: Template, points: Array) -> tuple[NDArray[np.uint8], Array, Array]:
    """Fill points of template space with tissue.

    Parameters
    ----------
    template : Template
    points : ndarray (n, 3)
        Template mm.

    Returns
    -------
    label : ndarray of uint8 (n,)
        See `Tissue`.
    white : ndarray (n,)
        Share of white in the brain's solid tissue, 0 (grey) to 1, for smooth borders.
    fa : ndarray (n,)
        FA of the template.
    """
    fa = _sample(template.fa, template.to_voxel, points)
    outside = _sample(template.outside, template.shape_to_voxel, points, far=99.0)
    hull = _sample(template.hull, template.shape_to_voxel, points, far=99.0)
    label = np.zeros(len(points), np.uint8)
    label[hull < 11] = Tissue.SCALP
    label[hull < 6] = Tissue.SKULL
    for side in (-1, 1):
        eye = np.linalg.norm(points - np.array([side * 31.0, 66.0, -34.0]), axis=1)
        label[(eye < 15) & (label == Tissue.AIR)] = Tissue.SCALP
        label[eye < 11] = Tissue.EYE
    white = _smoothstep(fa, 0.19, 0.28)
    brain = outside < 0
    label[(outside < 5) & ~brain & (label == Tissue.EYE)] = Tissue.SKULL
    label[brain] = np.where(white[brain] > 0.5, Tissue.WHITE, Tissue.GREY)
    label[brain & _fluid(points, outside, fa)] = Tissue.CSF
    return label, white, fa


# Right half of the ventricles: centre line and radius in mm; the left half mirrors it.
_VENTRICLES: tuple[tuple[tuple[float, float, float, float], ...], ...] = (
    (
        (10, 30, 2, 3.0),
        (8, 20, 9, 4.0),
        (7, 5, 16, 4.2),
        (9, -12, 19, 4.0),
        (14, -28, 17, 4.6),
        (23, -41, 10, 6.0),
        (27, -55, 6, 4.0),
    ),
    ((23, -41, 10, 6.0), (30, -34, -2, 4.0), (31, -22, -14, 3.0)),
    ((0, -2, -4, 2.2), (0, -12, 0, 2.5), (0, -22, 2, 2.5)),
    ((0, -42, -26, 3.5), (0, -45, -34, 4.5), (0, -46, -42, 3.0)),
)


def _fluid(points: Array, outside: Array, fa: Array) -> NDArray[np.bool_]:
    """Find CSF: a rim below the brain's surface, the gap between hemispheres, ventricles."""
    folded = np.concatenate([np.abs(points[:, :1]), points[:, 1:]], axis=1)
    rim = outside > -2.5
    # The template's FA is lowest where sulci and the gap between the hemispheres are.
    sulci = (fa < 0.095) & (outside > -35)
    fluid = rim | sulci
    for line in _VENTRICLES:
        knots = np.array(line)
        for start, stop in pairwise(knots):
            along = stop[:3] - start[:3]
            place = np.clip((folded - start[:3]) @ along / (along @ along), 0, 1)
            distance = np.linalg.norm(folded - start[:3] - place[:, None] * along, axis=1)
            fluid |= (distance < start[3] + place * (stop[3] - start[3])) & (fa < 0.4)
    return np.asarray(fluid)


def _smoothstep(value: Array, low: float, high: float) -> Array:
    """Rise smoothly from 0 at `low` to 1 at `high`."""
    share = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share))


def _sample(volume: Array, to_voxel: Array, points: Array, far: float = 0.0) -> Array:
    """Interpolate a volume at points in mm (trilinear); `far` outside of it."""
    index = points @ to_voxel[:3, :3].T + to_voxel[:3, 3]
    return np.asarray(
        ndimage.map_coordinates(volume, index.T, order=1, mode="constant", cval=far), float
    )

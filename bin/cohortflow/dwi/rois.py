"""Regions of the corticospinal tract on a series' grid: the atlas looked up at each voxel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi.atlas import Atlas
from cohortflow.dwi.coordinates import pull
from cohortflow.dwi.regions import Region

_LABELS = {
    "cerebellum": (Region.CEREBELLUM, Region.CEREBELLUM),
    "callosum": (Region.CALLOSUM, Region.CALLOSUM),
    "thalamus": (Region.THALAMUS_LEFT, Region.THALAMUS_RIGHT),
    "motor": (Region.MOTOR_LEFT, Region.MOTOR_RIGHT),
    "capsule": (Region.CAPSULE_LEFT, Region.CAPSULE_RIGHT),
    "brainstem": (Region.BRAINSTEM, Region.BRAINSTEM),
}
"""Labels left and right; a later region covers an earlier one, so that what includes wins."""

CAPSULE_FA_LEAST = 0.2
"""A voxel of the capsule has fibres: its own FA is at least this."""

Labels = NDArray[np.uint8]


def label(
    to_template: NDArray[np.float32],
    fa: NDArray[np.float32],
    mask: NDArray[np.bool_],
    atlas: Atlas,
) -> Labels:
    """Label each voxel of the brain with the region that its centre lies in.

    Parameters
    ----------
    to_template : ndarray of float32, shape (x, y, z, 3)
        Template mm of each voxel's centre. x < 0 is the left, whatever the atlas calls it.
    fa : ndarray of float32, shape (x, y, z)
    mask : ndarray of bool, shape (x, y, z)
        The brain; all else is `Region.NONE`.
    atlas : Atlas

    Returns
    -------
    ndarray of uint8, shape (x, y, z)
        See `Region`.
    """
    labels = np.zeros(mask.shape, np.uint8)
    points = to_template[mask]
    left = points[:, 0] < 0
    inside = labels[mask]
    for name, (one, other) in _LABELS.items():
        found = pull(points, atlas.regions[name].astype(np.uint8), atlas.affine, order=0) > 0
        if name == "capsule":
            found &= fa[mask] >= CAPSULE_FA_LEAST
        inside[found & left] = one
        inside[found & ~left] = other
    labels[mask] = inside
    return labels


def check(labels: Labels, name: str) -> None:
    """See that no region is empty.

    Parameters
    ----------
    labels : ndarray of uint8, shape (x, y, z)
    name : str
        Of the series, for the message.

    Raises
    ------
    Failure
        DATA_INVALID, naming the empty regions.
    """
    present = set(np.unique(labels).tolist())
    empty = [title(region) for region in Region if region and region not in present]
    if empty:
        raise Failure(
            Category.DATA_INVALID,
            f"{name}: no voxel of {', '.join(empty)}",
            "exclude the series, or give an atlas that fits",
        )


def title(region: Region) -> str:
    """Return a region's name for people.

    Examples
    --------
    >>> title(Region.CAPSULE_LEFT), title(Region.BRAINSTEM)
    ('left capsule', 'brainstem')
    """
    name, _, side = region.name.lower().partition("_")
    return f"{side} {name}".strip()


def volumes(labels: Labels, voxel_ml: float) -> Mapping[str, float]:
    """Return the volume of each region in ml, by its name for metrics."""
    counts = np.bincount(labels.ravel(), minlength=len(Region))
    return {
        f"roi_{region.name.lower()}_ml": round(float(counts[region]) * voxel_ml, 3)
        for region in Region
        if region
    }

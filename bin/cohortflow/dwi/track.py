"""Candidate streamlines of the corticospinal tract: seeded in both internal capsules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import coordinates, harmonics, image, seeds, tracking
from cohortflow.dwi.grids import Grid
from cohortflow.dwi.made import Made, Volume
from cohortflow.dwi.regions import Region
from cohortflow.dwi.tracking import Field, Settings, Tracked

SEED_FA = 0.2
"""Seed voxels have at least this FA."""

_NUMBERS = [harmonics.count(degree) for degree in range(0, harmonics.LARGEST + 1, 2)]
_CAPSULES = (Region.CAPSULE_LEFT, Region.CAPSULE_RIGHT)

Map = NDArray[np.float32]


@dataclass(frozen=True)
class Candidates:
    """Streamlines from both capsules.

    Attributes
    ----------
    tracked : Tracked
    seeds : ndarray of bool, shape (x, y, z)
        Seed voxels.
    """

    tracked: Tracked
    seeds: NDArray[np.bool_]


POWERS = {"param-FOD_dwimap.nii.gz": 1.5, "param-ODF_dwimap.nii.gz": 0.5}
"""Ends of the names of orientation distributions, the better first, with the power of the amplitude
that directions are drawn by: the tensor's, already sharpened, needs less than deconvolution's."""

PEAKS = "param-peaks_dwimap.nii.gz"


def source(made: Made, way: str) -> str:
    """Return the end of the name of the file that streamlines are tracked through."""
    if way == "peaks":
        return PEAKS
    return next((ending for ending in POWERS if made.find(ending)), next(iter(POWERS)))


def read(made: Made, fa: Volume, mask: NDArray[np.bool_], way: str = "probabilistic") -> Field:
    """Read what streamlines are tracked through: distributions, or peaks alone.

    Parameters
    ----------
    made : Made
        With the folder that dwi-fod made.
    fa : Volume
    mask : ndarray of bool, shape (x, y, z)
    way : str
        Of `tracking.WAYS`.

    Raises
    ------
    Failure
        INPUT_MISSING when there are no orientations; as `image.load`; DATA_INVALID when they lie
        on another grid, or are of a number that this cannot be.
    """
    ending = source(made, way)
    path = made.need(ending)
    values, loaded = image.load(path)
    coordinates.check(path, Grid(values.shape[:3], np.asarray(loaded.affine, np.float64)), fa)
    number = values.shape[3]
    usual = number % 3 == 0 if way == "peaks" else number in _NUMBERS
    if not usual:
        raise Failure(
            Category.DATA_INVALID,
            f"{path}: {number} volumes are not what dwi-fod makes",
            "give the folder that dwi-fod made",
        )
    none = np.zeros((*fa.shape, 0), np.float32)
    vectors = values.reshape(*fa.shape, -1, 3) if way == "peaks" else none[..., np.newaxis]
    return Field(
        coefficients=none if way == "peaks" else np.ascontiguousarray(values),
        peaks=np.ascontiguousarray(vectors),
        fa=np.ascontiguousarray(fa.data),
        mask=np.ascontiguousarray(mask),
        affine=fa.affine,
        power=POWERS.get(ending, 1.0),
    )


def compute(
    field: Field,
    labels: NDArray[np.uint8],
    settings: Settings,
    per_voxel: int,
    threads: int = 1,
) -> Candidates:
    """Track from the posterior limbs of both internal capsules.

    Parameters
    ----------
    field : Field
    labels : ndarray of uint8, shape (x, y, z)
        See `regions.Region`.
    settings : Settings
    per_voxel : int
        Seeds in each voxel.
    threads : int
        The result is the same for any number.

    Raises
    ------
    Failure
        DATA_INVALID when no voxel of either capsule can be a seed.
    """
    wanted = np.isin(labels, _CAPSULES) & field.mask & (field.fa >= SEED_FA)
    if not wanted.any():
        raise Failure(
            Category.DATA_INVALID,
            f"no voxel of the internal capsules has FA of {SEED_FA} or more",
            "exclude the series",
        )
    chosen = seeds.in_mask(wanted, field.affine, per_voxel, settings.random_seed)
    return Candidates(tracking.track(field, chosen, settings, threads), wanted)

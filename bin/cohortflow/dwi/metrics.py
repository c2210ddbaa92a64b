"""Numbers of the corticospinal tract: size, diffusion, profiles, left against right.

Names are those that users of csttool know (`csttool_metrics`), with more beside them. What is not
known of an empty side is None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortflow.dwi import cst, laterality, lobes, profile, selection
from cohortflow.dwi.csttool_metrics import REGIONS, SCALARS
from cohortflow.dwi.density import Levels, levels
from cohortflow.dwi.laterality import Clusters
from cohortflow.dwi.regions import Region
from cohortflow.dwi.selection import SIDES, Side
from cohortflow.dwi.streamlines import Streamlines

Numbers = dict[str, float | int | str | None]
Map = NDArray[np.float32]

RANDOM_SEED = 20260101
"""Of the bootstrap: the same input gives the same interval."""

_PLACES: dict[str, dict[Side, Region]] = {
    "pontine": {"left": Region.BRAINSTEM, "right": Region.BRAINSTEM},
    "plic": {"left": Region.CAPSULE_LEFT, "right": Region.CAPSULE_RIGHT},
    "precentral": {"left": Region.MOTOR_LEFT, "right": Region.MOTOR_RIGHT},
}
_VOLUMES = {"core_volume": cst.CORE_SHARE, "fibre_volume": cst.FIBRE_SHARE}
_INTERVALS = (*_VOLUMES, "fa_weighted", "md_weighted")


@dataclass(frozen=True)
class Measured:
    """What the numbers are made of, on one grid.

    Attributes
    ----------
    maps : mapping of str to ndarray of float32, shape (x, y, z)
        ``fa``; ``md``, ``rd`` and ``ad`` in mm2/s.
    labels : ndarray of uint8, shape (x, y, z)
        See `regions.Region`.
    coordinates : ndarray of float32, shape (x, y, z, 3)
        Template mm.
    affine : ndarray, shape (4, 4)
        Voxel indices to world mm.
    orientations : ndarray of float32, shape (x, y, z, n), or None
        Orientation distributions of spherical deconvolution, one fibre having the integral 1; None
        where the tensor's stand for them, which tell nothing of volumes.
    """

    maps: Mapping[str, Map]
    labels: NDArray[np.uint8]
    coordinates: NDArray[np.float32]
    affine: NDArray[np.float64]
    orientations: Map | None = None

    @property
    def grid(self) -> tuple[int, int, int]:
        """Number of voxels along each axis."""
        x, y, z = self.labels.shape
        return x, y, z

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))


@dataclass(frozen=True)
class Prepared:
    """A side's tract, ready to be measured.

    Attributes
    ----------
    tract : Streamlines
    course : Streamlines
        Cut to what lies between pons and motor cortex, which all fields of view hold.
    clusters : Clusters
        Of the tract.
    along : Clusters
        Of the course.
    levels : Levels
        Of the tract's clusters' voxels.
    counts : dict of str to ndarray of float64, shape (voxels,)
        What each of the tract's clusters' voxels adds to a volume where it is dense, mm3:
        nothing below the middle of the pons, where fields of view end differently.
    """

    tract: Streamlines
    course: Streamlines
    clusters: Clusters
    along: Clusters
    levels: Levels
    counts: dict[str, NDArray[np.float64]]


def compute(tracts: Mapping[Side, Streamlines], data: Measured) -> Numbers:
    """Return all numbers of both sides.

    Parameters
    ----------
    tracts : mapping of side to Streamlines
        Each streamline from the brainstem up; a side that is left out is empty.
    data : Measured
    """
    ready = {side: _ready(tract, data) for side, tract in tracts.items()}
    found: Numbers = {}
    for side in SIDES:
        numbers = _side(ready[side], side, data) if side in ready else {}
        found |= {f"{side}_{name}": numbers.get(name) for name in _names()}
    found |= _indices(found)
    found |= _intervals(found, ready, data)
    return {name: _rounded(value) for name, value in found.items()}


def _ready(tract: Streamlines, data: Measured) -> Prepared:
    grouped = laterality.clusters(tract, data.affine, data.grid)
    height = data.coordinates[..., 2].ravel()[grouped.where]
    whole = np.where(height >= profile.START, data.voxel_mm3, 0.0)
    counts = {"core_volume": whole}
    if data.orientations is not None:
        along = lobes.directions(tract, data.affine, data.grid).reshape(-1, 3)[grouped.where]
        number = data.orientations.shape[3]
        own = data.orientations.reshape(-1, number)[grouped.where]
        counts["fibre_volume"] = whole * lobes.shares(own, along)
    found = selection.along(tract, data.labels, data.coordinates, data.affine)
    course = profile.between(tract, found)
    within = laterality.clusters(course, data.affine, data.grid)
    return Prepared(tract, course, grouped, within, levels(height), counts)


def _names() -> list[str]:
    """Return the names of a side's numbers."""
    names = ["n_streamlines", "mean_length_mm", "tract_volume_mm3"]
    names += [f"{name}_mm3" for name in _VOLUMES]
    for scalar in SCALARS:
        kinds = ("weighted", "mean", "std", "mean_point_weighted", *REGIONS, "profile")
        names += [f"{scalar}_{kind}" for kind in kinds]
    return names


def _side(ready: Prepared, side: Side, data: Measured) -> Numbers:
    tract, grouped, course = ready.tract, ready.clusters, ready.course
    core = cst.core_of(_visits(grouped, data).astype(np.int64), data.coordinates[..., 2])
    visits = _visits(ready.along, data)
    lines = profile.profiles(course, dict(data.maps), data.affine)
    found: Numbers = {
        "n_streamlines": len(tract),
        "mean_length_mm": float(tract.lengths().mean()),
        "tract_volume_mm3": int((visits > 0).sum()) * data.voxel_mm3,
    }
    every = np.ones((1, len(grouped.streamlines)))
    for name, counts in ready.counts.items():
        volume = laterality.volumes(grouped, counts, ready.levels, every, _VOLUMES[name])
        found[f"{name}_mm3"] = float(volume[0])
    for scalar in SCALARS:
        values = data.maps[scalar].astype(np.float64)
        found |= {
            f"{scalar}_weighted": _mean(values, visits),
            f"{scalar}_mean": float(values[core].mean()),
            f"{scalar}_std": float(values[core].std()),
            f"{scalar}_mean_point_weighted": float(
                profile.sample(values, course.points, data.affine).mean()
            ),
            f"{scalar}_profile": ";".join(f"{value:.6g}" for value in lines[scalar]),
        }
        for name, place in _PLACES.items():
            found[f"{scalar}_{name}"] = _mean(values, visits * (data.labels == place[side]))
    return found


def _visits(grouped: Clusters, data: Measured) -> NDArray[np.float64]:
    """Return how many streamlines visit each voxel, shape (x, y, z)."""
    visits = np.zeros(data.grid, np.float64)
    visits.ravel()[grouped.where] = np.rint(grouped.visits.sum(axis=0))
    return visits


def _mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float | None:
    total = float(weights.sum())
    return float((values * weights).sum() / total) if total > 0 else None


def _indices(found: Numbers) -> Numbers:
    """Return the laterality index of each number that csttool's users know one of."""
    pairs = {
        "volume": "tract_volume_mm3",
        "streamline_count": "n_streamlines",
        "mean_length": "mean_length_mm",
    } | {name: f"{name}_mm3" for name in _VOLUMES}
    for scalar in SCALARS:
        pairs[scalar] = f"{scalar}_mean"
        pairs[f"{scalar}_weighted"] = f"{scalar}_weighted"
        pairs |= {f"{scalar}_{region}": f"{scalar}_{region}" for region in REGIONS}
    indices: Numbers = {}
    for name, number in pairs.items():
        left, right = found[f"left_{number}"], found[f"right_{number}"]
        known = isinstance(left, (int, float)) and isinstance(right, (int, float))
        indices[f"{name}_laterality_index"] = (
            laterality.index(float(left), float(right)) if known else None  # type: ignore[arg-type]
        )
    return indices


def _intervals(numbers: Numbers, ready: Mapping[Side, Prepared], data: Measured) -> Numbers:
    """Return the 95 % intervals of the indices that are trusted most."""
    found: Numbers = {
        f"{name}_laterality_index_{end}": None for name in _INTERVALS for end in ("low", "high")
    }
    if len(ready) < len(SIDES):
        return found
    rng = np.random.default_rng(RANDOM_SEED)
    samples: dict[str, list[NDArray[np.float64]]] = {name: [] for name in _INTERVALS}
    for side in SIDES:
        own = ready[side]
        weights = laterality.draws(own.clusters, rng)
        for name, counts in own.counts.items():
            volume = laterality.volumes(own.clusters, counts, own.levels, weights, _VOLUMES[name])
            samples[name].append(volume)
        for scalar in ("fa", "md"):
            values = laterality.weighted(own.along, data.maps[scalar], weights)
            samples[f"{scalar}_weighted"].append(values)
    for name, (left, right) in ((name, both) for name, both in samples.items() if both):
        index, error = numbers[f"{name}_laterality_index"], laterality.METHOD_ERROR.get(name, 0)
        if not isinstance(index, float):
            continue
        low, high = laterality.interval(left, right, index, error)
        found |= {
            f"{name}_laterality_index_low": low,
            f"{name}_laterality_index_high": high,
        }
    return found


def _rounded(value: float | int | str | None) -> float | int | str | None:
    return float(f"{value:.6g}") if isinstance(value, float) else value

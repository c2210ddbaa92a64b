"""Scans of heads that move, spoilt in known ways, and how far corrections of them are off."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np

from cohortflow.dwi import correct, pose
from cohortflow.dwi.correct import Corrected
from cohortflow.dwi.gradients import Gradients
from cohortflow.dwi.series import Series
from cohortflow.example import acquire, dropouts, head
from cohortflow.example.dropouts import Spoilt
from cohortflow.example.phantom import Phantom, fsl_bvecs, make_phantom

PHASE = {"PhaseEncodingDirection": "j", "TotalReadoutTime": 0.05}
NAME = "sub-01_desc-unringed_dwi"


@dataclass(frozen=True)
class Moved:
    """A scan whose every volume moved, and what the correction of it gave.

    Attributes
    ----------
    clean : Phantom
        Without noise.
    spoilt : Spoilt
        With noise, lost slices and eddy currents.
    data : Series
    result : Corrected
    """

    clean: Phantom
    spoilt: Spoilt
    data: Series
    result: Corrected

    @property
    def weighted(self) -> np.ndarray:
        """Which volumes are weighted."""
        return np.asarray(self.clean.bvals > 0)

    @cached_property
    def off_mm(self) -> np.ndarray:
        """How far the head's points lie from where each pose has them, mean over the brain."""
        scan, found = self.clean, self.result.estimate
        index = np.argwhere(scan.mask)[::50]
        points = index @ scan.affine[:3, :3].T + scan.affine[:3, 3] - head.CENTRE
        axes = scan.affine[:3, :3] / np.linalg.norm(scan.affine[:3, :3], axis=0)
        off = []
        for volume, given in enumerate(found.poses):
            true = points @ scan.turns[volume].T + scan.shifts[volume]
            eddy = self.spoilt.eddy[volume]
            true += np.outer(eddy[0] + (true @ axes) @ eddy[1:], axes[:, 1])
            map_ = pose.centred(found.frame, given)
            off.append(np.linalg.norm(points @ map_[:, :3].T + map_[:, 3] - true, axis=1).mean())
        return np.array(off)

    @property
    def shift_off(self) -> np.ndarray:
        """Error of each volume's shift, mm."""
        found = self.result.estimate.poses[:, :3]
        return np.asarray(np.linalg.norm(found - self.clean.shifts, axis=1))

    @property
    def turn_off(self) -> np.ndarray:
        """Error of each volume's rotation, degrees."""
        found = [pose.rotation(one[3:6]) for one in self.result.estimate.poses]
        cosines = [
            (np.trace(one.T @ true) - 1) / 2
            for one, true in zip(found, self.clean.turns, strict=True)
        ]
        return np.degrees(np.arccos(np.clip(cosines, -1, 1)))

    def bvecs_off(self, bvecs: np.ndarray) -> np.ndarray:
        """Return the angles between b-vectors and those that the head saw, weighted, degrees."""
        scan = self.clean
        seen = np.einsum("nji,nj->ni", scan.turns, scan.gradients)
        cosines = np.abs((fsl_bvecs(seen, scan.affine) * bvecs).sum(axis=1))
        return np.degrees(np.arccos(np.clip(cosines[self.weighted], -1, 1)))

    def still(self, volume: int) -> np.ndarray:
        """Return a volume without motion, noise and losses, its gradient as the head saw it."""
        scan = self.clean
        seen = scan.turns[volume].T @ scan.gradients[volume]
        return acquire.signal(scan.s0, scan.tensors, scan.bvals[volume], seen)


@lru_cache(maxsize=4)
def clean(
    seed: int,
    motion: float = 0.5,
    directions: int = 24,
    size: float = 3.0,
    shape: tuple[int, int, int] = (60, 72, 36),
) -> Phantom:
    """Return a head without noise, each volume moved by `motion` mm and degrees an axis."""
    return make_phantom(
        seed, snr=math.inf, motion=motion, directions=directions, voxel_size=size, shape=shape
    )


def at_rest(scan: Phantom, bvals: np.ndarray, gradients: np.ndarray) -> Phantom:
    """Measure a head that does not move by another table of gradients, world axes."""
    table = list(zip(bvals, gradients, strict=True))
    signal = [acquire.signal(scan.s0, scan.tensors, *volume) for volume in table]
    return dataclasses.replace(
        scan,
        data=np.stack(signal, axis=-1),
        bvals=bvals,
        bvecs=fsl_bvecs(gradients, scan.affine),
        gradients=gradients,
        turns=np.tile(np.eye(3), (len(table), 1, 1)),
        shifts=np.zeros((len(table), 3)),
    )


def moved(scan: Phantom, method: str = "eddy", snr: float = 20.0, **how: float) -> Moved:
    """Spoil a scan, as no scan was that the method was tuned on, and correct it."""
    spoilt = dropouts.spoil(scan, snr=snr, seed=scan.seed, **how)  # type: ignore[arg-type]
    data = as_series(spoilt.scan)
    return Moved(scan, spoilt, data, correct.compute(data, method=method))


def as_series(scan: Phantom, fields: Mapping[str, object] = PHASE) -> Series:
    """See a scan as the tools see a converted series."""
    return Series(
        path=Path(f"{NAME}.nii"),
        prefix="sub-01",
        data=scan.data.astype(np.float32),
        affine=scan.affine,
        head=None,
        gradients=Gradients(scan.bvals, scan.bvecs),
        fields=fields,
    )


def written(
    folder: Path, scan: Phantom, data: np.ndarray, fields: Mapping[str, object] = PHASE
) -> Path:
    """Write a series as dwi-unring does."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}.nii"
    nib.save(nib.Nifti1Image(np.asarray(data, np.float32), scan.affine), path)
    np.savetxt(path.with_suffix(".bval"), scan.bvals[None])
    np.savetxt(path.with_suffix(".bvec"), scan.bvecs.T)
    path.with_suffix(".json").write_text(json.dumps(dict(fields)))
    return path

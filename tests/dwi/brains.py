"""Brains whose tracts are known, as the lane sees them, and how far it is off."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cohortflow.dwi import (
    atlas_files,
    cst,
    denoise,
    fod,
    metrics,
    profile,
    register,
    rois,
    selection,
    tensor,
    track,
    tracking,
)
from cohortflow.dwi.cst import Tract
from cohortflow.dwi.gradients import Gradients
from cohortflow.dwi.grids import Grid
from cohortflow.dwi.metrics import Measured, Numbers
from cohortflow.dwi.selection import SIDES, Side
from cohortflow.dwi.series import Series
from cohortflow.dwi.streamlines import Streamlines
from cohortflow.example.brain import Brain, make_brain
from dwi.moving import PHASE

SEEDS_PER_VOXEL = 100  # as the lane has it


@dataclass(frozen=True)
class Found:
    """A brain, and what the lane makes of a scan of it.

    Attributes
    ----------
    brain : Brain
    data : metrics.Measured
    tracts : dict of side to Tract
    numbers : dict
        Of dwi-metrics.
    """

    brain: Brain
    data: Measured
    tracts: dict[Side, Tract]
    numbers: Numbers

    def dice(self, side: Side) -> float:
        """Return the overlap of the core with the true one."""
        core, true = self.tracts[side].core, self.brain.truth.core(side)
        return float(2 * (core & true).sum() / (core.sum() + true.sum()))

    def wrong(self, side: Side) -> float:
        """Return the share of the core's voxels that hold nothing of the tract."""
        core = self.tracts[side].core
        return float((self.brain.truth.shares[f"cst_{side}"][core] <= 0).mean())

    def index(self, name: str = "fibre_volume") -> float:
        return float(self.numbers[f"{name}_laterality_index"] or 0)

    def interval(self, name: str = "fibre_volume") -> tuple[float, float]:
        low, high = (self.numbers[f"{name}_laterality_index_{end}"] for end in ("low", "high"))
        return float(low or 0), float(high or 0)

    def volume(self, side: Side) -> float:
        """Return the fibre volume as a share of the true one."""
        found = float(self.numbers[f"{side}_fibre_volume_mm3"] or 0)
        return found / (self._true_volume(side) * abs(np.linalg.det(self.data.affine[:3, :3])))

    def _true_volume(self, side: Side) -> float:
        """Return the tract's volume above the middle of the pons, voxels."""
        above = self.data.coordinates[..., 2] >= profile.START
        return float(self.brain.truth.shares[f"cst_{side}"][above].sum())

    @property
    def true_index(self) -> float:
        """Return the laterality of the tracts' true volumes, above the middle of the pons."""
        left, right = (self._true_volume(side) for side in SIDES)
        return (left - right) / (left + right)

    def profile_off(self, side: Side, clean_fa: np.ndarray) -> np.ndarray:
        """Return how far FA along the tract is from that of its true fibres, as a share of it.

        Parameters
        ----------
        clean_fa : ndarray, shape (x, y, z)
            Of a scan without noise.
        """
        fibres = self.brain.truth.fibres(side)
        true = Streamlines(fibres.points, fibres.offsets, np.zeros(len(fibres), np.int32))
        where = selection.along(true, self.data.labels, self.data.coordinates, self.data.affine)
        ends = profile.between(true, where)
        wanted = profile.profiles(ends, {"fa": clean_fa}, self.data.affine)["fa"]
        told = np.array([float(v) for v in str(self.numbers[f"{side}_fa_profile"]).split(";")])
        return np.asarray(told / wanted - 1)


def scanned(seed: int, threads: int = 1, **how: object) -> Found:
    """Scan a brain at SNR 20 with 32 directions, 2.5 mm unless told, and measure its tracts."""
    brain = make_brain(seed, **how)  # type: ignore[arg-type]
    grid = Grid(brain.mask.shape, brain.affine)
    data = as_series(brain)
    data = as_series(brain, denoise.compute(data, threads=threads).data)
    maps = tensor.compute(data, brain.mask)
    model = fod.estimate(data, brain.mask)
    atlas = atlas_files.builtin()
    placed = register.compute(maps.fa, brain.mask, grid, atlas, threads=threads)
    assert placed.refused is None, placed.refused
    labels = rois.label(placed.coordinates, maps.fa, brain.mask, atlas)
    csd = model.plan.method != "tensor"
    ending = next(name for name in track.POWERS if ("FOD" in name) == csd)
    field = tracking.Field(
        np.ascontiguousarray(model.white, np.float32),
        np.zeros((*brain.mask.shape, 0, 3), np.float32),
        maps.fa,
        brain.mask,
        brain.affine,
        track.POWERS[ending],
    )
    settings = tracking.Settings()
    lines = track.compute(field, labels, settings, SEEDS_PER_VOXEL, threads).tracked.streamlines
    tracts = cst.find(lines, labels, placed.coordinates, brain.affine)
    measured = Measured(
        {name: getattr(maps, name) for name in ("fa", "md", "rd", "ad")},
        labels,
        placed.coordinates,
        brain.affine,
        model.white if csd else None,
    )
    whole = {side: tract.streamlines for side, tract in tracts.items() if not tract.reason}
    return Found(brain, measured, tracts, metrics.compute(whole, measured))


def clean_fa(seed: int, **how: object) -> np.ndarray:
    """Return the FA of the same scan without noise."""
    brain = make_brain(seed, snr=math.inf, **how)  # type: ignore[arg-type]
    return np.asarray(tensor.compute(as_series(brain), brain.mask).fa)


def as_series(brain: Brain, data: np.ndarray | None = None) -> Series:
    return Series(
        path=Path("sub-01_desc-preproc_dwi.nii.gz"),
        prefix="sub-01",
        data=(brain.data if data is None else data).astype(np.float32),
        affine=brain.affine,
        head=None,
        gradients=Gradients(brain.bvals, brain.bvecs),
        fields=PHASE,
    )

"""Write the corticospinal tract: streamlines, cores, visits, numbers and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cohortflow.core import save
from cohortflow.dwi import cst, cst_picture, mosaic, selection, series, shape
from cohortflow.dwi import streamlines as lines
from cohortflow.dwi.cst import Tract
from cohortflow.dwi.made import Volume
from cohortflow.dwi.selection import SIDES, Side

Numbers = dict[str, int | str | None]

_RULES = {
    "Include": ["brainstem", "posterior limb of the internal capsule", "motor cortex"],
    "Exclude": ["corpus callosum", "cerebellum", "other hemisphere"],
    "ThalamusShareMaximum": selection.THALAMUS_SHARE,
    "MidlineCrossedBelowMM": selection.DECUSSATION,
    "StrayDistance": shape.STRAY,
    "StreamlinesMinimum": cst.LEAST,
    "CandidatesShareMinimum": cst.LEAST_SHARE,
}


def metrics(tracts: Mapping[Side, Tract]) -> Numbers:
    """Return how many candidates met the rules, and why a side is empty."""
    found: Numbers = {}
    for side in SIDES:
        tract = tracts[side]
        found[f"{side}_candidates"] = tract.counts["candidates"]
        found[f"{side}_connecting"] = tract.counts.get("motor", 0)
        found[f"{side}_reason"] = tract.reason or None
    return found


def write(
    folder: Path,
    prefix: str,
    tracts: Mapping[Side, Tract],
    fa: Volume,
    labels: np.ndarray[Any, np.dtype[np.uint8]],
    sources: list[str],
) -> None:
    """Write the tracts into a step's folder; nothing of a side that is empty but its reason.

    Raises
    ------
    OSError
        When something cannot be written.
    """
    (folder / "dwi").mkdir()
    (folder / "figures").mkdir()
    for side in SIDES:
        if not tracts[side].reason:
            _write_side(folder / "dwi", prefix, tracts[side], fa, sources)
    title = f"{prefix}: corticospinal tract"
    picture = cst_picture.draw(title, tracts, fa.data, labels, fa.affine)
    mosaic.save(folder / "figures" / f"{prefix}_desc-cst_dwi.png", picture)
    save.write_json(folder / "metrics.json", metrics(tracts))


def _write_side(folder: Path, prefix: str, tract: Tract, fa: Volume, sources: list[str]) -> None:
    name = f"CST{tract.side}"
    stem = f"{prefix}_desc-{name}_tractogram"
    lines.write_trk(folder / f"{stem}.trk", tract.streamlines, fa.affine, fa.shape)
    lines.write_tck(folder / f"{stem}.tck", tract.streamlines)
    number = len(tract.streamlines)
    fields = series.sidecar(
        Description=f"Streamlines of the {tract.side} corticospinal tract, each from the "
        "brainstem up, in world mm",
        Streamlines=number,
        Selection={**_RULES, "Counts": tract.counts},
        Sources=sources,
    )
    save.write_json(folder / f"{stem}.json", fields)
    space = series.uri(prefix, f"dwi/{prefix}_desc-preproc_dwi.nii.gz")
    core = series.sidecar(
        Description=f"Core of the {tract.side} corticospinal tract, see the share of the density "
        "at a voxel's level that its own is at least",
        Type="ROI",
        DensityShare=cst.CORE_SHARE,
        SpatialReference=space,
        Sources=sources,
    )
    density = series.sidecar(
        Description=f"Share of the streamlines of the {tract.side} corticospinal tract that visit "
        "a voxel",
        Units="fraction",
        SpatialReference=space,
        Sources=sources,
    )
    place = folder / f"{prefix}_space-orig_label-{name}"
    series.save(place.with_name(f"{place.name}_mask.nii.gz"), tract.core.astype(np.uint8), fa)
    save.write_json(place.with_name(f"{place.name}_mask.json"), core)
    share = (tract.visits / np.float32(number)).astype(np.float32)
    series.save(place.with_name(f"{place.name}_param-density_dwimap.nii.gz"), share, fa)
    save.write_json(place.with_name(f"{place.name}_param-density_dwimap.json"), density)

"""Write the regions of a series: labels, their table and sidecar, a picture and numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cohortflow.core import save
from cohortflow.dwi import coordinates, mosaic, planes, regions, rois, series
from cohortflow.dwi.atlas import Atlas
from cohortflow.dwi.made import Volume
from cohortflow.dwi.planes import AXIAL, CORONAL, SAGITTAL, Cut, Painted
from cohortflow.dwi.regions import Region
from cohortflow.dwi.register_files import prefix

COLOURS = {
    "brainstem": ((0, 114, 178), (Region.BRAINSTEM,)),
    "capsule": ((240, 228, 66), (Region.CAPSULE_LEFT, Region.CAPSULE_RIGHT)),
    "motor cortex": ((230, 159, 0), (Region.MOTOR_LEFT, Region.MOTOR_RIGHT)),
    "not: callosum": ((213, 94, 0), (Region.CALLOSUM,)),
    "not: thalamus": ((0, 158, 115), (Region.THALAMUS_LEFT, Region.THALAMUS_RIGHT)),
    "not: cerebellum": ((204, 121, 167), (Region.CEREBELLUM,)),
}
"""Colours that people who are colour-blind can tell apart (Okabe, Ito 2008)."""


def write(
    folder: Path,
    labels: NDArray[np.uint8],
    fa: Volume,
    mask: NDArray[np.bool_],
    sources: list[Path],
    atlas: Atlas,
) -> None:
    """Write labels, table, sidecar, picture and metrics into a step's folder.

    Raises
    ------
    OSError
        When something cannot be written.
    """
    (folder / "dwi").mkdir()
    (folder / "figures").mkdir()
    name = prefix(fa.path)
    path = folder / "dwi" / f"{name}_{regions.ENDING}"
    series.save(path, labels, fa)
    stem = path.name.removesuffix(".nii.gz")
    rows = [f"{int(region)}\t{region.name.lower()}" for region in Region if region]
    save.write_text(path.with_name(f"{stem}.tsv"), "\n".join(["index\tname", *rows]) + "\n")
    told = series.sidecar(
        Description="Regions that choose the corticospinal tract, one label a voxel of the brain; "
        "where regions overlap, brainstem, capsule and motor cortex come first, in this order",
        Atlas=atlas.name,
        Frame="voxels of the series; left and right by the sign of the template's x in "
        f"{coordinates.SPACE}",
        CapsuleFAMinimum=rois.CAPSULE_FA_LEAST,
        Sources=[series.uri(name, f"dwi/{one.name}") for one in sources],
    )
    save.write_json(path.with_name(f"{stem}.json"), told)
    mosaic.save(folder / "figures" / f"{name}_desc-rois_dwi.png", draw(labels, fa, mask))
    save.write_json(folder / "metrics.json", dict(rois.volumes(labels, series.voxel_ml(fa.affine))))


def draw(labels: NDArray[np.uint8], fa: Volume, mask: NDArray[np.bool_]) -> Image.Image:
    """Draw the regions over FA in three planes, through the middle of each kind."""
    painted = [
        Painted(name, np.isin(labels, kinds), colour) for name, (colour, kinds) in COLOURS.items()
    ]
    middle = {
        region: np.asarray(fa.affine[:3, :3] @ np.argwhere(labels == region).mean(axis=0))
        + fa.affine[:3, 3]
        for region in Region
        if region and (labels == region).any()
    }
    wanted = (
        ((AXIAL, Region.BRAINSTEM), (AXIAL, Region.CAPSULE_LEFT), (AXIAL, Region.MOTOR_LEFT)),
        ((CORONAL, Region.BRAINSTEM), (CORONAL, Region.CAPSULE_LEFT),
         (SAGITTAL, Region.CAPSULE_LEFT)),
    )  # fmt: skip
    shown = np.where(mask, fa.data, 0)
    rows = [
        planes.draw(text, shown, fa.affine, painted,
                    [Cut(plane, middle[region]) for plane, region in row if region in middle])
        for text, row in zip(("axial", "coronal and sagittal"), wanted, strict=True)
    ]  # fmt: skip
    title = f"{prefix(fa.path)}: regions of the corticospinal tract"
    said = "left and right by the template's coordinates; over FA"
    return planes.stacked([planes.title(title, said), planes.legend(painted), *rows])

"""Read what registration needs; write the coordinates, their sidecar, a picture and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cohortflow.core import save
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import coordinates, image, mosaic, planes, refusal, register, series, warp
from cohortflow.dwi import field_of_view as seen
from cohortflow.dwi.atlas import Atlas
from cohortflow.dwi.grids import Grid
from cohortflow.dwi.made import Volume
from cohortflow.dwi.planes import Cut, Painted
from cohortflow.dwi.register import Registration

OUTLINE_FA = 0.3
"""The template's outline in the picture encloses FA above this."""

_OUTLINE = (230, 159, 0)
_CUTS = (
    (planes.AXIAL, (0.0, 0.0, -32.0)),
    (planes.AXIAL, (0.0, 0.0, 8.0)),
    (planes.AXIAL, (0.0, 0.0, 40.0)),
    (planes.CORONAL, (0.0, -20.0, 0.0)),
    (planes.SAGITTAL, (-3.0, 0.0, 0.0)),
)  # template mm

Metrics = dict[str, float | str | None]


def read(fa_path: Path, mask_path: Path) -> tuple[Volume, NDArray[np.bool_]]:
    """Read a map of FA and the brain mask.

    Returns
    -------
    fa : Volume
    mask : ndarray of bool, shape (x, y, z)

    Raises
    ------
    Failure
        As `image.load`; DATA_INVALID when the grids differ, the mask is empty, or FA is not
        between 0 and 1 in it.
    """
    values, loaded = image.load(fa_path, dimensions=3)
    fa = Volume(fa_path, values, np.asarray(loaded.affine, np.float64), loaded.header)
    inside, placed = image.load(mask_path, dimensions=3)
    coordinates.check(mask_path, Grid(inside.shape, np.asarray(placed.affine, np.float64)), fa)
    mask = np.asarray(inside > 0)
    if not mask.any():
        raise Failure(
            Category.DATA_INVALID,
            f"{mask_path}: the mask is empty",
            "use the mask that dwi-mask made of this series",
        )
    if not ((values[mask] >= 0) & (values[mask] <= 1)).all():
        raise Failure(
            Category.DATA_INVALID,
            f"{fa_path}: is no map of FA, its values are not within 0 to 1",
            "give the FA map that dwi-tensor made",
        )
    return fa, mask


def prefix(fa_path: Path) -> str:
    """Return the unit's name, as its FA map has it."""
    return fa_path.name.split("_space-")[0]


def metrics(found: Registration, atlas: Atlas) -> Metrics:
    """Return the numbers for ``metrics.json``; without a correlation that is the affine map's."""
    bent = {"register_correlation": _number(found.correlation)} if found.method == "syn" else {}
    return {
        "register_method": found.method,
        "register_atlas": atlas.name,
        "register_affine_correlation": _number(found.affine.correlation),
        **bent,
        "register_brainstem_inside": _number(found.seen.brainstem),
        "register_motor_left_inside": _number(found.seen.motor_left),
        "register_motor_right_inside": _number(found.seen.motor_right),
        "register_moved_mm": _number(found.moved_mm),
    }


def refuse(found: Registration, fa: Volume, mask: NDArray[np.bool_], output: Path | None) -> None:
    """Raise when a gate was not passed, and leave a picture beside the output.

    Parameters
    ----------
    found : Registration
    fa : Volume
    mask : ndarray of bool, shape (x, y, z)
    output : Path or None
        The folder that the step was asked for; None for no picture.

    Raises
    ------
    Failure
        `found.refused`, naming the file and the picture.
    OSError
        When the picture cannot be written.
    """
    refused = found.refused
    if refused is None:
        return
    path = refusal.save(output, draw(found, fa, mask)) if output else fa.path
    raise Failure(refused.category, refused.message, f"look at {path}; {refused.remedy}")


def write(
    folder: Path,
    found: Registration,
    fa: Volume,
    mask: NDArray[np.bool_],
    mask_path: Path,
    atlas: Atlas,
) -> None:
    """Write coordinates, sidecar, picture and metrics into a step's folder.

    Raises
    ------
    OSError
        When something cannot be written.
    """
    (folder / "dwi").mkdir()
    (folder / "figures").mkdir()
    name = prefix(fa.path)
    path = folder / "dwi" / f"{name}_{coordinates.ENDING}"
    series.save(path, found.coordinates, fa)
    sources = [series.uri(name, f"dwi/{one.name}") for one in (fa.path, mask_path)]
    save.write_json(path.with_name(path.name.replace(".nii.gz", ".json")),
                    series.sidecar(**_told(found, atlas), Sources=sources))  # fmt: skip
    mosaic.save(folder / "figures" / f"{name}_desc-register_dwi.png", draw(found, fa, mask))
    save.write_json(folder / "metrics.json", metrics(found, atlas))


def _told(found: Registration, atlas: Atlas) -> dict[str, Any]:
    """Return the sidecar's own fields."""
    bending = {
        "Metric": "cross-correlation of FA",
        "WindowRadius": warp.WINDOW,
        "PointDistanceMM": warp.STEP_MM,
        "UpdateSmoothing": warp.SMOOTHNESS,
        "Iterations": list(warp.ITERATIONS),
    }
    method = "affine map of greatest correlation of FA, from many starts"
    if found.method == "syn":
        method += ", then symmetric diffeomorphic registration (Avants et al. 2008)"
    return {
        "Description": "Template coordinates of the centre of each voxel, three volumes (right, "
        "anterior, superior)",
        "Units": "mm",
        "FromFrame": "voxels of this image; its affine leads to the scanner's world, RAS mm",
        "ToSpace": coordinates.SPACE,
        "ToFrame": "RAS mm of the template; the patient's left is x < 0",
        "Atlas": atlas.name,
        "Model": {
            "Description": method,
            "Parameters": bending if found.method == "syn" else {},
        },
        "AffineMatrix": [[float(f"{v:.9g}") for v in row] for row in found.affine.matrix],
        "Gates": {
            "AffineCorrelation": register.AFFINE_CORRELATION_LEAST,
            "Correlation": register.CORRELATION_LEAST[found.method],
            "BrainstemInside": seen.BRAINSTEM_LEAST,
            "MotorInside": seen.MOTOR_LEAST,
        },
    }


def draw(found: Registration, fa: Volume, mask: NDArray[np.bool_]) -> Image.Image:
    """Draw FA, the template where it was put, and the template's outline over FA."""
    shown = np.where(mask, fa.data, 0)
    outline = Painted("template", found.template > OUTLINE_FA, _OUTLINE)
    cuts = [Cut(plane, _world(found, np.array(point))) for plane, point in _CUTS]
    title = f"{prefix(fa.path)}: registration to the template"
    if found.refused is not None:
        head = planes.title(title, f"Refused: {found.refused.message}", alarm=True)
    else:
        head = planes.title(title, _said(found))
    return planes.stacked([
        head,
        planes.draw("FA", shown, fa.affine, [], cuts),
        planes.draw("FA of the template, moved to this brain", found.template, fa.affine, [], cuts),
        planes.draw(f"FA with the template's outline at {OUTLINE_FA:g}", shown, fa.affine,
                    [outline], cuts, filled=False),
    ])  # fmt: skip


def _world(found: Registration, point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the world mm of a point of the template, by the affine map."""
    back = np.linalg.inv(found.affine.matrix)
    return np.asarray(back[:3, :3] @ point + back[:3, 3])


def _said(found: Registration) -> str:
    view = found.seen
    said = f"FA correlates {found.correlation:.2f} with the template · inside the field of view: "
    said += f"brainstem {view.brainstem:.0%}, motor cortex left {view.motor_left:.0%}, "
    return said + f"right {view.motor_right:.0%}"


def _number(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")

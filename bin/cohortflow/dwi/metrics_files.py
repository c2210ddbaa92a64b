"""Read what the tract's numbers are made of, and write them: table, profiles, methods."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.core import save
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import image, methods, metrics, series, streamlines
from cohortflow.dwi.csttool_metrics import SCALARS
from cohortflow.dwi.made import Made, Volume
from cohortflow.dwi.metrics import Measured, Numbers
from cohortflow.dwi.selection import SIDES, Side
from cohortflow.dwi.streamlines import Streamlines

FREEST = 3.2e-3
"""Mean diffusivity, mm2/s, that no tissue exceeds: that of water at body temperature is 3.0e-3."""

_UNITS = {"fa": "arbitrary", "md": "mm^2/s", "rd": "mm^2/s", "ad": "mm^2/s"}
_LIBRARIES = ("numpy", "scipy", "numba", "nibabel", "dipy")


def read(made: Made) -> tuple[dict[Side, Streamlines], Measured]:
    """Read both sides' streamlines, the maps, regions and coordinates.

    Raises
    ------
    Failure
        When something is missing or cannot be read, see `made.Made`.
    """
    volumes = {name: made.volume(f"param-{name.upper()}_dwimap.nii.gz") for name in SCALARS}
    fa = volumes["fa"]
    data = Measured(
        maps=plausible({name: volume.data for name, volume in volumes.items()}),
        labels=made.regions(fa),
        coordinates=made.coordinates(fa),
        affine=fa.affine,
        orientations=_orientations(made, fa),
    )
    tracts: dict[Side, Streamlines] = {}
    for side in SIDES:
        path = made.find(f"desc-CST{side}_tractogram.trk")
        if path is not None:
            tracts[side] = streamlines.read_trk(path)
    return tracts, data


def plausible(maps: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Put, where diffusion is freer than in water, the nearest plausible voxel's values.

    A voxel at the rim of the image, part of which was not measured, may have any diffusivity: one
    of them would be the mean of a tract.

    Parameters
    ----------
    maps : mapping of str to ndarray of float32, shape (x, y, z)
        ``md`` in mm2/s, and others.
    """
    wrong = maps["md"] > FREEST
    if not wrong.any() or wrong.all():
        return dict(maps)
    nearest = ndimage.distance_transform_edt(wrong, return_distances=False, return_indices=True)
    return {name: values[tuple(nearest)] for name, values in maps.items()}


def _orientations(made: Made, fa: Volume) -> NDArray[np.float32] | None:
    """Read the distributions of spherical deconvolution, where there are some."""
    path = made.find("param-FOD_dwimap.nii.gz")
    if path is None:
        return None
    values = image.load(path)[0]
    if values.shape[:3] != fa.shape:
        raise Failure(
            Category.DATA_INVALID,
            f"{path}: does not fit the grid of {fa.path.name}",
            "give files that were made of one series",
        )
    return values


def write(folder: Path, made: Made, numbers: Numbers) -> None:
    """Write profiles, methods text and metrics into a step's folder.

    Raises
    ------
    Failure
        When a sidecar that the methods are told from is missing.
    OSError
        When something cannot be written.
    """
    (folder / "dwi").mkdir()
    (folder / "figures").mkdir()
    prefix = made.prefix()
    _write_profiles(folder / "dwi" / f"{prefix}_desc-CST_profile", numbers, made)
    model = made.find("param-FOD_dwimap.json") or made.need("param-ODF_dwimap.json")
    told = methods.text(
        made.fields("desc-preproc_dwi.json"),
        made.fields(model.name.removeprefix(f"{prefix}_")).get("Model") or {},
        made.metrics(),
        _versions(),
    )
    save.write_text(folder / "figures" / f"{prefix}_desc-methods.txt", told)
    save.write_json(folder / "metrics.json", numbers)


def _write_profiles(stem: Path, numbers: Numbers, made: Made) -> None:
    """Write a row a point, a column a side and map; n/a where a side is empty."""
    columns = {}
    for side in SIDES:
        for scalar in SCALARS:
            text = numbers[f"{side}_{scalar}_profile"]
            columns[f"{side}_{scalar}"] = str(text).split(";") if text else None
    number = max((len(values) for values in columns.values() if values), default=0)
    rows = ["\t".join(["position", *columns])]
    for node in range(number):
        cells = [values[node] if values else "n/a" for values in columns.values()]
        rows.append("\t".join([f"{node / (number - 1):.4f}", *cells]))
    save.write_text(stem.with_name(f"{stem.name}.tsv"), "\n".join(rows) + "\n")
    told: dict[str, Any] = {
        "position": {
            "Description": "Share of the arc length from the middle of the pons to the motor cortex"
        }
    }
    for name in columns:
        where, scalar = name.split("_")
        told[name] = {
            "Description": f"{scalar.upper()} along the {where} corticospinal tract",
            "Units": _UNITS[scalar],
        }
    save.write_json(stem.with_name(f"{stem.name}.json"), series.sidecar(**told))


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = {"numpy": "NumPy", "scipy": "SciPy", "numba": "Numba", "nibabel": "NiBabel",
             "dipy": "DIPY"}  # fmt: skip
    return {names[name]: version(name) for name in _LIBRARIES}


def compute(made: Made) -> Numbers:
    """Return the numbers of a unit, see `metrics.compute`."""
    tracts, data = read(made)
    return metrics.compute(tracts, data)

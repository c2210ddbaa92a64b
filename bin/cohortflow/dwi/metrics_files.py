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
from cohortflow.dwi import coordinates, image, methods, metrics, series, streamlines
from cohortflow.dwi.csttool_metrics import SCALARS
from cohortflow.dwi.grids import Grid
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
        When something is missing or cannot be read, see `made.Made`; what the methods are told
        from, too.
    """
    volumes = {name: made.volume(f"param-{name.upper()}_dwimap.nii.gz") for name in SCALARS}
    fa = volumes["fa"]
    if "track_method" not in made.metrics():
        raise Failure(
            Category.INPUT_MISSING,
            "no folder has the metrics.json of dwi-track",
            "name the folders of all steps before, or the published unit",
        )
    _told(made)
    data = Measured(
        maps=plausible({name: volume.data for name, volume in volumes.items()}, fa.affine),
        labels=made.regions(fa),
        coordinates=made.coordinates(fa),
        affine=fa.affine,
        orientations=_orientations(made, fa),
    )
    tracts: dict[Side, Streamlines] = {}
    for side in SIDES:
        path = made.find(f"desc-CST{side}_tractogram.trk")
        if path is not None:
            tracts[side] = streamlines.read_trk(path, fa)
    if not tracts:
        made.need(f"desc-CST{SIDES[0]}_tractogram.trk")
    return tracts, data


def _told(made: Made) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the sidecar of the preprocessed series, and the model of the orientations."""
    model = made.find("param-FOD_dwimap.json") or made.need("param-ODF_dwimap.json")
    fields = made.fields(model.name.removeprefix(f"{made.prefix()}_"))
    return made.fields("desc-preproc_dwi.json"), fields.get("Model") or {}


def plausible(
    maps: Mapping[str, NDArray[np.float32]], affine: NDArray[np.float64]
) -> dict[str, NDArray[np.float32]]:
    """Put, where diffusion is freer than in water, the nearest measured plausible voxel's values.

    A voxel at the rim of the image, part of which was not measured, may have any diffusivity: one
    of them would be the mean of a tract.

    Parameters
    ----------
    maps : mapping of str to ndarray of float32, shape (x, y, z)
        ``md`` in mm2/s, 0 where nothing was measured, and others.
    affine : ndarray, shape (4, 4)
        Voxel indices to world mm.
    """
    wrong, right = maps["md"] > FREEST, (maps["md"] > 0) & (maps["md"] <= FREEST)
    if not wrong.any() or not right.any():
        return dict(maps)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    nearest = ndimage.distance_transform_edt(
        ~right, sampling=sizes, return_distances=False, return_indices=True
    )
    source = tuple(nearest[:, wrong])
    made = {name: values.copy() for name, values in maps.items()}
    for values in made.values():
        values[wrong] = values[source]
    return made


def _orientations(made: Made, fa: Volume) -> NDArray[np.float32] | None:
    """Read the distributions of spherical deconvolution, where there are some."""
    path = made.find("param-FOD_dwimap.nii.gz")
    if path is None:
        return None
    values, loaded = image.load(path)
    coordinates.check(path, Grid(values.shape[:3], np.asarray(loaded.affine, np.float64)), fa)
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
    text = methods.text(*_told(made), made.metrics(), _versions())
    save.write_text(folder / "figures" / f"{prefix}_desc-methods.txt", text)
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

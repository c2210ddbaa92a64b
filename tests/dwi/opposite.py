"""Small studies of series and images of opposite phase encoding, and what is made of them."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from cohortflow.core.manifest import Excluded, Unit, checked
from cohortflow.dwi import convert, discover
from dwi import small

AFFINE = np.diag([2, 2, 2.5, 1])
NEW = "dwi/sub-01_desc-{}"


def series(study: Path, name: str = "sub-01_dir-AP_dwi", **fields: object) -> Path:
    """Write a series of seven volumes, with a sidecar when it has fields."""
    return sidecar(small.nifti(study, name), fields)


def reversed_series(study: Path, volumes: int = 2, name: str = "sub-01_dir-PA_dwi") -> Path:
    """Write a series without diffusion weighting."""
    bvals, bvecs = np.zeros(volumes), np.zeros((volumes, 3))
    data = small.series_data(volumes)
    return small.nifti(study, name, data=data, bvals=bvals, bvecs=bvecs)


def epi(
    study: Path,
    name: str = "sub-01_dir-PA_epi",
    *,
    data: np.ndarray | None = None,
    affine: np.ndarray = AFFINE,
    **fields: object,
) -> Path:
    """Write an image of ``fmap``."""
    folder = study / "sub-01" / "fmap"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.nii.gz"
    nib.save(nib.Nifti1Image(small.series_data(3) if data is None else data, affine), path)
    return sidecar(path, fields)


def sidecar(path: Path, fields: dict[str, object]) -> Path:
    if fields:
        beside = path.with_name(path.name.replace(".nii.gz", ".json"))
        beside.write_text(json.dumps(fields))
    return path


def unit(study: Path, **wanted: object) -> Unit:
    (found,) = discover.discover(study, **wanted)  # type: ignore[arg-type]
    checked(found)
    return found


def used(found: Unit) -> dict[str, str]:
    """Return the file names of a unit that runs, by role."""
    assert found.excluded is None, found.excluded
    return {one.role: Path(one.path).name for one in found.inputs}


def refused(study: Path, **wanted: object) -> Excluded:
    excluded = unit(study, **wanted).excluded
    assert excluded is not None
    assert str(study) not in excluded.message + excluded.remedy + str(excluded.choices)
    assert excluded.remedy
    return excluded


def pair(main: str, reverse: str | None) -> tuple[str, str | None]:
    return f"sub-01_{main}.nii.gz", reverse and f"sub-01_{reverse}.nii.gz"


def names(found: Unit) -> tuple[str, str | None]:
    return used(found)["dwi"], used(found).get("reverse")


def told(folder: Path, desc: str) -> dict[str, object]:
    return dict(json.loads((folder / f"{NEW.format(desc)}.json").read_text()))


def metrics(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "metrics.json").read_text()))


def values(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).get_fdata(dtype=np.float64))


def made(source: Path, target: Path, **options: object) -> Path:
    target.mkdir(parents=True)
    convert.convert(source, target, prefix="sub-01", **options)
    return target


def dicom(
    folder: Path, number: int, description: str, order: str | None, volumes: int = 7, **more: object
) -> None:
    """Write a series of GE, whose headers tell in which order lines were encoded."""
    weighted = volumes >= 7
    paths = small.dicom(folder, number, description=description, volumes=volumes, weighted=weighted)
    for path in paths:
        tags = {"InPlanePhaseEncodingDirection": "COL", "Manufacturer": "GE MEDICAL SYSTEMS"}
        if order:
            tags |= {"RectilinearPhaseEncodeReordering": order, "ScanOptions": "EPI_GEMS"}
        small.rewrite(path, **{**tags, **more})

"""A converted diffusion series on disk: read it checked, write images beside it."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cohortflow import __version__
from cohortflow.core.outcome import Category, Failure
from cohortflow.core.save import write_json as save_json
from cohortflow.dwi import gradients as gradient_files
from cohortflow.dwi import image
from cohortflow.dwi import sidecar as sidecars
from cohortflow.dwi.gradients import Gradients

_SUFFIX = re.compile(r"(_desc-[A-Za-z0-9+]+)?_dwi\.nii(\.gz)?\Z")


class Placed(Protocol):
    """Something that lies on a grid in space, with the header that says so."""

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel indices to world mm, shape (4, 4)."""

    @property
    def head(self) -> Any:  # noqa: ANN401 - nibabel has no types here
        """The header."""


@dataclass(frozen=True)
class Series:
    """A diffusion series and its gradients, known to fit each other.

    Attributes
    ----------
    path : Path
    prefix : str
        The file name's entities, ``sub-01_ses-01`` for example.
    data : ndarray of float32, shape (x, y, z, n)
    affine : ndarray of float64, shape (4, 4)
        Voxel indices to world mm (right, anterior, superior).
    head : nibabel.Nifti1Header or Nifti2Header
    gradients : Gradients
    fields : mapping
        The JSON sidecar beside the image; empty without one.
    """

    path: Path
    prefix: str
    data: NDArray[np.float32]
    affine: NDArray[np.float64]
    head: Any
    gradients: Gradients
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def b0(self) -> NDArray[np.float32]:
        """Mean of the volumes without diffusion weighting, shape (x, y, z)."""
        mean: NDArray[np.float32] = self.data[..., self.gradients.b0].mean(axis=-1)
        return mean

    @property
    def source(self) -> str:
        """BIDS URI of the series in its dataset."""
        return uri(self.prefix, f"dwi/{self.path.name}")


def read(path: Path) -> Series:
    """Read a series with the bval and bvec files beside it.

    Raises
    ------
    Failure
        As `image.load`, `gradients.read` and `gradients.check`; DATA_INVALID as well for a
        name that is not a series', no b=0 volume, or an image of zeros.
    """
    match = _SUFFIX.search(path.name)
    if not match:
        raise Failure(
            Category.DATA_INVALID,
            f"{path}: its name does not end in _dwi.nii.gz",
            "give the series that dwi-convert wrote",
        )
    stem = re.sub(r"\.nii(\.gz)?\Z", "", path.name)
    table = gradient_files.read(path.with_name(f"{stem}.bval"), path.with_name(f"{stem}.bvec"))
    data, loaded = image.load(path)
    gradient_files.check(table, data.shape[3], path.name)
    if not table.b0.any():
        raise Failure(
            Category.DATA_INVALID,
            f"{path}: has no volume with b <= {gradient_files.B0_MAXIMUM:g}",
            "add a b=0 volume or exclude the series",
        )
    if not np.any(np.nan_to_num(data, nan=0.0)):
        raise Failure(Category.DATA_INVALID, f"{path}: every voxel is zero", "convert it again")
    prefix = path.name[: match.start()]
    beside = path.with_name(f"{stem}.json")
    fields = sidecars.read(beside) if beside.is_file() else {}
    return Series(path, prefix, data, loaded.affine, loaded.header, table, fields)


def find(folder: Path) -> Path:
    """Return the only series in a step's folder.

    Raises
    ------
    Failure
        INPUT_MISSING when there is none, USAGE when there are several.
    """
    found = sorted(p for p in folder.glob("dwi/*_dwi.nii*") if _SUFFIX.search(p.name))
    if len(found) == 1:
        return found[0]
    raise Failure(
        Category.USAGE if found else Category.INPUT_MISSING,
        f"{folder}: {len(found)} series *_dwi.nii in its folder dwi, one is needed",
        "give a series, or the folder that a step made",
    )


def write(
    folder: Path,
    data: Series,
    desc: str,
    values: NDArray[np.float32],
    *,
    step: Mapping[str, Any],
    gradients: Gradients | None = None,
    compress: bool = False,
) -> Path:
    """Write a processed series with its gradients and sidecar into ``folder/dwi``.

    Parameters
    ----------
    folder : Path
        A step's folder.
    data : Series
        What it was made of: gives affine, header and the sidecar's other fields.
    desc : str
        The entity ``desc``: ``denoised``, ``corrected``, …
    values : ndarray of float32, shape (x, y, z, n)
    step : mapping
        What was done: ``Name``, its parameters, and what came of it, appended to the sidecar's
        ``Preprocessing``.
    gradients : Gradients, optional
        When they are others than those of `data`.
    compress : bool
        Write ``.nii.gz``; else ``.nii``, for a series that the next step reads at once.

    Returns
    -------
    Path
        The image written.

    Raises
    ------
    OSError
        When a file cannot be written.
    """
    (folder / "dwi").mkdir(exist_ok=True)
    stem = folder / "dwi" / f"{data.prefix}_desc-{desc}_dwi"
    path = stem.with_name(f"{stem.name}.nii{'.gz' if compress else ''}")
    save(path, np.asarray(values, dtype=np.float32), data)
    table = gradients or data.gradients
    bval, bvec, text = (stem.with_name(f"{stem.name}.{end}") for end in ("bval", "bvec", "json"))
    gradient_files.write(table, bval, bvec)
    done = [*data.fields.get("Preprocessing", []), dict(step)]
    fields = {**data.fields, "Preprocessing": done}
    save_json(text, sidecar(**fields))
    return path


def voxel_size(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the length of a voxel along each image axis in mm, shape (3,)."""
    return np.asarray(np.linalg.norm(affine[:3, :3], axis=0))


def voxel_ml(affine: NDArray[np.float64]) -> float:
    """Return the volume of a voxel in millilitres."""
    return float(abs(np.linalg.det(affine[:3, :3])) / 1000)


def uri(prefix: str, path: str) -> str:
    """Return the BIDS URI of a file in the unit's folder, ``bids::sub-01/ses-01/dwi/…``."""
    return "bids::" + "/".join([*prefix.split("_"), path])


def sidecar(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    """Return a JSON sidecar: the fields, then the software that wrote the file."""
    return {**fields, "SoftwareName": "cohortflow", "SoftwareVersion": __version__}


def save(path: Path, array: NDArray[Any], like: Placed) -> None:
    """Write a ``.nii.gz`` or ``.nii`` on a series' grid; the same input gives the same bytes.

    Parameters
    ----------
    path : Path
    array : ndarray, shape (x, y, z) or (x, y, z, n)
        Stored with its own data type.
    like : Series, or another that lies on its grid
        Gives affine, and which of qform and sform are set.

    Raises
    ------
    OSError
        When the file cannot be written.
    """
    import nibabel as nib

    made = nib.Nifti1Image(array, like.affine)
    head = made.header
    for setter, code in (("set_qform", "qform_code"), ("set_sform", "sform_code")):
        getattr(head, setter)(like.affine, code=int(like.head[code]))
    if not int(head["qform_code"]) and not int(head["sform_code"]):
        head.set_sform(like.affine, code=1)
    head.set_xyzt_units("mm")
    content = nib.Nifti1Image(array, None, head).to_bytes()
    if path.suffix == ".nii":
        path.write_bytes(content)
        return
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=6, mtime=0) as file:
        file.write(content)
    path.write_bytes(packed.getvalue())

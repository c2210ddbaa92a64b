"""Read NIfTI images that may be truncated, mutated or hostile.

Every byte that is read is bounded by what the header declares, and every way in which a
parser can stumble becomes one failure that names the file.
"""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cohortflow.dwi import nifti
from cohortflow.dwi.nifti import Header, header

if TYPE_CHECKING:
    import nibabel as nib

__all__ = [
    "Header",
    "anonymous",
    "check_dimensions",
    "header",
    "load",
    "read",
    "stored",
    "voxels",
]

_DEFLATE_LIMIT = 1032  # a deflate stream cannot expand further (zlib technical notes)
_CHUNK = 1 << 24


def load(path: Path, dimensions: int = 4) -> tuple[NDArray[np.float32], nib.Nifti1Image]:
    """Read a whole image.

    Parameters
    ----------
    path : Path
        A ``.nii`` or ``.nii.gz`` file.
    dimensions : int
        Axes that the image must have: 4 for a series (the default), 3 for a map or mask.

    Returns
    -------
    data : ndarray of float32, shape (x, y, z, n) or (x, y, z)
        Voxel values with the header's scaling applied, in file order of the axes.
    image : nibabel.Nifti1Image
        The same data with affine and header.

    Raises
    ------
    Failure
        As `header`; DATA_INVALID as well when the data are truncated, damaged or longer than
        declared, the affine is not usable, or the number of axes is another.
    """
    declared, content = read(path)
    check_dimensions(declared, dimensions, path)
    with nifti.failures(path), np.errstate(over="ignore"):
        raw, head = voxels(declared, content)
        slope, inter = head.get_slope_inter()
        data = np.array(raw, dtype=np.float32, order="F")
        if slope is not None and (slope, inter) != (1, 0):
            data = np.asarray(data * np.float32(slope) + np.float32(inter or 0))
        affine = head.get_best_affine()
        _check_affine(affine, path)
        return data, _class(declared)(data, affine, head)


def read(path: Path) -> tuple[Header, bytearray]:
    """Read a file's header and its uncompressed bytes, at most as many as declared.

    Raises
    ------
    Failure
        As `load`, without the checks of axes and affine.
    """
    with nifti.failures(path):
        with nifti.opened(path) as file:
            start = file.read(540)
            declared = nifti.parse(start, path)
            _check_size(declared, path)
        content = bytearray(declared.size)  # out of memory here is no fault of the file
        with nifti.opened(path) as file:
            _fill(file, content, path)
        return declared, content


def voxels(declared: Header, content: bytearray) -> tuple[NDArray[Any], Any]:
    """See the voxels of a file's uncompressed bytes, unscaled, without a copy.

    Returns
    -------
    raw : ndarray, shape as declared, Fortran order
        A view: writing to it changes the bytes.
    head : nibabel.Nifti1Header
    """
    offset = declared.offset
    head = _class(declared).header_class.from_fileobj(io.BytesIO(bytes(content[:offset])))
    dtype = head.get_data_dtype()
    return np.ndarray(declared.shape, dtype, content, offset=offset, order="F"), head


def stored(declared: Header, content: bytearray, path: Path) -> tuple[NDArray[Any], float, float]:
    """See the voxels as stored, with the slope and intercept that make values of them.

    Returns
    -------
    raw : ndarray, shape as declared, Fortran order
        A view: writing to it changes the bytes.
    slope, intercept : float

    Raises
    ------
    Failure
        DATA_INVALID for a scaling or affine that cannot be used.
    """
    with nifti.failures(path):
        raw, head = voxels(declared, content)
        slope, intercept = head.get_slope_inter()
        _check_affine(head.get_best_affine(), path)
        return raw, slope or 1.0, intercept or 0.0


def anonymous(declared: Header, content: bytearray) -> tuple[bytearray, Header]:
    """Return a file's bytes without free texts and extensions, which may name a person.

    Cleared are the header's ``descrip``, ``aux_file``, ``db_name`` and ``intent_name``; NIfTI
    extensions, among them whole DICOM headers, are left out.
    """
    raw, head = voxels(declared, content)
    offset = 352 if declared.version == 1 else 544
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        if field in head.keys():  # noqa: SIM118 - a nibabel header is no mapping
            head[field] = b""
    head["vox_offset"] = offset
    begin = head.binaryblock + bytes(4)
    clean = dataclasses.replace(declared, offset=offset, size=offset + raw.nbytes)
    return bytearray(begin) + content[declared.offset : declared.size], clean


def _class(declared: Header) -> Any:  # noqa: ANN401 - nibabel has no types here
    import nibabel as nib

    return nib.Nifti1Image if declared.version == 1 else nib.Nifti2Image


def check_dimensions(declared: Header, dimensions: int, path: Path) -> None:
    """Refuse an image with another number of axes.

    Raises
    ------
    Failure
        DATA_INVALID, naming the image's shape.
    """
    if len(declared.shape) != dimensions:
        shape = " x ".join(str(n) for n in declared.shape)
        raise nifti.bad(
            f"{path}: is {len(declared.shape)}-D ({shape}), not {dimensions}-D",
            "a diffusion series needs its volumes in one file"
            if dimensions == 4
            else "give a single volume",
        )


def _check_size(declared: Header, path: Path) -> None:
    on_disk = path.stat().st_size
    limit = on_disk * (_DEFLATE_LIMIT if nifti.compressed(path) else 1)
    if declared.size > limit:
        raise nifti.bad(
            f"{path}: is truncated, its header declares {declared.size} bytes and the file "
            f"({on_disk} bytes) cannot hold them",
            "copy or convert it again",
        )


def _fill(file: BinaryIO, content: bytearray, path: Path) -> None:
    """Read exactly as many bytes as declared, then see that the stream ends well."""
    view = memoryview(content)
    filled = 0
    while filled < len(view):
        part = file.read(min(_CHUNK, len(view) - filled))
        if not part:
            raise nifti.bad(
                f"{path}: is truncated, {filled} of {len(view)} bytes are there",
                "copy or convert it again",
            )
        view[filled : filled + len(part)] = part
        filled += len(part)
    # reading on to the end lets gzip compare its checksum; a bomb is stopped by the bound
    if len(file.read(nifti.TRAILING + 1)) > nifti.TRAILING:
        raise nifti.bad(f"{path}: holds more data than its header declares", "convert it again")


def _check_affine(affine: NDArray[np.float64], path: Path) -> None:
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise nifti.bad(f"{path}: its affine is not usable", "convert it again, or set its sform")

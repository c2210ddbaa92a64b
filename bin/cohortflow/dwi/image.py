"""Read NIfTI images that may be truncated, mutated or hostile.

Every byte that is read is bounded by what the header declares, and every way in which a
parser can stumble becomes one failure that names the file.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.outcome import Category, Failure, failure_of

if TYPE_CHECKING:
    import nibabel as nib

_BITS = {2: 8, 4: 16, 8: 32, 16: 32, 64: 64, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64}
_DEFLATE_LIMIT = 1032  # a deflate stream cannot expand further (zlib technical notes)
_TRAILING = 1 << 20
_CHUNK = 1 << 24


@dataclass(frozen=True)
class Header:
    """What a NIfTI header declares.

    Attributes
    ----------
    shape : tuple of int
        Voxels along each axis, trailing axes of length one above the third removed.
    zooms : tuple of float
        Voxel size along the first three axes, mm where the header uses millimetres.
    offset : int
        Byte at which the voxels begin.
    size : int
        Bytes of the whole uncompressed file, as the header declares them.
    version : int
        1 or 2.
    """

    shape: tuple[int, ...]
    zooms: tuple[float, float, float]
    offset: int
    size: int
    version: int

    @property
    def volumes(self) -> int:
        """Number of volumes; 1 for a 3-D image."""
        return math.prod(self.shape[3:])


def header(path: Path) -> Header:
    """Read the header of a ``.nii`` or ``.nii.gz`` and nothing more.

    Raises
    ------
    Failure
        INPUT_MISSING or PERMISSION when the file cannot be opened, DATA_INVALID when it is not
        a NIfTI image of numbers.
    """
    with _failures(path):
        with path.open("rb", buffering=0) as raw:
            start = raw.read(2048)
        if _compressed(path) and start[:2] == b"\x1f\x8b":  # twice as fast as the gzip module
            start = zlib.decompressobj(31).decompress(start, 540)
        if len(start) < 540:
            with _open(path) as file:
                start = file.read(540)
        return _parse(start, path)


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
    with _failures(path), np.errstate(over="ignore"):
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
    with _failures(path):
        with _open(path) as file:
            start = file.read(540)
            declared = _parse(start, path)
            _check_size(declared, path)
        content = bytearray(declared.size)  # out of memory here is no fault of the file
        with _open(path) as file:
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
        raise _bad(
            f"{path}: is {len(declared.shape)}-D ({shape}), not {dimensions}-D",
            "a diffusion series needs its volumes in one file"
            if dimensions == 4
            else "give a single volume",
        )


def _check_size(declared: Header, path: Path) -> None:
    on_disk = path.stat().st_size
    limit = on_disk * (_DEFLATE_LIMIT if _compressed(path) else 1)
    if declared.size > limit:
        raise _bad(
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
            raise _bad(
                f"{path}: is truncated, {filled} of {len(view)} bytes are there",
                "copy or convert it again",
            )
        view[filled : filled + len(part)] = part
        filled += len(part)
    # reading on to the end lets gzip compare its checksum; a bomb is stopped by the bound
    if len(file.read(_TRAILING + 1)) > _TRAILING:
        raise _bad(f"{path}: holds more data than its header declares", "convert it again")


def _parse(start: bytes, path: Path) -> Header:
    for order in "<>":
        (length,) = struct.unpack_from(f"{order}i", start)
        if length == 348:
            return _parse_1(start, order, path)
        if length == 540:
            return _parse_2(start, order, path)
    raise _bad(f"{path}: is not a NIfTI file", "convert it to NIfTI again")


def _parse_1(start: bytes, order: str, path: Path) -> Header:
    magic = start[344:348]
    if magic != b"n+1\0":
        raise _bad(f"{path}: is not a single-file NIfTI-1 image", "convert it to .nii.gz")
    dim = struct.unpack_from(f"{order}8h", start, 40)
    code, bits = struct.unpack_from(f"{order}2h", start, 70)
    pixdim = struct.unpack_from(f"{order}8f", start, 76)
    (offset,) = struct.unpack_from(f"{order}f", start, 108)
    return _checked(path, 1, dim, (code, bits), pixdim, offset)


def _parse_2(start: bytes, order: str, path: Path) -> Header:
    if start[4:8] != b"n+2\0":
        raise _bad(f"{path}: is not a single-file NIfTI-2 image", "convert it to .nii.gz")
    code, bits = struct.unpack_from(f"{order}2h", start, 12)
    dim = struct.unpack_from(f"{order}8q", start, 16)
    pixdim = struct.unpack_from(f"{order}8d", start, 104)
    (offset,) = struct.unpack_from(f"{order}q", start, 168)
    return _checked(path, 2, dim, (code, bits), pixdim, offset)


def _checked(  # noqa: PLR0917 - the header's fields
    path: Path,
    version: int,
    dim: tuple[Any, ...],
    kind: tuple[int, int],
    pixdim: tuple[Any, ...],
    offset: float,
) -> Header:
    code, bits = kind
    if not 1 <= dim[0] <= 7 or any(n < 1 for n in dim[1 : dim[0] + 1]):
        raise _bad(f"{path}: impossible dimensions in its header", "convert it again")
    if _BITS.get(code) != bits:
        raise _bad(
            f"{path}: data type {code} with {bits} bits is not one of plain numbers",
            "store the series as integers or floating point",
        )
    shape = list(dim[1 : dim[0] + 1])
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    zooms = [abs(float(z)) for z in pixdim[1:4]]
    if not all(math.isfinite(z) and z > 0 for z in zooms[: len(shape)]):
        raise _bad(f"{path}: impossible voxel size in its header", "convert it again")
    minimum = 352 if version == 1 else 544
    if not math.isfinite(offset) or not minimum <= offset <= minimum + _TRAILING:
        raise _bad(f"{path}: impossible data offset in its header", "convert it again")
    size = int(offset) + math.prod(shape) * (bits // 8)
    return Header(tuple(shape), (zooms[0], zooms[1], zooms[2]), int(offset), size, version)


def _check_affine(affine: NDArray[np.float64], path: Path) -> None:
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise _bad(f"{path}: its affine is not usable", "convert it again, or set its sform")


def _compressed(path: Path) -> bool:
    return path.name.endswith(".gz")


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if _compressed(path) else path.open("rb")


@contextmanager
def _failures(path: Path) -> Iterator[None]:
    """Make one failure that names the file of whatever a parser raises."""
    try:
        yield
    except (Failure, MemoryError):
        raise
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise _bad(
            f"{path}: compressed data are truncated or damaged ({error})",
            "copy or convert it again",
        ) from None
    except OSError as error:
        raise failure_of(error, path) from None
    except Exception as error:
        raise _bad(
            f"{path}: cannot be read as NIfTI ({type(error).__name__})", "convert it again"
        ) from None


def _bad(message: str, remedy: str) -> Failure:
    return Failure(Category.DATA_INVALID, message, remedy)

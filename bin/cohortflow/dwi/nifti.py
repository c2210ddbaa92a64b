"""Read NIfTI headers, and make one failure of every way in which that can go wrong."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from cohortflow.core.outcome import Category, Failure, failure_of

TRAILING = 1 << 20
"""How many bytes more than declared are let pass, before the voxels and after them."""

_BITS = {2: 8, 4: 16, 8: 32, 16: 32, 64: 64, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64}


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
    with failures(path):
        with path.open("rb", buffering=0) as raw:
            start = raw.read(2048)
        if compressed(path) and start[:2] == b"\x1f\x8b":  # twice as fast as the gzip module
            start = zlib.decompressobj(31).decompress(start, 540)
        if len(start) < 540:
            with opened(path) as file:
                start = file.read(540)
        return parse(start, path)


def parse(start: bytes, path: Path) -> Header:
    """Read a header from a file's first 540 bytes.

    Raises
    ------
    Failure
        DATA_INVALID when it is no header of a plain image.
    """
    for order in "<>":
        (length,) = struct.unpack_from(f"{order}i", start)
        if length == 348:
            return _parse_1(start, order, path)
        if length == 540:
            return _parse_2(start, order, path)
    raise bad(f"{path}: is not a NIfTI file", "convert it to NIfTI again")


def _parse_1(start: bytes, order: str, path: Path) -> Header:
    magic = start[344:348]
    if magic != b"n+1\0":
        raise bad(f"{path}: is not a single-file NIfTI-1 image", "convert it to .nii.gz")
    dim = struct.unpack_from(f"{order}8h", start, 40)
    code, bits = struct.unpack_from(f"{order}2h", start, 70)
    pixdim = struct.unpack_from(f"{order}8f", start, 76)
    (offset,) = struct.unpack_from(f"{order}f", start, 108)
    return _header(path, 1, dim, (code, bits), pixdim, offset)


def _parse_2(start: bytes, order: str, path: Path) -> Header:
    if start[4:8] != b"n+2\0":
        raise bad(f"{path}: is not a single-file NIfTI-2 image", "convert it to .nii.gz")
    code, bits = struct.unpack_from(f"{order}2h", start, 12)
    dim = struct.unpack_from(f"{order}8q", start, 16)
    pixdim = struct.unpack_from(f"{order}8d", start, 104)
    (offset,) = struct.unpack_from(f"{order}q", start, 168)
    return _header(path, 2, dim, (code, bits), pixdim, offset)


def _header(
    path: Path,
    version: int,
    dim: tuple[Any, ...],
    kind: tuple[int, int],
    pixdim: tuple[Any, ...],
    offset: float,
) -> Header:
    code, bits = kind
    if not 1 <= dim[0] <= 7 or any(n < 1 for n in dim[1 : dim[0] + 1]):
        raise bad(f"{path}: impossible dimensions in its header", "convert it again")
    if _BITS.get(code) != bits:
        raise bad(
            f"{path}: data type {code} with {bits} bits is not one of plain numbers",
            "store the series as integers or floating point",
        )
    shape = list(dim[1 : dim[0] + 1])
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    zooms = [abs(float(z)) for z in pixdim[1:4]]
    if not all(math.isfinite(z) and z > 0 for z in zooms[: len(shape)]):
        raise bad(f"{path}: impossible voxel size in its header", "convert it again")
    minimum = 352 if version == 1 else 544
    if not math.isfinite(offset) or not minimum <= offset <= minimum + TRAILING:
        raise bad(f"{path}: impossible data offset in its header", "convert it again")
    size = int(offset) + math.prod(shape) * (bits // 8)
    return Header(tuple(shape), (zooms[0], zooms[1], zooms[2]), int(offset), size, version)


def compressed(path: Path) -> bool:
    """Tell by its name whether a file is compressed."""
    return path.name.endswith(".gz")


def opened(path: Path) -> BinaryIO:
    """Open a file for reading what it holds uncompressed."""
    return cast(BinaryIO, gzip.open(path, "rb")) if compressed(path) else path.open("rb")


@contextmanager
def failures(path: Path) -> Iterator[None]:
    """Make one failure that names the file of whatever a parser raises."""
    try:
        yield
    except (Failure, MemoryError):
        raise
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise bad(
            f"{path}: compressed data are truncated or damaged ({error})",
            "copy or convert it again",
        ) from None
    except OSError as error:
        raise failure_of(error, path) from None
    except Exception as error:
        raise bad(
            f"{path}: cannot be read as NIfTI ({type(error).__name__})", "convert it again"
        ) from None


def bad(message: str, remedy: str) -> Failure:
    """Make the failure of an image that cannot be used."""
    return Failure(Category.DATA_INVALID, message, remedy)

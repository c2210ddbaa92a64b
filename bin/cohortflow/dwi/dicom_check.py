"""Check a DICOM series before it is converted: complete files, complete volumes."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.outcome import Category, Failure, failure_of
from cohortflow.dwi import dicom
from cohortflow.dwi.dicom_series import Series

_TAGS = (
    0x00080018, 0x00080008, 0x00200013, 0x00200032, 0x00200037, 0x00280002, 0x00280008,
    0x00280010, 0x00280011, 0x00280100, 0x52009229, 0x52009230,
)  # fmt: skip
_SAME_PLACE = 0.05  # mm
_UNDEFINED = 0xFFFFFFFF
_END = b"\xfe\xff\xdd\xe0"


@dataclass(frozen=True)
class Expected:
    """What the conversion of a series has to give.

    Attributes
    ----------
    pixels : int
        Rows times columns of a file; of a mosaic, the whole mosaic's.
    slices, volumes : int or None
        None where the headers do not tell.
    """

    pixels: int
    slices: int | None
    volumes: int | None


@dataclass(frozen=True)
class _File:
    path: str
    uid: str
    number: int | None
    size: tuple[int, int]
    mosaic: bool
    planes: list[tuple[NDArray[np.float64], NDArray[np.float64]]]


def check(series: Series, *, several: bool = True) -> Expected:
    """Read every header of a series and refuse what would not convert faithfully.

    Parameters
    ----------
    series : Series
    several : bool
        Whether one volume is too few.

    Raises
    ------
    Failure
        DATA_INVALID, naming the file or position: no pixel data, a truncated file, a file that
        is there twice, several matrix sizes or orientations, a missing slice, one volume only.
    """
    files = [_read(path) for path in series.files]
    _check_unique(files)
    sizes = Counter(file.size for file in files)
    if len(sizes) > 1:
        odd = sizes.most_common()[-1][0]
        path = next(file.path for file in files if file.size == odd)
        raise _bad(
            f"{path}: {odd[0]} x {odd[1]} pixels, others of series {series.uid} have "
            "{} x {}".format(*sizes.most_common(1)[0][0])
        )
    pixels = files[0].size[0] * files[0].size[1]
    if files[0].mosaic:
        expected = Expected(pixels, None, len(files))
    else:
        planes = [plane for file in files for plane in file.planes]
        expected = Expected(pixels, *_stack(planes, files, series.uid))
    if several and expected.volumes == 1:
        raise _bad(f"series {series.uid}: one volume only", "use the diffusion series")
    return expected


def _check_unique(files: Sequence[_File]) -> None:
    seen: dict[str, str] = {}
    for file in files:
        if file.uid and file.uid in seen:
            raise _bad(
                f"{seen[file.uid]} and {file.path} are the same image twice", "remove one of them"
            )
        seen[file.uid] = file.path


def _stack(
    planes: list[tuple[NDArray[np.float64], NDArray[np.float64]]],
    files: Sequence[_File],
    uid: str,
) -> tuple[int | None, int | None]:
    """Sort planes into slice positions; every position must be there equally often."""
    if not planes or any(len(p) != 3 or len(o) != 6 for p, o in planes):
        return None, None
    orientation = planes[0][1]
    if any(np.abs(o - orientation).max() > 1e-2 for _, o in planes):
        raise _bad(f"series {uid}: slices of several orientations", "use the diffusion series")
    normal = np.cross(orientation[:3], orientation[3:])
    along = np.sort([float(position @ normal) for position, _ in planes])
    groups = np.split(along, np.flatnonzero(np.diff(along) > _SAME_PLACE) + 1)
    counts = [len(group) for group in groups]
    (usual, _), *others = Counter(counts).most_common()
    if others:
        odd = next(i for i, count in enumerate(counts) if count != usual)
        lacking = sum(usual - count for count in counts if count < usual)
        raise _bad(
            f"series {uid}: {lacking or 'no'} slices are missing: position "
            f"{groups[odd][0]:.2f} mm is there {counts[odd]} times, others {usual} times"
            + _absent(files, lacking),
            "copy the series again, all files of it",
        )
    gaps = np.diff([group[0] for group in groups])
    if len(gaps) and gaps.max() > 1.5 * np.median(gaps):
        before = int(gaps.argmax())
        raise _bad(
            f"series {uid}: a slice is missing in every volume, after position "
            f"{groups[before][0]:.2f} mm",
            "copy the series again, all files of it",
        )
    return len(groups), usual


def _absent(files: Sequence[_File], lacking: int) -> str:
    """Name the instance numbers that are missing, where they are consecutive otherwise."""
    numbers = {file.number for file in files if file.number is not None}
    if not numbers or len(numbers) != len(files):
        return ""
    gaps = sorted(set(range(min(1, *numbers), max(numbers) + 1)) - numbers)
    if not gaps or len(gaps) > max(lacking, 1):
        return ""
    return f" (instance number {', '.join(str(n) for n in gaps[:5])} is not there)"


def _read(path: str) -> _File:
    """Read one header, and see that the pixels it announces are all there."""
    try:
        with dicom.quiet(), dicom.unpacked(path) as file:
            dataset = dicom.read_until_pixels(file, _TAGS)
            if "Rows" not in dataset or "Columns" not in dataset:
                raise _bad(f"{path}: no pixel data: its header has no image size")
            _check_pixels(file, dataset, path)
            return _File(
                path,
                str(dataset.get("SOPInstanceUID", "")),
                None if dataset.get("InstanceNumber") is None else int(dataset.InstanceNumber),
                (int(dataset.Columns), int(dataset.Rows)),
                "MOSAIC" in list(dataset.get("ImageType") or []),
                _planes(dataset),
            )
    except Failure:
        raise
    except OSError as error:
        if error.errno is None:
            raise dicom.damaged(path, "compressed data are damaged") from None
        raise failure_of(error, path) from None
    except Exception as error:
        raise dicom.damaged(path, f"its header cannot be read ({type(error).__name__})") from None


def _planes(dataset: Any) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:  # noqa: ANN401
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    if not frames:
        return [_plane(dataset, dataset)]
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    return [_plane(*_groups(frame, shared)) for frame in frames]


def _groups(frame: Any, shared: Any) -> tuple[Any, Any]:  # noqa: ANN401
    found = []
    for name in ("PlanePositionSequence", "PlaneOrientationSequence"):
        sequence = frame.get(name) or (shared.get(name) if shared is not None else None)
        found.append(sequence[0] if sequence else {})
    return found[0], found[1]


def _plane(
    where: Any,  # noqa: ANN401
    how: Any,  # noqa: ANN401
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return (
        np.array([float(v) for v in where.get("ImagePositionPatient") or ()]),
        np.array([float(v) for v in how.get("ImageOrientationPatient") or ()]),
    )


def _check_pixels(file: Any, dataset: Any, path: str) -> None:  # noqa: ANN401
    """Compare the pixel element's declared length with the file's."""
    implicit, little = dataset.original_encoding
    start = file.read(8 if implicit else 12)
    if len(start) < (8 if implicit else 12):
        raise _bad(f"{path}: no pixel data", "copy the file again, or remove it")
    (length,) = struct.unpack("<I" if little else ">I", start[-4:])
    at = file.tell()
    left = file.seek(0, 2) - at
    if length == _UNDEFINED:
        file.seek(at)
        _check_items(file, left, path)
        return
    frames = int(dataset.get("NumberOfFrames") or 1)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    bits = int(dataset.Rows) * int(dataset.Columns) * samples * frames
    need = bits * int(dataset.get("BitsAllocated") or 16) // 8
    if left < length or length < need:
        raise _bad(
            f"{path}: is truncated, {min(left, length)} of {max(length, need)} bytes of pixel "
            "data are there",
            "copy the file again",
        )


def _check_items(file: Any, left: int, path: str) -> None:  # noqa: ANN401
    """Walk the fragments of compressed pixel data (PS3.5, A.4) to their delimiter."""
    while left >= 8:
        item, length = struct.unpack("<4sI", file.read(8))
        left -= 8 + length
        if item == _END:
            return
        file.seek(length, 1)
    raise _bad(f"{path}: is truncated, its compressed pixel data do not end", "copy it again")


def _bad(message: str, remedy: str = "copy the series again, all files of it") -> Failure:
    return Failure(Category.DATA_INVALID, message, remedy)

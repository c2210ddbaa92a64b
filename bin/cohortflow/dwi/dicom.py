"""Tell DICOM series apart by their headers, reading a few kilobytes a file.

A small walker reads explicit little-endian headers (DICOM PS3.5, 7.1) in their order; whatever
else is met (implicit or big-endian encoding, sequences of undefined length) goes to pydicom.
Bytes are never searched: nested sequences repeat the tags that are wanted.
"""

from __future__ import annotations

import gzip
import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from cohortflow.core.outcome import Category, Failure, failure_of

MR_CLASSES = frozenset(f"1.2.840.10008.5.1.4.1.1.4{end}" for end in ("", ".1", ".4"))
"""Storage of MR images: classic, enhanced, legacy converted enhanced (PS3.6, annex A)."""

CLASSIC = "1.2.840.10008.5.1.4.1.1.4"
_GZIP = b"\x1f\x8b"
_DIRECTORY = "1.2.840.10008.1.3.10"

PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
"""Elements that hold the image itself."""

UNPACKED_LIMIT = 1 << 28
"""Most bytes that a compressed DICOM file may unpack to."""

SYNTAX, IMAGE_TYPE, CLASS = 0x00020010, 0x00080008, 0x00080016
MODALITY, DESCRIPTION, SEQUENCE = 0x00080060, 0x0008103E, 0x00180024
PROTOCOL, B_VALUE, SERIES, NUMBER = 0x00181030, 0x00189087, 0x0020000E, 0x00200011
POSITION = 0x00200032
_ITEM, _END_OF_ITEM, _END_OF_SEQUENCE = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_WANTED = frozenset((SYNTAX, IMAGE_TYPE, CLASS, MODALITY, DESCRIPTION, SEQUENCE, PROTOCOL,
                     B_VALUE, SERIES, NUMBER, POSITION))  # fmt: skip
_LONG = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UT", b"UN", b"UC", b"UR",
                   b"SV", b"UV"))  # fmt: skip
_OTHER_SYNTAX = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
Values = dict[int, bytes]


def header(path: str) -> Values | None:
    """Read the wanted elements of a file's header as bytes; None when it is not DICOM.

    Raises
    ------
    Failure
        DATA_INVALID when it is DICOM and cannot be read, or is named like DICOM and is not;
        PERMISSION or INPUT_MISSING when it cannot be opened.
    """
    try:
        for size in (4096, 65536):
            start = _start(path, size)
            if not _is_dicom(start):
                _check_name(path)
                return None
            values = _walk(start)
            if values is not None:
                return values
        with quiet():
            return _by_pydicom(path)
    except Failure:
        raise
    except OSError as error:
        if error.errno is None:
            raise damaged(path, "compressed data are damaged") from None
        raise failure_of(error, path) from None
    except Exception as error:
        raise damaged(path, f"its header cannot be read ({type(error).__name__})") from None


def _check_name(path: str) -> None:
    if path.lower().endswith((".dcm", ".dcm.gz", ".ima")):
        raise damaged(path, "is named like DICOM and is not")


def _start(path: str, size: int) -> bytes:
    """Return a file's first bytes, unpacked."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - called for every file
        start = file.read(size)
    return zlib.decompressobj(31).decompress(start, 1 << 20) if start[:2] == _GZIP else start


def _is_dicom(start: bytes) -> bool:
    # a file without preamble begins with group 0002 or 0008 (PS3.10 allows neither; it exists)
    bare = (b"\2\0\0\0", b"\x08\0\0\0", b"\x08\0\5\0", b"\x08\0\x08\0")
    return start[128:132] == b"DICM" or start[:4] in bare


def _walk(data: bytes) -> Values | None:
    """Walk explicit little-endian elements; None where pydicom or more bytes are needed."""
    if data[128:132] != b"DICM":
        return None
    values: Values = {}
    at, end = 132, len(data) - 12
    unpack = struct.Struct("<HH2sHI").unpack_from
    while at < end:
        group, element, kind, short, long = unpack(data, at)
        tag = group << 16 | element
        if tag > POSITION:
            return values if _readable(values) else None
        if kind in _LONG:
            at, length = at + 12, long
        else:
            at, length = at + 8, short
        if length == _UNDEFINED and kind == b"SQ":
            at, length = _skip(data, at, _END_OF_SEQUENCE), 0
        if length > len(data) - at or not kind.isalpha():
            return None
        if tag in _WANTED:
            values[tag] = data[at : at + length]
            if tag == SYNTAX and not _readable(values):
                return None
        at += length
    return None


def _skip(data: bytes, at: int, last: int) -> int:
    """Return where a sequence or item of undefined length ends; the data's end when it is cut.

    Items and nested sequences are walked, so that a value which looks like a delimiter is none.
    """
    while at <= len(data) - 12:
        group, element, kind, short = struct.unpack_from("<HH2sH", data, at)
        tag = group << 16 | element
        if tag == last:
            return at + 8
        if group == 0xFFFE or kind in _LONG:
            at += 8 if group == 0xFFFE else 12
            (length,) = struct.unpack_from("<I", data, at - 4)
        else:
            at, length = at + 8, short
        if length == _UNDEFINED:
            at = _skip(data, at, _END_OF_ITEM if tag == _ITEM else _END_OF_SEQUENCE)
        else:
            at += length
    return len(data)


def _readable(values: Values) -> bool:
    return text(values, SYNTAX) not in _OTHER_SYNTAX


def text(values: Values, tag: int) -> str:
    """Return an element as text without padding; empty when it is absent."""
    return values.get(tag, b"").decode("utf-8", "replace").strip(" \0")


def _by_pydicom(path: str) -> Values | None:
    dataset = read_dataset(path, sorted(_WANTED))
    meta = getattr(dataset, "file_meta", {})
    if "SOPClassUID" not in dataset:
        if meta.get("MediaStorageSOPClassUID") == _DIRECTORY:
            return None
        raise damaged(path, "its header ends early")
    values: Values = {}
    for element in dataset:
        value = element.value
        if element.tag == B_VALUE:
            values[B_VALUE] = struct.pack("<d", float(value)) if value is not None else b""
        elif value is not None:
            parts = [value] if isinstance(value, str | int | float) else list(value)
            values[int(element.tag)] = "\\".join(str(part) for part in parts).encode()
    return values


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom, which warns of values that this package judges itself."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def read_dataset(path: str, tags: Iterable[int] | None = None) -> Any:  # noqa: ANN401
    """Read a file's header with pydicom, unpacking gzip, up to the pixel data.

    Parameters
    ----------
    path : str
    tags : iterable of int, optional
        Elements of the top level to keep; all when left out.

    Raises
    ------
    Failure
        DATA_INVALID when a compressed file unpacks to more than `UNPACKED_LIMIT`.
    """
    with unpacked(path) as file:
        return read_until_pixels(file, tags)


def read_until_pixels(file: Any, tags: Iterable[int] | None) -> Any:  # noqa: ANN401
    """Read a dataset from an open file and leave the file where the pixel data begin."""
    from pydicom.filereader import read_partial
    from pydicom.tag import Tag

    keep = None if tags is None else [Tag(tag) for tag in tags]
    return read_partial(file, _at_pixels, force=True, specific_tags=keep)


def _at_pixels(tag: Any, vr: str | None, length: int) -> bool:  # noqa: ANN401
    return int(tag) in PIXELS


def unpacked(path: str) -> io.BufferedIOBase:
    """Open a DICOM file, or what a gzip file holds, for reading.

    Raises
    ------
    Failure
        DATA_INVALID when a compressed file unpacks to more than `UNPACKED_LIMIT`.
    """
    file = open(path, "rb")  # noqa: PTH123, SIM115 - the caller closes it
    if file.read(2) != _GZIP:
        file.seek(0)
        return file
    file.seek(0)
    with file, gzip.open(file) as packed:
        content = packed.read(UNPACKED_LIMIT + 1)
    if len(content) > UNPACKED_LIMIT:
        raise Failure(
            Category.DATA_INVALID,
            f"{path}: unpacks to more than {UNPACKED_LIMIT >> 20} MiB",
            "unpack it yourself when it is what you expect",
        )
    return io.BytesIO(content)


def damaged(path: str, reason: str) -> Failure:
    """Make the failure of a DICOM file that is not as it should be."""
    return Failure(Category.DATA_INVALID, f"{path}: {reason}", "copy the file again, or remove it")

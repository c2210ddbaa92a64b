"""Open h5ad files, read from them, and say in one line what is wrong with one."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from cohortflow.cells.heap import Room
from cohortflow.core.outcome import Category, Failure, failure_of

Array = npt.NDArray[Any]

#: Bytes of decompressed chunks that HDF5 keeps for each dataset.
_CHUNK_CACHE = 8 << 20
# HDF5 puts the operating system's error number into its text.
_ERRNO = re.compile(r"errno = (\d+)")
_CUT = re.compile(r"truncated file: eof = (\d+).*stored_eof = (\d+)")
_REMEDY = "copy or download it again, or open it with anndata to see more"


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open an h5ad file for reading, and see at the end that it is still the same file.

    Raises
    ------
    Failure
        TEMPORARY when the file was changed while it was read; else as `reading` says.
    OSError
        When the file is not there or may not be read.
    """
    before = _state(path)
    try:
        with reading(path):
            file = h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE, locking="best-effort")
        with file:
            yield file
    except Failure:
        _refuse_changed(path, before)
        raise
    _refuse_changed(path, before)


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _refuse_changed(path: Path, before: tuple[int, int, int]) -> None:
    try:
        now = _state(path)
    except FileNotFoundError:
        now = (0, 0, 0)
    if now != before:
        raise Failure(
            Category.TEMPORARY,
            f"{path.name}: was changed while it was read",
            "run again when nothing writes to it",
        )


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file makes h5py raise into a failure that names the file.

    Nothing is to be written inside the block: its errors would be taken for the file's.

    Raises
    ------
    Failure
        PERMISSION, IO_ERROR and so on when the operating system refused; DATA_INVALID for all
        that is wrong with the content.
    """
    try:
        yield
    except Failure:
        raise
    except OSError as error:
        number = error.errno or _number(str(error))
        if number and number not in {errno.EINVAL, errno.EAGAIN}:
            raise failure_of(OSError(number, _reason(error)), path.name) from None
        raise invalid(path, _reason(error)) from None
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        raise invalid(path, f"cannot be understood ({_reason(e)})") from None


def _number(text: str) -> int:
    found = _ERRNO.search(text)
    return int(found[1]) if found else 0


def _reason(error: BaseException) -> str:
    """Return what HDF5 said, without the name of the file and its own details."""
    text = str(error).strip() or type(error).__name__
    cut = _CUT.search(text)
    if cut:
        return f"is truncated: {int(cut[1]):,} of its {int(cut[2]):,} bytes are there"
    inner = re.search(r"\((.+)\)\s*$", text)
    return (inner[1] if inner else text).split(", name =")[0].split(", filename =")[0]


def invalid(path: Path, what: str, remedy: str = _REMEDY) -> Failure:
    """Return the failure that says what is wrong with a file's content."""
    return Failure(Category.DATA_INVALID, f"{path.name}: {what}", remedy)


def path_of(item: h5py.Group | h5py.Dataset) -> Path:
    """Return the path of the file that a group or dataset is in."""
    return Path(str(item.file.filename))


def read(dataset: h5py.Dataset, start: int, stop: int) -> Array:
    """Read a piece of a dataset along its first axis.

    Parameters
    ----------
    dataset : h5py.Dataset
        Strings of variable length become bytes.
    start, stop : int

    Raises
    ------
    Failure
        As `reading` says.
    """
    with reading(path_of(dataset)):
        return np.asarray(dataset[start:stop])


def read_into(room: Room, dataset: h5py.Dataset, start: int, stop: int) -> Array:
    """Read as `read` does, numbers of one dimension, into an array that is used again.

    Returns
    -------
    ndarray
        It lasts until the next call with the same room.

    Raises
    ------
    Failure
        As `reading` says.
    """
    found = room.array(stop - start, dataset.dtype)
    with reading(path_of(dataset)):
        if stop > start:
            dataset.read_direct(found, np.s_[start:stop], np.s_[: stop - start])
    return found


def attribute(item: h5py.Group | h5py.Dataset, name: str) -> Any:  # noqa: ANN401 - any value
    """Return an attribute as a Python value, bytes decoded; None when there is none."""
    value = item.attrs.get(name)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in value.tolist()]
    return value

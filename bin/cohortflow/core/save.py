"""Write files and folders so that a reader sees all of them or nothing."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def fsync_path(path: Path) -> None:
    """Flush one file or folder to the device."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def file(path: Path) -> Iterator[IO[bytes]]:
    """Give an open file to fill; it replaces the target, flushed, when the block ends well.

    Raises
    ------
    OSError
        When the folder cannot be written; the old file is then untouched.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as writer:
            yield writer
            writer.flush()
            os.fchmod(writer.fileno(), 0o666 & ~_umask())
            os.fsync(writer.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file by an atomic rename, flushed to the device."""
    with file(path) as writer:
        writer.write(content)


def write_text(path: Path, text: str) -> None:
    """Replace a text file (UTF-8) by an atomic rename."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Replace a JSON file by an atomic rename; indented, with a final newline."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a partial folder to fill; it takes the target's name when the block ends well.

    Parameters
    ----------
    target : Path
        The folder to make. Parents are made.
    overwrite : bool
        Replace a target that exists and is not empty.

    Raises
    ------
    FileExistsError
        When the target exists, is not empty and may not be overwritten.
    """
    if not overwrite and target.exists() and any(target.iterdir()):
        raise FileExistsError(17, "exists and is not empty", str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.partial-"))
    try:
        partial.chmod(0o777 & ~_umask())
        yield partial
        if target.exists():
            exchange(partial, target)
        else:
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def exchange(one: Path, other: Path) -> None:
    """Exchange two folders atomically, or one after the other where the filesystem cannot.

    Without `renameat2` there is a moment in which `other` is not there: it is then beside `one`,
    with `.old` at the end of its name.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.renameat2(
        _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE
    )
    if done == 0:
        return
    code = ctypes.get_errno()
    if code not in {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}:
        raise OSError(code, os.strerror(code), str(other))
    aside = one.with_name(f"{one.name}.old")
    other.rename(aside)
    one.rename(other)
    aside.rename(one)


def _umask() -> int:
    """Return the process's umask (it can be read only by setting it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask

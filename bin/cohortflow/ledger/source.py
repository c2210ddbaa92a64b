"""Read files that grow, from where the last look ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TAIL = 4096


@dataclass(frozen=True)
class Stat:
    """Size and time of a file; both -1 when it is not there."""

    bytes: int = -1
    mtime_ns: int = -1


def stat(path: Path) -> Stat:
    """Look at a file."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return Stat()
    return Stat(found.st_size, found.st_mtime_ns)


@dataclass
class Lines:
    """The objects of a JSON lines file from an offset; a line without its end is left for later.

    Attributes
    ----------
    offset : int
        Where to read on; afterwards, behind the last whole line.
    tail : str
        Digest of the bytes before `offset`: another one means that the file was written anew.
    """

    path: Path
    offset: int = 0
    tail: str = ""
    bad: int = field(default=0, init=False)

    def grown(self) -> bool:
        """Tell whether what was read before is still the beginning of the file."""
        try:
            return self.path.stat().st_size >= self.offset and self.digest() == self.tail
        except OSError:
            return False

    def digest(self) -> str:
        """Return the digest of the bytes before the offset."""
        start = max(0, self.offset - _TAIL)
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                return hashlib.sha256(file.read(self.offset - start)).hexdigest()
        except FileNotFoundError:
            return ""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield what is new; lines that cannot be read are counted in `bad`."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.offset += len(line)
                value = _object(line)
                if value is not None:
                    yield value
                elif line.strip():
                    self.bad += 1


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None

"""Keep the memory of a long conversion from growing by fragments."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

# <malloc.h> of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE = 1 << 20


def steady() -> None:
    """Give freed arrays back to the system at once, for the whole process.

    By itself glibc keeps ever larger arrays in its heap, where those that live longer leave gaps:
    a conversion of 500,000 cells then needs a sixth more than one of 20,000. With thresholds of
    their own, large arrays have pages of their own (mallopt(3)). Another C library stays as it is.
    """
    try:
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        library.mallopt(_M_TRIM_THRESHOLD, 4 * _LARGE)
    except (AttributeError, OSError):
        return


@dataclass
class Room:
    """Room for an array that is needed again and again: fresh pages cost as much as a short sort.

    Attributes
    ----------
    held : ndarray
        What is there; it only grows.
    """

    held: npt.NDArray[Any] = field(default_factory=lambda: np.empty(0, np.uint8))

    def array(self, size: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an array of any content, which the next call may hand out again."""
        wanted = size * np.dtype(dtype).itemsize
        if len(self.held) < wanted:
            self.held = np.empty(wanted + wanted // 4, np.uint8)
        return self.held[:wanted].view(dtype)

"""Keep the memory of a long conversion from growing by fragments."""

from __future__ import annotations

import ctypes

# <malloc.h> of glibc.
_M_TRIM_THRESHOLD = -1
_KEPT = 4 << 20


def steady() -> None:
    """Give freed arrays back to the system at once, for the whole process.

    By itself glibc keeps ever larger arrays in its heap, where those that live longer leave gaps:
    a conversion of 500,000 cells then needs a sixth more than one of 20,000. With any threshold
    set, large arrays have pages of their own (mallopt(3)). Another C library is left as it is.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, _KEPT)
    except (AttributeError, OSError):
        return

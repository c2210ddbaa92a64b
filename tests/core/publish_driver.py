"""Publish sub-01 of the tests' lane, in a process of its own that can be killed.

publish_driver.py OUT STEPS [without-exchange]
"""

from __future__ import annotations

import ctypes
import errno
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cohortflow.core import publish
from core.engine_factory import LANE, planned, unit


class Libc:
    """A C library whose filesystem cannot exchange folders."""

    def renameat2(self, *_arguments: object) -> int:
        ctypes.set_errno(errno.EINVAL)
        return -1


if __name__ == "__main__":
    out, steps = Path(sys.argv[1]), Path(sys.argv[2])
    if sys.argv[3:]:
        ctypes.CDLL = lambda *_a, **_k: Libc()  # type: ignore[misc,assignment]
    publish.publish(out, LANE, planned(unit(), out), [steps / "one", steps / "two"], {})

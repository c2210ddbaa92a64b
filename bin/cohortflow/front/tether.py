"""Become another program that ends with the process that started it.

Run as a script: ``python tether.py PROGRAM ARGUMENT …``. It is a program of its own, because a
child of a process with threads must not run Python between fork and exec.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(command: list[str]) -> None:
    """Hear signals again that a shell made us ignore, ask for SIGTERM at our parent's death, exec.

    Raises
    ------
    OSError
        When the program cannot be started.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    os.execv(command[0], command)  # noqa: S606 - that is what it is for


if __name__ == "__main__":
    main(sys.argv[1:])

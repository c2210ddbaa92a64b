"""Talk to a terminal or a pipe that may go away: a run does not end with its listener."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any


def safely(function: Callable[..., Any]) -> Callable[..., None]:
    """Return a function that does the same until it fails to write, and nothing after that.

    Parameters
    ----------
    function : callable
        Prints; rich raises SystemExit where the reader of a pipe has gone.
    """
    broken = False

    def call(*arguments: Any) -> None:  # noqa: ANN401 - whatever the function takes
        nonlocal broken
        if broken:
            return
        try:
            function(*arguments)
        except (OSError, SystemExit):
            broken = True
            _mute()

    return call


def _mute() -> None:
    """Send what is still in the streams nowhere, so that no flush fails at the process's end."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(null, stream.fileno())
    os.close(null)

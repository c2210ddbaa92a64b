"""Functions that Numba compiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba

Given = ParamSpec("Given")
Result = TypeVar("Result")


def compiled(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Compile a function at its first call, and keep the result for later processes.

    It is kept beside the module, or in the user's cache folder; where neither can be written (in a
    container) each process compiles for itself, which takes some seconds.
    """
    made: Callable[Given, Result]
    try:
        made = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder for the cache
        made = numba.njit(nogil=True)(function)
    return made

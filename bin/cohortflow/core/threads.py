"""Do independent parts of an array's work on several threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


def each(function: Callable[[Part], Result], parts: Iterable[Part], threads: int) -> list[Result]:
    """Call a function for each part; the results stand in the order of the parts.

    The function must let go of Python's lock (NumPy, SciPy, `core.compiled`) to gain from threads,
    and no part may read what another writes: then the result does not depend on their number.

    Parameters
    ----------
    function : callable
    parts : iterable
    threads : int
        1 calls it one part after the other, in this thread.
    """
    if threads <= 1:
        return [function(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, parts))

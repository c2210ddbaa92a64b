"""Keyed hashes of texts: an order that a seed decides, the same on every machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.outcome import Category, Failure

NOTHING = -1
"""The threshold that no hash reaches."""

Hashes = NDArray[np.uint64]


def hashes(seed: int, ids: Sequence[str]) -> Hashes:
    """Hash texts with a seed: the first 8 bytes of BLAKE2b (RFC 7693) of ``SEED:TEXT``.

    Parameters
    ----------
    seed : int
    ids : sequence of str
        For example the cell ids of a block; blocks can be hashed one after the other.

    Returns
    -------
    ndarray of uint64, shape (len(ids),)

    Raises
    ------
    Failure
        DATA_INVALID for a text that UTF-8 cannot hold.
    """
    key = b"%d:" % seed  # the first colon ends the seed, so no two pairs give the same bytes
    try:
        digests = [blake2b(key + text.encode(), digest_size=8).digest() for text in ids]
    except UnicodeEncodeError as error:
        raise Failure(
            Category.DATA_INVALID,
            f"{error.object!r}: a name that is not UTF-8",
            "correct the cell ids and donors of the file",
        ) from error
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)


def threshold(hashes: Hashes, wanted: int) -> int:
    """Return up to which hash the wanted number of cells lies, both ends included.

    Where cells share a hash at the border it is the nearest number, the larger on equal distance.

    Returns
    -------
    int
        `NOTHING` for no cell.
    """
    if wanted < 1:
        return NOTHING
    wanted = min(wanted, len(hashes))
    border = np.partition(hashes, wanted - 1)[wanted - 1]
    below = int(np.count_nonzero(hashes < border))
    up_to = int(np.count_nonzero(hashes <= border))
    return int(border) if up_to - wanted <= wanted - below else int(border) - 1


def at_most(hashes: Hashes, limit: int) -> NDArray[np.bool_]:
    """Tell which hashes are not above a threshold, which may be `NOTHING`."""
    if limit == NOTHING:
        return np.zeros(len(hashes), dtype=np.bool_)
    return np.asarray(hashes <= np.uint64(limit))


def count(hashes: Hashes, limit: int) -> int:
    """Count the hashes that are not above a threshold."""
    return int(np.count_nonzero(at_most(hashes, limit)))


def shuffled(seed: int, names: Iterable[str | None]) -> list[str | None]:
    """Order names by their hash with the seed; None, for no name, has a hash of its own."""

    def order(name: str | None) -> tuple[int, bool, str]:
        if name is None:  # no colon: not the bytes of any text
            nothing = blake2b(b"%d" % seed, digest_size=8).digest()
            return int.from_bytes(nothing, "big"), True, ""
        return int(hashes(seed, [name])[0]), False, name

    return sorted(names, key=order)


def by_name(name: str | None) -> tuple[bool, str]:
    """Return the key that sorts names, None last."""
    return name is None, name or ""

"""Write ranked genes as text: symbols with a space in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cohortflow.cells.rank import Ranked
from cohortflow.core.compiled import compiled

_WORD = 8


@dataclass(frozen=True)
class Vocabulary:
    """Symbols, ready to be copied eight bytes at a time.

    Attributes
    ----------
    words : ndarray of uint64, (symbols, n)
        UTF-8 of each symbol and a space, padded.
    lengths : ndarray of uint64, (symbols,)
        Bytes, the space included.
    """

    words: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.uint64]


def vocabulary(symbols: Sequence[str]) -> Vocabulary:
    """Prepare symbols; none of them holds white space."""
    texts = [f"{symbol} ".encode() for symbol in symbols]
    width = -(-max(map(len, texts), default=1) // _WORD)
    packed = b"".join(text.ljust(width * _WORD) for text in texts)
    words = np.frombuffer(packed, "<u8").astype(np.uint64).reshape(len(texts), width)
    return Vocabulary(words, np.array([len(text) for text in texts], np.uint64))


def sentences(ranked: Ranked, known: Vocabulary, order: npt.NDArray[np.int64]) -> pa.StringArray:
    """Return the sentences of cells; that of a cell without expression is empty.

    Parameters
    ----------
    ranked : Ranked
    known : Vocabulary
    order : ndarray of int64
        The cells of the block whose sentences are wanted, in this order.
    """
    cells = len(order)
    ends = np.zeros(cells + 1, np.int32)
    size = _measure(ranked.symbols, ranked.pointers, known.lengths, order, ends)
    # Whole words are copied: the last one may reach beyond the text.
    room = pa.allocate_buffer(size + known.words.shape[1] * _WORD)
    text = np.frombuffer(room, np.uint8)
    _fill(ranked.symbols, ranked.pointers, known.words, known.lengths, order, text)
    return pa.StringArray.from_buffers(cells, pa.py_buffer(ends), room.slice(0, size))


@compiled
def _measure(
    symbols: npt.NDArray[np.int32],
    pointers: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.uint64],
    order: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int32],
) -> int:
    """Fill in where each sentence ends."""
    size = 0
    for number in range(order.size):
        cell = order[number]
        for place in range(pointers[cell], pointers[cell + 1]):
            size += int(lengths[symbols[place]])
        if pointers[cell + 1] > pointers[cell]:
            size -= 1  # no space at the end
        ends[number + 1] = size
    return size


@compiled
def _fill(
    symbols: npt.NDArray[np.int32],
    pointers: npt.NDArray[np.int64],
    words: npt.NDArray[np.uint64],
    lengths: npt.NDArray[np.uint64],
    order: npt.NDArray[np.int64],
    text: npt.NDArray[np.uint8],
) -> None:
    """Copy the symbols one behind the other; each overwrites the padding of the one before."""
    at = np.uint64(0)
    eight = np.uint64(8)
    for cell in order:
        for place in range(pointers[cell], pointers[cell + 1]):
            symbol = np.uint64(symbols[place])
            length = lengths[symbol]
            done = np.uint64(0)
            while done < length:
                word = words[symbol, done // eight]
                # The compiler makes one store of these eight, in little-endian order.
                for byte in range(eight):
                    text[at + done + byte] = np.uint8(word >> (eight * byte))
                done += eight
            at += length
        if pointers[cell + 1] > pointers[cell]:
            at -= np.uint64(1)

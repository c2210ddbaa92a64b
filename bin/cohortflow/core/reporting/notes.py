"""Published texts that a lane wants to be read, made fit to show."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cohortflow.core.lanes import Note, matches
from cohortflow.core.reporting.clean import MAX_LINE, Clean, without_secrets

MAX_BYTES = 64_000
_PIECE = MAX_LINE - 20


@dataclass(frozen=True, slots=True)
class Text:
    """One text, ready to show.

    Attributes
    ----------
    title, name : str
        Its heading, and the file's path below the unit's folder.
    paragraphs : tuple of str or None
        None when the file cannot be shown.
    """

    title: str
    name: str
    paragraphs: tuple[str, ...] | None


def of_unit(
    notes: Sequence[Note], folder: Path, unit: str, outputs: Sequence[str], clean: Clean
) -> Iterator[Text]:
    """Yield a unit's texts that its marker lists, in the lane's order.

    Parameters
    ----------
    notes : sequence of Note
    folder : Path
        The unit's folder.
    unit : str
        The unit's id.
    outputs : sequence of str
        Paths that the marker lists.
    clean : callable
        Takes machine paths and secrets out of a text.
    """
    for note in notes:
        pattern = note.pattern.format(prefix=unit)
        for path in sorted(path for path in outputs if matches(path, pattern)):
            text = _read(folder, path)
            shown = None if text is None else tuple(_paragraphs(text, clean))
            yield Text(note.title, path, shown)


def _read(folder: Path, path: str) -> str | None:
    """Return a small UTF-8 file of the unit's own folder; None for any other."""
    place = folder / path
    try:
        if ".." in PurePosixPath(path).parts or place.resolve() != folder.resolve() / path:
            return None
        with place.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        return content.decode("utf-8-sig") if len(content) <= MAX_BYTES else None
    except (OSError, ValueError):
        return None


def _paragraphs(text: str, clean: Clean) -> Iterator[str]:
    """Yield the paragraphs of a text, cleaned, their lines kept.

    The report cuts long lines of logs; a paragraph on one line is no log, so it is cleaned in
    pieces that end at a space, after secrets are taken out of the whole.
    """
    for paragraph in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        lines = without_secrets(paragraph).rstrip().split("\n")
        shown = "\n".join(" ".join(clean(piece) for piece in _pieces(line)) for line in lines)
        if shown.strip():
            yield shown


def _pieces(line: str) -> list[str]:
    if len(line) <= _PIECE:
        return [line]
    return textwrap.wrap(line, _PIECE, break_long_words=False, break_on_hyphens=False)

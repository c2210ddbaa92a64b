"""Identifiers: what may become a file name, checked once and here only."""

from __future__ import annotations

import re
import unicodedata

from cohortflow.core.outcome import Category, Failure

_LABEL = re.compile(r"[A-Za-z0-9+]{1,64}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}\Z")
_UID = re.compile(r"[0-9]+(\.[0-9]+)*\Z")


def bids_label(text: str) -> str:
    """Return a BIDS label unchanged, or refuse it.

    Raises
    ------
    Failure
        DATA_INVALID when the text is not ``[A-Za-z0-9+]{1,64}``.

    Examples
    --------
    >>> bids_label("01")
    '01'
    """
    if not _LABEL.match(text):
        raise Failure(
            Category.DATA_INVALID,
            f"{text!r} is not a BIDS label",
            "rename it with letters, digits and + only, 64 at most",
        )
    return text


def name(text: str) -> str:
    """Return a unit's or run's name unchanged, or refuse it.

    Raises
    ------
    Failure
        DATA_INVALID when the text could leave a folder or surprise a shell.
    """
    if not _NAME.match(text) or ".." in text:
        raise Failure(
            Category.DATA_INVALID,
            f"{text!r} cannot be used as a name",
            "use letters, digits, '.', '_', '+' and '-', starting with a letter or digit",
        )
    return text


def path(text: str) -> str:
    """Return a path unchanged, or refuse what no script and no JSON file can hold.

    Raises
    ------
    Failure
        DATA_INVALID for a line break, a control character, or what is not UTF-8.
    """
    if any(unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} for letter in text):
        shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        raise Failure(
            Category.DATA_INVALID,
            f"{shown}: has a line break, a control character or no UTF-8 in its name",
            "rename it, or reach it through a link with another name",
        )
    return text


def uid(text: str) -> str:
    """Return a DICOM unique identifier unchanged, or refuse it.

    Raises
    ------
    Failure
        DATA_INVALID when the text is not digits and dots of at most 64 characters (PS3.5 9.1).
    """
    if len(text) > 64 or not _UID.match(text):
        raise Failure(
            Category.DATA_INVALID,
            f"{text!r} is not a DICOM UID",
            "use the SeriesInstanceUID as `dwi-discover` lists it",
        )
    return text

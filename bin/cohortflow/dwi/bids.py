"""BIDS file names: entities, filters, inherited sidecars, participant labels."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from cohortflow.core import names
from cohortflow.core.outcome import Category, Failure

LABELS_LENGTH = 100
"""Letters that the labels of subject and session may have together: both are in file names."""

IMAGE_ENDS = ("_dwi.nii.gz", "_dwi.nii")


@dataclass(frozen=True)
class Name:
    """A BIDS file name taken apart.

    Attributes
    ----------
    entities : dict
        By key as written, for example ``{"sub": "01", "dir": "AP"}``.
    suffix : str
    extension : str
        With its dot, ``.nii.gz`` whole.
    """

    entities: dict[str, str]
    suffix: str
    extension: str


def parse(filename: str) -> Name | None:
    """Take a file name apart; None when it is not of BIDS' form.

    Examples
    --------
    >>> parse("sub-01_dir-AP_dwi.nii.gz")
    Name(entities={'sub': '01', 'dir': 'AP'}, suffix='dwi', extension='.nii.gz')
    >>> parse("readme.txt")
    Name(entities={}, suffix='readme', extension='.txt')
    """
    stem, dot, extension = filename.partition(".")
    *pairs, suffix = stem.split("_")
    entities: dict[str, str] = {}
    for pair in pairs:
        key, dash, label = pair.partition("-")
        if not (key and dash and label) or key in entities:
            return None
        entities[key] = label
    if not suffix or not dot or "-" in suffix:
        return None
    return Name(entities, suffix, dot + extension)


def unit_name(subject: str, session: str | None) -> tuple[str, str]:
    """Return the id and folder of a unit; labels that are no BIDS labels are escaped.

    The escape is injective: each byte that is not a letter or digit becomes ``_`` and two
    hexadecimal digits, which no valid unit name contains.

    Examples
    --------
    >>> unit_name("01", "a")
    ('sub-01_ses-a', 'sub-01/ses-a')
    >>> unit_name("0 1", None)
    ('sub-0_201', 'sub-0_201')
    """
    parts = ["sub-" + _safe(subject)] + ([] if session is None else ["ses-" + _safe(session)])
    return _short("_".join(parts)), "/".join(_short(part) for part in parts)


def is_label(text: str) -> bool:
    """Tell whether a text is a BIDS label."""
    try:
        names.bids_label(text)
    except Failure:
        return False
    return True


def _safe(label: str) -> str:
    if is_label(label):
        return label
    raw = label.encode("utf-8", "surrogateescape")
    return "".join(chr(b) if chr(b).isascii() and chr(b).isalnum() else f"_{b:02x}" for b in raw)


def _short(text: str) -> str:
    """Bound a name's length; what is cut is replaced by a digest."""
    if len(text) <= 128:
        return text
    return text[:100] + "_h" + hashlib.sha256(text.encode()).hexdigest()[:16]


def choose_labels(asked: Iterable[str], present: Sequence[str], prefix: str) -> set[str]:
    """Find the labels that a user asked for.

    Parameters
    ----------
    asked : iterable of str
        With or without prefix.
    present : sequence of str
        Labels of the study, without prefix.
    prefix : str
        ``sub-`` or ``ses-``.

    Returns
    -------
    set of str
        A label matches exactly. A plain integer such as ``1`` that matches none is taken for
        the only label with that value (``01``): Nextflow turns ``01`` into ``1``.

    Raises
    ------
    Failure
        USAGE for a label that the study does not have; close ones are named.
    """
    known = set(present)
    chosen = set()
    for text in asked:
        label = text.removeprefix(prefix)
        alike = [p for p in known if _integer(label) and p.isdecimal() and int(p) == int(label)]
        if label in known:
            chosen.add(label)
        elif len(alike) == 1:
            chosen.add(alike[0])
        else:
            close = sorted(alike) or difflib.get_close_matches(label, sorted(known), 3, 0.5)
            shown = ", ".join(prefix + c for c in close or sorted(known)[:3]) or "none"
            raise Failure(
                Category.USAGE,
                f"the study has no {prefix}{label}",
                f"use a label as the folder has it, for example: {shown}",
            )
    return chosen


def _integer(text: str) -> bool:
    return text.isascii() and text.isdecimal() and (text == "0" or not text.startswith("0"))


def sidecar(
    image: str, extension: str, levels: Iterable[tuple[str, Collection[str]]]
) -> str | None:
    """Find the sidecar that applies to an image by BIDS' inheritance principle.

    Parameters
    ----------
    image : str
        The image's file name.
    extension : str
        For example ``.bval``.
    levels : iterable of (folder, file names)
        From the image's folder up to the study's; consumed no further than needed. An image
        whose name is not of BIDS' form has sidecars of its own name, in its folder, only.

    Returns
    -------
    str or None
        Path of the nearest sidecar whose suffix is the image's and whose entities the image
        all has; within a folder the one with most entities.

    Raises
    ------
    Failure
        DATA_INVALID when two sidecars of a folder apply equally.
    """
    own = parse(image)
    exact = stem(image) + extension
    for folder, files in levels:
        if exact in files:
            return f"{folder}/{exact}"
        if own is None:
            return None
        found = [(len(name.entities), file) for file, name in _applying(files, own, extension)]
        if found:
            most = max(found)[0]
            best = sorted(file for count, file in found if count == most)
            if len(best) > 1:
                raise Failure(
                    Category.DATA_INVALID,
                    f"{folder}: {best[0]} and {best[1]} apply to {image} equally",
                    "keep one of them",
                )
            return f"{folder}/{best[0]}"
    return None


def stem(image: str) -> str:
    """Return an image's file name without ``.nii`` or ``.nii.gz``."""
    return image.removesuffix(".gz").removesuffix(".nii")


def _applying(files: Iterable[str], image: Name, extension: str) -> Iterator[tuple[str, Name]]:
    for file in files:
        if file.endswith(f"{image.suffix}{extension}"):
            name = parse(file)
            if (
                name is not None
                and (name.suffix, name.extension) == (image.suffix, extension)
                and name.entities.items() <= image.entities.items()
            ):
                yield file, name

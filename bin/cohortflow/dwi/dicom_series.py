"""List the DICOM series of a folder and tell which can be diffusion series."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cohortflow.core import names
from cohortflow.core.outcome import Category, Failure, one_line
from cohortflow.dwi import dicom, labels
from cohortflow.dwi import files as file_status

_MAPS = frozenset(("ADC", "FA", "TRACEW", "TRACE", "TENSOR", "TENSOR_B0", "EADC", "COLFA"))
_NAMED = re.compile(r"dwi|dti|diff|hardi|noddi|dsi(?![a-z])|dmri|ep2d_b\d|(?<![a-z])b\d{3,4}", re.I)
_UID = re.compile(r"[0-9.]{1,64}\Z")


@dataclass
class Series:
    """What the headers of a series say.

    Attributes
    ----------
    uid : str
        SeriesInstanceUID.
    number, description : str
        SeriesNumber and SeriesDescription as written; empty when absent.
    files : list of str
    positions : set of bytes
        Distinct values of ImagePositionPatient.
    diffusion : bool
        Whether b-values, ImageType or a name say that it is diffusion weighted.
    derived : bool
        Whether it is a map that the scanner computed.
    bundled : bool
        Whether a file holds more than one slice (mosaic, enhanced).
    enhanced : bool
        Whether a file holds frames, perhaps of several volumes.
    """

    uid: str
    number: str = ""
    description: str = ""
    files: list[str] = field(default_factory=list)
    positions: set[bytes] = field(default_factory=set)
    diffusion: bool = False
    derived: bool = False
    bundled: bool = False
    enhanced: bool = False

    @property
    def several(self) -> bool:
        """Whether it holds more than one volume, as far as the headers tell."""
        if self.bundled or not self.positions:
            return self.enhanced or len(self.files) > 1
        return len(self.files) >= 1.5 * len(self.positions)

    def choice(self) -> dict[str, str]:
        """Describe the series as the manifest lists it."""
        return {
            "series_uid": self.uid,
            "description": " ".join(f"{self.number} {self.description}".split()),
            "files": str(len(self.files)),
        }


def list_series(files: Iterable[str]) -> list[Series]:
    """Group the MR images among some files by SeriesInstanceUID.

    Parameters
    ----------
    files : iterable of str
        Paths; what is not DICOM, or no MR image, is passed over.

    Returns
    -------
    list of Series
        Ordered by number, then UID.

    Raises
    ------
    Failure
        DATA_INVALID for a file that is DICOM but cannot be read; PERMISSION.
    """
    found: dict[str, Series] = {}
    for path in files:
        values = dicom.header(path)
        if values is not None and dicom.text(values, dicom.CLASS) in dicom.MR_CLASSES:
            _add(found, path, values)
    for series in found.values():
        if not series.diffusion and series.several and not series.derived:
            sample = series.files[:: max(1, len(series.files) // 5)]
            series.diffusion = any(_says_diffusion(path) for path in sample)
    return sorted(found.values(), key=lambda s: (s.number.rjust(12), s.uid))


def candidates(series: Iterable[Series]) -> list[Series]:
    """Keep the series that can be a diffusion series.

    Returns
    -------
    list of Series
        Those of several volumes that are marked as diffusion and are no computed maps; when
        none is marked, all of several volumes.
    """
    several = [s for s in series if s.several and not s.derived]
    return [s for s in several if s.diffusion] or several


def named(found: Iterable[Series], uid: str, place: str) -> Series:
    """Return the series of a UID.

    Raises
    ------
    Failure
        DATA_INVALID when there is none; those that are there are listed.
    """
    listed = list(found)
    for series in listed:
        if series.uid == names.uid(uid):
            return series
    raise Failure(
        Category.DATA_INVALID,
        f"{place}: has no series {uid}, only: {describe(listed)}",
        "use one of these UIDs",
    )


def choose(
    found: Sequence[Series], place: str, uid: str | None, without: Series | None = None
) -> Series:
    """Return the series of a UID, or the only diffusion series.

    Parameters
    ----------
    found : sequence of Series
    place : str
        Where they are, for the message.
    uid : str or None
    without : Series, optional
        One that is not meant.

    Raises
    ------
    Failure
        DATA_INVALID when there is no such series, or not one diffusion series only.
    """
    if not found:
        raise Failure(
            Category.DATA_INVALID, f"{place}: no DICOM series of MR images", "add the series"
        )
    if uid is not None:
        return named(found, uid, place)
    usable = [series for series in candidates(found) if series is not without]
    if len(usable) != 1:
        raise Failure(
            Category.DATA_INVALID,
            f"{place}: {len(usable)} diffusion series, one is needed: {describe(found)}",
            "choose one with --series-uid",
        )
    return usable[0]


def check_two(series: Series, reverse: Series, place: str) -> None:
    """Refuse a series that is named as its own partner.

    Raises
    ------
    Failure
        USAGE.
    """
    if series is reverse:
        raise Failure(
            Category.USAGE,
            f"{place}: {describe([series])} is given as its own series of reversed phase encoding",
            "name another series as reverse_series_uid",
        )


def describe(found: Iterable[Series]) -> str:
    """Write series as one line: UID, number, description and number of files."""
    return "; ".join(
        f"{s.uid} ({' '.join((s.number, s.description)).strip()}, {len(s.files)} files)"
        for s in found
    )


def reversed_of(
    chosen: Sequence[Series], every: Sequence[Series]
) -> tuple[Series | None, list[Series], str]:
    """Find the one series to use, and those of reversed phase encoding by their descriptions.

    Parameters
    ----------
    chosen : sequence of Series
        Those that could be used; one or two of them, else nothing is found.
    every : sequence of Series
        All of the folder: a reversed series may have one volume only.

    Returns
    -------
    main : Series or None
        Of two, the one with more files (with more bytes where files hold many frames), else
        the first by description.
    reverses : list of Series
        Diffusion series whose description differs from the main one's only by the direction.
    note : str
        What is not used, and why this one is the main series; which series could be its
        reversed one where none is certain.
    """
    if not 1 <= len(chosen) <= 2:
        return None, [], ""
    main, *others = sorted(chosen, key=lambda s: (-_size(s), s.description, s.number, s.uid))
    reverses = [
        series
        for series in every
        if series.diffusion
        and not series.derived
        and labels.differ_by_direction(main.description, series.description)
    ]
    if not main.diffusion or not all(series in reverses for series in others):
        return None, [], ""
    if not reverses:
        return main, [], _perhaps(main, every)
    note = f"of {describe(others)} only b=0 volumes are used" if others else ""
    if others and _size(others[0]) == _size(main):
        note += f"; it is as large as {describe([main])}, which is the first by description"
    return main, reverses, note


def _perhaps(main: Series, every: Iterable[Series]) -> str:
    """Name the diffusion series whose descriptions tell the other direction, and more."""
    found = [
        series
        for series in every
        if series.diffusion
        and not series.derived
        and labels.perhaps_opposite(main.description, series.description)
    ]
    if not found:
        return ""
    return f"not used, could be named as reverse_series_uid in a manifest: {describe(found)}"


def _size(series: Series) -> int:
    """Return what grows with a series' volumes: files, or megabytes of files with many frames."""
    if not series.enhanced:
        return len(series.files)
    return sum(file_status.status(path).st_size for path in series.files) >> 20


def _add(found: dict[str, Series], path: str, values: dicom.Values) -> None:
    uid = dicom.text(values, dicom.SERIES)
    if not _UID.match(uid):
        raise dicom.damaged(path, f"its SeriesInstanceUID {uid[:80]!r} is none")
    kind = dicom.text(values, dicom.IMAGE_TYPE).upper().split("\\")
    if uid not in found:
        series = found[uid] = Series(
            uid, dicom.text(values, dicom.NUMBER), one_line(dicom.text(values, dicom.DESCRIPTION))
        )
        named = " ".join(
            dicom.text(values, tag) for tag in (dicom.DESCRIPTION, dicom.PROTOCOL, dicom.SEQUENCE)
        )
        series.diffusion = "DIFFUSION" in kind or bool(_NAMED.search(named))
        series.enhanced = dicom.text(values, dicom.CLASS) != dicom.CLASSIC
        series.bundled = series.enhanced or "MOSAIC" in kind
        series.derived = bool(_MAPS & set(kind))
    series = found[uid]
    series.files.append(path)
    if not series.diffusion and len(values.get(dicom.B_VALUE, b"")) == 8:
        series.diffusion = struct.unpack("<d", values[dicom.B_VALUE])[0] > 0
    if dicom.POSITION in values:
        series.positions.add(values[dicom.POSITION])


def _says_diffusion(path: str) -> bool:
    """Look for b-values where vendors keep them: Siemens, GE, Philips, and in the frames."""
    tags = (0x0019100C, 0x00189087, 0x20011003, 0x00431039)
    try:
        with dicom.quiet():
            dataset = dicom.read_dataset(path, [*tags, 0x52009229, 0x52009230])
            return any(_positive(e.value) for e in dataset.iterall() if e.tag in tags)
    except Exception:  # a vendor's private element may be anything; then it says nothing
        return False


def _positive(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, bytes):
        value = value.decode("ascii").split("\\")[0]
    elif not isinstance(value, str | int | float):
        value = value[0]
    return float(value) > 0

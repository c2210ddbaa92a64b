"""The manifest: the units of a study, their inputs and options, one JSON line each.

Discovery writes it, a person may edit it, the plan reads it, and a rerun list is one.
The first line is the header; each further line is a unit.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cohortflow.core import names, save
from cohortflow.core.outcome import Category, Failure

SCHEMA_VERSION = 1


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Input(_Value):
    """One file or folder that a unit reads.

    Attributes
    ----------
    role : str
        What the lane uses it for, for example ``dwi``, ``bval``, ``dicom``.
    path : str
        Absolute path, links resolved by the reader.
    bytes : int or None
        Size; of a folder, the sum over its files.
    mtime_ns : int or None
        Modification time in nanoseconds; of a folder, the newest file's.
    sha256 : str or None
        Content digest, where someone computed it.
    files : int or None
        Number of files, for a folder.
    listing : str or None
        SHA-256 over a folder's sorted names, sizes and times: sees what sums do not.
    """

    role: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    path: str
    bytes: int | None = None
    mtime_ns: int | None = None
    sha256: str | None = None
    files: int | None = None
    listing: str | None = None


class Excluded(_Value):
    """Why a unit cannot run, found before anything was started."""

    category: Category
    message: str
    remedy: str = ""
    choices: list[dict[str, str]] = Field(default_factory=list)


class Unit(_Value):
    """One independent piece of a study.

    Attributes
    ----------
    id : str
        Unique in the manifest, usable as a file name.
    folder : str
        The unit's folder below the output, for example ``sub-01/ses-01``.
    entities : dict
        For example ``{"subject": "01", "session": "01"}``.
    inputs : list of Input
    options : dict
        Options of this unit alone, for example ``series_uid``.
    excluded : Excluded or None
        Set when the unit cannot run.
    """

    id: str
    folder: str
    entities: dict[str, str] = Field(default_factory=dict)
    inputs: list[Input] = Field(default_factory=list)
    options: dict[str, str] = Field(default_factory=dict)
    excluded: Excluded | None = None


class Header(_Value):
    """The manifest's first line."""

    schema_version: Literal[1] = 1
    lane: str
    dataset: str
    generated_by: str


def write(path: Path, header: Header, units: Iterable[Unit]) -> None:
    """Write a manifest as JSON lines, streaming; it appears when it is complete.

    Raises
    ------
    OSError
        When the file cannot be written.
    """
    with save.file(path) as file:
        file.write(header.model_dump_json().encode() + b"\n")
        for unit in units:
            file.write(unit.model_dump_json(exclude_none=True).encode() + b"\n")


def read(path: Path) -> tuple[Header, Iterator[Unit]]:
    """Read a manifest of JSON lines, streaming; foreign forms are read by `importers`.

    Raises
    ------
    Failure
        USAGE when a line is not what the contract says; the message names the line.
    """
    lines = _lines(path)
    try:
        number, first = next(lines)
    except StopIteration:
        raise _bad(path, 1, "the file is empty") from None
    try:
        header = Header.model_validate_json(first)
    except ValidationError as error:
        raise _bad(path, number, _explain(error)) from None
    return header, _units(path, lines)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines as bytes, so that what is no UTF-8 is an error of its line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if text.strip():
                yield number, text


def _units(path: Path, lines: Iterator[tuple[int, bytes]]) -> Iterator[Unit]:
    for number, line in lines:
        try:
            yield Unit.model_validate_json(line)
        except ValidationError as error:
            raise _bad(path, number, _explain(error)) from None


def _bad(path: Path, number: int, reason: str) -> Failure:
    return Failure(
        Category.USAGE, f"{path} line {number}: {reason}", "correct the manifest, see docs/manifest"
    )


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "line"
    return f"{where}: {first['msg']}"


def checked(unit: Unit) -> Unit:
    """Return the unit when its identifiers can become file names, and scripts can hold its paths.

    Raises
    ------
    Failure
        DATA_INVALID when the id or a part of the folder could leave the output folder, or a path
        has a line break.
    """
    names.name(unit.id)
    for part in unit.folder.split("/"):
        names.name(part)
    for one in unit.inputs:
        names.path(one.path)
    return unit


def schema() -> dict[str, Any]:
    """Return the JSON Schema of one line of a manifest: a header or a unit."""
    from pydantic import TypeAdapter

    return TypeAdapter(Header | Unit).json_schema()

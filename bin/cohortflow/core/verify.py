"""Compare an output folder with what its markers say; nothing is written.

A unit is well when its marker is whole, every file that it lists is there with its size and
SHA-256, and no other file is in its folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from cohortflow import __version__
from cohortflow.core import lanes, layout, marker, survey
from cohortflow.core.outcome import Failure
from cohortflow.core.survey import AGAIN, OVERWRITE, Finding

__all__ = ["Finding", "digest", "every", "unit"]

_BLOCK = 1 << 20
_MOVE = "move it elsewhere; the next run of the unit would move it to .cohortflow/kept"


def every(out: Path, *, quick: bool = False) -> Iterator[Finding]:
    """Yield all that is wrong with an output folder: the dataset first, then unit by unit.

    Parameters
    ----------
    out : Path
    quick : bool
        Compare sizes, not content.
    """
    found = survey.survey(out)
    yield from survey.dataset(out, found)
    for folder in found.folders:
        yield from unit(out, folder, quick=quick)


def unit(out: Path, folder: str, *, quick: bool = False) -> Iterator[Finding]:
    """Yield what is wrong with one unit.

    A unit that is published anew meanwhile is looked at again.

    Parameters
    ----------
    out : Path
    folder : str
        The unit's folder, relative to `out`.
    quick : bool
        Compare sizes, not content.
    """
    for _ in range(3):
        before = _stamp(out / folder)
        found = list(_unit(out, folder, quick))
        if not found or _stamp(out / folder) == before:
            break
    yield from found


def _stamp(folder: Path) -> tuple[int, int] | None:
    try:
        facts = (folder / marker.NAME).lstat()
    except OSError:
        return None
    return facts.st_ino, facts.st_mtime_ns


def _unit(out: Path, folder: str, quick: bool) -> Iterator[Finding]:
    name, at = survey.id_of(folder), f"{folder}/{marker.NAME}"
    try:
        done = _marker(out / folder / marker.NAME)
    except (OSError, ValueError) as error:
        yield Finding(name, at, f"cannot be read: {_reason(error)}", OVERWRITE)
        return
    if done.unit != name:
        if _planned(out, done.run).get(done.unit) == folder:
            name = done.unit
        else:
            yield Finding(name, at, f"is of unit {done.unit}, not of this folder", OVERWRITE)
    yield from _declared(out, done, name, at)
    listed = {marker.NAME}
    for output in done.outputs:
        if output.path in listed:
            yield Finding(name, at, f"lists {output.path} twice", OVERWRITE)
            continue
        listed.add(output.path)
        yield from _output(out, folder, output, name, quick)
    yield from _strays(out, folder, listed, name)


def _marker(path: Path) -> marker.Marker:
    """Read a marker as its schema says, without any leniency."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError("it is not a regular file")
    return marker.Marker.model_validate_json(path.read_bytes(), strict=True)


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return f"{where}: {first['msg']}" if where else first["msg"]
    return getattr(error, "strerror", None) or str(error)


def _planned(out: Path, run: str) -> dict[str, str]:
    """Return the folder of each unit of a run: a manifest may give it any."""
    path = layout.run_folder(out, Path(run).name) / "plan.jsonl"
    folders: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                one: dict[str, Any] = json.loads(line).get("unit") or {}
                folders[str(one.get("id"))] = str(one.get("folder"))
    except (OSError, ValueError, AttributeError):
        return folders
    return folders


def _declared(out: Path, done: marker.Marker, name: str, at: str) -> Iterator[Finding]:
    """Compare the list of a marker with what its lane declares."""
    try:
        lane = lanes.get(done.lane)
    except Failure:
        yield Finding(name, at, f"is of lane {done.lane!r}, which is not known here", OVERWRITE)
        return
    if _dataset_lane(out) not in {done.lane, None}:
        yield Finding(name, at, f"is of lane {done.lane}, not of this dataset's", OVERWRITE)
    version = done.pipeline_version
    made = f" (made by version {version})" if version != __version__ else ""
    listed = {output.path for output in done.outputs}
    for path in lane.missing(listed, done.unit, {**done.parameters, **done.options}):
        yield Finding(name, at, f"does not list {path}, which the lane declares{made}", OVERWRITE)


def _dataset_lane(out: Path) -> object:
    """Return the dataset's lane; None when its description does not say (a finding of its own)."""
    try:
        return (layout.description(out) or {}).get("CohortflowLane")
    except (Failure, OSError):
        return None


def _output(
    out: Path, folder: str, output: marker.Output, name: str, quick: bool
) -> Iterator[Finding]:
    """Compare one file with what the marker says of it."""
    path = output.path
    if not _inside(path):
        at = f"{folder}/{marker.NAME}"
        yield Finding(name, at, f"lists {path!r}, which is no path inside the folder", OVERWRITE)
        return
    file, place = out / folder / path, f"{folder}/{path}"
    try:
        facts = file.lstat()
        if not stat.S_ISREG(facts.st_mode) or file.resolve() != (out / folder).resolve() / path:
            yield Finding(name, place, "is not a file of this folder but a link or other", AGAIN)
        elif facts.st_size != output.bytes:
            yield Finding(name, place, f"has {facts.st_size} bytes, not {output.bytes}", AGAIN)
        elif not quick and digest(file) != output.sha256:
            yield Finding(name, place, "has another SHA-256 than the marker lists", OVERWRITE)
    except (FileNotFoundError, NotADirectoryError):
        yield Finding(name, place, "is missing", AGAIN)
    except OSError as error:
        yield Finding(name, place, f"cannot be read: {_reason(error)}", "correct its rights")


def _inside(path: str) -> bool:
    """Tell whether a text is a plain relative path that stays in its folder."""
    pure = PurePosixPath(path)
    return (
        path.isprintable()
        and pure.as_posix() == path
        and not pure.is_absolute()
        and not {"..", "."} & {*pure.parts, path}
    )


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, read in blocks of 1 MiB."""
    value = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            value.update(block)
    return value.hexdigest()


def _strays(out: Path, folder: str, listed: Iterable[str], name: str) -> Iterator[Finding]:
    """Yield files that the marker does not list, and units inside this unit."""
    known, base = set(listed), out / folder
    for root, folders, files in os.walk(base):
        here = Path(root)
        if here != base and marker.NAME in files:
            path = here.relative_to(out).as_posix()
            yield Finding(name, path, "is a unit's folder inside another's", "move it elsewhere")
            folders.clear()
            continue
        folders.sort()
        links = [entry for entry in folders if (here / entry).is_symlink()]
        for path in sorted((here / entry).relative_to(base).as_posix() for entry in files + links):
            if path not in known:
                yield Finding(name, f"{folder}/{path}", "is listed by no marker", _MOVE)

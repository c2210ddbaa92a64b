"""Look over an output folder: where its units are, and what lies outside of them."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cohortflow.core import lanes, layout, marker
from cohortflow.core.outcome import Category, Failure

AGAIN = "run the study again, which makes the unit anew"
OVERWRITE = "run this unit again with --overwrite"
DESCRIPTION = layout.DESCRIPTION
#: What BIDS lets a user add at the root of a derivative dataset.
_BIDS_FILE = re.compile(
    r"(README|CHANGES|LICENSE|CITATION|participants|samples|dataset_qc)(\.\w+)?|[\w-]+_\w+\.(tsv|json)"
)
_STAGED = re.compile(r"(?P<unit>.+)\.[0-9a-f]{8}(\.old)?")


@dataclass(frozen=True)
class Finding:
    """Something that is not as a marker says.

    Attributes
    ----------
    unit : str
        The unit's id, or ``-`` for the dataset.
    path : str
        Relative to the output folder.
    problem : str
    remedy : str
    """

    unit: str
    path: str
    problem: str
    remedy: str


@dataclass(frozen=True)
class Survey:
    """Where the units of an output folder are, and what lies outside of them.

    Attributes
    ----------
    folders : tuple of str
        Folders with a marker, relative to the output, sorted.
    outside : tuple of str
        Files and links in no such folder; a folder without any marker counts as one.
    unreadable : tuple of str
        Folders that could not be listed.
    """

    folders: tuple[str, ...]
    outside: tuple[str, ...]
    unreadable: tuple[str, ...]


def survey(out: Path) -> Survey:
    """Look for units below an output folder, without following links.

    Parameters
    ----------
    out : Path

    Returns
    -------
    Survey
    """
    units: set[str] = set()
    outside: list[str] = []
    bad: list[str] = []
    for root, folders, files in os.walk(out, onerror=lambda e: bad.append(str(e.filename))):
        here = Path(root).relative_to(out).as_posix()
        folders.sort()
        if here == ".":
            folders[:] = [n for n in folders if not n.startswith(".") and n not in layout.FOLDERS]
            outside += [*files, *(n for n in folders if Path(root, n).is_symlink())]
            continue
        if marker.NAME in files:
            units.add(here)
        elif not any(parent in units for parent in _parents(here)):
            links = [name for name in folders if Path(root, name).is_symlink()]
            outside += [f"{here}/{name}" for name in (*files, *links)]
    return Survey(
        tuple(sorted(units)),
        tuple(sorted({_place(path, units) for path in outside})),
        tuple(sorted(Path(path).relative_to(out).as_posix() for path in bad)),
    )


def _parents(path: str) -> list[str]:
    return [p.as_posix() for p in PurePosixPath(path).parents][:-1]


def _place(path: str, units: set[str]) -> str:
    """Return the folder that a file outside of all units makes look like a unit, else itself."""
    parts = path.split("/")
    deep = len(parts) > 2 and parts[1].startswith("ses-")
    folder = "/".join(parts[: 2 if deep else 1])
    above = any(unit.startswith(f"{folder}/") for unit in units)
    return path if folder == path or above else folder


def folder_of(found: Survey, name: str) -> str:
    """Return the folder of a unit that is named by its id or by its folder.

    Raises
    ------
    Failure
        INPUT_MISSING when no folder with a marker has this name.
    """
    name = name.rstrip("/")
    for folder in found.folders:
        if name in {folder, id_of(folder)}:
            return folder
    raise Failure(
        Category.INPUT_MISSING, f"no published unit {name!r} here", "see batch_summary.json"
    )


def id_of(folder: str) -> str:
    """Return the id that a unit of this folder has, unless a manifest says otherwise."""
    return folder.replace("/", "_")


def dataset(out: Path, found: Survey) -> Iterator[Finding]:
    """Yield what is wrong outside of the units.

    Parameters
    ----------
    out : Path
    found : Survey
        Of the same folder.
    """
    yield from _description(out)
    for path in found.unreadable:
        yield Finding("-", path, "cannot be listed", "give yourself the right to read it")
    for path in found.outside:
        yield from _outside(out, path)
    yield from _leftovers(out)


def _description(out: Path) -> Iterator[Finding]:
    again = "run the study again into this folder"
    try:
        value = layout.description(out)
    except (Failure, OSError) as error:
        yield Finding("-", DESCRIPTION, f"cannot be read: {error}", "restore it from a backup")
        return
    if value is None:
        yield Finding("-", DESCRIPTION, "is missing", again)
        return
    missing = [key for key in ("Name", "BIDSVersion", "GeneratedBy") if not value.get(key)]
    if missing:
        yield Finding("-", DESCRIPTION, f"has no {', '.join(missing)}", "restore these fields")
    if value.get("CohortflowLane") not in lanes.LANES:
        lane = value.get("CohortflowLane")
        yield Finding("-", DESCRIPTION, f"CohortflowLane {lane!r} is not a lane", "correct it")


def _outside(out: Path, path: str) -> Iterator[Finding]:
    """Judge something that lies in no unit's folder."""
    place = out / path
    if place.is_symlink() and place.is_dir():
        yield Finding(id_of(path), path, "is a link, not a folder", "put the folder in its place")
    elif place.is_dir():
        yield Finding(
            id_of(path),
            path,
            f"has files but no {marker.NAME}, so it is not a result",
            f"do not use it; {AGAIN} and moves these files to .cohortflow/kept",
        )
    elif "/" in path:
        yield Finding("-", path, "is listed by no marker", "move it elsewhere")
    elif any(path.startswith(f".{name}.") for name in layout.FILES):
        if _held(layout.hidden(out, "run.lock")):
            return  # it is being written now
        yield Finding("-", path, "was left by a write that did not end", "remove it")
    elif not (path in layout.FILES or path.startswith(".") or _BIDS_FILE.fullmatch(path)):
        yield Finding("-", path, "is not one of the dataset's files", "move it elsewhere")


def _leftovers(out: Path) -> Iterator[Finding]:
    """Yield what publishes left that did not live to their end."""
    work = layout.hidden(out, "work")
    for left in sorted(work.iterdir() if work.is_dir() else ()):
        staged = _STAGED.fullmatch(left.name)
        name = staged["unit"] if staged else "-"
        if staged and _held(layout.hidden(out, "locks", f"{name}.lock")):
            continue  # it is being published now
        yield Finding(
            name,
            left.relative_to(out).as_posix(),
            "was left by a publish that did not end",
            f"{OVERWRITE}, which clears it up" if staged else "move it elsewhere",
        )


def _held(lock: Path) -> bool:
    """Tell whether a process holds a lock."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False

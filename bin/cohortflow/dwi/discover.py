"""Find the units of a BIDS study: every ``sub-*[/ses-*]`` that has a ``dwi`` folder.

What cannot be used is a unit as well, with the reason why. Nothing but headers and gradient
files is read.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cohortflow import __version__
from cohortflow.core import names
from cohortflow.core.manifest import Header, Input, Unit
from cohortflow.core.outcome import Category, Failure, NothingToRun
from cohortflow.dwi import atlas_input, bids, candidates, choose, files, handwritten
from cohortflow.dwi import filters as queries

if TYPE_CHECKING:
    from cohortflow.core.lanes import Selection


@dataclass(frozen=True)
class _Place:
    """A folder that may hold a unit; without `folder` there is none, and `failure` says why."""

    subject: str
    session: str | None = None
    folder: str | None = None
    failure: Failure | None = None
    empty: bool = False


def manifest_header(study: Path) -> Header:
    """Return the first line of a study's manifest."""
    return Header(
        lane="dwi", dataset=str(study.resolve()), generated_by=f"cohortflow {__version__}"
    )


def of_selection(study: Path, selection: Selection) -> Iterator[Unit]:
    """Yield the units of a study as `discover` does, for the engine."""
    return discover(
        study,
        participants=selection.participants,
        sessions=selection.sessions,
        filters=selection.filters,
        atlas=_atlas(selection.parameters),
    )


def of_manifest(unit: Unit, base: Path, parameters: Mapping[str, str]) -> Unit:
    """Complete a unit of a manifest as `complete` does, for the engine.

    An atlas that the parameter names goes before the unit's own.

    Raises
    ------
    Failure
        As `complete`; USAGE for an option that is a parameter and has a value that it cannot have.
    """
    from cohortflow.dwi.lane import LANE  # it imports this module

    for parameter in LANE.parameters:
        if parameter.name in unit.options:
            parameter.checked(unit.options[parameter.name])
    own = [one for one in unit.inputs if one.role == atlas_input.ROLE]
    others = [one for one in unit.inputs if one.role != atlas_input.ROLE]
    named = _atlas(parameters)
    if named is None and own:
        named = atlas_input.of_folder(base / own[0].path)
    return atlas_input.added(complete(unit.model_copy(update={"inputs": others}), base), named)


def _atlas(parameters: Mapping[str, str]) -> Input | None:
    named = parameters.get(atlas_input.ROLE, "")
    return atlas_input.of_folder(Path(named)) if named else None


def discover(
    study: Path,
    *,
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    filters: Mapping[str, Any] | None = None,
    atlas: Input | None = None,
) -> Iterator[Unit]:
    """Find the units of a study, ordered by subject and session.

    Parameters
    ----------
    study : Path
        A BIDS folder; ``dwi`` folders may hold DICOM files, at any depth below.
    participants, sessions : sequence of str
        Labels wanted, prefix optional; all when empty. See `bids.choose_labels`.
    filters : mapping, optional
        The ``dwi`` query of a BIDS filter file, see `filters`.
    atlas : Input, optional
        An input of each unit that can run, see `atlas_input`.

    Returns
    -------
    iterator of Unit
        Usable units with fingerprinted inputs, the others with `excluded`; a unit at a time,
        so that a large study takes no memory.

    Raises
    ------
    NothingToRun
        When no subject has a ``dwi`` folder.
    Failure
        USAGE when the study is not a folder, or a label or filter is none of it; PERMISSION.
    """
    query = queries.check_filters(filters or {})
    root = str(study.resolve())
    if not study.is_dir():
        raise Failure(Category.USAGE, f"{study}: is not a folder", "give the folder of a study")
    places = _places(root, participants, sessions, query)
    held = []
    for place in places:
        held.append(place)
        if not place.empty:
            break
    else:
        raise NothingToRun(
            Category.INPUT_MISSING,
            f"{study}: no sub-*[/ses-*]/dwi folder to work on",
            "give the study's root folder; in a DataLad dataset run `datalad get` first",
        )
    found = (_unit(place, root, query) for place in itertools.chain(held, places))
    return (atlas_input.added(unit, atlas) for unit in found)


def _places(
    root: str, participants: Sequence[str], sessions: Sequence[str], query: Mapping[str, Any]
) -> Iterator[_Place]:
    found = {e.name[4:]: e for e in files.entries(root) if _is_folder(e, "sub-")}
    asked = bids.choose_labels(participants, sorted(found), "sub-") if participants else None
    subjects = [label for label in sorted(found) if asked is None or label in asked]
    every: Iterator[_Place] = itertools.chain.from_iterable(
        _subject(label, found[label], asked is not None) for label in subjects
    )
    if sessions:
        listed = list(every)
        present = sorted({p.session for p in listed if p.session is not None})
        chosen = bids.choose_labels(sessions, present, "ses-")
        every = iter([p for p in listed if p.session in chosen or (p.failure and not p.session)])
    for place in every:
        entities = {"sub": place.subject} | ({"ses": place.session} if place.session else {})
        if place.folder is None or queries.matches_unit(entities, query):
            yield place


def _is_folder(entry: os.DirEntry[str], prefix: str) -> bool:
    """Tell whether an entry is a folder, or a link that is broken or cannot be followed."""
    if not entry.name.startswith(prefix):
        return False
    return entry.is_dir(follow_symlinks=False) or (
        entry.is_symlink() and not os.path.isfile(entry.path)  # noqa: PTH113
    )


def _subject(label: str, entry: os.DirEntry[str], asked: bool) -> Iterator[_Place]:
    """Yield the places of one subject."""
    try:
        inside = files.entries(entry.path)
        sessions = sorted(e.name[4:] for e in inside if _is_folder(e, "ses-"))
        own = any(e.name == "dwi" for e in inside)
        places = list(itertools.chain.from_iterable(_session(label, s, entry) for s in sessions))
    except Failure as failure:
        yield _Place(label, failure=failure)
        return
    if own and places:
        yield _Place(label, failure=_both(entry.path))
    elif own:
        yield _Place(label, folder=f"{entry.path}/dwi")
    elif not inside or (asked and not places):
        yield _Place(label, failure=_nothing(entry.path, bool(inside)), empty=not asked)
    yield from places


def _session(label: str, session: str, subject: os.DirEntry[str]) -> Iterator[_Place]:
    folder = f"{subject.path}/ses-{session}"
    try:
        if any(entry.name == "dwi" for entry in files.entries(folder)):
            yield _Place(label, session, f"{folder}/dwi")
    except Failure as failure:
        yield _Place(label, session, failure=failure)


def _both(path: str) -> Failure:
    return Failure(
        Category.DATA_INVALID,
        f"{path}: has a dwi folder beside its sessions",
        "move it into a session",
    )


def _nothing(path: str, something: bool) -> Failure:
    return Failure(
        Category.INPUT_MISSING,
        f"{path}: has no dwi folder" if something else f"{path}: is empty",
        "add the series, or leave the subject out"
        if something
        else f"run `datalad get -n {path}` where it is a DataLad subdataset",
    )


def _unit(place: _Place, root: str, query: Mapping[str, Any]) -> Unit:
    """Make the unit of a place; whatever is wrong with it excludes it."""
    name, folder = bids.unit_name(place.subject, place.session)
    entities = {"subject": _printable(place.subject)}
    if place.session is not None:
        entities["session"] = _printable(place.session)
    blank = Unit(id=name, folder=folder, entities=entities)
    try:
        _check_labels(place)
        if place.failure or place.folder is None:
            raise place.failure or _nothing(place.subject, True)
        keys = {"sub": place.subject} | ({"ses": place.session} if place.session else {})
        found = candidates.of_folder(place.folder, keys, root, query)
        return choose.unit(blank, found, place.folder, query, root)
    except Failure as failure:
        return choose.exclude(blank, failure, root)


def _printable(label: str) -> str:
    return label.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _check_labels(place: _Place) -> None:
    for label in (place.subject, place.session):
        if label is not None and not bids.is_label(label):
            raise Failure(
                Category.DATA_INVALID,
                f"{_printable(label)!r} is not a BIDS label (shown escaped in the unit's name)",
                "rename the folder with letters and digits only, 64 at most",
            )
    if len(place.subject) + len(place.session or "") > bids.LABELS_LENGTH:
        raise Failure(
            Category.DATA_INVALID,
            f"subject and session labels have more than {bids.LABELS_LENGTH} letters together",
            "rename the folders",
        )


def complete(unit: Unit, base: Path) -> Unit:
    """Fill in what a hand-written unit left out, and check it as `discover` does.

    Parameters
    ----------
    unit : Unit
        With an input ``dwi`` (``bval``, ``bvec`` and ``json`` are found beside it when they
        are not given) or ``dicom``; the option ``series_uid`` chooses among several series.
        An input ``reverse``, or the option ``reverse_series_uid``, names the image of reversed
        phase encoding; whoever names a series and no such image wants none.
    base : Path
        Folder that relative paths begin at.

    Returns
    -------
    Unit
        With fingerprinted inputs. One that is excluded stays so, unless its `series_uid` or
        input ``dwi`` now chooses.

    Raises
    ------
    Failure
        As for the units that `discover` excludes; USAGE for an image and DICOM together, or an
        option that is of no use.
    """
    chosen = "series_uid" in unit.options or any(one.role == "dwi" for one in unit.inputs)
    if unit.excluded and not (unit.excluded.choices and chosen):
        return unit
    for label in unit.entities.values():
        names.bids_label(label)
    paths = {i.role: os.path.normpath(base.absolute() / i.path) for i in unit.inputs}
    blank = unit.model_copy(update={"inputs": [], "excluded": None})
    return handwritten.complete(blank, paths)

"""Find the units of a study: by discovery or from a manifest, narrowed to what was asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cohortflow import __version__
from cohortflow.core import importers, manifest, names
from cohortflow.core.lanes import Lane, Selection
from cohortflow.core.manifest import Excluded, Header, Unit
from cohortflow.core.outcome import Category, Failure


def selection(
    lane: Lane, participants: tuple[str, ...], sessions: tuple[str, ...], filter_file: Path | None
) -> Selection:
    """Make a selection; labels may be given as one text with spaces or commas, as BIDS Apps do.

    Raises
    ------
    Failure
        As the lane's reader of filter files says.
    """
    filters = lane.filters(filter_file) if filter_file else {}
    return Selection(_labels(participants), _labels(sessions), filters)


def _labels(given: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(label for text in given for label in text.replace(",", " ").split())


def units(
    lane: Lane, study: Path, listed: Path | None, chosen: Selection
) -> tuple[Header, Iterator[Unit]]:
    """Return the header and the units of a study, or of `listed`, a manifest.

    Relative paths in a manifest of JSON are below the study; in another form, beside the manifest.

    Raises
    ------
    Failure
        As discovery and the manifest's reader say.
    """
    if listed is None:
        header = Header(
            lane=lane.name,
            dataset=str(study.absolute()),
            generated_by=f"cohortflow {__version__}",
        )
        return header, lane.discover(study.absolute(), chosen)
    header, found = importers.read(listed, lane.name, study)
    if header.lane != lane.name:
        raise Failure(
            Category.USAGE,
            f"{listed} is of lane {header.lane}, not {lane.name}",
            f"run `cohortflow run {header.lane}`",
        )
    wanted = (unit for unit in found if _wanted(unit, chosen))
    return header, (_fresh(unit, lane, Path(header.dataset)) for unit in wanted)


def _fresh(unit: Unit, lane: Lane, study: Path) -> Unit:
    """Look at a manifest's unit again: sizes and times may be old, and what was wrong mended."""
    try:
        manifest.checked(unit)
        for label in unit.entities.values():
            names.bids_label(label)
        if unit.inputs:
            return lane.complete(unit.model_copy(update={"excluded": None}), study)
        return _found(unit, lane, study)
    except Failure as failure:
        excluded = Excluded(
            category=failure.category, message=failure.message, remedy=failure.remedy
        )
        return unit.model_copy(update={"excluded": excluded})


def _found(unit: Unit, lane: Lane, study: Path) -> Unit:
    """Look for a unit without inputs in the study; its own options choose among several."""
    subject, session = unit.entities.get("subject"), unit.entities.get("session")
    missing = Failure(
        Category.INPUT_MISSING,
        f"{unit.id} has no inputs in the manifest, and {study} has no such unit",
        "add its inputs to the manifest",
    )
    if subject is None:
        raise missing
    try:
        found = list(lane.discover(study, Selection((subject,), (session,) if session else ())))
    except Failure as failure:
        raise missing if failure.category is Category.USAGE else failure from None
    other = next((other for other in found if other.id == unit.id), None)
    if other is None:
        raise missing
    if unit.options and other.inputs:
        return lane.complete(other.model_copy(update={"options": unit.options}), study)
    return other


def _wanted(unit: Unit, chosen: Selection) -> bool:
    """Tell whether a unit of a manifest has one of the labels asked for."""
    pairs = ((chosen.participants, "subject", "sub-"), (chosen.sessions, "session", "ses-"))
    return all(
        not labels or unit.entities.get(entity) in {label.removeprefix(prefix) for label in labels}
        for labels, entity, prefix in pairs
    )

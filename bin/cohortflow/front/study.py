"""Find the units of a study: by discovery or from a manifest, narrowed to what was asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cohortflow import __version__
from cohortflow.core import importers
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
    lane: Lane, study: Path, manifest: Path | None, chosen: Selection
) -> tuple[Header, Iterator[Unit]]:
    """Return the header and the units of a study or a manifest.

    Raises
    ------
    Failure
        As discovery and the manifest's reader say.
    """
    if manifest is None:
        header = Header(
            lane=lane.name,
            dataset=str(study.absolute()),
            generated_by=f"cohortflow {__version__}",
        )
        return header, lane.discover(study.absolute(), chosen)
    header, found = importers.read(manifest, lane.name, study)
    if header.lane != lane.name:
        raise Failure(
            Category.USAGE,
            f"{manifest} is of lane {header.lane}, not {lane.name}",
            f"run `cohortflow run {header.lane}`",
        )
    wanted = (unit for unit in found if _wanted(unit, chosen))
    return header, (_fresh(unit, lane, Path(header.dataset)) for unit in wanted)


def _fresh(unit: Unit, lane: Lane, study: Path) -> Unit:
    """Look at a manifest's unit again: sizes and times may be old, and what was wrong mended."""
    try:
        if unit.inputs:
            return lane.complete(unit.model_copy(update={"excluded": None}), study)
        subject, session = unit.entities.get("subject"), unit.entities.get("session")
        chosen = Selection((subject,) if subject else (), (session,) if session else ())
        found = lane.discover(study, chosen)
        return next((other for other in found if other.id == unit.id), unit)
    except Failure as failure:
        excluded = Excluded(
            category=failure.category, message=failure.message, remedy=failure.remedy
        )
        return unit.model_copy(update={"excluded": excluded})


def _wanted(unit: Unit, chosen: Selection) -> bool:
    """Tell whether a unit of a manifest has one of the labels asked for."""
    pairs = ((chosen.participants, "subject", "sub-"), (chosen.sessions, "session", "ses-"))
    return all(
        not labels or unit.entities.get(entity) in {label.removeprefix(prefix) for label in labels}
        for labels, entity, prefix in pairs
    )

"""Look at a manifest's units again: sizes and times may be old, and what was wrong mended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cohortflow.core import manifest, names
from cohortflow.core.lanes import Lane, Selection
from cohortflow.core.manifest import Excluded, Unit
from cohortflow.core.outcome import Category, Failure


def unit(given: Unit, lane: Lane, study: Path, parameters: Mapping[str, str]) -> Unit:
    """Return the unit as its inputs are now, excluded or not.

    Parameters
    ----------
    given : Unit
        As the manifest has it; one without inputs is looked for in the study.
    lane : Lane
    study : Path
        Relative paths are below it.
    parameters : mapping of str to str
        The lane's, resolved.
    """
    try:
        manifest.checked(given)
        if lane.bids:
            for label in given.entities.values():
                names.bids_label(label)
        if given.inputs:
            return lane.complete(given.model_copy(update={"excluded": None}), study, parameters)
        return _found(given, lane, study, parameters)
    except Failure as failure:
        excluded = Excluded(
            category=failure.category, message=failure.message, remedy=failure.remedy
        )
        return given.model_copy(update={"excluded": excluded})


def _found(given: Unit, lane: Lane, study: Path, parameters: Mapping[str, str]) -> Unit:
    """Look for a unit without inputs in the study; its own options choose among several."""
    subject, session = given.entities.get("subject"), given.entities.get("session")
    missing = Failure(
        Category.INPUT_MISSING,
        f"{given.id} has no inputs in the manifest, and {study} has no such unit",
        "add its inputs to the manifest",
    )
    if lane.bids and subject is None:
        raise missing
    chosen = Selection(
        (subject,) if subject else (), (session,) if session else (), parameters=parameters
    )
    try:
        found = list(lane.discover(study, chosen))
    except Failure as failure:
        raise missing if failure.category is Category.USAGE else failure from None
    other = next((other for other in found if other.id == given.id), None)
    if other is None:
        raise missing
    if given.options and other.inputs:
        chosen_one = other.model_copy(update={"options": given.options})
        return lane.complete(chosen_one, study, parameters)
    return other

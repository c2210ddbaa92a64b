"""Decide what a unit runs on: the one usable candidate, else the reason why none is."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from cohortflow.core.manifest import Excluded, Input, Unit
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import filters, pairs
from cohortflow.dwi.candidates import Candidate, describe

_log = logging.getLogger(__name__)


def unit(
    blank: Unit,
    found: list[Candidate],
    folder: str,
    query: Mapping[str, Any],
    root: str | None = None,
) -> Unit:
    """Make a unit of the only usable candidate, or of a pair of opposite phase encoding.

    Images are paired below the study `root` only, see `pairs`.

    Raises
    ------
    Failure
        DATA_INVALID or INPUT_MISSING when no candidate can be used.
    """
    usable = [candidate for candidate in found if candidate.failure is None]
    if root is not None and len(usable) in (1, 2) and all(one.image for one in usable):
        decision = pairs.decide([one for one in found if one.image], root)
        if decision is not None:
            return _of_images(blank, decision, root, _left_out(found, images=False))
    if len(usable) == 1:
        return _made(blank, usable[0], [*_left_out(found), usable[0].note])
    if usable:
        return ambiguous(blank, usable)
    if found and found[0].failure:
        raise found[0].failure
    filtered = filters.asks_for_images(query) or filters.asks_for_series(query)
    raise Failure(
        Category.INPUT_MISSING,
        f"{folder}: nothing matches the filter"
        if filtered
        else f"{folder}: neither *_dwi.nii[.gz] nor a DICOM series of MR images",
        "correct the filter, or series_uid"
        if filtered
        else "add the diffusion series, or remove the folder",
    )


def _made(blank: Unit, main: Candidate, said: list[str], reverse: Sequence[Input] = ()) -> Unit:
    for line in said:
        if line:
            _log.warning("%s: %s", blank.id, line)
    return blank.model_copy(
        update={"inputs": [*main.inputs, *reverse], "options": {**blank.options, **main.options}}
    )


def _of_images(blank: Unit, decision: pairs.Decision, root: str, said: list[str]) -> Unit:
    if decision.main is not None:
        return _made(blank, decision.main, [*said, *decision.said], decision.reverse)
    assert decision.failure is not None  # noqa: S101 - a decision has one of both
    return exclude(blank, decision.failure, root, decision.choices)


def _left_out(found: list[Candidate], images: bool = True) -> list[str]:
    """Say what cannot be used; images are said by `pairs`, where that decides."""
    return [
        f"left out: {other.failure.message}"
        for other in found
        if other.failure and (images or not other.image)
    ]


def ambiguous(blank: Unit, usable: list[Candidate]) -> Unit:
    """Exclude a unit with several usable candidates; a user has to choose."""
    choices = [candidate.choice for candidate in usable]
    series = all("series_uid" in choice for choice in choices)
    options = "a manifest option series_uid"
    if any("reverse_series_uid" in choice for choice in choices):
        options = "the manifest options series_uid and reverse_series_uid"
    what = "diffusion series" if series else "diffusion images or series"
    excluded = Excluded(
        category=Category.DATA_INVALID,
        message=f"{len(choices)} {what}, one is needed: {describe(choices)}",
        remedy=f"choose one with {options} or with --bids-filter-file"
        if series
        else "choose one with --bids-filter-file or a manifest",
        choices=choices,
    )
    inputs: list[Input] = []
    if series:
        folder = os.path.commonpath([c.inputs[0].path for c in usable])
        inputs = [Input(role="dicom", path=folder)]
    return blank.model_copy(update={"inputs": inputs, "excluded": excluded})


def exclude(
    blank: Unit, failure: Failure, root: str, choices: Sequence[dict[str, str]] = ()
) -> Unit:
    """Exclude a unit for a failure; paths below the study are shortened."""
    short = (text.replace(f"{root}/", "") for text in (failure.message, failure.remedy))
    message, remedy = short
    excluded = Excluded(
        category=failure.category, message=message, remedy=remedy, choices=list(choices)
    )
    return blank.model_copy(update={"excluded": excluded})

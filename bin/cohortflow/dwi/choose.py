"""Decide what a unit runs on: the one usable candidate, else the reason why none is."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from cohortflow.core.manifest import Excluded, Input, Unit
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import filters
from cohortflow.dwi.candidates import Candidate, describe

_log = logging.getLogger(__name__)


def unit(blank: Unit, found: list[Candidate], folder: str, query: Mapping[str, Any]) -> Unit:
    """Make a unit of the only usable candidate.

    Raises
    ------
    Failure
        DATA_INVALID or INPUT_MISSING when no candidate can be used.
    """
    usable = [candidate for candidate in found if candidate.failure is None]
    if len(usable) == 1:
        for other in found:
            if other.failure:
                _log.warning("%s: left out: %s", blank.id, other.failure.message)
        return blank.model_copy(update={"inputs": usable[0].inputs, "options": usable[0].options})
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


def ambiguous(blank: Unit, usable: list[Candidate]) -> Unit:
    """Exclude a unit with several usable candidates; a user has to choose."""
    choices = [candidate.choice for candidate in usable]
    series = all("series_uid" in choice for choice in choices)
    what = "diffusion series" if series else "diffusion images or series"
    excluded = Excluded(
        category=Category.DATA_INVALID,
        message=f"{len(choices)} {what}, one is needed: {describe(choices)}",
        remedy="choose one with a manifest option series_uid or with --bids-filter-file"
        if series
        else "choose one with --bids-filter-file or a manifest",
        choices=choices,
    )
    inputs: list[Input] = []
    if series:
        folder = os.path.commonpath([c.inputs[0].path for c in usable])
        inputs = [Input(role="dicom", path=folder)]
    return blank.model_copy(update={"inputs": inputs, "excluded": excluded})


def exclude(blank: Unit, failure: Failure, root: str) -> Unit:
    """Exclude a unit for a failure; paths below the study are shortened."""
    short = (text.replace(f"{root}/", "") for text in (failure.message, failure.remedy))
    message, remedy = short
    return blank.model_copy(
        update={"excluded": Excluded(category=failure.category, message=message, remedy=remedy)}
    )

"""The query of a BIDS filter file: which images or DICOM series a user wants."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cohortflow.core.outcome import Category, Failure, failure_of
from cohortflow.dwi.dicom_series import Series

ENTITIES = {
    "subject": "sub",
    "session": "ses",
    "sample": "sample",
    "acquisition": "acq",
    "ceagent": "ce",
    "reconstruction": "rec",
    "direction": "dir",
    "run": "run",
    "echo": "echo",
    "flip": "flip",
    "inversion": "inv",
    "part": "part",
    "chunk": "chunk",
    "description": "desc",
}
"""Names of entities in a filter, and their keys in file names."""

SERIES_FILTERS = ("SeriesInstanceUID", "SeriesDescription", "SeriesNumber")
"""Names in a filter that choose among DICOM series."""

_FIXED = {"datatype": "dwi", "suffix": "dwi"}


def read_filters(path: Path) -> dict[str, Any]:
    """Read the ``dwi`` query of a filter file as fMRIPrep's ``--bids-filter-file`` has it.

    Raises
    ------
    Failure
        USAGE when it is not such a file, INPUT_MISSING or PERMISSION when it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise failure_of(error, path) from None
    except ValueError as error:
        raise _bad_filter(f"{path}: not JSON ({error})") from None
    query = content.get("dwi") if isinstance(content, dict) else None
    if not isinstance(query, dict):
        raise _bad_filter(f"{path}: has no query 'dwi'")
    return check_filters(query)


def check_filters(query: Mapping[str, Any]) -> dict[str, Any]:
    """Return a query unchanged when every name and value can be used.

    Raises
    ------
    Failure
        USAGE, naming the entity.
    """
    for name, value in query.items():
        if name in _FIXED:
            if value != _FIXED[name]:
                raise _bad_filter(f"{name} {value!r} is not {_FIXED[name]!r}")
        elif name not in ENTITIES and name not in SERIES_FILTERS:
            raise _bad_filter(f"no entity {name!r}")
        for one in value if isinstance(value, list) else [value]:
            if one is not None and (isinstance(one, bool) or not isinstance(one, str | int)):
                raise _bad_filter(f"{name}: {one!r} is neither a text nor null")
    return dict(query)


def _bad_filter(reason: str) -> Failure:
    return Failure(
        Category.USAGE,
        f"filter: {reason}",
        'use {"dwi": {NAME: VALUE}} with names of ' + ", ".join((*ENTITIES, *SERIES_FILTERS)),
    )


def matches(entities: Mapping[str, str], query: Mapping[str, Any]) -> bool:
    """Tell whether an image has the entities that a query asks for.

    A value is a label (prefix allowed), a list of them, or null for an absent entity; ``run``,
    ``echo``, ``flip`` and ``inversion`` compare as numbers.
    """
    return all(
        _equal(key, entities.get(key), query[name])
        for name, key in ENTITIES.items()
        if name in query
    )


def asks_for_images(query: Mapping[str, Any]) -> bool:
    """Tell whether a query names an entity that only file names have."""
    return any(name in query for name in ENTITIES if name not in ("subject", "session"))


def asks_for_series(query: Mapping[str, Any]) -> bool:
    """Tell whether a query names something that only DICOM series have."""
    return any(name in query for name in SERIES_FILTERS)


def _equal(key: str, have: str | None, wanted: object) -> bool:
    if isinstance(wanted, list):
        return any(_equal(key, have, one) for one in wanted)
    if wanted is None or have is None:
        return wanted is have
    text = str(wanted).removeprefix(f"{key}-") if key else str(wanted)
    if key in ("run", "echo", "flip", "inv") and text.isdecimal() and have.isdecimal():
        return int(text) == int(have)
    return text == have


def matches_series(series: Series, query: Mapping[str, Any]) -> bool:
    """Tell whether a DICOM series is one that a query asks for."""
    have = {
        "SeriesInstanceUID": series.uid,
        "SeriesDescription": series.description,
        "SeriesNumber": series.number,
    }
    return all(_equal("", have[name], query[name]) for name in SERIES_FILTERS if name in query)


def matches_unit(entities: Mapping[str, str], query: Mapping[str, Any]) -> bool:
    """Tell whether a query wants a subject and session."""
    return matches(entities, {k: v for k, v in query.items() if k in ("subject", "session")})

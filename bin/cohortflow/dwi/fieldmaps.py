"""Find the ``epi`` images of a session's ``fmap`` folder, and for which series they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cohortflow.dwi import bids, candidates

_ENDS = ("_epi.nii.gz", "_epi.nii")


def images(dwi: str, root: str) -> list[str]:
    """List the paths of the ``epi`` images beside a ``dwi`` folder, by name; no phase images.

    Parameters
    ----------
    dwi : str
        The ``dwi`` folder.
    root : str
        The study.

    Raises
    ------
    Failure
        PERMISSION or INPUT_MISSING when a folder cannot be read.
    """
    session = dwi.rpartition("/")[0]
    if not session.startswith(f"{root}/") or "fmap" not in candidates.names_in(session):
        return []
    parts = session.removeprefix(f"{root}/").split("/")
    wanted = dict(part.split("-", 1) for part in parts if "-" in part)
    found = []
    for name in sorted(candidates.names_in(f"{session}/fmap")):
        parsed = bids.parse(name) if name.endswith(_ENDS) else None
        if parsed is None or parsed.entities.get("part") in candidates.NOT_MAGNITUDE:
            continue
        if all(parsed.entities.get(key) == wanted.get(key) for key in ("sub", "ses")):
            found.append(f"{session}/fmap/{name}")
    return found


def is_for(field: Mapping[str, Any], series: Mapping[str, Any], name: str) -> bool | None:
    """Tell by sidecars whether an image of ``fmap`` is meant for a series.

    Parameters
    ----------
    field, series : mapping
        The sidecars of both.
    name : str
        The series' file name; BIDS names are unique in a study, so the folders before it in
        IntendedFor need not be compared.

    Returns
    -------
    bool or None
        True when B0FieldIdentifier is in the series' B0FieldSource or B0FieldIdentifier, or
        IntendedFor names the series; None when neither sidecar says anything of the kind.

    Examples
    --------
    >>> is_for({"IntendedFor": "bids::sub-1/dwi/sub-1_dwi.nii"}, {}, "sub-1_dwi.nii")
    True
    >>> is_for({"IntendedFor": ["func/sub-1_task-rest_bold.nii"]}, {}, "sub-1_dwi.nii")
    False
    """
    identifiers, sources, partners, intended = (
        _texts(fields.get(key))
        for fields, key in (
            (field, "B0FieldIdentifier"),
            (series, "B0FieldSource"),
            (series, "B0FieldIdentifier"),
            (field, "IntendedFor"),
        )
    )
    if not (identifiers or sources or intended):
        return None
    own = (text.removeprefix("bids::") for text in intended)
    return bool(identifiers & (sources | partners)) or any(
        path.rpartition("/")[2] == name for path in own if not path.startswith("bids:")
    )


def _texts(value: object) -> set[str]:
    """Return what is a text or a list of texts as a set."""
    if isinstance(value, str):
        value = [value]
    return {text for text in value if isinstance(text, str)} if isinstance(value, list) else set()

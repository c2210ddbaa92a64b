"""JSON sidecars: read one, leave out whom it is about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from cohortflow.core.outcome import Category, Failure, failure_of

_MAXIMUM_BYTES = 16 << 20
_PERSONAL = ("physician", "operator", "birth", "accession", "personname", "ethnic", "occupation",
             "telephone", "insurance", "medicalrecord", "admission")  # fmt: skip
_PATIENT = ("patient", "otherpatient", "issuerofpatient")
_DATES = frozenset(("acquisitiondatetime", "acquisitiondate", "studydate", "seriesdate",
                    "contentdate", "studydatetime", "instancecreationdate",
                    "performedprocedurestepstartdate"))  # fmt: skip
_KEPT = frozenset(("patientposition",))


def read(path: Path) -> dict[str, Any]:
    """Read a sidecar.

    Raises
    ------
    Failure
        INPUT_MISSING or PERMISSION when it cannot be opened, DATA_INVALID when it is not a
        JSON object.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAXIMUM_BYTES + 1)
    except OSError as error:
        raise failure_of(error, path) from None
    try:
        if len(content) > _MAXIMUM_BYTES:
            raise ValueError("too large")
        # scanners' texts hold bytes of other encodings and control characters
        text = content.decode("utf-8-sig", "replace")
        fields = json.loads(text, parse_constant=_no_constant, strict=False)
    except (ValueError, RecursionError) as error:
        raise _bad(path, str(error)) from None
    if not isinstance(fields, dict):
        raise _bad(path, "not an object")
    return fields


def anonymous(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a JSON value without the fields that tell who a person is, at any depth."""
    if isinstance(value, dict):
        return {key: anonymous(item) for key, item in value.items() if not personal(key)}
    if isinstance(value, list):
        return [anonymous(item) for item in value]
    return value


def personal(key: str) -> bool:
    """Tell whether a field identifies a person: names, numbers, birth and scan dates.

    Examples
    --------
    >>> personal("PatientName"), personal("PatientPosition"), personal("EchoTime")
    (True, False, False)
    """
    plain = "".join(c for c in key.lower() if c.isalnum())
    if plain in _KEPT:
        return False
    return plain in _DATES or plain.startswith(_PATIENT) or any(word in plain for word in _PERSONAL)


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _bad(path: Path, reason: str) -> Failure:
    return Failure(
        Category.DATA_INVALID, f"{path}: not a JSON sidecar ({reason})", "correct or remove it"
    )

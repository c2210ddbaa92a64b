"""Read a manifest in any of its forms: JSON lines, JSON, CSV, and csttool's batch manifest."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cohortflow.core import lanes, manifest, names
from cohortflow.core.manifest import Excluded, Header, Input, Unit
from cohortflow.core.outcome import Category, Failure

_GENERATED = "a person"
_PLACE = {"id", "subject", "session", "participant_id", "session_id"}


def read(
    path: Path,
    lane: str = "dwi",
    dataset: Path | None = None,
    given: Mapping[str, str] | None = None,
) -> tuple[Header, Iterator[Unit]]:
    """Read a manifest; its form is told from its content.

    Parameters
    ----------
    path : Path
        ``.csv`` is CSV with a header row; anything else is JSON or JSON lines.
    lane : str
        Lane of a manifest that does not name one.
    dataset : Path, optional
        Study of a manifest that does not name one; its own folder when left out.
    given : mapping of str to str, optional
        Parameters of the lane, for what a table leaves out.

    Raises
    ------
    Failure
        USAGE when the manifest cannot be understood, naming file and place; INPUT_MISSING when
        there is no such file.
    """
    base = path.resolve().parent
    header = Header(lane=lane, dataset=str((dataset or base).absolute()), generated_by=_GENERATED)
    if path.suffix.lower() == ".csv":
        return header, _from_csv(path, lanes.get(lane), base, given or {})
    value = _json_object(path)
    if value is None:
        header, found = manifest.read(path)
        return header, _known(path, header, found)
    if "subjects" in value:
        return header, _from_csttool(path, value, lanes.get(lane), base, given or {})
    if "units" in value:
        header, found = _from_object(path, value)
        return header, _known(path, header, found)
    raise _bad(path, "it has neither units nor subjects")


def _json_object(path: Path) -> dict[str, Any] | None:
    """Return the file as one JSON object, or None when it is JSON lines."""
    with path.open("rb") as file:
        first = file.readline()
        try:
            head = json.loads(first)
            if isinstance(head, dict) and not ({"units", "subjects"} & head.keys()):
                return None
        except ValueError:
            pass  # an object over several lines; a broken one fails below
        try:
            value = json.loads(first + file.read())
        except ValueError as error:
            raise _bad(path, str(error)) from None
    if not isinstance(value, dict):
        raise _bad(path, "it is not a JSON object")
    return value


def _from_object(path: Path, value: dict[str, Any]) -> tuple[Header, Iterator[Unit]]:
    try:
        header = Header.model_validate({k: v for k, v in value.items() if k != "units"})
        units = TypeAdapter(list[Unit]).validate_python(value["units"])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(f"unit {p + 1}" if isinstance(p, int) else p for p in first["loc"][:2])
        raise _bad(path, f"{place or 'units'}: {first['msg']}") from None
    return header, iter(units)


def _from_csv(path: Path, lane: lanes.Lane, base: Path, given: Mapping[str, str]) -> Iterator[Unit]:
    """Yield a unit a row; columns are `id` or `subject`, `session`, roles and options."""
    parameters = lane.resolve(given)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file)
        columns = _columns(lane)
        unknown = [name for name in reader.fieldnames or () if name not in columns]
        if unknown or not reader.fieldnames:
            raise _bad(path, f"unknown column {unknown[0]!r}" if unknown else "it is empty")
        for row in reader:
            where = f"line {reader.line_num}"
            if None in row:
                raise _bad(path, f"{where}: more cells than columns")
            filled = {key: text.strip() for key, text in row.items() if text and text.strip()}
            if not all(text.isprintable() for text in filled.values()):
                raise _bad(path, f"{where}: it is not UTF-8 text")
            yield _unit(path, where, filled, lane, base, parameters)


def _from_csttool(
    path: Path, value: dict[str, Any], lane: lanes.Lane, base: Path, given: Mapping[str, str]
) -> Iterator[Unit]:
    """Yield the subjects of csttool's batch manifest; the lane knows what its options mean."""
    parameters = lane.resolve(given)
    # one of csttool's options may have the name of a parameter, and mean something else
    columns = _columns(lane) - (parameters.keys() - set(lane.roles))
    study = value.get("options") or {}
    if not isinstance(study, dict):
        raise _bad(path, "options is not an object")
    if not isinstance(value["subjects"], list):
        raise _bad(path, "subjects is not a list")
    for number, subject in enumerate(value["subjects"], start=1):
        if not isinstance(subject, dict) or not isinstance(subject.get("options") or {}, dict):
            raise _bad(path, f"subject {number} is not an object")
        own = subject.get("options") or {}
        given_here = {**subject, **own}
        filled = {k: str(v) for k, v in given_here.items() if k in columns and v not in (None, "")}
        filled |= lane.foreign({**study, **own}) if lane.foreign else {}
        yield _unit(path, f"subject {number}", filled, lane, base, parameters)


def _known(path: Path, header: Header, units: Iterator[Unit]) -> Iterator[Unit]:
    """Yield the units, and stop at a role or an option that the lane has not: it is misspelt."""
    lane = lanes.get(header.lane)
    options = _option_names(lane)
    for unit in units:
        for one in unit.inputs:
            if one.role not in lane.roles:
                raise _bad(path, f"unit {unit.id}: unknown role {one.role!r}")
        for name in unit.options:
            if name not in options:
                raise _bad(path, f"unit {unit.id}: unknown option {name!r}")
        yield unit


def _columns(lane: lanes.Lane) -> set[str]:
    place = _PLACE if lane.bids else {"id"}
    return place | set(lane.roles) | set(lane.aliases) | _option_names(lane)


def _option_names(lane: lanes.Lane) -> set[str]:
    return {name for step in lane.steps for name in step.options}


def _unit(
    path: Path,
    where: str,
    row: Mapping[str, str],
    lane: lanes.Lane,
    base: Path,
    parameters: Mapping[str, str],
) -> Unit:
    """Make a unit of a flat row; the lane completes it."""
    roles = {lane.aliases.get(name, name): text for name, text in row.items()}
    unit = _named(path, where, row, lane).model_copy(
        update={
            "inputs": [
                Input(role=name, path=_located(base, roles[name]))
                for name in lane.roles
                if name in roles
            ],
            "options": {name: row[name] for name in sorted(_option_names(lane)) if name in row},
        }
    )
    try:
        if lane.bids:
            for label in unit.entities.values():
                names.bids_label(label)
        return lane.complete(unit, base, parameters)
    except Failure as failure:
        excluded = Excluded(
            category=failure.category, message=failure.message, remedy=failure.remedy
        )
        return unit.model_copy(update={"excluded": excluded})


def _located(base: Path, text: str) -> str:
    """Return a path below the manifest's folder; an address stays as it is."""
    return text if "://" in text else str(base / text)


def _named(path: Path, where: str, row: Mapping[str, str], lane: lanes.Lane) -> Unit:
    """Make a unit's name and place of a flat row."""
    if not lane.bids:
        if "id" not in row:
            raise _bad(path, f"{where}: no id")
        return Unit(id=row["id"], folder=row["id"])
    subject = row.get("subject") or row.get("participant_id") or row.get("id")
    if not subject:
        raise _bad(path, f"{where}: no subject")
    subject = subject.removeprefix("sub-")
    session = (row.get("session") or row.get("session_id") or "").removeprefix("ses-")
    return Unit(
        id=f"sub-{subject}" + (f"_ses-{session}" if session else ""),
        folder=f"sub-{subject}" + (f"/ses-{session}" if session else ""),
        entities={"subject": subject} | ({"session": session} if session else {}),
    )


def _bad(path: Path, reason: str) -> Failure:
    return Failure(Category.USAGE, f"{path}: {reason}", "correct the manifest, see docs/manifest")

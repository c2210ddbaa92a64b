"""Read what a run left behind; what is damaged becomes a warning, never a crash."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cohortflow.core import marker as markers
from cohortflow.core import names
from cohortflow.core.manifest import Unit
from cohortflow.core.marker import Marker
from cohortflow.core.outcome import Category, Failure, category_of
from cohortflow.core.reporting import clean as cleaning
from cohortflow.core.reporting.judge import when
from cohortflow.core.reporting.state import Attempt, RunInfo, Value

RUNS = Path(".cohortflow") / "runs"
MARKER = markers.NAME
MAX_JSON = 64 * 2**20


def run_folder(out: Path, run: str | None) -> Path:
    """Return the folder of a run; of the latest one when none is named.

    Raises
    ------
    Failure
        INPUT_MISSING when there is no such run, DATA_INVALID when the name is not one.
    """
    remedy = "name the output folder of a `cohortflow run`"
    if run is not None:
        folder = out / RUNS / names.name(run)
        if not _is_run(folder):
            raise Failure(Category.INPUT_MISSING, f"{folder}: no such run", remedy)
        return folder
    folders = [folder for folder in _folders(out / RUNS) if _is_run(folder)]
    if not folders:
        raise Failure(Category.INPUT_MISSING, f"{out}: no run is recorded here", remedy)
    return max(folders, key=lambda folder: (when(_started(folder)), folder.name))


def _folders(path: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(path) if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_run(folder: Path) -> bool:
    return (folder / "plan.jsonl").is_file() or (folder / "manifest.jsonl").is_file()


def _started(folder: Path) -> str | None:
    warnings: list[str] = []
    for value in (read_object(folder / "run.json"), next(plan_lines(folder, warnings), {})):
        if value and isinstance(value.get("started"), str):
            return str(value["started"])
    return None


def read_object(path: Path) -> dict[str, Any] | None:
    """Return a JSON file's object; None when it is absent or not one."""
    try:
        if path.stat().st_size > MAX_JSON:
            return None
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def lines(path: Path, warnings: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON lines file; bad lines are counted in one warning."""
    bad = 0
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    value = json.loads(line) if line.strip() else None
                except (ValueError, RecursionError):
                    bad += 1
                    continue
                if isinstance(value, dict):
                    yield value
    except FileNotFoundError:
        return
    if bad:
        warnings.append(f"{path.name}: {bad} line{'s' * (bad > 1)} could not be read")


def plan_lines(folder: Path, warnings: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the plan's header, then its units; the manifest's where there is no plan."""
    if (folder / "plan.jsonl").is_file():
        yield from lines(folder / "plan.jsonl", warnings)


def run_info(folder: Path, header: dict[str, Any], clean: cleaning.Clean) -> RunInfo:
    """Return what a run's ``run.json`` and plan header say about it."""
    run = read_object(folder / "run.json") or {}
    return RunInfo(
        id=folder.name,
        lane=str(header.get("lane") or "?"),
        dataset=str(header.get("dataset") or ""),
        generated_by=str(header.get("generated_by") or "cohortflow"),
        engine=_text(run.get("engine")) or None,
        command=clean(_text(run.get("command"))) or None,
        started=_text(run.get("started") or header.get("started")) or None,
        finished=_text(run.get("finished")) or None,
        interrupted=bool(run.get("interrupted")),
        steps=tuple(str(step) for step in header.get("steps") or ()),
        parameters=cleaning.parameters(header.get("parameters") or {}, clean),
        code={str(k): str(v) for k, v in (header.get("code") or {}).items()},
    )


def units(folder: Path, warnings: list[str]) -> Iterator[tuple[Unit, str, str]]:
    """Yield (unit, decision, reason) of each planned unit, then what only the manifest lists."""
    seen: set[str] = set()
    unread = 0
    sources = (("plan.jsonl", plan_lines(folder, warnings)),
               ("manifest.jsonl", lines(folder / "manifest.jsonl", warnings)))  # fmt: skip
    for source, values in sources:
        for value in values:
            raw = value.get("unit") if source == "plan.jsonl" else value
            if not isinstance(raw, dict) or "id" not in raw:
                continue  # the header
            try:
                unit = Unit.model_validate(raw)
            except ValidationError:
                unread += 1
                continue
            if unit.id in seen:
                continue
            seen.add(unit.id)
            decision = value.get("decision") if source == "plan.jsonl" else None
            fallback = "invalid" if unit.excluded else "run"
            yield unit, str(decision or fallback), _text(value.get("reason"))
    if unread:
        warnings.append(f"the plan: {unread} unit{'s' * (unread > 1)} could not be read")


def attempts(
    folder: Path, clean: cleaning.Clean, warnings: list[str]
) -> dict[str, tuple[Attempt, ...]]:
    """Return each unit's records of the run, in order of time."""
    found: dict[str, list[Attempt]] = {}
    for value in lines(folder / "records.jsonl", warnings):
        unit, step = value.get("unit"), value.get("step")
        if isinstance(unit, str) and isinstance(step, str):
            found.setdefault(unit, []).append(_attempt(step, value, clean))
    return {
        unit: tuple(sorted(some, key=lambda a: (when(a.started), a.number)))
        for unit, some in found.items()
    }


def _attempt(step: str, value: dict[str, Any], clean: cleaning.Clean) -> Attempt:
    status = value.get("exit")
    status = status if isinstance(status, int) else None
    try:
        category = Category(value["category"]) if value.get("category") else category_of(status)
    except ValueError:
        category = Category.SOFTWARE
    log = clean(cleaning.tail(_text(value.get("log")))) if category else ""
    said = "" if category else clean(cleaning.tail(_text(value.get("said"))))
    return Attempt(
        step=clean(step),
        number=_whole(value.get("attempt")) or 1,
        exit=status,
        category=category,
        started=_text(value.get("started")),
        seconds=_number(value.get("seconds")),
        peak_memory_bytes=_whole(value.get("peak_memory_bytes")),
        command=clean(_text(value.get("command"))),
        message=clean(_text(value.get("message"))),
        remedy=clean(_text(value.get("remedy"))),
        log=log,
        said=said,
    )


def marker(folder: Path, unit: str | None = None) -> Marker | str | None:
    """Return a unit's marker; None where there is none, a text that says what is wrong with it.

    Parameters
    ----------
    folder : Path
        The unit's folder.
    unit : str, optional
        The unit that the marker must be of.
    """
    try:
        found = markers.read(folder)
    except OSError as error:
        return f"{MARKER} cannot be read: {error.strerror}"
    if isinstance(found, Marker) and unit is not None and found.unit != unit:
        return f"{MARKER} is of unit {found.unit}"
    return found


def metrics(folder: Path, clean: cleaning.Clean) -> dict[str, Value]:
    """Return a unit's published metrics; what is not finite or not flat is unknown (None)."""
    found: dict[str, Value] = {}
    for name, value in (read_object(folder / "metrics.json") or {}).items():
        if cleaning.personal(name):
            continue
        if isinstance(value, bool):
            found[clean(name)] = "yes" if value else "no"
        elif isinstance(value, str):
            found[clean(name)] = clean(value)
        else:
            found[clean(name)] = value if _number(value) is not None else None
    return found


def published(out: Path, depth: int = 4) -> Iterator[str]:
    """Yield the folders below the output that hold a marker, in order of name."""
    stack: list[tuple[str, int]] = [("", 0)]
    while stack:
        relative, level = stack.pop()
        try:
            with os.scandir(out / relative) as found:
                entries = list(found)
        except OSError:
            continue
        if relative and any(entry.name == MARKER for entry in entries):
            yield relative
            continue  # a unit's folder holds no other unit
        if level < depth:
            below = sorted(
                (e.name for e in entries if e.is_dir(follow_symlinks=False) and e.name[0] != "."),
                reverse=True,
            )
            stack.extend((f"{relative}/{name}".lstrip("/"), level + 1) for name in below)


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:  # noqa: ANN401 - any JSON value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _whole(value: Any) -> int | None:  # noqa: ANN401 - any JSON value
    return int(value) if _number(value) is not None else None

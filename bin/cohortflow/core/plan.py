"""The plan: what runs, what is skipped, and why. The only place that decides it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cohortflow import __version__
from cohortflow.core import failed, fingerprint, layout, manifest, marker, save
from cohortflow.core.lanes import Lane
from cohortflow.core.manifest import Excluded, Unit
from cohortflow.core.outcome import Category, Failure

SCHEMA_VERSION = 1
BEYOND = "beyond --limit"
_RESERVED = {name.casefold() for name in layout.FILES | layout.FOLDERS}


@dataclass(frozen=True)
class Wishes:
    """What the user asks of a plan.

    Attributes
    ----------
    overwrite : bool
        Run units that are complete, too, without Nextflow's cache.
    rerun_failed : bool
        Try units again whose data was found invalid, although nothing changed.
    stale : str
        ``run`` or ``keep`` results of older code.
    limit : int or None
        Run at most so many units.
    """

    overwrite: bool = False
    rerun_failed: bool = False
    stale: str = "run"
    limit: int | None = None


@dataclass(frozen=True)
class Context:
    """What all units of a plan share.

    Attributes
    ----------
    lane : Lane
    dataset : str
        The study.
    out : Path
        The output folder.
    run : str
        The run's id.
    parameters : dict
        Resolved parameters of the lane, but for those that name an input.
    code : dict
        Fingerprint of the code of each step that is not left out.
    started : str
        UTC time, ISO 8601.
    """

    lane: Lane
    dataset: str
    out: Path
    run: str
    parameters: dict[str, str]
    code: dict[str, str]
    started: str


@dataclass(frozen=True)
class Decision:
    """What happens to one unit, and why."""

    unit: Unit
    decision: str
    reason: str
    detail: str = ""
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)


def context(
    lane: Lane, dataset: str, out: Path, run: str, given: dict[str, str], started: str
) -> Context:
    """Resolve the parameters and fingerprint the code of a lane."""
    parameters = lane.recorded(lane.resolve(given))
    steps = [step.name for step in lane.running(parameters)]
    code = {step: fingerprint.code(f"{lane.name}-{step}") for step in steps}
    return Context(lane, dataset, out, run, parameters, code, started)


def decide(unit: Unit, shared: Context, wishes: Wishes) -> Decision:
    """Decide one unit; docs/plan.md shows the rules as a table, in this order.

    Parameters
    ----------
    unit : Unit
    shared : Context
    wishes : Wishes

    Returns
    -------
    Decision
        ``decision`` is ``run``, ``skip`` or ``invalid``.
    """
    if unit.excluded is not None:
        return Decision(unit, "invalid", "excluded", unit.excluded.message)
    reason, detail = _why_run(unit, shared, wishes)
    if not reason:
        return Decision(unit, "skip", "up to date", detail)
    verdict = failed.last(shared.out, unit.id)
    if verdict is not None and reason != "requested" and not wishes.rerun_failed:
        same = verdict.fingerprint == identity(unit, shared)
        if same and verdict.category is Category.DATA_INVALID:
            excluded = Excluded(
                category=verdict.category, message=verdict.message, remedy=verdict.remedy
            )
            unit = unit.model_copy(update={"excluded": excluded})
            return Decision(unit, "invalid", "failed before", "nothing changed since")
    if verdict is not None and reason == "new":
        reason, detail = "failed before", f"{verdict.category} in {verdict.step}"
    return Decision(unit, "run", reason, detail, _settings(unit, shared, wishes))


def _why_run(unit: Unit, shared: Context, wishes: Wishes) -> tuple[str, str]:
    """Return the first reason to run a unit, or an empty one."""
    if wishes.overwrite:
        return "requested", "--overwrite"
    done = marker.read(shared.out / unit.folder)
    if done is None:
        return "new", ""
    if isinstance(done, str):
        return "marker damaged", done
    if done.unit != unit.id:
        return "marker damaged", f"it is of unit {done.unit}"
    if done.input_fingerprint != fingerprint.inputs(unit.inputs):
        return "input changed", _changed_inputs(unit, done)
    wanted = {**shared.parameters, **unit.options}
    had = {**done.parameters, **done.options}
    changed = sorted(k for k in wanted.keys() | had.keys() if wanted.get(k) != had.get(k))
    if changed:
        name = changed[0]
        return "parameter changed", f"{name}: {had.get(name)} → {wanted.get(name)}"
    steps = [name for name, code in _code(unit, shared).items() if done.code.get(name) != code]
    if steps and wishes.stale == "run":
        return "code changed", ", ".join(steps)
    return "", f"kept although the code of {', '.join(steps)} changed" if steps else ""


def _changed_inputs(unit: Unit, done: marker.Marker) -> str:
    before = {(i.role, Path(i.path).name): i.model_dump(exclude={"path"}) for i in done.inputs}
    now = {(i.role, Path(i.path).name): i.model_dump(exclude={"path"}) for i in unit.inputs}
    names = [name for _, name in sorted(k for k in before | now if before.get(k) != now.get(k))]
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def identity(unit: Unit, shared: Context) -> str:
    """Fingerprint all that a unit's result depends on: inputs, options, parameters, code."""
    code = _code(unit, shared)
    facts = (fingerprint.inputs(unit.inputs), unit.options, shared.parameters, code)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _code(unit: Unit, shared: Context) -> dict[str, str]:
    """Return the fingerprint of the code of each step of a unit; its options count."""
    running = shared.lane.running({**shared.parameters, **unit.options})
    return {
        # a unit may have a step that the others leave out
        step.name: shared.code.get(step.name) or fingerprint.code(f"{shared.lane.name}-{step.name}")
        for step in running
    }


def _settings(unit: Unit, shared: Context, wishes: Wishes) -> dict[str, dict[str, Any]]:
    """State what each step depends on beside its files: this goes into Nextflow's task hash."""
    everything = {**shared.parameters, **unit.options}
    code = _code(unit, shared)
    common = {
        "prefix": unit.id,
        "inputs": fingerprint.inputs(unit.inputs),
        "nonce": shared.run if wishes.overwrite else "",
    }
    return {
        step.name: {
            **common,
            "code": code[step.name],
            "options": {
                name: everything[name]
                for name in (*step.parameters, *step.options)
                if name in everything
            },
        }
        for step in shared.lane.running(everything)
    }


def decisions(units: Iterable[Unit], shared: Context, wishes: Wishes) -> Iterator[Decision]:
    """Decide all units of a manifest, streaming; `limit` turns later runs into skips.

    Raises
    ------
    Failure
        USAGE when two units share an id or a folder, also by case alone.
    """
    running = 0
    for unit in separated(units):
        decision = decide(unit, shared, wishes)
        if decision.decision == "run":
            running += 1
            if wishes.limit is not None and running > wishes.limit:
                decision = Decision(unit, "skip", BEYOND, decision.reason)
        yield decision


def separated(units: Iterable[Unit]) -> Iterator[Unit]:
    """Yield the units after a look at all of them together.

    A unit whose folder holds another unit's folder, or is one that the output keeps for something
    else, is excluded; what makes an identifier unsafe is excluded, too.

    Raises
    ------
    Failure
        USAGE when two units would be written to one place.
    """
    listed = list(units)
    parents = Counter(
        "/".join(parts[:n])
        for parts in (unit.folder.casefold().split("/") for unit in listed)
        for n in range(1, len(parts))
    )
    seen: dict[str, str] = {}
    for unit in listed:
        for key in {f"id {unit.id}".casefold(), f"folder {unit.folder}".casefold()}:
            if key in seen:
                raise Failure(
                    Category.USAGE,
                    f"units {seen[key]} and {unit.id} would be written to the same place",
                    "give one of them another id in the manifest",
                )
            seen[key] = unit.id
        yield _refused(unit, parents)


def _refused(unit: Unit, parents: Counter[str]) -> Unit:
    """Exclude a unit that is unsafe to write."""
    if unit.excluded is not None:
        return unit
    try:
        manifest.checked(unit)
    except Failure as failure:
        return _excluded(unit, failure.category, failure.message, failure.remedy)
    first = unit.folder.partition("/")[0]
    if first.casefold() in _RESERVED:
        return _excluded(
            unit,
            Category.DATA_INVALID,
            f"{first} is no name for a unit's folder: the output keeps it for something else",
            "rename the unit's input, or give the unit another id and folder in a manifest",
        )
    if unit.folder.casefold() in parents:
        return _excluded(
            unit,
            Category.DATA_INVALID,
            f"{unit.folder} holds the folder of another unit",
            "move its files into a session folder, as the subject's other ones",
        )
    return unit


def _excluded(unit: Unit, category: Category, message: str, remedy: str) -> Unit:
    excluded = Excluded(category=category, message=message, remedy=remedy)
    return unit.model_copy(update={"excluded": excluded})


def header(shared: Context) -> dict[str, Any]:
    """Return the plan's first line."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run": shared.run,
        "lane": shared.lane.name,
        "dataset": shared.dataset,
        "generated_by": f"cohortflow {__version__}",
        "parameters": shared.parameters,
        "code": shared.code,
        "steps": [step.name for step in shared.lane.running(shared.parameters)],
        "started": shared.started,
    }


def line(decision: Decision, shared: Context) -> dict[str, Any]:
    """Return a unit's line; a unit that runs carries what PUBLISH needs for its marker."""
    value: dict[str, Any] = {
        "unit": decision.unit.model_dump(mode="json", exclude_none=True),
        "decision": decision.decision,
        "reason": decision.reason,
        "detail": decision.detail,
    }
    if decision.decision == "run":
        value["steps"] = decision.steps
        value["identity"] = identity(decision.unit, shared)
        value["lane"] = shared.lane.name
        value["run"] = shared.run
        value["dataset"] = shared.dataset
        value["parameters"] = shared.parameters
        value["code"] = _code(decision.unit, shared)
    return value


def write(path: Path, shared: Context, planned: Iterable[Decision]) -> Counter[str]:
    """Write a plan as JSON lines, which appears when it is complete; count its decisions."""
    counts: Counter[str] = Counter()
    with save.file(path) as file:
        file.write(json.dumps(header(shared), ensure_ascii=False).encode() + b"\n")
        for decision in planned:
            counts[decision.decision] += 1
            text = json.dumps(line(decision, shared), ensure_ascii=False)
            file.write(text.encode() + b"\n")
    return counts


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield a plan's lines, the header first."""
    with path.open(encoding="utf-8") as file:
        for text in file:
            yield json.loads(text)

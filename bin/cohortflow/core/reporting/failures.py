"""Units that failed in an earlier run and are not in this run's plan: still without a result."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from cohortflow.core import failed, layout, plan, refused
from cohortflow.core.manifest import Unit
from cohortflow.core.outcome import one_line
from cohortflow.core.reporting import clean as cleaning
from cohortflow.core.reporting import judge
from cohortflow.core.reporting.state import EARLIER, UnitState, Verdict


def of_earlier_runs(out: Path, known: Collection[str], clean: cleaning.Clean) -> list[UnitState]:
    """Return the units with a kept verdict that a run of a part of the study did not look at.

    Parameters
    ----------
    out : Path
    known : collection of str
        Units of this run, and those that are published.
    clean : callable
        Takes machine paths and personal words out of a text.
    """
    folder = layout.hidden(out, "failed")
    names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    verdicts = {name: failed.last(out, name) for name in names if name not in known}
    units: dict[str, dict[str, Unit]] = {}
    found = []
    for name, verdict in verdicts.items():
        if verdict is None:
            continue
        if verdict.run not in units:
            units[verdict.run] = _planned(out, verdict.run)
        unit = units[verdict.run].get(name)
        if unit is not None:
            state = _state(unit, verdict, clean)
            picture = refused.find(
                out, verdict.run, name, step=verdict.step, message=verdict.message
            )
            found.append(replace(state, picture=picture))
    return found


def _planned(out: Path, run: str) -> dict[str, Unit]:
    """Return the units of an earlier plan by id; what cannot be read is left out."""
    units = {}
    try:
        for line in plan.read(layout.run_folder(out, run) / "plan.jsonl"):
            if "unit" in line:
                units[line["unit"]["id"]] = Unit.model_validate(line["unit"])
    except (OSError, ValueError, ValidationError, KeyError):
        return units
    return units


def _state(unit: Unit, verdict: failed.Verdict, clean: cleaning.Clean) -> UnitState:
    judged = Verdict(
        judge.status_of(verdict.category),
        verdict.category,
        one_line(clean(verdict.message)),
        one_line(clean(verdict.remedy)),
        verdict.step,
    )
    return UnitState(unit.id, unit.folder, unit.entities, judged, EARLIER, planned=unit)

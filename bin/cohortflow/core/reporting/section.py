"""The section of one unit in the report's page."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cohortflow.core.reporting import clean, curves, gates, notes, panels, pictures, read
from cohortflow.core.reporting.hooks import Hooks
from cohortflow.core.reporting.numbers import Numbers
from cohortflow.core.reporting.state import BatchState, UnitState


def curve(group: curves.Group, unit: UnitState | None = None) -> dict[str, Any]:
    """Return a curve's drawings, and in words how a unit's lines lie in it."""
    lines = [
        (band, curves.line_of(unit, band.metric, group.points) if unit else None)
        for band in group.bands
    ]
    return {
        "title": group.curve.title,
        "panels": panels.panels(group, unit),
        "outlying": group.outlying,
        "counts": [(band.name, band.count, band.few) for band in group.bands],
        "own": [
            {
                "name": band.name,
                "known": line is not None,
                "outside": band.outside(line) if line and not band.few else None,
                "far": unit is not None and unit.id in band.outlying,
            }
            for band, line in lines
        ],
    }


def of_unit(state: BatchState, unit: UnitState, found: Numbers, hooks: Hooks) -> dict[str, Any]:
    """Return what a unit's section shows; its marker is read now."""
    folder = state.out / unit.folder
    marker = (read.read_object(folder / read.MARKER) or {}) if unit.complete else {}
    tidy = clean.cleaner(state.out, state.run.dataset)
    outputs = [
        {"path": tidy(str(o.get("path"))), "bytes": o.get("bytes"), "sha256": str(o.get("sha256"))}
        for o in marker.get("outputs") or []
        if isinstance(o, dict)
    ]
    inputs = marker.get("inputs") or (
        [one.model_dump() for one in unit.planned.inputs] if unit.planned else []
    )
    lane = hooks.lane
    paths = [str(o["path"]) for o in outputs]
    figures = [path for path in paths if _is_figure(path)]
    if lane:
        figures = lane.ordered(figures, unit.id)
    checks = gates.of_unit(lane, hooks.gates, unit) if lane and unit.complete else []
    return {
        "checks": checks,
        "unknown": sum(check.passed is None for check in checks),
        "wrong": [check for check in checks if check.passed is False],
        "curves": partial(_curves, hooks, unit),
        "notes": partial(notes.of_unit, lane.notes if lane else (), folder, unit.id, paths, tidy),
        **_metrics(unit, found, hooks),
        "unit": unit,
        "marker": {key: tidy(str(marker[key])) for key in ("run", "finished", "pipeline_version")
                   if marker.get(key)},
        "outputs": outputs,
        "inputs": [
            {"role": tidy(str(i.get("role"))), "path": tidy(str(i.get("path"))),
             "bytes": i.get("bytes"), "files": i.get("files")}
            for i in inputs if isinstance(i, dict)
        ],
        "pictures": partial(pictures.of_unit, folder, figures),
        "base": quote(unit.folder),
        "refused": partial(pictures.picture, unit.picture) if unit.picture else None,
        "refused_at": quote(os.path.relpath(unit.picture, state.out)) if unit.picture else "",
        "longest": max(unit.timings.values(), default=0.0) or 1.0,
        "log": next((a for a in reversed(unit.attempts) if a.log), None) if not unit.complete
               else None,
    }  # fmt: skip


def _curves(hooks: Hooks, unit: UnitState) -> list[dict[str, Any]]:
    """Return the curves that a unit has a line of."""
    return [
        curve(group, unit)
        for group in hooks.curves
        if any(curves.line_of(unit, band.metric, group.points) for band in group.bands)
    ]


def _metrics(unit: UnitState, found: Numbers, hooks: Hooks) -> dict[str, Any]:
    """Return a unit's metrics: those to show, with all that are outlying, and those to fold."""
    shown = {name: value for name, value in unit.metrics.items() if name not in hooks.apart}
    if not hooks.folded:
        return {"metrics": shown, "more": {}}
    first = [name for name in hooks.headline if name in shown]
    first += [name for name in shown if (unit.id, name) in found.flags and name not in first]
    rest = {name: value for name, value in shown.items() if name not in first}
    return {"metrics": {name: shown[name] for name in first}, "more": rest}


def _is_figure(path: str) -> bool:
    parts = Path(path).parts
    return path.startswith("figures/") and path.endswith(".png") and ".." not in parts

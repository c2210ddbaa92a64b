"""The report's page: one self-contained HTML file, streamed."""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cohortflow.core import lanes
from cohortflow.core.outcome import OUTCOMES, Category
from cohortflow.core.reporting import charts, clean, files, pictures, read, words
from cohortflow.core.reporting.numbers import Numbers, Numeric, numbers
from cohortflow.core.reporting.state import BatchState, Status, UnitState

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
ALL_DETAILED = 200
MOST_COLUMNS = 8
MOST_LISTED = 25

WORDS = {
    Status.DONE: ("done", "ran in this run, published"),
    Status.SKIPPED: ("complete before", "up to date, nothing to do"),
    Status.INVALID: ("invalid", "its input cannot be used"),
    Status.FAILED: ("failed", "a step ended with an error"),
    Status.INTERRUPTED: ("interrupted", "the run was stopped"),
    Status.LOST: ("lost", "a step vanished"),
    Status.MISSING: ("not run", "planned, no record of it"),
}


def write(path: Path, state: BatchState) -> None:
    """Write ``report.html``, piece by piece."""
    with files.stream(path) as file:
        for piece in render(state):
            file.write(piece)


def render(state: BatchState) -> Iterator[str]:
    """Yield the page; pictures are read as they are needed."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": words.number,
        "duration": words.duration,
        "size": words.size,
        "moment": words.moment,
    }
    found = numbers(state)
    chosen = detailed(state, found)
    style, script = (asset(name) for name in ("report.css", "report.js"))
    context = {
        "state": state,
        "run": state.run,
        "dataset": files.dataset_name(state),
        "style": style,
        "script": script,
        "policy": policy(style, script),
        "words": {str(status): word for status, (word, _) in WORDS.items()},
        "statuses": statuses(state),
        "headline": headline(state),
        "facts": facts(state),
        "rerun": rerun_command(state),
        "groups": groups(state),
        "outlying": outlying(state, found),
        "numbers": found,
        "charts": [chart(metric) for metric in found.numeric if len(metric.points) > 1],
        "times": [chart(metric) for metric in found.times if len(metric.points) > 1],
        "columns": [metric.name for metric in found.numeric[:MOST_COLUMNS]],
        "chosen": chosen,
        "metrics": len(found.numeric),
        "all_detailed": len(chosen) == len(state.units),
        "sections": (section(state, unit) for unit in state.units if unit.id in chosen),
    }
    template = environment.get_template("report.html")
    stream = template.stream(context)
    stream.enable_buffering(64)
    yield from stream


def asset(name: str) -> Markup:
    """Return the project's own style or script, ready to stand in the page."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8").strip())  # noqa: S704 - our file


def policy(style: str, script: str) -> str:
    """Return a content security policy: nothing but this style, this script, embedded pictures."""

    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest(style)}'; "
        f"script-src 'sha256-{digest(script)}'; base-uri 'none'; form-action 'none'"
    )


def detailed(state: BatchState, found: Numbers) -> set[str]:
    """Choose the units that have a section: all, or in a large batch those worth a look."""
    if len(state.units) <= ALL_DETAILED:
        return {unit.id for unit in state.units}
    outliers = found.outlying()
    failing = [unit.id for unit in state.units if not unit.complete]
    notable = [unit.id for unit in state.units if unit.id in outliers]
    notable.sort(key=lambda unit: -len(outliers[unit]))
    first = [unit.id for unit in state.units[:100]]
    return {*failing[:200], *notable[:100], *first}


def statuses(state: BatchState) -> list[dict[str, Any]]:
    """Return each status in use with its words, count and place in the bar of width 1000."""
    counts = {status: count for status, count in state.counts().items() if count}
    total = sum(counts.values())
    widths = {status: max(8.0, 1000 * count / total) for status, count in counts.items()}
    scale = 1000 / sum(widths.values()) if widths else 1.0
    rows, left = [], 0.0
    for status, count in counts.items():
        width = widths[status] * scale
        word, meaning = WORDS[status]
        place = {"x": round(left, 2), "width": round(width, 2)}
        named = {"status": str(status), "word": word, "meaning": meaning, "count": count}
        rows.append(named | place)
        left += width
    return rows


def headline(state: BatchState) -> str:
    """Return the batch in one sentence."""
    total, bad = len(state.units), len(state.incomplete())
    if not total:
        return "No units were found."
    if not bad:
        return f"All {total} units are complete." if total > 1 else "The unit is complete."
    verb = "needs" if bad == 1 else "need"
    return f"{total - bad} of {total} units are complete; {bad} {verb} attention."


def facts(state: BatchState) -> list[tuple[str, str]]:
    """Return what describes the run, as pairs for a definition list."""
    run = state.run
    took = words.between(run.started, run.finished)
    if run.interrupted:
        took = f"{took or 'unknown'} (interrupted)"
    elif not run.finished:
        took = "the run had not ended when this was written"
    pairs = [
        ("Run", run.id),
        ("Started", words.moment(run.started)),
        ("Duration", took),
        ("Made by", run.generated_by),
        ("Engine", run.engine or ""),
    ]
    return [(term, text) for term, text in pairs if text]


def rerun_command(state: BatchState) -> str:
    """Return the command that runs the incomplete units again, from the study's folder."""
    dataset = state.run.dataset
    out = os.path.relpath(state.out, dataset) if Path(dataset).is_absolute() else "OUT"
    words_ = ["cohortflow", "run", state.run.lane, "."]
    return shlex.join([*words_, out, "--manifest", f"{out}/rerun.json"])


def groups(state: BatchState) -> list[dict[str, Any]]:
    """Return the incomplete units by category, the most frequent first."""
    by_category: dict[Category | None, list[UnitState]] = {}
    for unit in state.incomplete():
        by_category.setdefault(unit.verdict.category, []).append(unit)
    order = sorted(by_category, key=lambda name: (-len(by_category[name]), name or ""))
    return [
        {
            "category": category or "NOT RUN",
            "meaning": OUTCOMES[category].meaning if category else "The unit was not started.",
            "count": len(by_category[category]),
            "units": by_category[category][:MOST_LISTED],
            "more": by_category[category][MOST_LISTED:],
        }
        for category in order
    ]


def outlying(state: BatchState, found: Numbers) -> list[tuple[str, list[tuple[str, str, Any]]]]:
    """Return complete units with outlying numbers: (unit, [(metric, side, value), ...])."""
    flagged = found.outlying()
    rows = [
        (unit.id, [(name, side, unit.metrics[name]) for name, side in flagged[unit.id]])
        for unit in state.units
        if unit.id in flagged
    ]
    return sorted(rows, key=lambda row: -len(row[1]))[:MOST_LISTED]


def chart(metric: Numeric) -> dict[str, Any]:
    """Return one metric's drawing and its caption."""
    values = [value for _, value in metric.points]
    return {
        "name": metric.name,
        "svg": charts.strip(metric.name, metric.points, metric.spread),
        "count": len(values),
        "middle": metric.spread.middle,
        "low": min(values),
        "high": max(values),
        "outliers": metric.outliers,
        "few": metric.spread.low is None,
        "dense": len(values) > charts.MOST_DOTS,
    }


def section(state: BatchState, unit: UnitState) -> dict[str, Any]:
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
    figures = [str(o["path"]) for o in outputs if _is_figure(str(o["path"]))]
    if state.run.lane in lanes.LANES:
        figures = lanes.get(state.run.lane).ordered(figures, unit.id)
    return {
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


def _is_figure(path: str) -> bool:
    parts = Path(path).parts
    return path.startswith("figures/") and path.endswith(".png") and ".." not in parts

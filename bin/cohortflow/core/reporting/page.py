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

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cohortflow.core.outcome import OUTCOMES, Category
from cohortflow.core.reporting import charts, files, gates, pairs, section, words
from cohortflow.core.reporting.hooks import Hooks, of_batch
from cohortflow.core.reporting.numbers import Numbers, Numeric, numbers
from cohortflow.core.reporting.state import BatchState, Status, UnitState

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
ALL_DETAILED = 200
MOST_COLUMNS = 8
MOST_LISTED = 25
MOST_FLAGS = 8

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
    hooks = of_batch(state)
    found = numbers(state, hooks.apart)
    chosen = detailed(state, found, hooks)
    first = set(hooks.headline)
    varying = sorted(
        (metric for metric in found.numeric if metric.name in first),
        key=lambda metric: hooks.headline.index(metric.name),
    )
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
        "outlying": outlying(state, found, hooks),
        "numbers": found,
        "hooks": hooks,
        "charts": [chart(metric) for metric in varying if len(metric.points) > 1],
        "rest": [metric for metric in found.numeric if metric.name not in first],
        "first": first,
        "curves": [section.curve(group) for group in hooks.curves],
        "pairs": [{"scatter": one, "svg": pairs.draw(one)} for one in hooks.pairs],
        "times": [chart(metric) for metric in found.times if len(metric.points) > 1],
        "columns": columns(found, hooks),
        "checked": partial(gates.counted, hooks.gates),
        "chosen": chosen,
        "metrics": len(found.numeric),
        "all_detailed": len(chosen) == len(state.units),
        "sections": (
            section.of_unit(state, unit, found, hooks) for unit in state.units if unit.id in chosen
        ),
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


def columns(found: Numbers, hooks: Hooks) -> list[str]:
    """Return the metrics that the table of all units shows."""
    if hooks.named:
        return list(hooks.headline)
    return [metric.name for metric in found.numeric[:MOST_COLUMNS]]


def detailed(state: BatchState, found: Numbers, hooks: Hooks) -> set[str]:
    """Choose the units that have a section: all, or in a large batch those worth a look."""
    if len(state.units) <= ALL_DETAILED:
        return {unit.id for unit in state.units}
    outliers = found.outlying()
    failing = [unit.id for unit in state.units if not unit.complete]
    notable = [unit.id for unit in state.units if unit.id in outliers]
    notable.sort(key=lambda unit: -len(outliers[unit]))
    checked = [unit.id for unit in state.units if unit.id in hooks.notable]
    first = [unit.id for unit in state.units[:100]]
    return {*failing[:200], *checked[:100], *notable[:100], *first}


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


def outlying(state: BatchState, found: Numbers, hooks: Hooks) -> list[dict[str, Any]]:
    """Return the complete units with outlying numbers, those with most first.

    Their flags are (metric, side, value), a few at most, those of the headline first.
    """
    flagged = found.outlying()
    first = set(hooks.headline)
    rows: list[dict[str, Any]] = []
    for unit in state.units:
        if unit.id in flagged:
            flags = [(name, side, unit.metrics[name]) for name, side in flagged[unit.id]]
            flags.sort(key=lambda flag: flag[0] not in first)
            more = max(0, len(flags) - MOST_FLAGS)
            rows.append({"id": unit.id, "flags": flags[:MOST_FLAGS], "more": more})
    rows.sort(key=lambda row: -len(flagged[str(row["id"])]))
    return rows[:MOST_LISTED]


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

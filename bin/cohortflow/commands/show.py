"""What `run` and `plan` print at their end."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

SHOWN = 20


def result(ended: Any, as_json: bool) -> None:  # noqa: ANN401 - loaded when it runs
    """Show how a run ended: the units without a result, the counts, where the report is."""
    if as_json:
        click.echo(json.dumps({**ended.summary.as_json(), "status": ended.status}, indent=2))
        return
    problems = ended.summary.problems
    _marked("✓", ended.summary.done)
    _marked("✗", problems)
    click.echo(ended.summary.line())
    click.echo(f"Report: {ended.summary.report}")
    if problems:
        out = shlex.quote(str(Path(ended.summary.report).parent))
        click.echo(f"More on one: cohortflow why {out} UNIT")


def _marked(mark: str, lines: Sequence[str]) -> None:
    """Show lines with a mark in front, a few of them where there are many."""
    for line in lines[:SHOWN]:
        click.echo(f"{mark} {line}")
    if len(lines) > SHOWN:
        click.echo(f"  … and {len(lines) - SHOWN} more, all in the report")


def plan(decisions: list[Any], as_json: bool) -> None:
    """Show what a plan decided, a unit a line."""
    if as_json:
        rows = [
            {"unit": d.unit.id, "decision": d.decision, "reason": d.reason, "detail": d.detail}
            for d in decisions
        ]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    columns = ("unit", "decision", "reason", "detail")
    cells = [(d.unit.id, d.decision, d.reason, d.detail) for d in decisions]
    console = Console()
    if console.is_terminal:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in columns:
            table.add_column(name, overflow="fold")
        for row in cells:
            style = {"run": "cyan", "invalid": "red"}.get(row[1], "")
            table.add_row(*map(Text, row), style=style)
        console.print(table)
    else:  # a unit a line, for other programs
        for row in (columns, *cells):
            click.echo("\t".join(row))
    counts = Counter(d.decision for d in decisions)
    click.echo(", ".join(f"{counts[name]} {name}" for name in ("run", "skip", "invalid")))


def checks(decisions: list[Any], as_json: bool) -> None:
    """Show which units can be used, and why the others cannot."""
    rows = []
    for d in decisions:
        excluded = d.unit.excluded
        row = {"unit": d.unit.id, "valid": excluded is None}
        if excluded is not None:
            row |= excluded.model_dump(mode="json")
        rows.append(row)
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        if row["valid"]:
            click.echo(f"ok {row['unit']}")
            continue
        click.echo(f"{row['category']} {row['unit']} {row['message']}: {row['remedy']}")
        for choice in row["choices"]:
            click.echo("    " + "  ".join(f"{k}={v}" for k, v in choice.items()))

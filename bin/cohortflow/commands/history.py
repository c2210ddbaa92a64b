"""`cohortflow history`: what ran in an output before."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from cohortflow import cli

Row = dict[str, Any]


@click.command("history", epilog="\b\nExample:\n  cohortflow history OUT sub-01_ses-01")
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("unit", required=False)
@cli.json_option
@cli.front_errors
def command(out: Path, unit: str | None, as_json: bool) -> None:
    """Show the runs of OUT, or what all of them did to one unit.

    UNIT is its name in the report, as sub-01_ses-01. The answer comes from the ledger; when its
    database is away, from the files in OUT.
    """
    from cohortflow.ledger import query
    from cohortflow.ledger.reader import Reader

    with Reader(out) as reader:
        if unit is None:
            runs = reader.ask(lambda c, output: query.history(c, output, reader.out))
            value: Any = [_run_value(run) for run in runs]
            text = _runs_text(runs)
        else:
            past = reader.ask(lambda c, output: query.past(c, output, unit))
            value, text = asdict(past), _unit_text(past)
    if reader.warning:
        click.echo(f"WARNING {reader.warning}", err=True)
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=iso) if as_json else text)


def iso(value: object) -> str:
    """Return a time as JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} is not JSON")


def _run_value(run: Row) -> Row:
    return {name: value for name, value in run.items() if name != "output"}


def _runs_text(runs: list[Row]) -> str:
    names = (
        "run",
        "started",
        "took",
        "planned",
        "published",
        "failed",
        "skipped",
        "invalid",
        "how",
    )
    cells = [
        (
            run["id"], time(run["started"]), duration(run["started"], run["finished"]),
            run["to_run"], run["published"], run["failed"], run["skipped"], run["invalid"],
            run["how"],
        )
        for run in runs
    ]  # fmt: skip
    return columns([names, *cells])


def _unit_text(past: Any) -> str:  # noqa: ANN401 - query.Past, imported late
    unit = past.unit
    lines = [f"{unit['id']}: {unit['state']}"]
    if unit["published_run"]:
        lines.append(f"  published by run {unit['published_run']}, {time(unit['published'])}")
    for event in past.decisions:
        lines += ["", f"run {event['run']}  {event['message']}"]
        mine = [a for a in past.attempts if a["run"] == event["run"]]
        cells = [
            (
                f"  {a['step']}", f"attempt {a['attempt']}", a["category"] or "ok",
                "" if a["seconds"] is None else f"{a['seconds']:.1f} s", time(a["started"]),
            )
            for a in mine
        ]  # fmt: skip
        lines += [columns(cells)] if cells else []
        lines += [f"  {a['category']}: {a['message']}" for a in mine if a["message"]]
    return "\n".join(lines)


def columns(cells: list[tuple[Any, ...]]) -> str:
    """Return rows as text whose columns stand below each other."""
    texts = [[str(cell) for cell in row] for row in cells]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    rows = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in texts)
    return "\n".join(row.rstrip() for row in rows)


def time(moment: datetime | None) -> str:
    """Return a time for people, in UTC."""
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}Z"


def duration(begin: datetime | None, end: datetime | None) -> str:
    """Return the time between two, for people."""
    if begin is None or end is None:
        return "-"
    minutes, seconds = divmod(int((end - begin).total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"

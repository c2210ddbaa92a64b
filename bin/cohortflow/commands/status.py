"""`cohortflow status`: where a batch stands."""

from __future__ import annotations

import json
import time as clock
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cohortflow import cli
from cohortflow.commands.history import columns, duration, iso
from cohortflow.core.outcome import one_line

SHOWN = 20
EVERY_SECONDS = 2.0


@click.command(
    "status",
    short_help="Show where the batch in OUT stands.",
    epilog="\b\nExample:\n  cohortflow status OUT --watch",
)
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--watch", is_flag=True, help="Follow the run until it is over or Ctrl-C.")
@cli.json_option
@cli.front_errors
def command(out: Path, watch: bool, as_json: bool) -> None:
    """Show where the batch in OUT stands: units by state, the latest run, what is wrong.

    The answer comes from the ledger; when its database is away, from the files in OUT. With
    --watch and --json each change is one line of JSON.
    """
    from cohortflow.ledger.reader import Reader

    with Reader(out) as reader:
        if watch:
            _watch(reader, as_json)
            return
        standing = _ask(reader)
        _warn(reader)
        if as_json:
            click.echo(
                json.dumps(_value(standing, reader), indent=2, ensure_ascii=False, default=iso)
            )
        else:
            click.echo(_text(standing, SHOWN))


def _ask(reader: Any) -> Any:  # noqa: ANN401 - imported late
    from cohortflow.ledger import query

    return reader.ask(lambda connection, output: query.standing(connection, output, reader.out))


def _warn(reader: Any) -> None:  # noqa: ANN401
    if reader.warning:
        click.echo(f"WARNING {reader.warning}", err=True)


def _value(standing: Any, reader: Any) -> dict[str, Any]:  # noqa: ANN401
    value = asdict(standing) | {"how": standing.how, "total": standing.total}
    if value["run"]:
        value["run"].pop("output")
    return value | {"warning": reader.warning}


def _watch(reader: Any, as_json: bool) -> None:  # noqa: ANN401
    console = Console()
    try:
        if console.is_terminal and not as_json:
            _watch_live(reader, console)
        else:
            _watch_lines(reader, as_json)
    except KeyboardInterrupt:
        pass
    _warn(reader)


def _watch_live(reader: Any, console: Console) -> None:  # noqa: ANN401
    standing = _ask(reader)
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while standing.going:
            live.update(_picture(standing, reader.warning, console))
            clock.sleep(EVERY_SECONDS)
            standing = _ask(reader)
    console.print(_text(standing, SHOWN), markup=False, highlight=False, soft_wrap=True)


def _watch_lines(reader: Any, as_json: bool) -> None:  # noqa: ANN401
    before = ""
    while True:
        standing = _ask(reader)
        if as_json:
            value = _value(standing, reader)
            now = json.dumps(value, ensure_ascii=False, default=iso)
        else:
            now = _line(standing) if standing.going else _text(standing, SHOWN)
        if now != before:
            click.echo(now)
        if not standing.going:
            return
        before = now
        clock.sleep(EVERY_SECONDS)


def _line(standing: Any) -> str:  # noqa: ANN401
    """Return the counts in one line, as the report has them."""
    parts = [f"{count} {state}" for state, count in standing.counts.items() if count]
    return f"{standing.total} unit{'s' * (standing.total != 1)}: {', '.join(parts) or 'none'}"


def _run_line(standing: Any) -> str:  # noqa: ANN401
    run = standing.run
    if run is None:
        return "No run is recorded."
    end = run["finished"] or (datetime.now(UTC) if standing.going else None)
    took = duration(run["started"], end)
    return f"Run {run['id']} {standing.how}" + (f", {took}" if took != "-" else "")


def _problem(row: dict[str, Any]) -> str:
    return one_line(
        f"{row['category'] or row['state'].upper()} {row['id']} {row['message'] or ''}: "
        f"{row['remedy'] or ''}".rstrip(": ")
    )


def _text(standing: Any, shown: int) -> str:  # noqa: ANN401
    lines = [_run_line(standing), _line(standing)]
    if standing.steps:
        cells = [
            (f"  {s['step']}", f"{s['ended']} ended", f"{s['failed']} failed", _mean(s))
            for s in standing.steps
        ]
        lines.append(columns(cells))
    lines += [f"  {_problem(row)}" for row in standing.problems[:shown]]
    if len(standing.problems) > shown:
        lines.append(f"  … and {len(standing.problems) - shown} more, all in the report")
    return "\n".join(lines)


def _mean(step: dict[str, Any]) -> str:
    return "" if step["seconds"] is None else f"{step['seconds']:.1f} s each"


def _picture(standing: Any, warning: str | None, console: Console) -> RenderableType:  # noqa: ANN401
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("step", "ended", "failed", "mean"):
        table.add_column(name, justify="left" if name == "step" else "right")
    for step in standing.steps:
        ended, failed = str(step["ended"]), str(step["failed"])
        table.add_row(Text(step["step"]), ended, Text(failed, "red" if step["failed"] else ""),
                      _mean(step).removesuffix(" each"))  # fmt: skip
    grid = Table.grid()
    width = min(40, console.size.width)
    grid.add_row(ProgressBar(max(standing.total, 1), standing.counts["done"], width=width))
    room = max(console.size.height - len(standing.steps) - 6, 1)
    last = [_cut(_problem(row), "red") for row in standing.problems[-room:]]
    notes = [_cut(f"WARNING {warning}", "yellow")] if warning else []
    parts = [table] if standing.steps else []
    return Group(
        _cut(_run_line(standing), "bold"), *parts, grid, _cut(_line(standing)), *notes, *last
    )


def _cut(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")

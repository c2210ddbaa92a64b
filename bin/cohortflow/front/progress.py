"""The state of a run as it goes, and its picture on a terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cohortflow.front.engine import Event

# A symbol, a word and a colour: it reads without colour, too.
_LOOK = {
    "": ("·", "waiting", "dim"),
    "running": ("▶", "running", "cyan"),
    "done": ("✔", "done", "green"),
    "cached": ("✔", "cached", "green dim"),
    "failed": ("✘", "failed", "red"),
    "left out": ("–", "left out", "dim"),
}


@dataclass
class Progress:
    """What is known of a running batch.

    Attributes
    ----------
    units : list of str
        Units that run.
    steps : tuple of str
        Steps in order, ``publish`` last.
    work : Path
        Nextflow's work folder, to see that a task has ended.
    """

    units: list[str]
    steps: tuple[str, ...]
    work: Path
    states: dict[tuple[str, str], str] = field(default_factory=dict)
    running: dict[str, tuple[str, str]] = field(default_factory=dict)
    order: dict[str, None] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    engine: str = ""
    began: float = field(default_factory=time.monotonic)

    def take(self, event: Event) -> None:
        """Update the state by what Nextflow said."""
        if event.what == "version":
            self.engine = f"nextflow {event.text}"
        elif event.what in {"submitted", "cached"} and event.step in self.steps:
            key = (event.unit, event.step)
            self.states[key] = "cached" if event.what == "cached" else "running"
            self.order.pop(event.unit, None)
            self.order[event.unit] = None
            if event.what == "submitted":
                self.running[event.work] = key
        elif event.what in {"failed", "retried"} and event.work in self.running:
            key = self.running.pop(event.work)
            self.states[key] = "failed" if event.what == "failed" else "running"
            if event.what == "failed":
                self.failures.append(f"{key[0]}: {key[1]} failed")

    def look(self) -> None:
        """See which running tasks have ended by their exit files."""
        for work, key in list(self.running.items()):
            first, _, second = work.partition("/")
            for path in (self.work / first).glob(f"{second}*/.exitcode"):
                if path.read_text(errors="replace").strip() == "0":
                    self.states[key] = "done"
                    del self.running[work]

    def finished(self) -> int:
        """Return how many units have ended, published or failed."""
        ended = {unit for (unit, _), state in self.states.items() if state == "failed"}
        last = self.steps[-1]
        ended |= {u for (u, s), state in self.states.items() if s == last and state == "done"}
        return len(ended)

    def remaining_seconds(self) -> float | None:
        """Estimate the time left from the tasks that ended; None before the first."""
        counts = Counter(self.states.values())
        ended = counts["done"] + counts["failed"]
        total = len(self.units) * len(self.steps) - counts["cached"]
        skipped = sum(
            len(self.steps) - 1 - self.steps.index(step)
            for (_, step), state in self.states.items()
            if state == "failed"
        )
        if not ended:
            return None
        return (time.monotonic() - self.began) / ended * max(total - skipped - ended, 0)

    def line(self) -> str:
        """Return the state in one line, for a log."""
        parts = [f"{self.finished()} of {len(self.units)} units"]
        now = [f"{unit} {step}" for unit, step in list(self.running.values())[:3]]
        parts += [f"running {', '.join(now)}"] if now else []
        left = self.remaining_seconds()
        parts += [f"about {_clock(left)} left"] if left is not None else []
        return "; ".join(parts)

    def render(self, console: Console) -> RenderableType:
        """Return the picture: units × steps, those last touched, and an estimate."""
        room = max(console.size.height - 7, 4)
        shown = [unit for unit in self.units if unit in set(list(self.order)[-room:])]
        for unit in self.units:
            if len(shown) >= min(room, len(self.units)):
                break
            if unit not in self.order:
                shown.append(unit)
        return Group(self._table(shown), self._footer(len(self.units) - len(shown)))

    def _table(self, shown: Sequence[str]) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("unit")
        for step in self.steps:
            table.add_column(step)
        for unit in shown:
            cells = [Text(unit)]
            ended = False
            for step in self.steps:
                state = self.states.get((unit, step), "left out" if ended else "")
                ended = ended or state == "failed"
                symbol, word, style = _LOOK[state]
                cells.append(Text(f"{symbol} {word}", style=style))
            table.add_row(*cells)
        return table

    def _footer(self, hidden: int) -> RenderableType:
        done, total = self.finished(), len(self.units)
        left = self.remaining_seconds()
        text = Text(
            f"{done} of {total} units · {_clock(time.monotonic() - self.began)} gone · "
            + (f"about {_clock(left)} left" if left is not None else "no estimate yet")
            + (f" · {hidden} units not shown" if hidden else "")
        )
        bar = Table.grid()
        bar.add_row(ProgressBar(total=max(total, 1), completed=done, width=40))
        last = [Text(f"✘ {line}", style="red") for line in self.failures[-3:]]
        return Group(bar, text, *last)


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"

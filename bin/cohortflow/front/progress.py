"""The state of a run as it goes, and its picture on a terminal."""

from __future__ import annotations

import threading
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
    "again": ("↻", "again", "yellow"),
    "cached": ("✔", "cached", "green dim"),
    "failed": ("✘", "failed", "red"),
    "left out": ("–", "left out", "dim"),
}


NARROW = 60
"""Below so many columns, states are symbols without their words."""


@dataclass
class Progress:
    """What is known of a running batch; one thread may update it while another shows it.

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
    tasks: dict[str, tuple[str, str]] = field(default_factory=dict)
    running: dict[str, tuple[str, str]] = field(default_factory=dict)
    order: dict[str, None] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    folders: dict[str, list[str]] = field(default_factory=dict)
    engine: str = ""
    began: float = field(default_factory=time.monotonic)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def take(self, event: Event) -> None:
        """Update the state by what Nextflow said."""
        with self.lock:
            if event.what == "version":
                self.engine = f"nextflow {event.text}"
            elif event.what in {"submitted", "cached"} and event.step in self.steps:
                self._begun(event)
            elif event.what in {"failed", "retried"} and event.work in self.tasks:
                self._ended_badly(event)

    def _begun(self, event: Event) -> None:
        key = (event.unit, event.step)
        self.states[key] = "cached" if event.what == "cached" else "running"
        self.folders.setdefault(event.unit, []).append(event.work)
        self.order.pop(event.unit, None)
        self.order[event.unit] = None
        if event.what == "submitted":
            self.running[event.work] = self.tasks[event.work] = key

    def _ended_badly(self, event: Event) -> None:
        # A task whose output is missing has exit status 0, so it may have looked done.
        unit, step = key = self.tasks.pop(event.work)
        self.running.pop(event.work, None)
        self.states[key] = "failed" if event.what == "failed" else "again"
        if event.what == "failed":
            self.failures.append(f"{unit}: {step} failed")

    def look(self) -> None:
        """See which running tasks have ended by their exit files."""
        with self.lock:
            begun = list(self.running)
        for work in begun:
            first, _, second = work.partition("/")
            for path in (self.work / first).glob(f"{second}*/.exitcode"):
                if path.read_text(errors="replace").strip() == "0":
                    with self.lock:
                        key = self.running.pop(work, None)
                        if key is not None:
                            self.states[key] = "done"

    def published(self) -> list[str]:
        """Return the units whose publish has ended well."""
        last = self.steps[-1]
        with self.lock:
            return [u for (u, s), state in self.states.items() if s == last and state == "done"]

    def finished(self) -> int:
        """Return how many units have ended, published or failed."""
        last = self.steps[-1]
        with self.lock:
            return len(
                {
                    unit
                    for (unit, step), state in self.states.items()
                    if state == "failed" or (step == last and state in {"done", "cached"})
                }
            )

    def remaining_seconds(self) -> float | None:
        """Estimate the time left from the tasks that ended; None before the first."""
        with self.lock:
            return self._remaining_seconds()

    def _remaining_seconds(self) -> float | None:
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
        with self.lock:
            parts = [f"{self.finished()} of {len(self.units)} units"]
            now = [f"{unit} {step}" for unit, step in list(self.running.values())[:3]]
            parts += [f"running {', '.join(now)}"] if now else []
            # Steps of one unit may run at the same time and fail each.
            failed = len({text.partition(":")[0] for text in self.failures})
            parts += [f"{failed} failed"] if failed else []
            left = self.remaining_seconds()
            parts += [f"about {_clock(left)} left"] if left else []
            return "; ".join(parts)

    def render(self, console: Console) -> RenderableType:
        """Return the picture: units × steps, those that run or were last touched, an estimate.

        It fits the console: at most its height, a line a unit.
        """
        with self.lock:
            last = self.failures[-3:] if console.size.height > 12 else self.failures[-1:]
            room = max(console.size.height - 4 - len(last), 1)
            shown = self._shown(room)
            width, encoding = console.size.width, console.encoding
            return Group(
                self._table(shown, width, encoding),
                *self._footer(len(self.units) - len(shown), width),
                *(_line(f"{_symbol('failed', encoding)}{line}", "red") for line in last),
            )

    def _shown(self, room: int) -> list[str]:
        """Choose what fits: units that run, then those last touched, then those that wait."""
        chosen = dict.fromkeys(unit for unit, _ in self.running.values())
        chosen |= dict.fromkeys(reversed(self.order))
        if len(chosen) < room:
            chosen |= dict.fromkeys(self.units)
        kept = set(list(chosen)[:room])
        return [unit for unit in self.units if unit in kept]

    def _table(self, shown: Sequence[str], width: int, encoding: str) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        longest = max((len(unit) for unit in shown), default=0)
        table.add_column("unit", no_wrap=True, min_width=min(longest, width // 2), overflow="crop")
        for name in self.steps:
            table.add_column(name, no_wrap=True, overflow="crop")
        for unit in shown:
            cells = [Text(unit)]
            ended = False
            for step in self.steps:
                state = self.states.get((unit, step), "left out" if ended else "")
                ended = ended or state == "failed"
                _, word, style = _LOOK[state]
                symbol = _symbol(state, encoding)
                narrow = symbol and width < NARROW
                cells.append(Text(symbol if narrow else f"{symbol}{word}", style=style))
            table.add_row(*cells)
        return table

    def _footer(self, hidden: int, width: int) -> list[RenderableType]:
        done, total = self.finished(), len(self.units)
        left = self.remaining_seconds()
        parts = [
            f"{done} of {total} units",
            f"about {_clock(left)} left" if left is not None else "no estimate yet",
            f"{_clock(time.monotonic() - self.began)} gone",
            *([f"{hidden} units not shown"] if hidden else []),
        ]
        bar = ProgressBar(total=max(total, 1), completed=done, width=min(40, width))
        # The bar ends no line by itself; in a grid it does.
        grid = Table.grid()
        grid.add_row(bar)
        return [grid, _line(", ".join(parts))]


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="crop")


def _symbol(state: str, encoding: str) -> str:
    """Return a state's symbol with a space, or nothing where it cannot be written."""
    return f"{_LOOK[state][0]} " if encoding.lower().startswith("utf") else ""


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"

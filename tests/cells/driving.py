"""Ways to run the lane's tools, and to convert a file without one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cohortflow.cells import convert, decide, settings, split
from cohortflow.cells.hgnc import Table

BIN = Path(__file__).resolve().parents[2] / "bin"
# No gene is known: each keeps its name.
NO_TABLE = Table(frozenset(), {}, {}, {}, "0" * 64, 0)


def tool(
    name: str, *words: object, status: int = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a tool; its exit status must be as expected."""
    ended = subprocess.run(
        [sys.executable, str(BIN / name), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )
    assert ended.returncode == status, ended.stderr
    return ended


def make(
    source: Path,
    folder: Path,
    options: settings.Options | None = None,
    wish: split.Wish | None = None,
    table: Table = NO_TABLE,
    *,
    page: bool = False,
    say: Callable[[str], None] = lambda _line: None,
) -> convert.Converted:
    """Convert a file as cells-convert does, in this process; with its card and picture if asked."""
    options = options or settings.Options()
    basis = decide.Basis(None, None, None, table)
    decided = decide.decide(source, options.matrix, basis, wish or split.Wish())
    folder.mkdir(parents=True, exist_ok=True)
    made = convert.convert(source, folder, decided, options, say)
    others = decide.write(folder, basis, decided)
    if page:
        convert.write(folder, "dataset", made, decided, others)
    return made


def python(code: str, *words: object, **environment: str) -> str:
    """Run a piece of Python in a process of its own; return what it prints."""
    ended = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout

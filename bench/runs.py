"""Commands to time for one number of units, each started in an empty folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.timing import Contender, emptied


@dataclass(frozen=True)
class Runs:
    """Makes contenders whose names end with the number of units.

    `more` is added to their environment.
    """

    launch: Path
    units: int
    more: Mapping[str, str] = field(default_factory=dict)

    def command(self, name: str, *words: str | Path | int) -> Contender:
        return Contender(
            f"{name} {self.units}", [str(word) for word in words], before=self._fresh,
            cwd=self.launch, more=self.more,
        )  # fmt: skip

    def nextflow(self, name: str, words: Sequence[str]) -> Contender:
        return self.command(name, *words, "--units", self.units)

    def xargs(self, name: str, steps: int, script: str) -> Contender:
        lines = f"seq {self.units * steps} | xargs -P2 -I@ {script}"
        return self.command(name, "sh", "-euc", lines)

    def _fresh(self) -> None:
        emptied(self.launch)()
        self.launch.mkdir()

"""Run a study through an engine, and see what that left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cohortflow.core import sweep
from pipeline.driving import BINARIES, Ended
from pipeline.driving import SHORT as LEFT_OUT

# Three steps show what an engine does as well as four.
SHORT = (*LEFT_OUT, "--tensor", "none")
RUN = ("run", "dwi", *SHORT)
# Of a checkout, what a run needs.
PARTS = ("bin", "modules", "conf", "containers")
FILES = ("main.nf", "nextflow.config", "requirements.lock")
# A cluster of one machine answers at once.
QUICK = """executor {
    pollInterval      = '200ms'
    queueStatInterval = '1s'
    exitReadTimeout   = '10s'
}
"""
START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from cohortflow.main import main; main()"


@dataclass(frozen=True)
class Engine:
    """A way to run steps: its profiles, and what a child's environment needs for it."""

    name: str
    profile: str
    environment: Mapping[str, str]
    folder: Path

    def config(self, *lines: str) -> Path:
        """Write a site's configuration."""
        path = self.folder / f"site-{abs(hash(lines))}.config"
        path.write_text("\n".join([QUICK, *lines, ""]))
        return path

    def command(
        self,
        study: Path,
        out: Path,
        *words: str | Path,
        root: Path,
        config: Path | None = None,
        lane: str = "dwi",
    ) -> list[str]:
        """Return the front door's command, of any checkout."""
        command = [sys.executable, "-c", START, root / "bin", "run", lane, study, out]
        command += SHORT if lane == "dwi" else ()
        command += ["--profile", self.profile] if self.profile else []
        return [str(word) for word in (*command, "--config", config or self.config(), *words)]

    def variables(self) -> dict[str, str]:
        path = os.pathsep.join([str(BINARIES), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "COHORTFLOW_GRACE": "2", **self.environment}

    def run(
        self, study: Path, out: Path, *words: str | Path, root: Path, config: Path | None = None
    ) -> Ended:
        return self.execute(self.command(study, out, *words, root=root, config=config))

    def bare(self, study: Path, out: Path, *words: str | Path, root: Path) -> Ended:
        """Run the pipeline without the front door."""
        return self.execute(self.bare_command(study, out, *words, root=root))

    def bare_command(self, study: Path, out: Path, *words: str | Path, root: Path) -> list[str]:
        command = [BINARIES / "nextflow", "-c", self.config(), "run", root / "main.nf"]
        command += ["-ansi-log", "false", "-profile", self.profile or "standard"]
        command += ["--input", study, "--outdir", out, *SHORT]
        return [str(word) for word in (*command, *words)]

    def execute(self, command: list[str], **environment: str) -> Ended:
        ended = subprocess.run(
            command, cwd=self.folder, env={**self.variables(), **environment}, capture_output=True,
            text=True, timeout=600, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def left(self, out: Path) -> list[str]:
        """List the containers and jobs of an output, ended containers too."""
        mark, found = sweep.label(out), []
        if "podman" in self.profile:
            found += self._lines("podman", "ps", "-aq", f"--filter=label=cohortflow.out={mark}")
        if "slurm" in self.profile:
            jobs = self._lines("squeue", "--noheader", "--format=%i|%T|%k")
            found += [job for job in jobs if f"|cohortflow:{mark}:" in job]
        return found

    def _lines(self, *command: str) -> list[str]:
        done = subprocess.run(
            command, env=self.variables(), capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout.split()


def checkout(root: Path, folder: Path, **tools: str) -> Path:
    """Copy what a run needs of the checkout; `dwi_convert="…"` replaces `dwi-convert`.

    The tool itself stays beside it, as `dwi-convert-real`.
    """
    for name in PARTS:
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(root / name, folder / name)
    for name, text in tools.items():
        tool = folder / "bin" / name.replace("_", "-")
        tool.rename(tool.with_name(f"{tool.name}-real"))
        tool.write_text(text)
        tool.chmod(0o755)
    return folder


def steps(work: Path) -> list[Path]:
    """List the records of convert tasks that have begun."""
    return [path for path in work.glob("*/*/.supervise.json") if '"convert"' in path.read_text()]

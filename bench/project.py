"""A project of three empty steps with this pipeline's own settings and tools, for Nextflow."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from bench.timing import ROOT

SHARED = ("conf", "containers", "modules", "nextflow.config", "requirements.lock")

# Slurm is asked often: for short runs, where the time between two questions would be most of it.
HURRY = "executor { pollInterval = '500ms'; queueStatInterval = '1s' }\n"


def ours(folder: Path, script: str, settings: str = "") -> list[str]:
    """Make the project once; return the command that runs it, without profile and units."""
    project = folder / f"ours-{Path(script).stem}"
    if not project.exists():
        project.mkdir()
        # Not a link: a container sees this folder alone.
        shutil.copytree(ROOT / "bin", project / "bin")
        for name in SHARED:
            (project / name).symlink_to(ROOT / name)
        (project / "main.nf").symlink_to(ROOT / "bench" / script)
    nowhere = ["--outdir", str(folder / "out"), "--input", str(folder / "in")]
    return [*_run("-c", folder, settings), str(project), "-ansi-log", "false", *nowhere]


def bare(folder: Path, script: str, settings: str = "") -> list[str]:
    """Return the command for the same steps with nothing of ours but the script."""
    return [*_run("-C", folder, settings), str(ROOT / "bench" / script), "-ansi-log", "false"]


def _run(option: str, folder: Path, settings: str) -> list[str]:
    """Return the beginning of a command with settings beside (-c) or instead of others (-C)."""
    config = folder / f"{hashlib.sha256(settings.encode()).hexdigest()[:8]}.config"
    config.write_text(settings)
    return ["nextflow", option, str(config), "run"]

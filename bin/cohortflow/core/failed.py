"""What failed attempts leave behind: `.cohortflow/failed/<unit>/<time>-<CATEGORY>/`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from cohortflow.core import layout, save
from cohortflow.core.outcome import Category

KEEP = 3
NAME = "failure.json"


class Verdict(BaseModel):
    """How a unit failed, and on what: `fingerprint` is the plan's identity of the unit."""

    model_config = ConfigDict(frozen=True)

    unit: str
    run: str
    step: str
    category: Category
    message: str
    remedy: str
    fingerprint: str
    time: str


def attempts(out: Path, unit: str) -> Iterator[tuple[Path, Verdict]]:
    """Yield the folders of a unit's failed attempts with their verdicts, the newest first."""
    folder = layout.hidden(out, "failed", unit)
    if not folder.is_dir():
        return
    for attempt in sorted(folder.iterdir(), reverse=True):
        try:
            verdict = Verdict.model_validate_json((attempt / NAME).read_bytes())
        except (OSError, ValidationError):
            continue
        yield attempt, verdict


def last(out: Path, unit: str) -> Verdict | None:
    """Return the newest verdict on a unit, or None."""
    return next((verdict for _, verdict in attempts(out, unit)), None)


def keep(
    out: Path, verdict: Verdict, files: dict[str, Path], partial_files: Sequence[Path] = ()
) -> Path:
    """Save a verdict with its log files, and drop all but the newest three.

    Parameters
    ----------
    out : Path
    verdict : Verdict
    files : dict of str to Path
        Name in the folder → file to copy; what is not there is left out.
    partial_files : sequence of Path
        What the attempt computed so far: moved to ``partial/``.

    Returns
    -------
    Path
        The folder made; an existing one of the same failure is kept as it is.
    """
    parent = layout.hidden(out, "failed", verdict.unit)
    time = verdict.time.replace(":", "").replace("-", "")
    target = parent / f"{time}-{verdict.category}"
    if not target.exists():
        with save.folder(target) as partial:
            for name, source in files.items():
                if source.is_file():
                    shutil.copyfile(source, partial / name)
            for source in partial_files:
                (partial / "partial").mkdir(exist_ok=True)
                shutil.move(source, partial / "partial" / source.name)
            save.write_text(partial / NAME, verdict.model_dump_json(indent=2) + "\n")
    for old in sorted(p for p in parent.iterdir() if not p.name.startswith("."))[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def forget(out: Path, unit: str) -> None:
    """Drop what failed attempts of a unit left, once the unit is published."""
    shutil.rmtree(layout.hidden(out, "failed", unit), ignore_errors=True)

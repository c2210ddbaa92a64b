"""Where things lie below an output folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cohortflow import __version__
from cohortflow.core import names, save
from cohortflow.core.outcome import Category, Failure

if TYPE_CHECKING:
    from cohortflow.core.lanes import Lane

HIDDEN = ".cohortflow"
LOGS = "logs"
DESCRIPTION = "dataset_description.json"
#: Files at the root of an output folder that are the engine's own.
FILES = frozenset(
    {
        DESCRIPTION,
        "README.md",
        "report.html",
        "batch_summary.json",
        "batch_summary.log",
        "batch_metrics.csv",
        "rerun.json",
        "log.jsonl",
    }
)
#: Folders there that hold no units: the engine's, and those that BIDS gives a meaning.
FOLDERS = frozenset({LOGS, "code", "derivatives", "docs", "phenotype", "sourcedata", "stimuli"})

_README = """# {title}

Made by cohortflow {version}, lane {lane}. Open `report.html` first.

- A unit's folder ({folders}) is complete when it holds `_done.json`, which lists its files
  with size and SHA-256. A folder without it is not a result.
- `batch_metrics.csv` has a row a unit; `batch_summary.json` says how each one ended;
  `rerun.json` lists those that have no result, as a manifest to run again.
{logs}- `.cohortflow/` is bookkeeping: runs, logs of failed attempts, Nextflow's cache.
"""
_LOGS = """- `logs/` has a log of each unit: `pipeline.log` to read, `pipeline.jsonl` for programs.
"""


def hidden(out: Path, *parts: str) -> Path:
    """Return a path of the bookkeeping below an output folder."""
    return out.joinpath(HIDDEN, *parts)


def run_folder(out: Path, run: str) -> Path:
    """Return the folder of one run."""
    return hidden(out, "runs", run)


def description(out: Path) -> dict[str, Any] | None:
    """Read the output's dataset_description.json, if there is one."""
    try:
        value = json.loads((out / DESCRIPTION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Failure(
            Category.USAGE,
            f"{out}/{DESCRIPTION} cannot be read ({error})",
            "use an empty output folder",
        ) from None
    return value if isinstance(value, dict) else {}


def check_names(*paths: Path | None) -> None:
    """Refuse paths that no script and no JSON file can hold.

    Raises
    ------
    Failure
        USAGE for a line break, a control character, or what is not UTF-8.
    """
    for path in paths:
        try:
            names.path(str(path.absolute()) if path else "")
        except Failure as failure:
            raise Failure(Category.USAGE, failure.message, failure.remedy) from None


def check_output(out: Path, dataset: Path, lane: str, *, bids: bool = True) -> None:
    """Refuse an output folder that would harm something.

    Raises
    ------
    Failure
        USAGE when the output is the study or holds it, lies inside a BIDS study (but for
        ``derivatives/<name>``), belongs to another lane or another study, or is a folder with
        foreign files.
    """
    check_names(dataset, out)
    target, study = out.resolve(), dataset.resolve()
    below = target.relative_to(study).parts if target.is_relative_to(study) else ()
    derivative = below[:1] == ("derivatives",) and len(below) == 2
    if study.is_relative_to(target) or (bids and below and not derivative):
        raise Failure(
            Category.USAGE,
            f"the output {out} and the input {dataset} lie inside each other",
            f"use {dataset / 'derivatives' / f'cohortflow-{lane}'} or a folder elsewhere",
        )
    if out.exists() and not out.is_dir():
        raise Failure(Category.USAGE, f"the output {out} is a file", "name a folder")
    found = description(out)
    if found is None:
        if out.is_dir() and any(p.name != HIDDEN for p in out.iterdir()):
            raise Failure(
                Category.USAGE,
                f"the output {out} holds files that are not cohortflow's",
                "name an empty folder or one that does not exist",
            )
    elif found.get("CohortflowLane") != lane:
        raise Failure(
            Category.USAGE,
            f"the output {out} holds {found.get('Name', 'another dataset')!r}, not lane {lane}",
            "give each lane an output folder of its own",
        )
    else:
        _check_study(out, study, found)


def _check_study(out: Path, study: Path, found: dict[str, Any]) -> None:
    """Refuse a second study in one output; a study that was moved is the same one."""
    link = (found.get("DatasetLinks") or {}).get("raw")
    before = (out.resolve() / link).resolve() if isinstance(link, str) else study
    if before != study and before.is_dir():
        raise Failure(
            Category.USAGE,
            f"the output {out} holds results of the study {before}",
            "give each study an output folder of its own",
        )


def prepare(out: Path, dataset: Path, lane: Lane) -> None:
    """Make the output a derivative dataset as BIDS describes it, with its `.bidsignore`."""
    out.mkdir(parents=True, exist_ok=True)
    hidden(out, "locks").mkdir(parents=True, exist_ok=True)
    target = out / DESCRIPTION
    made = _description(out, dataset, lane.name, lane.title)
    found = description(out)
    if found is None or found.get("DatasetLinks") != made["DatasetLinks"]:
        save.write_json(target, made)
    lines = [
        f"{HIDDEN}/",
        "_done.json",
        "**/_done.json",
        "metrics.json",
        "**/metrics.json",
        "**/figures",
        "batch_*",
        "report.html",
        "rerun.json",
        "log.jsonl",
        *([f"{LOGS}/"] if lane.unit_logs else []),
        *lane.bidsignore,
    ]
    text = "".join(f"{line}\n" for line in lines)
    readme = out / "README.md"
    if not readme.exists():
        save.write_text(readme, _readme(lane))
    ignore = out / ".bidsignore"
    if not ignore.exists() or ignore.read_text(encoding="utf-8") != text:
        save.write_text(ignore, text)


def _readme(lane: Lane) -> str:
    return _README.format(
        title=lane.title,
        lane=lane.name,
        version=__version__,
        folders="`sub-…/ses-…`" if lane.bids else "it has the unit's name",
        logs=_LOGS if lane.unit_logs else "",
    )


def _description(out: Path, dataset: Path, lane: str, title: str) -> dict[str, Any]:
    # Relative, so that a study moved with its derivative stays linked, and no machine is named.
    link = os.path.relpath(dataset.resolve(), out.resolve())
    source: dict[str, str] = {}
    try:
        raw = json.loads((dataset / DESCRIPTION).read_text(encoding="utf-8"))
        source = {"DOI": raw["DatasetDOI"]} if raw.get("DatasetDOI") else {}
    except (OSError, ValueError, AttributeError):
        raw = {}
    return {
        "Name": f"cohortflow-{lane}: {title}",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "cohortflow",
                "Version": __version__,
                "Description": f"lane {lane}: {title}",
            }
        ],
        "SourceDatasets": [source or {"URL": link}],
        "DatasetLinks": {"raw": link},
        "CohortflowLane": lane,
    }

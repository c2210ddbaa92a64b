"""Small studies, manifests and command lines for the tests of the front door."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from cohortflow.main import main
from dwi.small import dicom, nifti


def study(folder: Path, *names: str) -> Path:
    """Make a BIDS study with one small series for each of ``sub-01`` or ``sub-01_ses-a``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    for name in names:
        nifti(folder, f"{name}_dwi")
    return folder


def ambiguous(folder: Path) -> Path:
    """Make a study: sub-01 has two images, no pair, sub-02 two DICOM series, sub-03 one image."""
    nifti(folder, "sub-01_dir-AP_dwi")
    nifti(folder, "sub-01_dir-LR_dwi")
    dicom(folder / "sub-02" / "dwi" / "scans", 1)
    dicom(folder / "sub-02" / "dwi" / "scans", 2)
    return study(folder, "sub-03")


def front(*words: object) -> Result:
    """Call the front door in this process."""
    return CliRunner().invoke(main, [str(word) for word in words])


def dry(study: Path, *words: object, option: str = "--dry-run") -> list[dict[str, Any]]:
    """Return the rows of a dry run that exits well."""
    result = front("run", "dwi", study, study.parent / "out", option, "--json", *words)
    assert result.exit_code == 0, result.output
    return rows(result)


def rows(result: Result) -> list[dict[str, Any]]:
    """Read stdout as JSON and nothing else."""
    value: list[dict[str, Any]] = json.loads(result.stdout)
    return value


def units(found: list[dict[str, Any]]) -> list[str]:
    """Return the names of the units that would run."""
    return [row["unit"] for row in found if row.get("decision", "run") == "run"]


def unit(name: str, *images: Path | str, **more: Any) -> dict[str, Any]:
    """Return a unit of a manifest as a person writes it."""
    inputs = [{"role": "dwi", "path": str(path)} for path in images]
    entities = {"subject": name.removeprefix("sub-")}
    return {"id": name, "folder": name, "entities": entities, "inputs": inputs} | more


def write_lines(path: Path, dataset: Path, *listed: dict[str, Any]) -> Path:
    """Write a manifest of JSON lines."""
    header = {"lane": "dwi", "dataset": str(dataset), "generated_by": "a test"}
    text = "".join(json.dumps(value) + "\n" for value in (header, *listed))
    path.write_text(text, encoding="utf-8")
    return path

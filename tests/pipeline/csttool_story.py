"""A study with all that csttool's batch mode went wrong on, and three runs of it."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cohortflow.core import marker, verify
from cohortflow.example import dicom
from cohortflow.example.phantom import Phantom
from pipeline.driving import RUN, Ended, cohortflow, outputs, plan, runs, write_scan

CHANGED = "sub-04/ses-b"
Rows = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Run:
    """One run, and what the output said after it.

    `digests` has the SHA-256 of each file that a marker lists, `locks` the inode of each lock file.
    """

    ended: Ended
    summary: dict[str, dict[str, Any]]
    rows: Rows
    plan: dict[str, tuple[str, str]]
    records: list[dict[str, Any]]
    locks: dict[str, int]
    digests: dict[str, str]


@dataclass(frozen=True)
class Story:
    """Three runs of one study.

    The first looks at the folder; the second takes a csttool manifest with the choices made and
    the missing file there; the third another option for one unit.
    """

    study: Path
    out: Path
    first: Run
    second: Run
    third: Run
    uids: tuple[str, str]
    seen: list[tuple[str, list[verify.Finding]]]


def tell(folder: Path, make_study: Callable[..., Path], scan: Phantom) -> Story:
    """Make the study and run it three times.

    Parameters
    ----------
    folder : Path
    make_study : callable
        Writes a study of good subjects.
    scan : Phantom
    """
    study, out = make_study(folder / "study", "01", "02", "03", "05"), folder / "out"
    missing = study / "sub-02/dwi/sub-02_dwi.nii.gz"
    content = missing.rename(folder / "annexed.nii.gz")
    missing.symlink_to(folder / "not-fetched")
    for name in ("03_run-1", "03_run-2"):
        write_scan(study / "sub-03/dwi", f"sub-{name}", scan)
    for path in (study / "sub-03/dwi").glob("sub-03_dwi.*"):
        path.unlink()
    broken = study / "sub-05/dwi/sub-05_dwi.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-5000])
    series = study / "sub-04/dwi/dicom"
    darker = replace(scan, data=(scan.data * 0.9).astype(scan.data.dtype))
    uids = (_series(series, scan, 1), _series(series, darker, 2))

    first = _run(folder, study, out)
    missing.unlink()
    content.rename(missing)
    second = _run(folder, study, out, "--manifest", _manifest(folder, study, uids[1]))
    with watched(out, CHANGED) as seen:
        third = _run(folder, study, out, "--manifest", _manifest(folder, study, uids[0]))
    return Story(study, out, first, second, third, uids, seen)


def _series(folder: Path, scan: Phantom, number: int) -> str:
    labels = dicom.Labels("P4", "one", number, f"dwi {number}")
    return dicom.write_series(folder, scan, labels)


def _manifest(folder: Path, study: Path, uid: str) -> Path:
    """Write csttool's form; the series is chosen among the subject's own options."""
    series = str(study / "sub-04/dwi/dicom")
    nifti = "{0}/sub-{1}/dwi/sub-{1}_dwi.nii.gz"
    value = {
        "name": "A study",
        "options": {"denoise_method": "nlmeans"},
        "subjects": [
            {"id": "sub-01", "nifti": nifti.format(study, "01")},
            {"id": "sub-02", "nifti": nifti.format(study, "02")},
            {"id": "04", "session": "b", "dicom": series, "options": {"series_uid": uid}},
        ],
    }
    path = folder / "manifest.json"
    path.write_text(json.dumps(value))
    return path


def _run(folder: Path, study: Path, out: Path, *words: str | Path) -> Run:
    option = ("--parameter", "gradient_check=warn")
    ended = cohortflow(*RUN, study, out, *option, *words, cwd=folder)
    latest = runs(out)[-1]
    locks = [out / ".cohortflow/run.lock", *(out / ".cohortflow/locks").glob("*.lock")]
    return Run(
        ended,
        {one["id"]: one for one in json.loads((out / "batch_summary.json").read_text())["units"]},
        rows(out),
        plan(out),
        [json.loads(line) for line in (latest / "records.jsonl").read_text().splitlines()],
        {lock.name: lock.stat().st_ino for lock in locks},
        outputs(out),
    )


def rows(out: Path) -> Rows:
    """Return the rows of the table of numbers, by unit."""
    with (out / "batch_metrics.csv").open(newline="") as file:
        return {row["unit"]: row for row in csv.DictReader(file)}


@contextmanager
def watched(out: Path, folder: str) -> Iterator[list[tuple[str, list[verify.Finding]]]]:
    """Look at a unit over and over, as a reader beside a run does: its run, what is wrong."""
    seen: list[tuple[str, list[verify.Finding]]] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.1):
            done = marker.read(out / folder)
            run = done.run if isinstance(done, marker.Marker) else str(done)
            seen.append((run, list(verify.unit(out, folder))))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        yield seen
    finally:
        stop.set()
        reader.join()

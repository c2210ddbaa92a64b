"""Write an example study of six people: DICOM and NIfTI, whole and broken, with its truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cohortflow import __version__
from cohortflow.core import save
from cohortflow.core.outcome import Category, Failure
from cohortflow.example import dicom, truth
from cohortflow.example.phantom import Phantom, make_phantom

#: Coarse enough for a study of a few minutes on two cores.
VOXEL_SIZE = 3.0
README = """\
Example study of cohortflow
===========================

Six made-up people, scanned in a digital head phantom: no person was measured. Head shape and
background anisotropy come from the group-average FA template of the Python package TractSeg
(Apache-2.0), warped at random for each person; tracts, tensors, motion and noise are computed.

sub-01  NIfTI, complete
sub-02  DICOM, one series
sub-03  two sessions: ses-01 DICOM, ses-02 NIfTI
sub-04  two diffusion series in one DICOM folder: ambiguous until one is chosen by its UID
sub-05  DICOM with one file cut short: cannot be converted
sub-06  NIfTI without b-vectors: cannot be used

What each scan was made from (brain mask, tensors, FA, MD, tracts, b-vectors) is in
derivatives/truth.
"""


@dataclass(frozen=True)
class Unit:
    """What was written for one subject or session.

    Attributes
    ----------
    id : str
        ``sub-01`` or ``sub-01_ses-01``.
    form : str
        ``nifti`` or ``dicom``.
    state : str
        ``complete``, ``ambiguous``, ``truncated`` or ``no bvec``.
    path : str
        Where its files are, relative to the study.
    series_uids : tuple of str
        Of DICOM.
    """

    id: str
    form: str
    state: str
    path: str
    series_uids: tuple[str, ...] = ()


def write_study(
    folder: Path, seed: int = 1, *, voxel_size: float = VOXEL_SIZE, directions: int = 24
) -> dict[str, Any]:
    """Write the example study; all of it or nothing.

    Parameters
    ----------
    folder : Path
        Is made; may exist when it is empty.
    seed : int
        Study of other people for another seed.
    voxel_size : float
        mm.
    directions : int
        Gradient directions a scan; the truncated series has 6.

    Returns
    -------
    dict
        ``folder``, ``seed``, ``units`` (list of dict, see `Unit`), ``files``, ``bytes`` and
        ``seconds``; JSON can hold it.

    Raises
    ------
    Failure
        USAGE when the folder is there and not empty, CONFIG when the FA template is missing.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Failure(
            Category.USAGE, f"{folder} exists and is not empty", "name a new or empty folder"
        )
    started = time.monotonic()

    def scan(person: int, **changes: Any) -> Phantom:  # noqa: ANN401 - options of make_phantom
        options = {"voxel_size": voxel_size, "directions": directions, **changes}
        return make_phantom(1000 * seed + person, **options)

    with save.folder(folder) as partial:
        _write_dataset(partial)
        units = [asdict(unit) for unit in _write_people(partial, scan)]
        files = [path for path in partial.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
    return {
        "folder": str(folder),
        "seed": seed,
        "units": units,
        "files": len(files),
        "bytes": size,
        "seconds": round(time.monotonic() - started, 2),
    }


Scan = Callable[..., Phantom]


def _write_people(study: Path, scan: Scan) -> Iterator[Unit]:
    """Write all six, one after the other."""
    yield _nifti(study, "sub-01", scan(1, axes="RAS"))
    yield _dicom(study, "sub-02", {"": scan(2, tilt=(11.0, -4.0, 6.0))})
    yield _dicom(study, "sub-03_ses-01", {"": scan(3, scan=1, tilt=(-8.0, 3.0, 0.0))})
    yield _nifti(study, "sub-03_ses-02", scan(3, scan=2, tilt=(6.0, 0.0, -5.0)))
    runs = {"run-1": scan(4, scan=1), "run-2": scan(4, scan=2, tilt=(5.0, 0.0, 0.0))}
    yield _dicom(study, "sub-04", runs, "ambiguous")
    unit = _dicom(study, "sub-05", {"": scan(5, directions=6)}, "truncated")
    files = sorted((study / unit.path).iterdir())
    dicom.truncate(files[len(files) // 2])
    yield unit
    yield _nifti(study, "sub-06", scan(6), bvec=False)


def _place(study: Path, unit: str, run: str = "", *, of_truth: bool = False) -> truth.Place:
    """Say where a unit's files go: in the study, or in its folder of truth."""
    base = study / "derivatives" / "truth" if of_truth else study
    return truth.Place(base.joinpath(*unit.split("_"), "dwi"), f"{unit}_{run}" if run else unit)


def _nifti(study: Path, unit: str, phantom: Phantom, *, bvec: bool = True) -> Unit:
    """Write one scan as NIfTI."""
    place = _place(study, unit)
    truth.write_scan(place, phantom, bvec=bvec)
    truth.write_truth(_place(study, unit, of_truth=True), phantom)
    path = place.folder.relative_to(study).as_posix()
    return Unit(unit, "nifti", "complete" if bvec else "no bvec", path)


def _dicom(study: Path, unit: str, runs: dict[str, Phantom], state: str = "complete") -> Unit:
    """Write scans as DICOM series into one folder."""
    folder = _place(study, unit).folder / "dicom"
    subject, _, session = unit.partition("_")
    uids = []
    for number, (run, phantom) in enumerate(runs.items(), start=1):
        count = int((phantom.bvals > 0).sum())
        description = f"dwi {count} directions" + (f" {run}" if run else "")
        labels = dicom.Labels(subject, session or "ses-1", number, description)
        uids.append(dicom.write_series(folder, phantom, labels))
        place = _place(study, unit, run, of_truth=True)
        truth.write_truth(place, phantom, SeriesInstanceUID=uids[-1])
    return Unit(unit, "dicom", state, folder.relative_to(study).as_posix(), tuple(uids))


def _write_dataset(study: Path) -> None:
    """Write what BIDS wants at the top of the study and of its truth."""
    made_by = [{"Name": "cohortflow", "Version": __version__}]
    about = {
        "Name": "cohortflow example: head phantom with known truth",
        "BIDSVersion": "1.10.0",
        "License": "CC0",
        "Authors": ["cohortflow"],
        "GeneratedBy": made_by,
    }
    truth.write_json(study / "dataset_description.json", about | {"DatasetType": "raw"})
    (study / "README").write_text(README)
    # BIDS has no place for DICOM beside the NIfTI; the validator is told so.
    (study / ".bidsignore").write_text("**/dicom\n")
    rows = "".join(f"sub-{number:02d}\n" for number in range(1, 7))
    (study / "participants.tsv").write_text("participant_id\n" + rows)
    folder = study / "derivatives" / "truth"
    folder.mkdir(parents=True)
    about |= {"DatasetType": "derivative", "SourceDatasets": [{"URL": "../../"}]}
    truth.write_json(folder / "dataset_description.json", about)
    (folder / ".bidsignore").write_text("*_dwimap.*\n*desc-truth_dwi.json\n*.bval\n*.bvec\n")

"""Bring a diffusion series, DICOM or NIfTI, into one checked form.

`prepare` reads and checks everything that can be checked without writing; `write` makes the
step's folder. The same input gives the same bytes.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import bids, converted, files, from_dicom, gradients, image, phase
from cohortflow.dwi import reverse as reversed_volumes
from cohortflow.dwi import sidecar as sidecars
from cohortflow.dwi.converted import Image, Metrics
from cohortflow.dwi.from_dicom import Dicom

_ENDS = ("bval", "bvec", "json")
_PREFIX = re.compile(r"(sub-[A-Za-z0-9+]{1,64})(_ses-[A-Za-z0-9+]{1,64})?\Z")


def prefix_of(source: Path) -> str:
    """Derive ``sub-01`` or ``sub-01_ses-01`` from an image's BIDS name.

    Raises
    ------
    Failure
        USAGE when the name has no subject.
    """
    name = bids.parse(source.name)
    entities = name.entities if name else {}
    if "sub" not in entities:
        raise Failure(
            Category.USAGE, f"{source}: its name tells no subject", "give --prefix sub-LABEL"
        )
    return bids.unit_name(entities["sub"], entities.get("ses"))[0]


def check_prefix(prefix: str) -> None:
    """Refuse a prefix that is not ``sub-LABEL[_ses-LABEL]``.

    Raises
    ------
    Failure
        USAGE.
    """
    if not _PREFIX.match(prefix):
        raise Failure(
            Category.USAGE, f"prefix {prefix!r} is not sub-LABEL[_ses-LABEL]", "correct --prefix"
        )


def prepare(
    source: Path,
    *,
    series_uid: str | None = None,
    bval: Path | None = None,
    bvec: Path | None = None,
    sidecar: Path | None = None,
    reverse: reversed_volumes.Files | None = None,
    reverse_series_uid: str | None = None,
    phase_encoding: str | None = None,
) -> Image | Dicom:
    """Read and check a series; nothing is written.

    Parameters
    ----------
    source : Path
        A ``.nii`` or ``.nii.gz`` image, or a folder (or one file) of DICOM.
    series_uid : str, optional
        SeriesInstanceUID, needed where the folder has several diffusion series.
    bval, bvec, sidecar : Path, optional
        Files of a NIfTI image; those beside it when left out, the JSON where there is one.
    reverse : reverse.Files, optional
        An image of reversed phase encoding, for a NIfTI image.
    reverse_series_uid : str, optional
        SeriesInstanceUID of a series of reversed phase encoding, for DICOM.
    phase_encoding : str, optional
        The direction of the series, as a person tells, where its sidecar does not: ``j-``, or a
        label such as ``AP``.

    Raises
    ------
    Failure
        INPUT_MISSING, PERMISSION, or DATA_INVALID when the series cannot be used; USAGE for
        options that do not go together.
    """
    if phase_encoding:
        phase.check_given(phase_encoding)
    files.status(str(source))
    if source.name.endswith((".nii", ".nii.gz")):
        if series_uid or reverse_series_uid:
            raise Failure(
                Category.USAGE, f"{source}: a NIfTI image has no series UID", "leave it out"
            )
        if reverse and reverse.image.resolve() == source.resolve():
            raise Failure(
                Category.USAGE, f"{source}: is given as its own reverse image", "name the other"
            )
        made = _prepare_image(source, bval, bvec, sidecar)
        other = reversed_volumes.of_files(reverse, _uri(reverse.image)) if reverse else None
        label = reversed_volumes.label_of(source)
        return converted.joined(made, other, phase_encoding, name=str(source), label=label)
    if reverse:
        raise Failure(
            Category.USAGE, f"{source}: a DICOM series has no reverse image", "give its UID"
        )
    return from_dicom.prepare(source, series_uid, reverse_series_uid, phase_encoding)


def write(prepared: Image | Dicom, target: Path, prefix: str) -> Metrics:
    """Make the step's folder.

    Parameters
    ----------
    prepared : Image or Dicom
        From `prepare`; a DICOM series is converted now, in a scratch folder in `target`.
    target : Path
        An empty folder.
    prefix : str
        ``sub-01`` or ``sub-01_ses-01``.

    Returns
    -------
    dict
        The metrics, as written to ``metrics.json``.

    Raises
    ------
    Failure
        DATA_INVALID when the conversion gives something else than the headers tell; CONFIG
        without dcm2niix; USAGE for a prefix of another form.
    OSError
        When the folder cannot be written.
    """
    check_prefix(prefix)
    if isinstance(prepared, Dicom):
        with tempfile.TemporaryDirectory(dir=target, prefix=".scratch-") as scratch:
            prepared = from_dicom.convert(prepared, Path(scratch))
    return converted.write(prepared, target, prefix)


def convert(
    source: Path,
    target: Path,
    *,
    prefix: str,
    **options: Any,  # noqa: ANN401 - those of `prepare`
) -> Metrics:
    """Check a series, and make the step's folder of it: `prepare`, then `write`."""
    return write(prepare(source, **options), target, prefix)


def _prepare_image(
    source: Path, bval: Path | None, bvec: Path | None, sidecar: Path | None
) -> Image:
    beside = {end: source.with_name(bids.stem(source.name) + f".{end}") for end in _ENDS}
    for role, path in (("bval", bval or beside["bval"]), ("bvec", bvec or beside["bvec"])):
        if not path.exists() and not path.is_symlink():
            raise Failure(
                Category.INPUT_MISSING,
                f"{source}: has no {role} file",
                f"add {path.name} beside it, or give --{role}",
            )
        files.status(str(path))
    table = gradients.read(bval or beside["bval"], bvec or beside["bvec"])
    if sidecar is None and beside["json"].is_file():
        sidecar = beside["json"]
    fields = sidecars.anonymous(sidecars.read(sidecar)) if sidecar else {}
    image.check_dimensions(image.header(source), 4, source)
    loaded, warnings = converted.read(source, table)
    origin = {"Sources": [_uri(source)], "SkullStripped": fields.get("SkullStripped", False)}
    return Image(
        *loaded,
        table,
        {**fields, **origin, "Warnings": warnings},
        {
            "source_kind": "nifti",
            "source_files": 1,
            "series_uid": None,
            "series_description": _text(fields.get("SeriesDescription")),
            "warnings": len(warnings),
        },
    )


def _uri(source: Path) -> str:
    """Name a source: a BIDS URI where its name places it in the study, else the name."""
    name = bids.parse(source.name)
    if name is None or "sub" not in name.entities:
        return source.name
    folder = bids.unit_name(name.entities["sub"], name.entities.get("ses"))[1]
    kind = "fmap" if name.suffix == "epi" else "dwi"
    return f"bids:raw:{folder}/{kind}/{source.name}"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None

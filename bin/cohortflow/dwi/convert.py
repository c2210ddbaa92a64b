"""Bring a diffusion series, DICOM or NIfTI, into one checked form.

`prepare` reads and checks everything that can be checked without writing; `write` makes the
step's folder. The same input gives the same bytes.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cohortflow.core import names
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import (
    bids,
    converted,
    dcm2niix,
    dicom_check,
    dicom_series,
    files,
    gradients,
    image,
)
from cohortflow.dwi import sidecar as sidecars
from cohortflow.dwi.converted import Image, Metrics

_ENDS = ("bval", "bvec", "json")
_PREFIX = re.compile(r"(sub-[A-Za-z0-9+]{1,64})(_ses-[A-Za-z0-9+]{1,64})?\Z")


@dataclass(frozen=True)
class Dicom:
    """A DICOM series that is complete, not converted yet."""

    series: dicom_series.Series
    expected: dicom_check.Expected


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

    Raises
    ------
    Failure
        INPUT_MISSING, PERMISSION, or DATA_INVALID when the series cannot be used.
    """
    files.status(str(source))
    if source.name.endswith((".nii", ".nii.gz")):
        if series_uid:
            raise Failure(
                Category.USAGE, f"{source}: a NIfTI image has no series UID", "leave it out"
            )
        return _prepare_image(source, bval, bvec, sidecar)
    paths = [str(source)] if source.is_file() else files.below(str(source))
    series = _choose(source, dicom_series.list_series(paths), series_uid)
    return Dicom(series, dicom_check.check(series))


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
            prepared = _convert(prepared, Path(scratch))
    return converted.write(prepared, target, prefix)


def convert(
    source: Path,
    target: Path,
    *,
    prefix: str,
    series_uid: str | None = None,
    bval: Path | None = None,
    bvec: Path | None = None,
    sidecar: Path | None = None,
) -> Metrics:
    """Check a series, and make the step's folder of it: `prepare`, then `write`."""
    prepared = prepare(source, series_uid=series_uid, bval=bval, bvec=bvec, sidecar=sidecar)
    return write(prepared, target, prefix)


def _choose(
    source: Path, found: list[dicom_series.Series], series_uid: str | None
) -> dicom_series.Series:
    listed = "; ".join(
        f"{s.uid} ({' '.join((s.number, s.description)).strip()}, {len(s.files)} files)"
        for s in found
    )
    if not found:
        raise Failure(
            Category.DATA_INVALID, f"{source}: no DICOM series of MR images", "add the series"
        )
    if series_uid is not None:
        for series in found:
            if series.uid == names.uid(series_uid):
                return series
        raise Failure(
            Category.DATA_INVALID,
            f"{source}: has no series {series_uid}, only: {listed}",
            "use one of these UIDs",
        )
    usable = dicom_series.candidates(found)
    if len(usable) != 1:
        raise Failure(
            Category.DATA_INVALID,
            f"{source}: {len(usable)} diffusion series, one is needed: {listed}",
            "choose one with --series-uid",
        )
    return usable[0]


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
    loaded, warnings = _read(source, table)
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


def _convert(prepared: Dicom, scratch: Path) -> Image:
    series = prepared.series
    made = dcm2niix.run(series, prepared.expected, scratch)
    try:
        table = gradients.read(made.bval, made.bvec)
        loaded, warnings = _read(made.nifti, table)
    except Failure as failure:  # of a file in the scratch folder: name the series instead
        message = failure.message.replace(f"{made.nifti.parent}/", "")
        message = f"series {series.uid} ({series.description}): {message}"
        raise Failure(failure.category, message, failure.remedy) from None
    said = [*made.warnings, *warnings]
    origin = {
        "SeriesInstanceUID": series.uid,
        "Sources": [f"urn:oid:{series.uid}"],
        "SourceFiles": len(series.files),
        "SkullStripped": False,
        "Warnings": said,
    }
    return Image(
        *loaded,
        table,
        {**sidecars.anonymous(made.fields), **origin},
        {
            "source_kind": "dicom",
            "source_files": len(series.files),
            "series_uid": series.uid,
            "series_description": series.description or None,
            "warnings": len(said),
        },
    )


def _read(
    path: Path, table: gradients.Gradients
) -> tuple[tuple[bytearray, image.Header], list[str]]:
    """Read an image whole, and check its gradients, affine and values."""
    from cohortflow.dwi import voxels

    declared = image.header(path)
    image.check_dimensions(declared, 4, path)
    gradients.check(table, declared.volumes, str(path))
    gradients.check_tensor(table, str(path))
    declared, content = image.read(path)
    raw, slope, intercept = image.stored(declared, content, path)
    warnings = voxels.clean(raw, -intercept / slope, path)
    return image.anonymous(declared, content), warnings


def _uri(source: Path) -> str:
    """Name a source: a BIDS URI where its name places it in the study, else the name."""
    name = bids.parse(source.name)
    if name is None or "sub" not in name.entities:
        return source.name
    folder = bids.unit_name(name.entities["sub"], name.entities.get("ses"))[1]
    return f"bids:raw:{folder}/dwi/{source.name}"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None

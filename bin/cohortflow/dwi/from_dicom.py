"""Convert a DICOM series, and the one of reversed phase encoding, with dcm2niix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cohortflow.core.outcome import Failure, one_line
from cohortflow.dwi import converted, dcm2niix, dicom_check, dicom_series, files, gradients
from cohortflow.dwi import reverse as reversed_volumes
from cohortflow.dwi import sidecar as sidecars

_ADVICE = (
    "give the direction of the main series (AP or j- for example) as option phase_encoding in a "
    "manifest, or series_uid alone to use the series without the other"
)


@dataclass(frozen=True)
class Dicom:
    """A DICOM series that is complete, not converted yet, and the reversed one with it."""

    series: dicom_series.Series
    expected: dicom_check.Expected
    reverse: Dicom | None = None
    phase_encoding: str | None = None

    def __str__(self) -> str:
        return f"series {self.series.uid} ({self.series.description})"


def prepare(
    source: Path, uid: str | None, reverse_uid: str | None, phase_encoding: str | None
) -> Dicom:
    """Choose series among DICOM files, and check that their files are complete.

    Raises
    ------
    Failure
        DATA_INVALID when a series is not there, not clear or not complete; USAGE for one series
        as both.
    """
    paths = [str(source)] if source.is_file() else files.below(str(source))
    found = dicom_series.list_series(paths)
    other = dicom_series.named(found, reverse_uid, str(source)) if reverse_uid else None
    series = dicom_series.choose(found, str(source), uid, other)
    if other:
        dicom_series.check_two(series, other, str(source))
    reverse = Dicom(other, dicom_check.check(other, several=False)) if other else None
    return Dicom(series, dicom_check.check(series), reverse, phase_encoding)


def convert(prepared: Dicom, scratch: Path) -> converted.Image:
    """Convert a series, and the reversed one that goes with it.

    Parameters
    ----------
    prepared : Dicom
    scratch : Path
        An empty folder.

    Raises
    ------
    Failure
        DATA_INVALID when the conversion gives something else than the headers tell, or the two
        are no pair; CONFIG without dcm2niix.
    """
    made = _convert(prepared, scratch)
    other = _convert_reverse(prepared.reverse, scratch) if prepared.reverse else None
    return converted.joined(
        made, other, prepared.phase_encoding, name=str(prepared), label=None, advice=_ADVICE
    )


def _convert(prepared: Dicom, scratch: Path) -> converted.Image:
    series = prepared.series
    made = dcm2niix.run(series, prepared.expected, _empty(scratch / "series"))
    with _named(prepared, made.nifti):
        table = gradients.read(made.bval, made.bvec)
        loaded, warnings = converted.read(made.nifti, table)
    said = [*made.warnings, *warnings]
    origin = {
        "SeriesInstanceUID": series.uid,
        "Sources": [f"urn:oid:{series.uid}"],
        "SourceFiles": len(series.files),
        "SkullStripped": False,
        "Warnings": said,
    }
    return converted.Image(
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


def _convert_reverse(prepared: Dicom, scratch: Path) -> reversed_volumes.Reverse:
    series = prepared.series
    made = dcm2niix.run(series, prepared.expected, _empty(scratch / "reverse"), weighted=False)
    bval = made.bval if made.bval.is_file() else None
    fields = sidecars.anonymous(made.fields)
    with _named(prepared, made.nifti):
        found = reversed_volumes.read(
            made.nifti, bval, fields, name=str(prepared), source=f"urn:oid:{series.uid}"
        )
    warnings = [*made.warnings, *found.fields["Warnings"]]
    own = {"SeriesInstanceUID": series.uid, "SourceFiles": len(series.files), "Warnings": warnings}
    return replace(found, fields={**found.fields, **own})


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


@contextmanager
def _named(prepared: Dicom, scratch: Path) -> Iterator[None]:
    """Let a failure of a file in the scratch folder name the series instead."""
    try:
        yield
    except Failure as failure:
        message = failure.message.replace(f"{scratch.parent}/", "")
        failure.message = one_line(f"{prepared}: {message}")
        if isinstance(failure, gradients.Unusable):
            failure.name = str(prepared)
        raise

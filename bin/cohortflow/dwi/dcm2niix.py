"""Run dcm2niix on one series, and believe nothing that it says without a check."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import dicom, gradients, image
from cohortflow.dwi import sidecar as sidecars
from cohortflow.dwi.dicom_check import Expected
from cohortflow.dwi.dicom_series import Series

_NAME = "converted"


@dataclass(frozen=True)
class Converted:
    """What dcm2niix made of a series.

    Attributes
    ----------
    nifti, bval, bvec : Path
        Files in the scratch folder; a series without diffusion weighting has no gradients.
    fields : dict
        Its sidecar.
    warnings : list of str
        Its own words, names of staged files replaced by the original ones.
    """

    nifti: Path
    bval: Path
    bvec: Path
    fields: dict[str, Any]
    warnings: list[str]


def find() -> Path:
    """Find the program: the PyPI package's, else beside Python, else on PATH.

    Raises
    ------
    Failure
        CONFIG when it is not installed.
    """
    try:
        import dcm2niix  # type: ignore[import-untyped]

        packaged = Path(dcm2niix.bin)
    except ImportError:
        packaged = Path(sys.executable).parent / "dcm2niix"
    found = str(packaged) if packaged.is_file() else shutil.which("dcm2niix")
    if found is None:
        raise Failure(Category.CONFIG, "dcm2niix is not installed", "run `pip install dcm2niix`")
    return Path(found)


def run(series: Series, expected: Expected, scratch: Path, *, weighted: bool = True) -> Converted:
    """Convert one series.

    Parameters
    ----------
    series : Series
    expected : Expected
        What `dicom_check.check` said of it.
    scratch : Path
        An empty folder.
    weighted : bool
        Whether it must have gradients.

    Raises
    ------
    Failure
        CONFIG without dcm2niix; DATA_INVALID when it fails, crashes, or makes something else
        than one image with gradients and the expected slices and volumes.
    """
    program = find()
    scratch = scratch.absolute()  # it becomes the program's current folder
    names = _stage(series.files, scratch / "in")
    out = scratch / "out"
    out.mkdir()
    command = [str(program), "-g", "i", "-b", "y", "-ba", "y", "-z", "n", "-w", "1", "-c", ""]
    done = subprocess.run(
        [*command, "-f", _NAME, "-o", str(out), str(scratch / "in")],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        cwd=scratch,
        check=False,
    )
    words = _words(done.stdout + b"\n" + done.stderr, scratch, names)
    if done.returncode != 0:
        how = f"crashed (signal {-done.returncode})" if done.returncode < 0 else "failed"
        raise _bad(series, f"dcm2niix {how}", words)
    extra = sorted(out.glob(f"{_NAME}_ADC*.nii"))
    images = [path for path in sorted(out.glob("*.nii")) if path not in extra]
    if len(images) != 1:
        raise _bad(series, f"dcm2niix made {len(images)} images of it", words)
    stem = images[0].with_suffix("")
    bval, bvec, sidecar = (stem.with_suffix(end) for end in (".bval", ".bvec", ".json"))
    if weighted and not (bval.is_file() and bvec.is_file()):
        none = np.zeros(image.header(images[0]).volumes)
        bad = _bad(series, "no diffusion gradients in its headers", words)
        table = gradients.Gradients(none, np.zeros((len(none), 3)))
        raise gradients.Unusable(bad.message, bad.remedy, series.description, table)
    _check_shape(image.header(images[0]), expected, len(extra), series, words)
    if extra:
        words.append(f"{len(extra)} computed volume(s) left out")
    try:
        fields = sidecars.read(sidecar)
    except Failure:
        raise _bad(series, "dcm2niix made a sidecar that is not JSON", words) from None
    return Converted(images[0], bval, bvec, fields, words)


def _stage(files: list[str], folder: Path) -> dict[str, str]:
    """Link a series' files under plain names; compressed ones are unpacked."""
    folder.mkdir()
    names = {}
    for number, path in enumerate(files):
        staged = folder / f"{number:06d}.dcm"
        names[staged.name] = Path(path).name
        with dicom.unpacked(path) as file:
            if hasattr(file, "getbuffer"):
                staged.write_bytes(file.getbuffer())
            else:
                staged.symlink_to(Path(path).absolute())
    return names


def _check_shape(
    header: image.Header, expected: Expected, extra: int, series: Series, words: list[str]
) -> None:
    have = (*header.shape, 1)[2:4] if len(header.shape) >= 3 else (0, 0)
    wanted = (expected.slices, None if expected.volumes is None else expected.volumes - extra)
    for count, want, what in zip(have, wanted, ("slices", "volumes"), strict=True):
        if want is not None and count != want:
            raise _bad(series, f"dcm2niix made {count} {what}, the headers tell of {want}", words)
    flat = header.shape[0] * header.shape[1]
    if expected.slices is not None and flat != expected.pixels:
        raise _bad(series, f"dcm2niix made slices of {flat} pixels", words)


def _words(output: bytes, scratch: Path, names: dict[str, str]) -> list[str]:
    """Keep the warnings and errors, without the paths of this run."""
    text = output.decode("utf-8", "replace")
    text = re.sub(re.escape(str(scratch)) + r"\S*?/(?=\d{6}\.dcm)", "", text)
    text = text.replace(f"{scratch}/out/", "").replace(str(scratch), "")
    text = re.sub(r"\d{6}\.dcm", lambda m: names.get(m[0], m[0]), text)
    lines = [line.strip() for line in text.splitlines()]
    said = [line for line in lines if re.match(r"(warning|error)", line, re.I)]
    return list(dict.fromkeys(said))[:20]


def _bad(series: Series, reason: str, words: list[str]) -> Failure:
    said = f" ({'; '.join(words)[:400]})" if words else ""
    return Failure(
        Category.DATA_INVALID,
        f"series {series.uid} ({series.description}): {reason}{said}",
        "exclude the series, or convert it yourself and give the NIfTI image",
    )

"""Scans that the tests of masks, tensors and gradients share."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from cohortflow.dwi.gradients import Gradients
from cohortflow.dwi.series import Series, read
from cohortflow.example.phantom import Phantom, make_phantom

BIN = Path(__file__).resolve().parents[2] / "bin"
TOSHIBA = ("6006", "7006", "8006", "9006", "10006")


@lru_cache(maxsize=4)
def phantom(
    seed: int,
    voxel_size: float = 3.0,
    axes: str = "LAS",
    tilt: tuple[float, ...] = (0, 0, 0),
    directions: int = 24,
) -> Phantom:
    """Return a phantom at SNR 30 with the example's motion."""
    x, y, z = tilt
    return make_phantom(
        seed, voxel_size=voxel_size, axes=axes, tilt=(x, y, z), directions=directions
    )


def as_series(scan: Phantom) -> Series:
    """See a phantom as the tools see a converted series."""
    return Series(
        path=Path("sub-01_desc-converted_dwi.nii.gz"),
        prefix="sub-01",
        data=scan.data.astype(np.float32),
        affine=scan.affine,
        head=None,
        gradients=Gradients(scan.bvals, scan.bvecs),
    )


def written(scan: Phantom, folder: Path, bvecs: np.ndarray | None = None) -> Path:
    """Write a phantom as dwi-convert does, optionally with other b-vectors."""
    import nibabel as nib

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sub-01_desc-converted_dwi.nii.gz"
    nib.save(nib.Nifti1Image(scan.data, scan.affine), path)
    stem = str(path).removesuffix(".nii.gz")
    np.savetxt(f"{stem}.bval", scan.bvals[None])
    np.savetxt(f"{stem}.bvec", (scan.bvecs if bvecs is None else bvecs).T)
    return path


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Return the overlap of two masks."""
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def tool(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a tool by its path, threads pinned."""
    command = [sys.executable, str(BIN / name), *map(str, arguments)]
    pinned = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    environment = os.environ | pinned
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def mrtrix(*command: object) -> None:
    """Run a program of MRtrix3 (the Debian package mrtrix3), the tests' reference."""
    if shutil.which(str(command[0])) is None:
        message = f"{command[0]} is not there: install the package mrtrix3"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    words = [*map(str, command), "-quiet", "-force"]
    subprocess.run(words, check=True, capture_output=True)


def mrtrix_input(path: Path) -> list[object]:
    """Return the arguments that give MRtrix3 a series and its gradients."""
    stem = str(path).removesuffix(".nii.gz")
    return [path, "-fslgrad", f"{stem}.bvec", f"{stem}.bval"]


def convert(source: Path, target: Path, prefix: str) -> None:
    """Run dcm2niix."""
    program = Path(sys.executable).with_name("dcm2niix")
    name = f"{prefix}_desc-converted_dwi"
    command = [program, "-z", "y", "-b", "n", "-f", name, "-o", target, source]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


@lru_cache(maxsize=1)
def real_series(data: Path, scratch: Path) -> dict[str, Path]:
    """Convert the five Toshiba series and the Philips slab; name to NIfTI file."""
    convert(data / "dicom" / "toshiba" / "In", scratch, "sub-01_ses-%s")
    unpacked = scratch / "dicom"
    unpacked.mkdir()
    for packed in sorted((data / "dicom" / "philips" / "In").rglob("IM_*.gz")):
        (unpacked / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    convert(unpacked, scratch, "sub-02")
    paths = {name: scratch / f"sub-01_ses-{name}_desc-converted_dwi.nii.gz" for name in TOSHIBA}
    return paths | {"philips": scratch / "sub-02_desc-converted_dwi.nii.gz"}


@lru_cache(maxsize=8)
def loaded(path: Path) -> Series:
    """Read a series once."""
    return read(path)

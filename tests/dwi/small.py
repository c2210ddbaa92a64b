"""Small studies made in a moment: NIfTI series and DICOM series of a few voxels."""

from __future__ import annotations

import gzip
import importlib.machinery
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import nibabel as nib
import numpy as np
import pydicom
from click.testing import CliRunner, Result
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

BIN = Path(__file__).resolve().parents[2] / "bin"
UID = "1.2.826.0.1.3680043.10.1.{}"
SIX = np.array(
    [[1, 0, 1], [-1, 0, 1], [0, 1, 1], [0, 1, -1], [1, 1, 0], [-1, 1, 0]], dtype=float
) / np.sqrt(2)
BVALS = np.array([0.0] + [1000.0] * 6)
BVECS = np.vstack([np.zeros(3), SIX])


def series_data(volumes: int = 7, shape: tuple[int, int, int] = (6, 5, 4)) -> np.ndarray:
    """Return a bright block in a dark background, float32 (x, y, z, n)."""
    rng = np.random.default_rng(5)
    data = rng.uniform(1, 10, (*shape, volumes)).astype(np.float32)
    data[1:-1, 1:-1, 1:-1] += 500
    return data


def nifti(
    study: Path,
    name: str = "sub-01_dwi",
    *,
    data: np.ndarray | None = None,
    bvals: np.ndarray | None = BVALS,
    bvecs: np.ndarray | None = BVECS,
    end: str = ".nii.gz",
) -> Path:
    """Write a series where BIDS wants it; a sidecar that is None is not written."""
    parts = dict(part.split("-", 1) for part in name.split("_")[:-1])
    folder = study / f"sub-{parts['sub']}"
    folder = (folder / f"ses-{parts['ses']}" if "ses" in parts else folder) / "dwi"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}{end}"
    image = nib.Nifti1Image(series_data() if data is None else data, np.diag([2, 2, 2.5, 1]))
    nib.save(image, path)
    if bvals is not None:
        np.savetxt(folder / f"{name}.bval", bvals[None], fmt="%g")
    if bvecs is not None:
        np.savetxt(folder / f"{name}.bvec", bvecs.T, fmt="%.8g")
    return path


def dicom(
    folder: Path,
    series: int = 1,
    *,
    description: str = "DTI six directions",
    slices: int = 4,
    volumes: int = 7,
    patient: str = "Doe^Jane",
    compress: bool = False,
    implicit: bool = False,
    weighted: bool = True,
) -> list[Path]:
    """Write a classic series, a file for each slice, in an order that names do not tell."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(volumes * slices):
        volume, place = divmod(number, slices)
        dataset = _slice(series, number, place, description, patient, implicit)
        if weighted:
            dataset.DiffusionBValue = float(BVALS[volume % 7])
            if BVALS[volume % 7]:
                dataset.DiffusionGradientOrientation = [float(v) for v in SIX[volume % 7 - 1]]
        name = f"IM{(number * 37) % 1009:04d}_{series}.dcm"
        path = folder / name
        dataset.save_as(path, enforce_file_format=True)
        if compress:
            packed = path.with_name(f"{name}.gz")
            packed.write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
            path = packed
        paths.append(path)
    return paths


def _slice(
    series: int, number: int, place: int, description: str, patient: str, implicit: bool
) -> Dataset:
    rng = np.random.default_rng(number)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    meta.MediaStorageSOPInstanceUID = UID.format(f"{series}.{number + 1}")
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    dataset.Modality, dataset.Manufacturer = "MR", "TOSHIBA"
    dataset.StudyDate = dataset.AcquisitionDate = "20260101"
    dataset.AcquisitionTime = "101112"
    dataset.PatientName, dataset.PatientID = patient, "ID-4711"
    dataset.PatientBirthDate, dataset.PatientPosition = "19700203", "HFS"
    dataset.SeriesDescription = dataset.ProtocolName = description
    dataset.StudyInstanceUID = UID.format("900")
    dataset.SeriesInstanceUID = UID.format(series)
    dataset.SeriesNumber, dataset.InstanceNumber = series, number + 1
    dataset.AcquisitionNumber = 1
    dataset.EchoTime, dataset.RepetitionTime = 80, 9000
    dataset.SliceThickness = dataset.SpacingBetweenSlices = 3
    dataset.ImagePositionPatient = [-9, -9, 3.0 * place]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.FrameOfReferenceUID = UID.format("901")
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns, dataset.PixelSpacing = 8, 6, [3, 3]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    pixels = rng.integers(1, 4, (8, 6))
    pixels[2:6, 1:5] += 900
    dataset.PixelData = pixels.astype("<u2").tobytes()
    return dataset


def rewrite(path: Path, **values: object) -> None:
    """Change elements of a DICOM file; None removes one."""
    dataset = pydicom.dcmread(path)
    for name, value in values.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.save_as(path)


def tool(name: str, arguments: Sequence[object]) -> Result:
    """Run a tool of ``bin/`` in this process."""
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), str(BIN / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    assert isinstance(module.main, click.Command)
    return CliRunner().invoke(module.main, [str(argument) for argument in arguments])


def tree(folder: Path) -> list[str]:
    """List everything below a folder."""
    return sorted(str(path.relative_to(folder)) for path in _all(folder))


def _all(folder: Path) -> Iterator[Path]:
    yield from folder.rglob("*")

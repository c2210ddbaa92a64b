"""Write a phantom's scan as a classic DICOM MR series: one file a slice of a volume.

The gradients go into the standard's public elements (0018,9087) and (0018,9089), in patient
axes (left, posterior, superior).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element, write_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from cohortflow.example.phantom import Phantom

Array = NDArray[np.floating]

#: World (right, anterior, superior) to patient axes (left, posterior, superior).
TO_PATIENT = np.array([-1.0, -1.0, 1.0])
#: No real maker. dcm2niix goes by the first two letters: with these it reads the public diffusion
#: elements as the standard means them; with a name it cannot place it warns once a file.
MANUFACTURER = "Toy scanner"
ECHO_TIME_MS = 85.0
REPETITION_TIME_MS = 7500.0


@dataclass(frozen=True)
class Labels:
    """What a scanner's console would have asked for.

    Attributes
    ----------
    patient : str
        Made-up identifier; also stands in for the name.
    study : str
        Tells studies of the patient apart (a session).
    series : int
        Series number, from 1.
    description : str
        Series description.
    """

    patient: str
    study: str
    series: int
    description: str


def uid(*parts: object) -> str:
    """Make a unique identifier below 2.25 (a UUID, ISO/IEC 9834-8) that the parts determine."""
    name = "/".join(map(str, ("cohortflow example", *parts)))
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}"


def series_uid(phantom: Phantom, labels: Labels) -> str:
    """Return the SeriesInstanceUID that `write_series` gives this scan."""
    return uid(labels.patient, labels.study, labels.series, phantom.seed, phantom.scan)


def write_series(folder: Path, phantom: Phantom, labels: Labels) -> str:
    """Write all slices of all volumes into a folder, which is made.

    Parameters
    ----------
    folder : Path
        Files are named ``<series>_<instance>.dcm``.
    phantom : Phantom
    labels : Labels

    Returns
    -------
    str
        SeriesInstanceUID.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encode = _Encoder()
    for dataset in _slices(phantom, labels):
        name = f"{labels.series:02d}_{int(dataset.InstanceNumber):05d}.dcm"
        (folder / name).write_bytes(encode(dataset))
    return series_uid(phantom, labels)


class _Encoder:
    """Encode data sets that differ in few elements: each value is encoded once in a row."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, bytes]] = {}

    def __call__(self, dataset: Dataset) -> bytes:
        """Return a whole file: preamble, file meta information, data set."""
        file = DicomBytesIO()
        file.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(file, dataset.file_meta)
        return bytes(file.getvalue()) + b"".join(map(self._element, dataset))

    def _element(self, element: DataElement) -> bytes:
        tag = int(element.tag)
        value, encoded = self._known.get(tag, (None, b""))
        # The same object, not an equal one: a changed value is always a new object here.
        if value is not element.value:
            file = DicomBytesIO()
            file.is_little_endian, file.is_implicit_VR = True, False
            write_data_element(file, element)
            encoded = bytes(file.getvalue())
            self._known[tag] = element.value, encoded
        return encoded


def truncate(path: Path) -> None:
    """Cut a file in the middle, as a broken transfer does."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _slices(phantom: Phantom, labels: Labels) -> Iterator[Dataset]:
    """Give one data set after the other, by instance number; the same object is used again."""
    data, affine = phantom.data, phantom.affine
    if np.linalg.det(affine[:3, :3]) > 0:  # DICOM slices are stacked along row x column
        data = data[::-1]
        flip = np.diag([-1.0, 1.0, 1.0, 1.0])
        flip[0, 3] = data.shape[0] - 1
        affine = affine @ flip
    # DICOM rows run from front to back, the image's second axis from back to front.
    pixels = data[:, ::-1].astype("<u2")
    columns, rows, slices, volumes = data.shape
    steps = affine[:3, :3] * TO_PATIENT[:, None]
    corner = affine @ np.array([0, rows - 1, 0, 1.0])
    first = corner[:3] * TO_PATIENT
    directions = phantom.gradients * TO_PATIENT
    dataset = _header(phantom, labels, steps)
    dataset.Rows, dataset.Columns = rows, columns
    series = dataset.SeriesInstanceUID
    for volume in range(volumes):
        dataset.AcquisitionNumber = volume + 1
        seconds = 36000 + volume * REPETITION_TIME_MS / 1000
        dataset.AcquisitionTime = dataset.ContentTime = _clock(seconds)
        _diffusion(dataset, float(phantom.bvals[volume]), directions[volume])
        for index in range(slices):
            dataset.InstanceNumber = volume * slices + index + 1
            dataset.SOPInstanceUID = uid(series, dataset.InstanceNumber)
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            position = first + steps[:, 2] * index
            dataset.ImagePositionPatient = _decimals(position)
            normal = steps[:, 2] / np.linalg.norm(steps[:, 2])
            dataset.SliceLocation = _decimals([position @ normal])[0]
            dataset.add_new("PixelData", "OW", pixels[:, :, index, volume].T.tobytes())
            yield dataset


def _header(phantom: Phantom, labels: Labels, steps: Array) -> Dataset:
    """Fill in what all slices share; `steps` are the voxel axes in patient mm, as columns."""
    size = np.linalg.norm(steps, axis=0)
    axes = steps / size
    study = uid(labels.patient, labels.study)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = uid("implementation")
    dataset.file_meta.ImplementationVersionName = "COHORTFLOW"
    values: dict[str, object] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "ImageType": ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"],
        "SOPClassUID": MRImageStorage,
        "StudyDate": "20260105",
        "SeriesDate": "20260105",
        "AcquisitionDate": "20260105",
        "ContentDate": "20260105",
        "StudyTime": "100000",
        "SeriesTime": _clock(36000 + 600 * labels.series),
        "AccessionNumber": "",
        "Modality": "MR",
        "Manufacturer": MANUFACTURER,
        "ManufacturerModelName": "cohortflow head phantom",
        "ReferringPhysicianName": "",
        "StudyDescription": "cohortflow example",
        "SeriesDescription": labels.description,
        "ProtocolName": labels.description,
        "PatientName": labels.patient,
        "PatientID": labels.patient,
        "PatientBirthDate": "",
        "PatientSex": "",
        "BodyPartExamined": "HEAD",
        "PatientPosition": "HFS",
        "ScanningSequence": "EP",
        "SequenceVariant": "NONE",
        "ScanOptions": "",
        "MRAcquisitionType": "2D",
        "SliceThickness": _decimals([size[2]])[0],
        "SpacingBetweenSlices": _decimals([size[2]])[0],
        "RepetitionTime": REPETITION_TIME_MS,
        "EchoTime": ECHO_TIME_MS,
        "NumberOfAverages": 1,
        "MagneticFieldStrength": 3,
        "EchoTrainLength": 1,
        "FlipAngle": 90,
        "InPlanePhaseEncodingDirection": "COL",
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series_uid(phantom, labels),
        "FrameOfReferenceUID": uid(study, "frame", phantom.scan),
        "StudyID": "1",
        "SeriesNumber": labels.series,
        "PositionReferenceIndicator": "",
        "ImageOrientationPatient": _decimals(np.concatenate([axes[:, 0], -axes[:, 1]])),
        "PixelSpacing": _decimals([size[1], size[0]]),
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
    }
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _diffusion(dataset: Dataset, b_value: float, direction: Array) -> None:
    """Write the diffusion weighting: b, and the direction in patient axes where b is not 0."""
    dataset.DiffusionBValue = b_value
    if b_value:
        dataset.DiffusionDirectionality = "DIRECTIONAL"
        dataset.DiffusionGradientOrientation = [float(value) for value in direction]
        return
    dataset.DiffusionDirectionality = "NONE"
    if "DiffusionGradientOrientation" in dataset:
        del dataset.DiffusionGradientOrientation


def _decimals(values: Array | list[float]) -> list[str]:
    """Format numbers as decimal strings of at most 16 characters."""
    return [f"{value + 0.0:.10f}"[:16] for value in values]


def _clock(seconds: float) -> str:
    """Format seconds since midnight as a DICOM time."""
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes // 60):02d}{int(minutes % 60):02d}{rest:09.6f}"

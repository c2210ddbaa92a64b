"""Write a phantom as BIDS files: the scan, and the truth that it was made from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from cohortflow.example.dicom import ECHO_TIME_MS, MANUFACTURER, REPETITION_TIME_MS
from cohortflow.example.head import Tissue
from cohortflow.example.phantom import Phantom

#: Values in ``desc-tracts_dseg``.
TRACT_LABELS = {"cst_left": 1, "cst_right": 2, "callosum": 3, "csf": 4}


@dataclass(frozen=True)
class Place:
    """Where files of one scan go.

    Attributes
    ----------
    folder : Path
        For example ``STUDY/sub-01/ses-01/dwi``; is made.
    prefix : str
        For example ``sub-01_ses-01``.
    """

    folder: Path
    prefix: str

    def path(self, ending: str) -> Path:
        """Return the path of one file, its folder made."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{self.prefix}_{ending}"


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write JSON, indented."""
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_scan(place: Place, phantom: Phantom, *, bvec: bool = True) -> None:
    """Write the scan as BIDS NIfTI with bval, bvec (unless left out) and a JSON sidecar."""
    _write_image(place.path("dwi.nii.gz"), phantom.data, phantom, REPETITION_TIME_MS / 1000)
    write_gradients(place, phantom, bvec=bvec)
    sidecar = {
        "Modality": "MR",
        "Manufacturer": MANUFACTURER,
        "ManufacturersModelName": "cohortflow head phantom",
        "MagneticFieldStrength": 3,
        "EchoTime": ECHO_TIME_MS / 1000,
        "RepetitionTime": REPETITION_TIME_MS / 1000,
        "FlipAngle": 90,
        "PhaseEncodingDirection": "j",
        "TotalReadoutTime": 0.05,
        "SeriesDescription": f"phantom, {int((phantom.bvals > 0).sum())} directions",
    }
    write_json(place.path("dwi.json"), sidecar)


def write_gradients(place: Place, phantom: Phantom, *, bvec: bool = True) -> None:
    """Write bval, and bvec as three rows, FSL convention."""
    place.path("dwi.bval").write_text(" ".join(f"{b:g}" for b in phantom.bvals) + "\n")
    if bvec:
        rows = [" ".join(f"{value:.8f}" for value in axis) for axis in phantom.bvecs.T]
        place.path("dwi.bvec").write_text("\n".join(rows) + "\n")


def write_truth(place: Place, phantom: Phantom, **facts: object) -> None:
    """Write what a scan was made from.

    Files are ``desc-brain_mask``, ``desc-tissue_dseg`` and ``desc-tracts_dseg`` (with tables of
    the labels), ``param-FA`` and ``param-MD`` maps (mm2/s) and the tensor (Dxx, Dxy, Dxz, Dyy,
    Dyz, Dzz in world axes, mm2/s), the b-values and b-vectors that a right conversion of the
    scan has, and ``desc-truth_dwi.json`` with the numbers.

    Parameters
    ----------
    place : Place
    phantom : Phantom
    **facts
        More for the JSON file.
    """
    labels = np.zeros(phantom.mask.shape, np.uint8)
    for name, value in TRACT_LABELS.items():
        labels[phantom.tracts[name]] = value
    _write_image(place.path("desc-brain_mask.nii.gz"), phantom.mask.astype(np.uint8), phantom)
    _write_image(place.path("desc-tissue_dseg.nii.gz"), phantom.tissue, phantom)
    _write_image(place.path("desc-tracts_dseg.nii.gz"), labels, phantom)
    _write_labels(place.path("desc-tissue_dseg.tsv"), {t.name.lower(): int(t) for t in Tissue})
    _write_labels(place.path("desc-tracts_dseg.tsv"), TRACT_LABELS)
    maps = {"FA": phantom.fa, "MD": phantom.md, "tensor": phantom.tensors * phantom.mask[..., None]}
    for name, values in maps.items():
        path = place.path(f"space-orig_model-DTI_param-{name}_dwimap.nii.gz")
        _write_image(path, values.astype(np.float32), phantom)
    write_gradients(place, phantom)
    write_json(place.path("desc-truth_dwi.json"), {**facts, **_numbers(phantom)})


def _numbers(phantom: Phantom) -> dict[str, object]:
    """Collect the numbers behind a scan."""
    warp, mask = phantom.warp, phantom.tracts
    return {
        "Seed": phantom.seed,
        "Scan": phantom.scan,
        "NoiseSigma": phantom.sigma,
        "SNR": 1000 / phantom.sigma if phantom.sigma else None,
        "Tracts": {
            name: {
                "Voxels": int(mask[name].sum()),
                "FA": float(phantom.fa[mask[name]].mean()),
                "MD": float(phantom.md[mask[name]].mean()),
            }
            for name in TRACT_LABELS
        },
        "HeadRotations": phantom.turns.round(8).tolist(),
        "HeadTranslations": phantom.shifts.round(8).tolist(),
        "WarpToTemplate": {
            "Linear": warp.linear.tolist(),
            "Shift": warp.shift.tolist(),
            "Amplitudes": warp.amplitudes.tolist(),
            "Waves": warp.waves.tolist(),
            "Phases": warp.phases.tolist(),
        },
    }


def _write_labels(path: Path, labels: dict[str, int]) -> None:
    """Write a BIDS table of a segmentation's labels."""
    rows = "".join(f"{value}\t{name}\n" for name, value in labels.items())
    path.write_text("index\tname\n" + rows)


def _write_image(
    path: Path, values: NDArray[Any], phantom: Phantom, repetition: float | None = None
) -> None:
    """Write an array on the phantom's grid; `repetition` in seconds for a series."""
    image = nib.Nifti1Image(values, phantom.affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(phantom.affine, 1)
    image.set_qform(phantom.affine, 1)
    if repetition is not None:
        image.header.set_zooms((*image.header.get_zooms()[:3], repetition))
    nib.save(image, path)

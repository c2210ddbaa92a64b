"""A pair of opposite phase encoding reaches the conversion, whatever its files are called."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohortflow.example.phantom import make_phantom
from pipeline.driving import RUN, cohortflow

pytestmark = pytest.mark.pipeline


def test_images_of_a_pair_may_inherit_the_same_sidecars(tmp_path: Path) -> None:
    scan = make_phantom(5, voxel_size=5.0, directions=12)
    folder = tmp_path / "study" / "sub-01" / "dwi"
    folder.mkdir(parents=True)
    for label in ("AP", "PA"):
        nib.save(nib.Nifti1Image(scan.data, scan.affine), folder / f"sub-01_dir-{label}_dwi.nii.gz")
    description = {"Name": "A pair", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    sidecars = {"dataset_description": description, "dwi": {"TotalReadoutTime": 0.05}}
    for name, fields in sidecars.items():
        (tmp_path / "study" / f"{name}.json").write_text(json.dumps(fields))
    np.savetxt(tmp_path / "study" / "dwi.bval", scan.bvals[None])
    np.savetxt(tmp_path / "study" / "dwi.bvec", scan.bvecs.T)
    ended = cohortflow(*RUN, tmp_path / "study", tmp_path / "out", cwd=tmp_path)
    assert ended.status == 0, ended.text
    metrics = json.loads((tmp_path / "out" / "sub-01" / "metrics.json").read_text())
    assert metrics["reverse_volumes"] == (scan.bvals <= 50).sum()
    assert metrics["phase_encoding"] in ("j", "j-")

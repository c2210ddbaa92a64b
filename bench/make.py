"""Make the inputs of the benches, in a process of its own: `python -m bench.make WHAT FOLDER …`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

# Edges of an icosahedron and one more: eight volumes with the one at b = 0.
DIRECTIONS = np.array(
    [[1, 0, 1], [-1, 0, 1], [0, 1, 1], [0, 1, -1], [1, 1, 0], [-1, 1, 0], [1, 0, 0]], dtype=float
)
VOLUMES, SLICES = 8, 5
FILES_OF_A_SERIES = VOLUMES * SLICES


def _small_scan() -> SimpleNamespace:
    gradients = DIRECTIONS / np.linalg.norm(DIRECTIONS, axis=1, keepdims=True)
    rng = np.random.default_rng(3)
    return SimpleNamespace(
        data=rng.integers(1, 900, (16, 16, SLICES, VOLUMES), dtype=np.int16),
        affine=np.diag([-2.0, 2.0, 2.5, 1.0]),
        bvals=np.array([0.0, *[1000.0] * 7]),
        gradients=np.vstack([np.zeros(3), gradients]),
        seed=3,
        scan=1,
    )


def bids(folder: Path, subjects: str) -> None:
    """Write a BIDS tree with two sessions a subject: image, bval, bvec, JSON."""
    import nibabel as nib

    scan = _small_scan()
    folder.mkdir(parents=True)
    image = folder / "image.nii.gz"
    nib.save(nib.Nifti1Image(scan.data, scan.affine), image)
    files = {
        ".nii.gz": image.read_bytes(),
        ".bval": (" ".join(f"{b:g}" for b in scan.bvals) + "\n").encode(),
        ".bvec": "".join(
            " ".join(f"{v:.6f}" for v in row) + "\n" for row in scan.gradients.T
        ).encode(),
        ".json": b'{"RepetitionTime": 7.5, "EchoTime": 0.085}\n',
    }
    image.unlink()
    (folder / "dataset_description.json").write_text('{"Name": "b", "BIDSVersion": "1.10.0"}')
    for number in range(int(subjects)):
        for session in ("pre", "post"):
            names = (f"sub-{number:05d}", f"ses-{session}")
            place = folder.joinpath(*names, "dwi")
            place.mkdir(parents=True)
            for end, content in files.items():
                place.joinpath(f"{'_'.join(names)}_dwi{end}").write_bytes(content)


def dicom(folder: Path, series: str) -> None:
    """Write a study of DICOM series, one a subject; all but the UID is the same."""
    from cohortflow.example import dicom as example

    scratch = folder / "one"
    labels = example.Labels("bench", "1", 1, "DTI 7 directions")
    uid = example.write_series(scratch, _small_scan(), labels)  # type: ignore[arg-type]
    contents = {path.name: path.read_bytes() for path in sorted(scratch.iterdir())}
    for path in scratch.iterdir():
        path.unlink()
    scratch.rmdir()
    for number in range(int(series)):
        place = folder / f"sub-{number:05d}" / "dwi" / "dicom"
        place.mkdir(parents=True)
        other = f"{uid[:-6]}{number:06d}"
        for name, content in contents.items():
            (place / name).write_bytes(content.replace(uid.encode(), other.encode()))


def scan(folder: Path, x: str, y: str, z: str, directions: str) -> None:
    """Write a phantom as dwi-convert would, uncompressed, and the true mask."""
    import nibabel as nib

    from cohortflow.example.phantom import make_phantom

    made = make_phantom(7, shape=(int(x), int(y), int(z)), directions=int(directions), voxel_size=3)
    folder.mkdir(parents=True)
    stem = folder / "sub-01_desc-converted_dwi"
    nib.save(nib.Nifti1Image(made.data, made.affine), f"{stem}.nii")
    nib.save(nib.Nifti1Image(made.mask.astype(np.uint8), made.affine), folder / "mask.nii")
    np.savetxt(f"{stem}.bval", made.bvals[None], fmt="%g")
    np.savetxt(f"{stem}.bvec", made.bvecs.T, fmt="%.8g")


def unit_files(folder: Path, files: str, megabytes: str) -> None:
    """Write the files of one step, which do not compress."""
    folder.joinpath("dwi").mkdir(parents=True)
    size = int(float(megabytes) * 1e6 / int(files))
    for number in range(int(files)):
        folder.joinpath("dwi", f"{number:03d}.bin").write_bytes(os.urandom(size))


def batch(out: Path, units: str, kind: str) -> None:
    """Write an output as a run leaves it: kind `plan` or `report`."""
    from bench import batches

    {"plan": batches.to_plan, "report": batches.to_report}[kind](out, int(units))


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    {"bids": bids, "dicom": dicom, "scan": scan, "files": unit_files, "batch": batch}[what](
        Path(where), *rest
    )

"""What is timed as a process of its own: library calls, peers and limits written in Python."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from bench.timing import THREADS

TAGS = [
    "SeriesInstanceUID", "SeriesDescription", "SeriesNumber", "Modality", "ImageType",
    "ImagePositionPatient", "DiffusionBValue",
]  # fmt: skip


def scan_tree(folder: str) -> None:
    """Visit every entry with os.scandir and stat every file: no walk is cheaper in Python."""
    stack = [folder]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    stack.append(entry.path)
                else:
                    entry.stat()


def read_tree(folder: str) -> None:
    """Visit as `scan_tree`, and read the first 4 kB of each file."""
    stack = [folder]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    stack.append(entry.path)
                else:
                    entry.stat()
                    with open(entry.path, "rb", buffering=0) as file:  # noqa: PTH123 - the fastest
                        file.read(4096)


def pydicom_tree(folder: str) -> None:
    """Group every DICOM file by its series, reading only the elements that are needed."""
    import pydicom

    series: dict[str, list[object]] = {}
    for root, _, names in os.walk(folder):
        for name in names:
            header = pydicom.dcmread(
                os.path.join(root, name),  # noqa: PTH118
                stop_before_pixels=True,
                specific_tags=TAGS,
            )
            series.setdefault(header.SeriesInstanceUID, []).append(header.get("DiffusionBValue"))


def _stem(folder: str) -> Path:
    return Path(folder) / "sub-01_desc-converted_dwi"


def tensor_ours(folder: str, out: str) -> None:
    from cohortflow.dwi import series, tensor

    data = series.read(_stem(folder).with_suffix(".nii"))
    mask = tensor.read_mask(Path(folder) / "mask.nii", data)
    maps = tensor.compute(data, mask, THREADS)
    _save(out, data.affine, FA=maps.fa, MD=maps.md, RD=maps.rd, AD=maps.ad)


def tensor_dipy(folder: str, out: str) -> None:
    import nibabel as nib
    import numpy as np
    from dipy.core.gradients import gradient_table
    from dipy.reconst.dti import TensorModel

    stem = _stem(folder)
    image = nib.load(stem.with_suffix(".nii"))
    mask = np.asarray(nib.load(Path(folder) / "mask.nii").dataobj) > 0
    bvals, bvecs = np.loadtxt(stem.with_suffix(".bval")), np.loadtxt(stem.with_suffix(".bvec"))
    model = TensorModel(gradient_table(bvals, bvecs=bvecs.T), fit_method="WLS")
    fit = model.fit(np.asarray(image.dataobj, dtype=np.float32), mask=mask)
    _save(out, image.affine, FA=fit.fa, MD=fit.md, RD=fit.rd, AD=fit.ad)


def tensor_fits(folder: str, rounds: str) -> None:
    """Print the seconds of each fit alone, ours and DIPY's in turn, as JSON.

    The first of ours is left out of the rounds: it loads what was compiled, or compiles.
    """
    import time

    import numpy as np
    from dipy.core.gradients import gradient_table
    from dipy.reconst.dti import TensorModel

    from cohortflow.dwi import series, tensor

    data = series.read(_stem(folder).with_suffix(".nii"))
    mask = tensor.read_mask(Path(folder) / "mask.nii", data)
    model = TensorModel(
        gradient_table(data.gradients.bvals, bvecs=data.gradients.bvecs), fit_method="WLS"
    )

    def dipy() -> object:
        fit = model.fit(data.data, mask=mask)
        return np.stack([fit.fa, fit.md, fit.rd, fit.ad])

    fits = {
        "cohortflow.dwi.tensor.compute": lambda: tensor.compute(data, mask, THREADS),
        "the same, one thread": lambda: tensor.compute(data, mask),
        "DIPY, WLS": dipy,
    }
    tensor.compute(data, mask)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in fits}
    for _ in range(int(rounds)):
        for name, fit in fits.items():
            start, used = time.perf_counter(), time.process_time()
            fit()
            taken[name].append((time.perf_counter() - start, time.process_time() - used))
    print(json.dumps(taken))


def _save(out: str, affine: object, **maps: object) -> None:
    import nibabel as nib
    import numpy as np

    Path(out).mkdir(parents=True, exist_ok=True)
    for name, values in maps.items():
        nib.save(nib.Nifti1Image(np.asarray(values, np.float32), affine), Path(out, f"{name}.nii"))


def difference(mask: str, one: str, other: str) -> None:
    """Print the mean absolute difference of two maps inside a mask."""
    import nibabel as nib
    import numpy as np

    inside, a, b = (np.asarray(nib.load(path).dataobj) for path in (mask, one, other))
    print(float(np.abs(a - b)[inside > 0].mean()))


def white_matter(scan: str, one: str, other: str) -> None:
    """Print how FA and MD (um2/ms) of two folders differ in white matter.

    It is where both find FA > 0.2, two voxels or more inside the mask. For its voxels in which
    every measurement is above 0, then for all, their number and both differences are printed.
    """
    import nibabel as nib
    import numpy as np
    from scipy import ndimage

    def read(path: str | Path) -> np.ndarray:
        return np.asarray(nib.load(path).dataobj, np.float64)

    fa, md = (
        [read(Path(folder, name)) for folder in (one, other)] for name in ("FA.nii", "MD.nii")
    )
    inner = ndimage.binary_erosion(read(Path(scan, "mask.nii")) > 0, iterations=2)
    white = inner & (fa[0] > 0.2) & (fa[1] > 0.2)
    positive = (read(_stem(scan).with_suffix(".nii")) > 0).all(axis=-1)
    told = []
    for part in (white & positive, white):
        apart = [float(np.abs(a - b)[part].mean()) for a, b in (fa, md)]
        told.append([int(part.sum()), apart[0], 1000 * apart[1]])
    print(json.dumps(told))


def patient(study: str, out: str) -> None:
    """Convert the real series to the files of a scan, with the mask of its brain."""
    import subprocess

    import nibabel as nib
    import numpy as np

    from cohortflow.dwi import mask, series

    folder = Path(out)
    folder.mkdir(parents=True)
    words = ["dcm2niix", "-z", "n", "-b", "n", "-f", "%s", "-o", out, study]
    subprocess.run(words, check=True, capture_output=True)
    for end in ("nii", "bval", "bvec"):
        (folder / f"7006.{end}").rename(_stem(out).with_suffix(f".{end}"))
    data = series.read(_stem(out).with_suffix(".nii"))
    brain = mask.compute(data).mask.astype(np.uint8)
    nib.save(nib.Nifti1Image(brain, data.affine), folder / "mask.nii")


def publish(folder: str, out: str) -> None:
    """Publish one unit whose only step made the folder."""
    from cohortflow.core import publish as publishing
    from cohortflow.core.lanes import Lane, Step

    names = [path.relative_to(folder).as_posix() for path in sorted(Path(folder).glob("dwi/*"))]
    lane = Lane(
        "bench", "Timing", (Step("one"),), (), (*names, "metrics.json"),
        discover=lambda _study, _chosen: iter(()), complete=lambda unit, _base: unit,
        filters=lambda _path: {}, roles=("dwi",),
    )  # fmt: skip
    planned = {
        "unit": {"id": "sub-01", "folder": "sub-01"}, "lane": "bench", "run": "bench",
        "dataset": "/study", "parameters": {}, "code": {"one": "0" * 12},
    }  # fmt: skip
    publishing.publish(Path(out), lane, planned, [Path(folder)], {"one": 1.0})


def read_markers(out: str) -> None:
    """Read every marker and stat every file that it lists: the least that a plan must do."""
    for entry in os.scandir(out):
        marker = f"{entry.path}/_done.json"
        if os.path.exists(marker):  # noqa: PTH110
            with open(marker, "rb") as file:  # noqa: PTH123
                for output in json.load(file)["outputs"]:
                    os.stat(f"{entry.path}/{output['path']}")  # noqa: PTH116


def read_batch(out: str) -> None:
    """Read what a report is made of: plan, records, markers and metrics."""
    for name in ("plan.jsonl", "records.jsonl"):
        for path in Path(out, ".cohortflow", "runs").glob(f"*/{name}"):
            for line in path.read_bytes().splitlines():
                json.loads(line)
    read_markers(out)
    for entry in os.scandir(out):
        if os.path.exists(f"{entry.path}/metrics.json"):  # noqa: PTH110
            json.loads(Path(entry.path, "metrics.json").read_bytes())


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

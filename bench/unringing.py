"""Removal of Gibbs ringing beside MRtrix3's and DIPY's: from files to files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.timing import (
    THREADS,
    Contender,
    Table,
    compare,
    emptied,
    environment,
    python,
    spend,
    tool,
)

# Voxels x, y, z, directions; rounds (DIPY takes some 20 s of each).
SIZES = {"full": (64, 64, 40, 30, 3), "small": (64, 64, 40, 30, 1), "tiny": (20, 20, 16, 6, 1)}


def measure(folder: Path, size: str) -> Iterator[Table]:
    x, y, z, directions, rounds = SIZES[size]
    scan, cache = folder / "scan", folder / "cache"
    spend(python("make", "scan", scan, x, y, z, directions))
    image = scan / "sub-01_desc-converted_dwi.nii"
    ours = python("unringing", "ours", image, folder / "a.nii")
    cold = {"NUMBA_CACHE_DIR": str(cache)}
    table = compare(
        f"unringing: {x} x {y} x {z} voxels, {directions + 3} volumes, two threads",
        [
            Contender("cohortflow.dwi.subvoxel", ours),
            Contender("the same, compiled anew", ours, before=emptied(cache), more=cold),
            Contender(
                "dwi-unring, with picture and metrics",
                tool("dwi-unring", image, "--output", folder / "tool", "--overwrite"),
            ),
            Contender(
                "MRtrix3, mrdegibbs",
                [
                    "mrdegibbs",
                    "-quiet",
                    "-force",
                    "-nthreads",
                    str(THREADS),
                    image,
                    folder / "b.nii",
                ],
                needs=("mrdegibbs",),
            ),
            Contender("DIPY, gibbs_removal", python("unringing", "dipy", image, folder / "c.nii")),
        ],
        rounds,
    )
    notes = [
        f"correlation with {name}: {images:.5f}, of what was taken away {changes:.3f}"
        for name, other in (("MRtrix3", "b.nii"), ("DIPY", "c.nii"))
        if (folder / other).exists()
        for images, changes in [_agreement(image, folder / "a.nii", folder / other)]
    ]
    yield Table(table.title, table.columns, table.rows, [*table.notes, *notes])


def _agreement(*paths: Path) -> tuple[float, float]:
    command = python("unringing", "agreement", *paths)
    done = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True)
    images, changes = json.loads(done.stdout)
    return images, changes


def ours(image: str, out: str) -> None:
    from cohortflow.dwi import series, subvoxel

    data = series.read(Path(image))
    series.save(Path(out), subvoxel.unring(data.data, threads=THREADS), data)


def dipy(image: str, out: str) -> None:
    import nibabel as nib
    import numpy as np
    from dipy.denoise.gibbs import gibbs_removal

    loaded = nib.load(image)
    data = np.asarray(loaded.dataobj, dtype=np.float32)
    made = gibbs_removal(data, slice_axis=2, num_processes=THREADS, inplace=False)
    nib.save(nib.Nifti1Image(made.astype(np.float32), loaded.affine), out)


def agreement(*paths: str) -> None:
    """Print how two results correlate, and how their differences to the input do."""
    import nibabel as nib
    import numpy as np

    data, one, other = (np.asarray(nib.load(path).dataobj, np.float32).ravel() for path in paths)
    pairs = ((one, other), (one - data, other - data))
    print(json.dumps([float(np.corrcoef(a, b)[0, 1]) for a, b in pairs]))


if __name__ == "__main__":
    {"ours": ours, "dipy": dipy, "agreement": agreement}[sys.argv[1]](*sys.argv[2:])

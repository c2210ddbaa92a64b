"""Removal of Gibbs ringing beside MRtrix3's and DIPY's: from files to files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from bench import growth
from bench.timing import THREADS, Contender, Table, compare, emptied, python, spend, tool

# Voxels x, y, z, directions; rounds (DIPY takes some 20 s of each).
SIZES = {"full": (64, 64, 40, 30, 3), "small": (64, 64, 40, 30, 1), "tiny": (20, 20, 16, 6, 1)}


def measure(folder: Path, size: str) -> Iterator[Table]:
    x, y, z, directions, rounds = SIZES[size]
    scan, cache = folder / "scan", folder / "cache"
    spend(python("make", "scan", scan, x, y, z, directions))
    image = scan / "sub-01_desc-converted_dwi.nii"
    ours = python("unringing", "ours", image, folder / "a.nii")
    spend(ours)  # compiles, if that was not yet done
    cold = {"NUMBA_CACHE_DIR": str(cache)}
    threads = ("--threads", THREADS)
    table = compare(
        f"unringing: {x} x {y} x {z} voxels, {directions + 3} volumes, two threads",
        [
            Contender("cohortflow.dwi.subvoxel", ours),
            Contender("the same, compiled anew", ours, before=emptied(cache), more=cold),
            Contender(
                "dwi-unring, with picture and metrics",
                tool("dwi-unring", image, "--output", folder / "tool", "--overwrite", *threads),
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
    others = (("MRtrix3", folder / "b.nii"), ("DIPY", folder / "c.nii"))
    notes = growth.agreements("unringing", image, folder / "a.nii", others)
    yield Table(table.title, table.columns, table.rows, [*table.notes, *notes])
    title = "unringing alone, two threads: how it grows"
    yield growth.table(title, "unringing", "dwi-unring", folder, size)


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


def alone(image: str) -> None:
    from cohortflow.dwi import subvoxel

    growth.alone(lambda data: subvoxel.unring(data.data, threads=THREADS), image)


COMMANDS = {"ours": ours, "dipy": dipy, "alone": alone, "agreement": growth.agreement}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])

"""Denoising beside MRtrix3's and DIPY's: from files to files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from bench import growth
from bench.timing import THREADS, Contender, Table, compare, emptied, python, spend, tool

# Voxels x, y, z, directions; rounds (DIPY takes some 20 s of each).
SIZES = {"full": (64, 64, 40, 30, 3), "small": (64, 64, 40, 30, 1), "tiny": (20, 20, 16, 8, 1)}


def measure(folder: Path, size: str) -> Iterator[Table]:
    x, y, z, directions, rounds = SIZES[size]
    scan, cache = folder / "scan", folder / "cache"
    spend(python("make", "scan", scan, x, y, z, directions))
    image = scan / "sub-01_desc-converted_dwi.nii"
    ours = python("denoising", "ours", image, folder / "a.nii")
    spend(ours)  # compiles, if that was not yet done
    cold = {"NUMBA_CACHE_DIR": str(cache)}
    mrtrix = ["dwidenoise", "-quiet", "-force", "-nthreads", str(THREADS)]
    threads = ("--threads", THREADS)
    table = compare(
        f"denoising: {x} x {y} x {z} voxels, {directions + 3} volumes, two threads",
        [
            Contender("cohortflow.dwi.denoise", ours),
            Contender("the same, compiled anew", ours, before=emptied(cache), more=cold),
            Contender(
                "dwi-denoise, with picture and metrics",
                tool("dwi-denoise", image, "--output", folder / "tool", "--overwrite", *threads),
            ),
            Contender(
                "MRtrix3, dwidenoise",
                [*mrtrix, image, folder / "b.nii", "-noise", folder / "b_noise.nii"],
                needs=("dwidenoise",),
            ),
            Contender("DIPY, mppca", python("denoising", "dipy", image, folder / "c.nii")),
        ],
        rounds,
    )
    others = (("MRtrix3", folder / "b.nii"), ("DIPY", folder / "c.nii"))
    notes = growth.agreements("denoising", image, folder / "a.nii", others)
    yield Table(table.title, table.columns, table.rows, [*table.notes, *notes])
    title = "denoising alone, two threads: how it grows"
    yield growth.table(title, "denoising", "dwi-denoise", folder, size)


def ours(image: str, out: str) -> None:
    _alone_in_each_thread()
    from cohortflow.dwi import denoise, series

    data = series.read(Path(image))
    result = denoise.compute(data, threads=THREADS)
    series.save(Path(out), result.data, data)
    series.save(Path(f"{out}_noise.nii"), result.sigma, data)


def _alone_in_each_thread() -> None:
    """Keep the linear algebra of each thread to itself, as the tool does."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"


def dipy(image: str, out: str) -> None:
    import nibabel as nib
    import numpy as np
    from dipy.denoise.localpca import mppca

    loaded = nib.load(image)
    made, sigma = mppca(np.asarray(loaded.dataobj, dtype=np.float32), return_sigma=True)
    nib.save(nib.Nifti1Image(made.astype(np.float32), loaded.affine), out)
    nib.save(nib.Nifti1Image(sigma.astype(np.float32), loaded.affine), f"{out}_noise.nii")


def alone(image: str) -> None:
    _alone_in_each_thread()
    from cohortflow.dwi import denoise

    growth.alone(lambda data: denoise.compute(data, threads=THREADS), image)


COMMANDS = {"ours": ours, "dipy": dipy, "alone": alone, "agreement": growth.agreement}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])

"""Spherical deconvolution beside MRtrix3's and DIPY's: from files to files, the response given."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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

# Voxels x, y, z, directions; rounds (DIPY takes most of each).
SIZES = {"full": (48, 48, 32, 60, 3), "small": (32, 32, 24, 60, 3), "tiny": (10, 10, 8, 45, 1)}
LMAX = 8


def measure(folder: Path, size: str) -> Iterator[Table]:
    x, y, z, directions, rounds = SIZES[size]
    cache = folder / "cache"
    spend(python("deconvolution", "make", folder, x, y, z, directions))
    image = folder / "sub-01_desc-preproc_dwi.nii"
    mask, response = folder / "mask.nii", folder / "response.txt"
    ours = python("deconvolution", "ours", image, mask, response, folder / "a.nii")
    table = compare(
        f"deconvolution: {x} x {y} x {z} voxels, {directions} directions, degree {LMAX}, the "
        "response given, two threads",
        [
            Contender("cohortflow.dwi.fod.deconvolved", ours),
            Contender(
                "the same, compiled anew",
                ours,
                before=emptied(cache),
                more={"NUMBA_CACHE_DIR": str(cache)},
            ),
            Contender(
                "dwi-fod, with response, directions, picture, metrics",
                tool("dwi-fod", image, "--mask", mask, "--output", folder / "tool", "--overwrite"),
            ),
            Contender("MRtrix3, dwi2fod csd", _mrtrix(folder), needs=("dwi2fod",)),
            Contender(
                "DIPY, ConstrainedSphericalDeconvModel (one thread)",
                python("deconvolution", "dipy", image, response, folder / "c.nii"),
            ),
        ],
        rounds,
    )
    notes = [
        f"{name}: crossings of 90 and 60 degrees found within 7 degrees: {100 * right:.1f} % and "
        f"{100 * sixty:.1f} %; correlation with our amplitudes {same:.4f}"
        for name, other in (("ours", "a.nii"), ("MRtrix3", "b.nii"), ("DIPY", "c.nii"))
        if (folder / other).exists()
        for right, sixty, same in [_agreement(folder, other)]
    ]
    yield Table(table.title, table.columns, table.rows, [*table.notes, *notes])


def _mrtrix(folder: Path) -> list[str | Path]:
    image = folder / "sub-01_desc-preproc_dwi"
    table = ["-fslgrad", f"{image}.bvec", f"{image}.bval", "-mask", folder / "mask.nii"]
    said = ["-quiet", "-force", "-nthreads", str(THREADS), "-lmax", str(LMAX)]
    files = [f"{image}.nii", folder / "response.txt", folder / "b.nii"]
    return ["dwi2fod", "csd", *files, *table, *said]


def _agreement(folder: Path, name: str) -> list[float]:
    command = python("deconvolution", "agreement", folder, name)
    done = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True)
    return list(json.loads(done.stdout))


def make(folder: str, *sizes: str) -> None:
    """Write a box of known fibres, its mask, gradients, and the response of its fibres."""
    import nibabel as nib
    import numpy as np

    from cohortflow.dwi import fod, shells, tensor
    from cohortflow.dwi.gradients import Gradients
    from cohortflow.dwi.series import Series
    from cohortflow.example import fibres

    x, y, z, directions = map(int, sizes)
    box = fibres.make(701, shells=((3000.0, directions),), shape=(x, y, z))
    axes = box.affine[:3, :3] / np.linalg.norm(box.affine[:3, :3], axis=0)
    table = Gradients(box.bvals, (box.gradients @ axes) * tensor.fsl_signs(box.affine))
    stem = Path(folder) / "sub-01_desc-preproc_dwi"
    data = Series(Path(f"{stem}.nii"), "sub-01", box.data, box.affine, None, table)
    plan = shells.plan(table, "csd", LMAX)
    answer = fod.responses(data, box.mask, plan, tensor.compute(data, box.mask, THREADS))
    np.savetxt(Path(folder) / "response.txt", answer.white)
    nib.save(nib.Nifti1Image(box.data, box.affine), f"{stem}.nii")
    nib.save(nib.Nifti1Image(box.mask.astype(np.uint8), box.affine), Path(folder) / "mask.nii")
    np.savetxt(f"{stem}.bval", table.bvals[None])
    np.savetxt(f"{stem}.bvec", table.bvecs.T)
    np.save(Path(folder) / "truth.npy", box.directions)
    np.save(Path(folder) / "kind.npy", box.kind)


def ours(image: str, mask: str, response: str, out: str) -> None:
    import numpy as np

    from cohortflow.dwi import fod, series, shells, tensor
    from cohortflow.dwi.response import Response

    data = series.read(Path(image))
    inside = tensor.read_mask(Path(mask), data)
    plan = shells.plan(data.gradients, "csd", LMAX)
    answer = Response(plan.shells, np.loadtxt(response, ndmin=2))
    series.save(Path(out), fod.deconvolved(data, inside, plan, answer, THREADS), data)


def dipy(image: str, response: str, out: str) -> None:
    """Fit all voxels with DIPY, which takes a tensor as the response."""
    import nibabel as nib
    import numpy as np
    from dipy.core.gradients import gradient_table
    from dipy.reconst.csdeconv import AxSymShResponse, ConstrainedSphericalDeconvModel

    loaded = nib.load(image)
    stem = image.removesuffix(".nii")
    bvals = np.loadtxt(f"{stem}.bval")
    table = gradient_table(bvals, bvecs=np.loadtxt(f"{stem}.bvec").T, b0_threshold=50)
    data = np.asarray(loaded.dataobj, dtype=np.float32)
    zonal = np.loadtxt(response)
    given = AxSymShResponse(float(data[..., bvals < 50].mean()), zonal)
    model = ConstrainedSphericalDeconvModel(table, given, sh_order_max=LMAX)
    made = model.fit(data).shm_coeff
    nib.save(nib.Nifti1Image(made.astype(np.float32), loaded.affine), out)


def agreement(folder: str, name: str) -> None:
    """Print the shares of crossings that are found, and how amplitudes correlate with ours."""
    import nibabel as nib
    import numpy as np

    from cohortflow.dwi import harmonics, peaks

    place = Path(folder)
    kind, truth = np.load(place / "kind.npy"), np.load(place / "truth.npy")
    first, loaded = nib.load(place / "a.nii"), nib.load(place / name)
    own = np.asarray(loaded.dataobj, np.float64)
    if name == "c.nii":
        own = _from_dipy(own, loaded.affine)
    found = []
    for number in (1, 2):
        where = peaks.peaks(own[kind == number], number=2)[0]
        cosines = np.abs(np.einsum("vki,vli->vkl", where, truth[kind == number]))
        found.append(float((cosines.max(axis=1) >= np.cos(np.radians(7))).all(axis=1).mean()))
    rows = harmonics.basis(harmonics.half_sphere(200), LMAX)
    fibre = kind <= 2
    values = (np.asarray(first.dataobj)[fibre] @ rows.T, own[fibre] @ rows.T)
    print(json.dumps([*found, float(np.corrcoef(values[0].ravel(), values[1].ravel())[0, 1])]))


def _from_dipy(coefficients: Any, affine: Any) -> Any:
    """Turn DIPY's basis and frame, that of the b-vectors, into ours."""
    import numpy as np
    from dipy.core.sphere import Sphere
    from dipy.reconst.shm import sh_to_sf

    from cohortflow.dwi import harmonics, tensor

    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    sphere = harmonics.half_sphere(200)
    image = Sphere(xyz=(sphere @ axes) * tensor.fsl_signs(affine))
    basis = {"sh_order_max": LMAX, "basis_type": "descoteaux07", "legacy": True}
    values = sh_to_sf(coefficients, image, **basis)
    return values @ np.linalg.pinv(harmonics.basis(sphere, LMAX)).T


if __name__ == "__main__":
    {"make": make, "ours": ours, "dipy": dipy, "agreement": agreement}[sys.argv[1]](*sys.argv[2:])

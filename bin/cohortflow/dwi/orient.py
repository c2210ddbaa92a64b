"""Look at the b-vectors against the image, correct them, and write the preprocessed series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.core import save
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import arrangements, coherence, lines, mosaic, refusal, series, tensor
from cohortflow.dwi.coherence import Orientation
from cohortflow.dwi.gradients import Gradients
from cohortflow.dwi.series import Series
from cohortflow.dwi.tensor import Maps

CHECKS = ("correct", "refuse", "warn", "off")

Mask = NDArray[np.bool_]


def check(data: Series, maps: Maps, mask: Mask) -> Orientation:
    """Check the b-vectors against the image, in the mask without its rim."""
    inner = ndimage.binary_erosion(mask, iterations=2, border_value=1) & ~maps.unphysical
    steps = series.voxel_size(data.affine) * tensor.fsl_signs(data.affine)
    frames = arrangements.of_image(data.affine)
    return coherence.check(maps.principal, maps.fa, inner, steps, frames)


def complaint(data: Series, found: Orientation) -> str:
    """Say what is wrong with the b-vectors; empty when nothing is certain to be."""
    name = data.path.name.replace(".nii.gz", ".bvec").replace(".nii", ".bvec")
    given = f"fibre coherence {found.score_given:.2f} as given"
    best = f"{found.score_best:.3f} {found.name}"
    if found.wrong:
        return f"the b-vectors of {name} look {found.name} ({given}, {best})"
    if found.hopeless:
        rival = f"{found.score_rival:.3f} {found.rival.name}"
        return (
            f"the b-vectors of {name} fit the image in no way that can be told ({given}, at "
            f"best {best} and {rival})"
        )
    return ""


def refuse(data: Series, found: Orientation, how: str, output: Path | None = None) -> None:
    """Raise when the b-vectors are certainly wrong and are not corrected.

    Parameters
    ----------
    data : Series
    found : Orientation
    how : str
        Of `CHECKS`: ``correct`` refuses what it cannot correct, ``refuse`` everything that is
        certainly wrong, the others nothing.
    output : Path, optional
        The step's folder: beside it a picture is left.

    Raises
    ------
    Failure
        DATA_INVALID, naming what is flipped or swapped, or that it cannot be told.
    OSError
        When the picture cannot be written.
    """
    refused = {"correct": found.hopeless, "refuse": found.hopeless or found.wrong}
    if not refused.get(how):
        return
    message = complaint(data, found)
    if output is not None:
        refusal.save(output, refusal.draw_series(data, message))
    if found.wrong:
        remedy = f"{found.frame.remedy}, or use --gradient-check correct"
    else:
        remedy = (
            "give the bvec and bval files of this image, in the order of its volumes; when you "
            "are sure that they are right, use --gradient-check warn"
        )
    raise Failure(Category.DATA_INVALID, message, remedy)


def corrected(vectors: NDArray[np.floating], found: Orientation) -> NDArray[np.floating]:
    """Return directions (..., 3) in the b-vectors' frame as the image needs them."""
    return np.asarray(vectors @ found.frame.matrix + 0.0)  # no negative zeros


def metrics(found: Orientation | None, *, changed: bool) -> dict[str, float | str | None]:
    """Return the numbers for ``metrics.json``; None for what was not looked at."""
    if found is None:
        names = ("", "_certain")
        numbers = ("coherence", "coherence_best", "z", "corrected")
        return dict.fromkeys(
            [f"gradient_orientation{name}" for name in names]
            + [f"gradient_{name}" for name in numbers]
        )
    return {
        "gradient_orientation": "cannot be told" if found.hopeless else found.name,
        "gradient_orientation_certain": "yes" if found.certain else "no",
        "gradient_coherence": float(f"{found.score_given:.6g}"),
        "gradient_coherence_best": float(f"{found.score_best:.6g}"),
        "gradient_z": float(f"{found.z:.6g}"),
        "gradient_corrected": "yes" if changed else "no",
    }


def write(
    folder: Path, data: Series, maps: Maps, mask: Mask, found: Orientation | None, how: str
) -> None:
    """Write the preprocessed series, a picture and metrics into a step's folder.

    Parameters
    ----------
    folder : Path
    data : Series
    maps : Maps
        Of the tensor, fitted with the b-vectors as given.
    mask : ndarray of bool, shape (x, y, z)
    found : Orientation or None
        None when nobody looked.
    how : str
        Of `CHECKS`; with ``correct`` b-vectors that are certainly wrong are corrected.

    Raises
    ------
    OSError
        When something cannot be written.
    """
    table, directions = data.gradients, maps.principal
    changed = how == "correct" and found is not None and found.wrong
    if changed and found:
        table = Gradients(table.bvals, corrected(table.bvecs, found).astype(np.float64))
        directions = corrected(directions, found).astype(np.float32)
    step = {
        "Name": "orient",
        "Method": "fibre coherence of all orders and flips of the axes, and of the world's axes",
        "GradientCheck": how,
        "GradientOrientation": found.name if found else "not checked",
        "BvecRowsWritten": found.frame.rows if found and changed else "x, y, z",
    }
    series.write(folder, data, "preproc", data.data, step=step, gradients=table, compress=True)
    (folder / "figures").mkdir()
    numbers = metrics(found, changed=changed)
    picture = _draw(data, maps, tensor.to_world(directions, data.affine), mask, numbers)
    mosaic.save(folder / "figures" / f"{data.prefix}_desc-orient_dwi.png", picture)
    save.write_json(folder / "metrics.json", numbers)


def _draw(
    data: Series,
    maps: Maps,
    world: NDArray[Any],
    mask: Mask,
    numbers: dict[str, float | str | None],
) -> Any:  # noqa: ANN401 - a PIL image
    told = numbers["gradient_orientation"]
    text = "b-vectors: not checked"
    if told is not None:
        text = f"b-vectors: {told}"
        text += ", corrected" if numbers["gradient_corrected"] == "yes" else ""
        text += f" · coherence {numbers['gradient_coherence']:.2f} as given"
        text += f", {numbers['gradient_coherence_best']:.2f} at best"
    return lines.draw(f"{data.prefix}: fibre directions", text, maps.fa, world, mask, data.affine)

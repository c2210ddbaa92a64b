"""A picture of a brain in which regions or the tract were not found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import mosaic, refusal
from cohortflow.dwi import streamlines as lines
from cohortflow.dwi.made import Volume
from cohortflow.dwi.streamlines import Streamlines


@contextmanager
def pictured(
    output: Path | None,
    fa: Volume,
    labels: NDArray[np.uint8],
    candidates: Streamlines | None = None,
) -> Iterator[None]:
    """Leave a picture beside the output of a step that refuses a unit's data.

    Parameters
    ----------
    output : Path or None
        The folder that the step was asked for; None for no picture.
    fa : Volume
    labels : ndarray of uint8, shape (x, y, z)
        See `regions.Region`.
    candidates : Streamlines, optional

    Raises
    ------
    Failure
        The one that was raised within, naming the picture.
    OSError
        When the picture cannot be written.
    """
    try:
        yield
    except Failure as failure:
        if output is None or failure.category is not Category.DATA_INVALID:
            raise
        path = refusal.save(output, draw(failure.message, fa, labels, candidates))
        remedy = f"look at {path}; {failure.remedy}"
        raise Failure(failure.category, failure.message, remedy) from None


def draw(
    message: str, fa: Volume, labels: NDArray[np.uint8], candidates: Streamlines | None = None
) -> Image.Image:
    """Draw the regions on FA and, if there are some, where streamlines went."""
    rows = [mosaic.Row("FA, regions outlined", fa.data, 1.0, ("0", "1"), outline=labels > 0)]
    if candidates is not None:
        shown = np.log10(1.0 + lines.visits(candidates, fa.affine, fa.shape))
        top = float(shown.max()) or 1.0
        ends = ("0", f"{10**top - 1:.0f}")
        title = "streamlines that visit a voxel (logarithm)"
        rows.append(mosaic.Row(title, shown, top, ends, palette="heat"))
    unit = fa.path.name.split("_space-")[0]
    brain = fa.data > 0
    return mosaic.draw(f"{unit} refused", message, rows, brain, fa.affine, columns=8, lines=2)

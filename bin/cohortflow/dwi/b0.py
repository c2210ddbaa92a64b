"""Which volumes of an image of reversed phase encoding are not diffusion weighted."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.outcome import Category, Failure, failure_of
from cohortflow.dwi.gradients import B0_MAXIMUM
from cohortflow.dwi.nifti import Header

_MAXIMUM_BYTES = 1 << 20


def which(declared: Header, image: Path, bval: Path | None) -> NDArray[np.bool_]:
    """Return which volumes of an image have b <= 50 s/mm2, shape (n,).

    Parameters
    ----------
    declared : Header
        The image's header.
    image : Path
        Named in messages; a series (``_dwi``) must have b-values, of any other image without
        them all volumes count.
    bval : Path or None

    Raises
    ------
    Failure
        INPUT_MISSING for a series without b-values; DATA_INVALID when they are not finite
        numbers, not one a volume, or all above 50, or when the image is neither 3-D nor 4-D.
    """
    if len(declared.shape) not in (3, 4):
        raise _bad(f"{image}: is {len(declared.shape)}-D, not 3-D or 4-D")
    if bval is None:
        if image.name.removesuffix(".gz").endswith("_dwi.nii"):
            raise Failure(
                Category.INPUT_MISSING,
                f"{image}: has no bval file, which of its volumes are b=0 is not known",
                f"add {image.name.removesuffix('.gz').removesuffix('.nii')}.bval beside it",
            )
        return np.ones(declared.volumes, dtype=bool)
    values = _read(bval)
    if len(values) != declared.volumes:
        raise _bad(f"{image}: {declared.volumes} volumes but {len(values)} b-values in {bval}")
    found = np.array([0 <= value <= B0_MAXIMUM for value in values])
    if not found.any():
        raise _bad(f"{image}: no volume with b <= {B0_MAXIMUM:g}, the smallest is {min(values):g}")
    return found


def _read(bval: Path) -> list[float]:
    try:
        with bval.open("rb") as file:
            content = file.read(_MAXIMUM_BYTES)
    except OSError as error:
        raise failure_of(error, bval) from None
    try:
        values = [float(word) for word in content.removeprefix(b"\xef\xbb\xbf").split()]
    except ValueError:
        raise _bad(f"{bval}: not numbers") from None
    if not all(math.isfinite(value) for value in values):
        raise _bad(f"{bval}: a b-value is NaN or infinite")
    return values


def _bad(message: str) -> Failure:
    return Failure(Category.DATA_INVALID, message, "use files that were made together")

"""Diffusion gradients: read, check and write FSL's bval and bvec files.

FSL convention: a bval file holds one b-value (s/mm2) a volume; a bvec file holds three rows,
the x, y and z components along the image's voxel axes, x negated when the affine's
determinant is positive.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.outcome import Category, Failure, failure_of

B0_MAXIMUM = 50.0
"""Volumes up to this b-value (s/mm2) count as not diffusion weighted."""

UNIT_TOLERANCE = 0.05
"""How far a b-vector's length may be from 1."""

_SAME_AXIS = 0.9998  # cosine of about 1 degree
_INDEPENDENT = 1e-4  # smallest eigenvalue of the six products' Gram matrix; designed sets reach 0.4
_MAXIMUM_BYTES = 4 << 20


@dataclass(frozen=True)
class Gradients:
    """The diffusion gradients of a series.

    Attributes
    ----------
    bvals : ndarray of float64, shape (n,)
        b-values in s/mm2.
    bvecs : ndarray of float64, shape (n, 3)
        Directions in FSL convention, as the file has them: unit length within
        `UNIT_TOLERANCE` once `check` passed, zero allowed where b <= `B0_MAXIMUM`.
    """

    bvals: NDArray[np.float64]
    bvecs: NDArray[np.float64]

    @property
    def b0(self) -> NDArray[np.bool_]:
        """Which volumes are not diffusion weighted, shape (n,)."""
        return self.bvals <= B0_MAXIMUM


class Unusable(Failure):
    """A series whose gradients cannot be used; they can be drawn.

    Parameters
    ----------
    message, remedy : str
    name : str
        Of the series, or its path.
    gradients : Gradients
    """

    def __init__(self, message: str, remedy: str, name: str, gradients: Gradients) -> None:
        super().__init__(Category.DATA_INVALID, message, remedy)
        self.name = name.rpartition("/")[2]
        self.gradients = gradients


def read(bval: Path, bvec: Path) -> Gradients:
    """Read a pair of FSL gradient files.

    Parameters
    ----------
    bval : Path
        b-values, in a row or a column.
    bvec : Path
        Three rows of n numbers; n rows of three are accepted too, where n is not 3.

    Raises
    ------
    Failure
        INPUT_MISSING or PERMISSION when a file cannot be opened, DATA_INVALID when it holds
        something else than finite numbers, or the two disagree in number.
    """
    values = np.array([x for row in _rows(bval) for x in row], dtype=np.float64)
    rows = _rows(bvec)
    lengths = {len(row) for row in rows}
    if len(rows) == 3 and len(lengths) == 1:
        vectors = np.array(rows, dtype=np.float64).T
    elif lengths == {3}:
        vectors = np.array(rows, dtype=np.float64)
    else:
        raise _bad(
            f"{bvec}: {len(rows)} rows of {_range(lengths)} numbers",
            "write three rows (x, y, z) with one number a volume",
        )
    _finite(values, bval)
    _finite(vectors, bvec)
    if len(values) != len(vectors):
        raise _bad(
            f"{bval.name} has {len(values)} b-values, {bvec.name} has {len(vectors)} b-vectors",
            "give both files one entry a volume",
        )
    return Gradients(values, np.ascontiguousarray(vectors))


def check(gradients: Gradients, volumes: int, names: str) -> None:
    """Refuse gradients that do not belong to an image or are not directions.

    Parameters
    ----------
    gradients : Gradients
    volumes : int
        Number of volumes of the image.
    names : str
        What to call the files in the message.

    Raises
    ------
    Unusable
        When the number of volumes differs, a b-value is negative, or a
        diffusion-weighted volume's b-vector is not of unit length.
    """
    bvals, bvecs = gradients.bvals, gradients.bvecs
    if len(bvals) != volumes:
        raise Unusable(
            f"{names}: {volumes} volumes but {len(bvals)} b-values",
            "use the bval and bvec files that were made with this image",
            names,
            gradients,
        )
    if not (np.isfinite(bvals).all() and np.isfinite(bvecs).all()):
        raise Unusable(
            f"{names}: a gradient is not a finite number",
            "correct the bval or bvec file",
            names,
            gradients,
        )
    if (bvals < 0).any():
        raise Unusable(
            f"{names}: b-value {bvals.min():g} is negative",
            "correct the bval file",
            names,
            gradients,
        )
    length = np.sqrt((bvecs * bvecs).sum(axis=1))
    wrong = np.flatnonzero((np.abs(length - 1) > UNIT_TOLERANCE) & ~gradients.b0)
    if len(wrong):
        first = int(wrong[0])
        raise Unusable(
            f"{names}: {len(wrong)} b-vectors are not of unit length "
            f"(volume {first}, counted from 0: b={bvals[first]:g}, length {length[first]:.3g})",
            "correct the bvec file; where lengths encode b-values, write unit vectors and the "
            "b-values themselves",
            names,
            gradients,
        )


def check_tensor(gradients: Gradients, names: str) -> None:
    """Refuse gradients from which no diffusion tensor can be fitted.

    Raises
    ------
    Unusable
        Without a volume of b <= `B0_MAXIMUM`, with fewer than six distinct
        directions, or when the directions leave the tensor undetermined (Basser et al. 1994:
        the six products of components must be independent).
    """
    if not gradients.b0.any():
        raise Unusable(
            f"{names}: no volume with b <= {B0_MAXIMUM:g}, the smallest is "
            f"{gradients.bvals.min():g}",
            "add a b=0 volume or exclude the series",
            names,
            gradients,
        )
    x, y, z = gradients.bvecs[~gradients.b0].T
    design = np.stack([x * x, y * y, z * z, x * y, x * z, y * z])
    if np.linalg.eigvalsh(design @ design.T)[0] >= _INDEPENDENT:
        return
    found = directions(gradients)
    if found < 6:
        raise Unusable(
            f"{names}: {found} distinct diffusion directions, a tensor needs 6",
            "exclude the series or use the complete one",
            names,
            gradients,
        )
    raise Unusable(
        f"{names}: the {found} diffusion directions do not determine a tensor",
        "exclude the series; its directions lie on one cone or plane",
        names,
        gradients,
    )


def directions(gradients: Gradients) -> int:
    """Count the distinct axes of the diffusion-weighted volumes (g and -g are one axis)."""
    weighted = gradients.bvecs[~gradients.b0]
    length = np.sqrt((weighted * weighted).sum(axis=1))
    unit = weighted[length > 0] / length[length > 0, None]
    left = np.ones(len(unit), dtype=bool)
    count = 0
    for index, vector in enumerate(unit):
        if left[index]:
            count += 1
            left &= np.abs(unit @ vector) < _SAME_AXIS
    return count


def shells(gradients: Gradients) -> str:
    """Return the b-values rounded to 50 s/mm2, ascending and joined: ``0;1000;2000``."""
    rounded = np.where(gradients.b0, 0, np.round(gradients.bvals / 50) * 50)
    return ";".join(f"{value:g}" for value in np.unique(rounded))


def write(gradients: Gradients, bval: Path, bvec: Path) -> None:
    """Write FSL files with as few digits as give back the same float64 numbers.

    Raises
    ------
    OSError
        When a file cannot be written.
    """
    bval.write_text(_line(gradients.bvals), encoding="ascii")
    bvec.write_text("".join(_line(row) for row in gradients.bvecs.T), encoding="ascii")


def _line(values: NDArray[np.float64]) -> str:
    return " ".join(np.format_float_positional(value, trim="-") for value in values) + "\n"


def _rows(path: Path) -> list[list[float]]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAXIMUM_BYTES + 1)
    except OSError as error:
        raise failure_of(error, path) from None
    if len(content) > _MAXIMUM_BYTES:
        raise _bad(f"{path}: too large for a gradient file", "use the bval or bvec file")
    try:
        # float() alone would take 1_000 and digits of other scripts
        text = content.removeprefix(b"\xef\xbb\xbf").decode("ascii").replace("_", "?")
        rows = [[float(word) for word in line.split()] for line in text.splitlines()]
    except ValueError as error:
        raise _bad(f"{path}: not numbers ({error})", "write numbers with blanks between") from None
    rows = [row for row in rows if row]
    if not rows:
        raise _bad(f"{path}: is empty", "write one entry a volume")
    return rows


def _finite(values: NDArray[np.float64], path: Path) -> None:
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise _bad(
            f"{path}: {bad} entries are NaN or infinite",
            "write 0 0 0 as the b-vector of a b=0 volume, correct the others",
        )


def _range(lengths: set[int]) -> str:
    low, high = min(lengths), max(lengths)
    return str(low) if low == high else f"{low} to {high}"


def _bad(message: str, remedy: str) -> Failure:
    return Failure(Category.DATA_INVALID, message, remedy)

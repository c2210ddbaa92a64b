"""Susceptibility distortion from a pair of images with reversed phase encoding, and its undoing.

Off resonance, an echo-planar image shows a point x at ``x + d(x)`` along the phase-encode axis,
its signal spread by the factor ``1 + dd/dx``; with the axis reversed it shows it at ``x - d(x)``.
The displacement is found that makes both images alike once it is undone (Chang, Fitzpatrick 1992,
doi:10.1109/42.158935; Andersson et al. 2003, doi:10.1016/S1053-8119(03)00336-7; Holland et al.
2010, doi:10.1016/j.neuroimage.2009.11.044; Ruthotto et al. 2012,
doi:10.1088/0031-9155/57/18/5715).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import mosaic, pair_levels
from cohortflow.dwi.mask import brain
from cohortflow.dwi.pair_scheme import Scheme
from cohortflow.dwi.pair_solver import Level, Movement

_HEAD = 0.2  # of the bright tissue's signal: what is darker is not the head
_FEWEST = 8  # voxels along the phase-encode axis

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Field:
    """A displacement along the phase-encode axis.

    Attributes
    ----------
    displacement : ndarray of float32, shape (x, y, z)
        Voxels along `axis`, on the undistorted grid: a point x of the head is seen at
        ``x + sign * displacement(x)``, `sign` being that of the image, see `Scheme.signs`.
    axis : int
        The phase-encode axis, 0 to 2.
    before, after : float
        RMS difference of the pair over the head, relative to its mean signal.
    turn_degrees, shift_mm : tuple of float
        How the head moved from the first image to the second: turned about the image axes (a
        rotation vector, about the middle of the image), then shifted along them. The shift along
        `axis` is 0: it cannot be told from a displacement that is the same everywhere, and half
        of it is in `displacement`.
    corrected : tuple of ndarray of float32, shape (x, y, z)
        Both images without distortion, the second moved back and scaled to the first; 0 where
        one of them was not measured.
    """

    displacement: Values
    axis: int
    before: float
    after: float
    turn_degrees: tuple[float, float, float]
    shift_mm: tuple[float, float, float]
    corrected: tuple[Values, Values]


def estimate(
    up: NDArray[np.floating],
    down: NDArray[np.floating],
    axis: int,
    voxel_mm: NDArray[np.floating],
    sign: float = 1.0,
    ratio: float = 1.0,
    *,
    moves: bool = True,
) -> Field:
    """Find the displacement of a pair of images with reversed phase encoding.

    From coarse to fine resolution, Gauss-Newton steps lower the squared difference of the two
    images, each resampled at the displaced places and multiplied by ``1 + sign * slope``, plus
    the squared slope of the displacement and a penalty of steep slopes along the axis; a rigid
    movement of the head between the two is estimated in the same steps.

    Parameters
    ----------
    up, down : ndarray, shape (x, y, z)
        Without diffusion weighting, on one grid; `up` is the reference of the movement.
    axis : int
        The phase-encode axis, 0 to 2.
    voxel_mm : ndarray, shape (3,)
    sign, ratio : float
        See `Scheme`.
    moves : bool
        Estimate a movement.

    Raises
    ------
    Failure
        DATA_INVALID for images of different shapes, without signal or with values that are not
        finite, or of fewer than 8 voxels along the axis.
    """
    _check(up, down, axis)
    order = [a for a in range(3) if a != axis] + [axis]
    first, second = (
        np.ascontiguousarray(np.asarray(image, np.float32).transpose(order)) for image in (up, down)
    )
    # No signal is lost between them: what differs in sum is the scanner's gain.
    second *= np.float32(first.sum(dtype=np.float64) / second.sum(dtype=np.float64))
    mean = (first + second) / 2
    head = mean > _HEAD * np.percentile(mean, 99)
    level = np.float32(mean[head].mean(dtype=np.float64))
    signs = Scheme(axis, sign, ratio).signs
    images = first / level, second / level
    sizes = np.asarray(voxel_mm, np.float64)[order]
    found, movement = pair_levels.coarse_to_fine(images, sizes, signs, moves)
    whole = pair_levels.level(images, (1, 1, 1), sizes, signs, moves, 0.0)
    undone = Level(whole, pair_levels.STRENGTH).undone(found, movement)
    back = [0, 0, 0]
    for place, old in enumerate(order):
        back[old] = place
    turn, shift = _movement(movement, order)
    return Field(
        displacement=np.ascontiguousarray(found.transpose(back)),
        axis=axis,
        before=_difference(images[0], images[1], head),
        after=_difference(undone[0], undone[1], head & (undone[2] > 0)),
        turn_degrees=turn,
        shift_mm=shift,
        corrected=(
            np.ascontiguousarray((undone[0] * undone[2] * level).transpose(back)),
            np.ascontiguousarray((undone[1] * undone[2] * level).transpose(back)),
        ),
    )


def shift(field: Field, sign: float = 1.0) -> Values:
    """Return how far an image is displaced, in voxels along the field's axis, (x, y, z)."""
    return np.asarray(field.displacement * np.float32(sign), np.float32)


def metrics(
    field: Field, voxel_mm: NDArray[np.floating], region: NDArray[np.bool_]
) -> dict[str, float | None]:
    """Return numbers for ``metrics.json``: of the displacement in a region, of the pair."""
    size = float(voxel_mm[field.axis])
    inside = np.abs(field.displacement[region]) * size
    some = bool(inside.size)
    return {
        "susceptibility_rms_mm": _rounded(np.sqrt(np.mean(inside**2))) if some else None,
        "susceptibility_max_mm": _rounded(inside.max()) if some else None,
        "reversed_difference_before": _rounded(field.before),
        "reversed_difference_after": _rounded(field.after),
        "reversed_turn_degrees": _rounded(np.linalg.norm(field.turn_degrees)),
        "reversed_shift_mm": _rounded(np.linalg.norm(field.shift_mm)),
    }


def draw(
    prefix: str,
    pair: tuple[Values, Values],
    field: Field,
    affine: NDArray[np.float64],
) -> Any:  # noqa: ANN401 - a PIL image
    """Draw the pair before and after, and the displacement.

    Parameters
    ----------
    prefix : str
        The scan's name, for the title.
    pair : tuple of ndarray of float32, shape (x, y, z)
        What `estimate` was given.
    field : Field
    affine : ndarray, shape (4, 4)
        Voxel indices to world mm.
    """
    first, second = pair
    one, other = field.corrected
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    mean = (one + other) / 2
    region = brain(mean, sizes)
    region = region if region.any() else mean > 0
    top = float(np.percentile(mean[region], 98))
    ends = ("0", _short(top))
    scaled = second * np.float32(first.sum(dtype=np.float64) / second.sum(dtype=np.float64))
    span = max(float(np.percentile(np.abs(first - scaled)[region], 98)), 1e-6 * top)
    moved = field.displacement * np.float32(sizes[field.axis])
    reach = max(float(np.abs(moved[region]).max()), 0.1)
    said = f"difference of the pair {field.before:.3f} before, {field.after:.3f} after"
    said += f" · the head moved {np.linalg.norm(field.shift_mm):.1f} mm and turned"
    said += f" {np.linalg.norm(field.turn_degrees):.1f} degrees between the two"
    name = "ijk"[field.axis]
    rows = [
        mosaic.Row("first image: before", first, top, ends),
        mosaic.Row("reversed image: before", scaled, top, ends),
        _signed("first minus reversed: before", first - scaled, span),
        mosaic.Row("first image: after", one, top, ends),
        mosaic.Row("reversed image: after", other, top, ends),
        _signed("first minus reversed: after", one - other, span),
        _signed(f"displacement along {name}, mm", moved, reach),
    ]
    title = f"{prefix}: susceptibility distortion of the reversed pair"
    return mosaic.draw(title, said, rows, region, affine)


def _signed(label: str, values: Values, span: float) -> mosaic.Row:
    """Return a row of values between minus and plus a span; grey is 0."""
    shown = np.clip(0.5 + values / (2 * span), 0, 1)
    return mosaic.Row(label, shown, 1.0, (f"-{_short(span)}", f"+{_short(span)}"))


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _check(up: NDArray[np.floating], down: NDArray[np.floating], axis: int) -> None:
    """Refuse a pair that cannot be registered."""
    problem = ""
    if up.shape != down.shape or up.ndim != 3:
        problem = f"their shapes are {up.shape} and {down.shape}"
    elif up.shape[axis] < _FEWEST:
        problem = f"{up.shape[axis]} voxels along the phase-encode axis, {_FEWEST} are needed"
    elif not (np.isfinite(up).all() and np.isfinite(down).all()):
        problem = "they have values that are not finite numbers"
    elif not (up.sum() > 0 and down.sum() > 0):
        problem = "an image has no signal"
    if problem:
        raise Failure(
            Category.DATA_INVALID,
            f"the pair of reversed phase encoding: {problem}",
            "look at the two images, or leave the reversed one out",
        )


def _movement(
    movement: Movement, order: list[int]
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return a movement as rotation vector (degrees) and shift (mm) along the image axes."""
    turn, moved = np.empty((3, 3)), np.empty(3)
    turn[np.ix_(order, order)] = movement.turn
    moved[order] = movement.shift
    x, y, z = np.degrees(Rotation.from_matrix(turn).as_rotvec())
    return (float(x), float(y), float(z)), (float(moved[0]), float(moved[1]), float(moved[2]))


def _difference(one: Values, other: Values, where: NDArray[np.bool_]) -> float:
    """Return the RMS difference over a region, relative to the mean."""
    if not where.any():
        return 0.0
    mean = float(((one + other) / 2)[where].mean(dtype=np.float64))
    return float(np.sqrt(np.mean((one - other)[where] ** 2, dtype=np.float64))) / mean


def _rounded(value: float | np.floating[Any]) -> float:
    return float(f"{float(value):.6g}")

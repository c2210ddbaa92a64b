"""The tract of both sides to judge by eye: three planes over FA, and two views in space."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from cohortflow.dwi import mosaic, scene
from cohortflow.dwi.cst import Tract
from cohortflow.dwi.regions import Region
from cohortflow.dwi.selection import SIDES, Side

COLOURS: dict[Side, scene.Colour] = {"left": (86, 180, 233), "right": (240, 165, 30)}
"""Told apart by people who do not see red or green, too (Okabe, Ito 2008)."""

_REGIONS: tuple[tuple[str, scene.Colour, tuple[Region, ...]], ...] = (
    ("brainstem", (0, 158, 115), (Region.BRAINSTEM,)),
    ("internal capsule", (240, 228, 66), (Region.CAPSULE_LEFT, Region.CAPSULE_RIGHT)),
    ("motor cortex", (204, 121, 167), (Region.MOTOR_LEFT, Region.MOTOR_RIGHT)),
)
_VIEWS = (scene.View("from the front", 0, 12), scene.View("from the left, above", 62, 25))
_HEAD, _FOOT, _GAP, _VIEW_HEIGHT = 58, 26, 6, 420
_PLANES = ("sagittal", "coronal", "axial")


def draw(
    title: str,
    tracts: Mapping[Side, Tract],
    fa: NDArray[np.floating],
    labels: NDArray[np.uint8],
    affine: NDArray[np.float64],
) -> Image.Image:
    """Draw the tracts.

    Parameters
    ----------
    title : str
    tracts : mapping of side to Tract
    fa : ndarray, shape (x, y, z)
        0 outside the brain.
    labels : ndarray of uint8, shape (x, y, z)
        See `regions.Region`.
    affine : ndarray, shape (4, 4)
        Voxel indices to world mm.

    Returns
    -------
    PIL.Image.Image
        Patient's right at the viewer's left in axial and coronal slices.
    """
    planes = [_plane(axis, tracts, fa, labels, affine) for axis in (2, 1, 0)]
    tall = max(plane.height for plane in planes)
    height = _HEAD + tall + _FOOT + _VIEW_HEIGHT + _FOOT
    canvas = Image.new("RGB", (mosaic.WIDTH, height), mosaic.BACK)
    pen = ImageDraw.Draw(canvas)
    pen.text((14, 10), title, font=mosaic.font(20), fill=mosaic.TEXT)
    _legend(pen, tracts)
    left = _GAP
    for plane, axis in zip(planes, (2, 1, 0), strict=True):
        canvas.paste(plane, (left, _HEAD))
        told = "front at the left" if axis == 0 else "R at the left"
        place = (left + 4, _HEAD + tall + 5)
        pen.text(place, f"{_PLANES[axis]}: {told}", font=mosaic.font(13), fill=mosaic.SOFT)
        left += plane.width + _GAP
    top = _HEAD + tall + _FOOT
    wide = (mosaic.WIDTH - 3 * _GAP) // 2
    shown = [scene.Shown(tracts[side].streamlines, COLOURS[side]) for side in SIDES]
    regions = [scene.Region(np.isin(labels, own), colour) for _, colour, own in _REGIONS]
    for number, view in enumerate(_VIEWS):
        x = _GAP + number * (wide + _GAP)
        canvas.paste(scene.draw(view, fa, affine, shown, regions, (wide, _VIEW_HEIGHT)), (x, top))
        place = (x + 4, top + _VIEW_HEIGHT + 5)
        pen.text(place, view.label, font=mosaic.font(13), fill=mosaic.SOFT)
    return canvas


def _legend(pen: ImageDraw.ImageDraw, tracts: Mapping[Side, Tract]) -> None:
    """Write what the colours mean, and what is empty."""
    x, font = 14.0, mosaic.font(13)
    for side in SIDES:
        said = f"{side}: {len(tracts[side].streamlines)} streamlines"
        if tracts[side].reason:
            said = f"{side}: empty"
        x = _word(pen, x, said, COLOURS[side])
    for name, colour, _ in _REGIONS:
        x = _word(pen, x, name, colour)
    pen.text((x, 36), "planes: all of the tract over one slice of FA", font=font, fill=mosaic.SOFT)


def _word(pen: ImageDraw.ImageDraw, x: float, text: str, colour: scene.Colour) -> float:
    font = mosaic.font(13)
    pen.rectangle((x, 38, x + 11, 49), fill=colour)
    pen.text((x + 16, 36), text, font=font, fill=mosaic.TEXT)
    return x + 16 + pen.textlength(text, font=font) + 18


def _plane(
    axis: int,
    tracts: Mapping[Side, Tract],
    fa: NDArray[np.floating],
    labels: NDArray[np.uint8],
    affine: NDArray[np.float64],
) -> Image.Image:
    """Draw one plane: a slice of FA, the share of streamlines over it, regions' outlines."""
    upright, sizes = mosaic.upright(fa, affine)
    visits = {side: mosaic.upright(tracts[side].visits, affine)[0] for side in SIDES}
    both = sum(visits.values())
    across = np.asarray(both).sum(axis=tuple(a for a in range(3) if a != axis))
    level = int(across.argmax())
    wide, tall = (a for a in range(3) if a != axis)
    width = (mosaic.WIDTH - 4 * _GAP) // 3
    size = (width, round(width * upright.shape[tall] * sizes[tall]
                         / (upright.shape[wide] * sizes[wide])))  # fmt: skip

    def flat(values: NDArray[np.generic]) -> NDArray[np.float32]:
        turned = np.asarray(values, np.float32).T
        return turned[::-1] if axis != 2 else turned

    grey = _sized(flat(np.clip(np.take(upright, level, axis=axis), 0, 1) * 0.9), size)
    shown: NDArray[np.float64] = np.repeat(grey[..., np.newaxis], 3, axis=2).astype(float) * 255
    for side in SIDES:
        number = max(1, len(tracts[side].streamlines))
        share = _sized(flat(visits[side].max(axis=axis) / number), size)
        cover = np.clip(np.sqrt(np.clip(share, 0, 1)) * 1.6, 0, 0.9)[..., np.newaxis]
        shown = shown * (1 - cover) + np.array(COLOURS[side]) * cover
    for _, colour, own in _REGIONS:
        mask = mosaic.upright(np.isin(labels, own), affine)[0]
        inside = _sized(flat(mask.max(axis=axis)), size) > 0.5
        shown[inside & ~ndimage.binary_erosion(inside, iterations=1, border_value=1)] = colour
    return Image.fromarray(np.rint(shown).astype(np.uint8))


def _sized(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    image = Image.fromarray(np.ascontiguousarray(values))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))

"""Slices in all three planes, with regions painted over them.

Patient's right is at the viewer's left in axial and coronal slices; in sagittal ones the front is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from cohortflow.dwi import mosaic

AXIAL, CORONAL, SAGITTAL = 2, 1, 0
_NAMES = {AXIAL: "axial", CORONAL: "coronal", SAGITTAL: "sagittal"}
_ENDS = {AXIAL: ("R", "L"), CORONAL: ("R", "L"), SAGITTAL: ("A", "P")}
_GAP = 4
_HEAD = 26
_OPACITY = 0.55

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Painted:
    """A region in its colour.

    Attributes
    ----------
    name : str
    mask : ndarray of bool, shape (x, y, z)
    colour : tuple of int
    """

    name: str
    mask: NDArray[np.bool_]
    colour: Colour


@dataclass(frozen=True)
class Cut:
    """A slice: its plane, and where along the third axis (a world point in mm that it holds)."""

    plane: int
    through: NDArray[np.float64]


def draw(
    label: str,
    fa: NDArray[np.floating],
    affine: NDArray[np.float64],
    painted: Sequence[Painted],
    cuts: Sequence[Cut],
    *,
    filled: bool = True,
) -> Image.Image:
    """Draw a row of slices, `mosaic.WIDTH` pixels wide.

    Parameters
    ----------
    label : str
        Written above the slices.
    fa : ndarray, shape (x, y, z)
        Shown between 0 and 1.
    affine : ndarray, shape (4, 4)
        Indices to world mm.
    painted : sequence of Painted
    cuts : sequence of Cut
        Left to right.
    filled : bool
        Paint regions whole and thin, or their rims alone.
    """
    width = (mosaic.WIDTH - (len(cuts) + 1) * _GAP) // len(cuts)
    upright, sizes = mosaic.upright(fa, affine)
    turned = [(one, mosaic.upright(one.mask, affine)[0]) for one in painted]
    place = mosaic.upright(_numbers(fa.shape), affine)[0]
    canvas = Image.new("RGB", (mosaic.WIDTH, _HEAD + width + _GAP), mosaic.BACK)
    pen = ImageDraw.Draw(canvas)
    pen.text((14, 4), label, font=mosaic.font(15), fill=mosaic.TEXT)
    small = mosaic.font(13)
    for number, cut in enumerate(cuts):
        level = _level(cut, affine, place)
        rgb = _shade(_flat(upright, cut.plane, level), _aspect(sizes, cut.plane), width)
        for one, mask in turned:
            flat = _flat(mask.astype(np.float32), cut.plane, level)
            inside = _enlarged(flat, _aspect(sizes, cut.plane), width) > 0.5
            _paint(rgb, inside, one.colour, filled=filled)
        left = _GAP + number * (width + _GAP)
        canvas.paste(Image.fromarray(rgb), (left, _HEAD))
        first, second = _ENDS[cut.plane]
        pen.text((left + 4, _HEAD + 3), first, font=small, fill=mosaic.TEXT)
        pen.text((left + width - 4, _HEAD + 3), second, font=small, fill=mosaic.TEXT, anchor="ra")
        name = (left + 4, _HEAD + width - 18)
        pen.text(name, _NAMES[cut.plane], font=small, fill=mosaic.SOFT)
    return canvas


def legend(painted: Sequence[Painted]) -> Image.Image:
    """Draw the names of regions with their colours."""
    canvas = Image.new("RGB", (mosaic.WIDTH, 30), mosaic.BACK)
    pen = ImageDraw.Draw(canvas)
    font = mosaic.font(14)
    x = 14.0
    for one in painted:
        pen.rectangle((x, 8, x + 13, 21), fill=one.colour)
        pen.text((x + 19, 6), one.name, font=font, fill=mosaic.TEXT)
        x += 19 + pen.textlength(one.name, font=font) + 20
    return canvas


def stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    """Put pictures below each other."""
    canvas = Image.new("RGB", (mosaic.WIDTH, sum(one.height for one in pictures)), mosaic.BACK)
    top = 0
    for one in pictures:
        canvas.paste(one, (0, top))
        top += one.height
    return canvas


def title(text: str, subtitle: str, *, alarm: bool = False) -> Image.Image:
    """Draw the two lines at the top; the second stands out when it is an alarm."""
    canvas = Image.new("RGB", (mosaic.WIDTH, 60), mosaic.BACK)
    pen = ImageDraw.Draw(canvas)
    pen.text((14, 10), text, font=mosaic.font(20), fill=mosaic.TEXT)
    fill = (255, 110, 90) if alarm else mosaic.SOFT
    pen.text((14, 37), subtitle, font=mosaic.font(14), fill=fill)
    return canvas


def _numbers(shape: tuple[int, ...]) -> NDArray[np.intp]:
    return np.arange(int(np.prod(shape)), dtype=np.intp).reshape(shape)


def _level(cut: Cut, affine: NDArray[np.float64], place: NDArray[np.intp]) -> int:
    """Return which slice of the upright volume holds a cut's point, the nearest outside."""
    axes = mosaic.upright_axes(affine)
    corner = np.argwhere(place == 0)[0]
    sizes = np.abs(axes @ affine[:3, :3]).max(axis=1)
    origin = axes @ affine[:3, 3] - corner * sizes  # where the first voxel of the file is, it is 0
    exact = (axes @ cut.through - origin)[cut.plane] / sizes[cut.plane]
    return int(np.clip(np.rint(exact), 0, place.shape[cut.plane] - 1))


def _flat(volume: NDArray[Any], plane: int, level: int) -> NDArray[Any]:
    """Return a slice as a picture: rows downwards."""
    flat = np.take(volume, level, axis=plane).T
    return np.ascontiguousarray(flat if plane == AXIAL else flat[::-1])


def _aspect(sizes: NDArray[np.float64], plane: int) -> tuple[float, float]:
    across, down = (axis for axis in range(3) if axis != plane)
    return float(sizes[across]), float(sizes[down])


def _enlarged(
    flat: NDArray[np.floating], sizes: tuple[float, float], width: int
) -> NDArray[np.float32]:
    """Fit a slice into a square, in the middle, its voxels in proportion."""
    tall, wide = flat.shape
    scale = width / max(wide * sizes[0], tall * sizes[1])
    size = max(1, round(wide * sizes[0] * scale)), max(1, round(tall * sizes[1] * scale))
    picture = Image.fromarray(flat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    square = np.zeros((width, width), np.float32)
    top, left = (width - size[1]) // 2, (width - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = np.asarray(picture)
    return square


def _shade(flat: NDArray[np.floating], sizes: tuple[float, float], width: int) -> NDArray[np.uint8]:
    grey = np.rint(np.clip(_enlarged(flat, sizes, width), 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., np.newaxis], 3, axis=2)


def _paint(
    rgb: NDArray[np.uint8], inside: NDArray[np.bool_], colour: Colour, *, filled: bool
) -> None:
    """Blend a region into a picture, its rim in full colour."""
    rim = inside & ~ndimage.binary_erosion(inside, border_value=1)
    if filled:
        mixed = rgb[inside] * (1 - _OPACITY) + np.array(colour) * _OPACITY
        rgb[inside] = np.rint(mixed).astype(np.uint8)
    rgb[rim] = colour

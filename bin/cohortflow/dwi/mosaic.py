"""Quality control pictures: rows of axial slices, drawn with Pillow.

Slices are seen from the feet (radiological: the patient's right is on the viewer's left) and
are labelled. All pictures are 1000 pixels wide on a dark background.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

WIDTH = 1000
SIDE = "seen from the feet: R is the patient's right"

_MARGIN = 14
_GAP = 4
_TITLE = 58
_LABEL = 26
_BAR = 12
BACK = (16, 18, 22)
TEXT = (236, 238, 242)
SOFT = (158, 166, 178)
_LINE = (255, 176, 0)

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """One map, a row (or some rows) of slices.

    Attributes
    ----------
    label : str
        Written above the slices.
    volume : ndarray, shape (x, y, z) or (x, y, z, 3)
        Numbers shown between 0 and `top`, or colours (uint8, red green blue).
    top : float
        The value that is white, or the colour scale's end.
    ends : tuple of str
        What to write at the ends of the colour bar; empty for none.
    palette : str
        ``grey`` or ``heat``.
    outline : ndarray of bool, shape (x, y, z), optional
        A mask whose rim is drawn.
    """

    label: str
    volume: NDArray[Any]
    top: float = 1.0
    ends: tuple[str, ...] = ()
    palette: str = "grey"
    outline: NDArray[np.bool_] | None = None


def draw(
    title: str,
    subtitle: str,
    rows: list[Row],
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
    *,
    columns: int = 6,
    lines: int = 1,
) -> Image.Image:
    """Draw maps in axial slices.

    Parameters
    ----------
    title, subtitle : str
        Two lines at the top.
    rows : list of Row
        The maps, on one grid.
    mask : ndarray of bool, shape (x, y, z)
        Decides which slices and which part of them are shown.
    affine : ndarray, shape (4, 4)
        Voxel indices to world mm; turns the slices upright.
    columns, lines : int
        Slices a line, and lines of slices a map.

    Returns
    -------
    PIL.Image.Image
        `WIDTH` pixels wide.
    """
    turned, sizes = upright(mask, affine)
    box = _box(turned, sizes)
    levels = _levels(turned, columns * lines)
    cell = (WIDTH - 2 * _MARGIN - (columns - 1) * _GAP) // columns
    tall = round(cell * (box[1].stop - box[1].start) * sizes[1])
    tall = round(tall / ((box[0].stop - box[0].start) * sizes[0]))
    block = _LABEL + lines * (tall + _GAP) + _GAP
    canvas = Image.new("RGB", (WIDTH, _TITLE + len(rows) * block + _MARGIN // 2), BACK)
    pen = ImageDraw.Draw(canvas)
    pen.text((_MARGIN, 10), title, font=font(20), fill=TEXT)
    pen.text((_MARGIN, 36), subtitle, font=font(13), fill=SOFT)
    pen.text((WIDTH - _MARGIN, 36), SIDE, font=font(13), fill=SOFT, anchor="ra")
    for number, row in enumerate(rows):
        top = _TITLE + number * block
        _heading(pen, canvas, row, top)
        for place, level in enumerate(levels):
            x = _MARGIN + place % columns * (cell + _GAP)
            y = top + _LABEL + place // columns * (tall + _GAP)
            canvas.paste(_slice(row, affine, box, level, (cell, tall)), (x, y))
            _sides(pen, x, y, cell, tall)
    return canvas


def save(path: Path, picture: Image.Image) -> None:
    """Write a PNG; the same picture gives the same bytes.

    Raises
    ------
    OSError
        When the file cannot be written.
    """
    picture.save(path, format="PNG", compress_level=6)


def upright_axes(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit world vectors of the axes of an `upright` volume, as rows, shape (3, 3)."""
    import nibabel as nib

    found = nib.orientations.io_orientation(affine)
    wanted = nib.orientations.axcodes2ornt(("L", "P", "S"))
    change = nib.orientations.ornt_transform(found, wanted)
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    order = np.argsort(change[:, 0])
    return np.asarray((axes[:, order] * change[order, 1]).T)


def upright(
    volume: NDArray[Any], affine: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Turn a volume so that its axes point left, posterior, inferior to superior at best.

    The first two are a picture's x (patient's left at the viewer's right) and y (down).
    """
    import nibabel as nib

    found = nib.orientations.io_orientation(affine)
    wanted = nib.orientations.axcodes2ornt(("L", "P", "S"))
    change = nib.orientations.ornt_transform(found, wanted)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    turned = nib.orientations.apply_orientation(volume, change)
    return turned, sizes[np.argsort(change[:, 0])]


def _box(mask: NDArray[np.bool_], sizes: NDArray[np.float64]) -> tuple[slice, slice]:
    """Return the part of a slice that holds the mask, with 12 mm around it."""
    box = []
    for axis in (0, 1):
        other = tuple(a for a in range(3) if a != axis)
        where = np.flatnonzero(mask.any(axis=other))
        low, high = (int(where[0]), int(where[-1])) if len(where) else (0, mask.shape[axis] - 1)
        around = round(12 / float(sizes[axis]))
        box.append(slice(max(0, low - around), min(mask.shape[axis], high + around + 1)))
    return box[0], box[1]


def _levels(mask: NDArray[np.bool_], count: int) -> list[int]:
    """Spread slices over the mask, inferior to superior, without its outermost tenths."""
    where = np.flatnonzero(mask.any(axis=(0, 1)))
    low, high = (int(where[0]), int(where[-1])) if len(where) else (0, mask.shape[2] - 1)
    inset = (high - low) * 0.08
    return [round(level) for level in np.linspace(low + inset, high - inset, count)]


def _slice(
    row: Row,
    affine: NDArray[np.float64],
    box: tuple[slice, slice],
    level: int,
    size: tuple[int, int],
) -> Image.Image:
    """Draw one slice at its size."""
    plane = upright(row.volume, affine)[0][box[0], box[1], level]
    colours = plane if plane.ndim == 3 else _colour(plane, row)
    picture = Image.fromarray(np.ascontiguousarray(colours.swapaxes(0, 1)))
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    if row.outline is None:
        return picture
    flat = upright(row.outline, affine)[0][box[0], box[1], level]
    small = Image.fromarray(np.ascontiguousarray(flat.T).astype(np.uint8) * 255)
    inside = np.asarray(small.resize(size, Image.Resampling.BILINEAR)) > 127
    rim = inside & ~ndimage.binary_erosion(inside, iterations=2, border_value=1)
    drawn = np.array(picture)
    drawn[rim] = _LINE
    return Image.fromarray(drawn)


def _colour(values: NDArray[Any], row: Row) -> Picture:
    """Turn numbers into colours, shape (..., 3)."""
    share = np.clip(np.nan_to_num(values.astype(np.float64)) / (row.top or 1.0), 0, 1)
    if row.palette == "heat":
        stops = np.array([[0, 0, 0], [60, 20, 110], [190, 50, 90], [250, 150, 50], [255, 250, 200]])
    else:
        stops = np.array([[0, 0, 0], [255, 255, 255]])
    at = np.linspace(0, 1, len(stops))
    mixed = [np.interp(share, at, stops[:, channel]) for channel in range(3)]
    return np.asarray(np.rint(np.stack(mixed, axis=-1)), dtype=np.uint8)


def _heading(pen: ImageDraw.ImageDraw, canvas: Image.Image, row: Row, top: int) -> None:
    """Write a map's label, and its colour bar at the right."""
    pen.text((_MARGIN, top + 4), row.label, font=font(15), fill=TEXT)
    if len(row.ends) != 2:
        return
    length, right = 160, WIDTH - _MARGIN
    small = font(13)
    pen.text((right, top + 6), row.ends[1], font=small, fill=SOFT, anchor="ra")
    right -= round(pen.textlength(row.ends[1], font=small)) + 8
    ramp = np.tile(np.linspace(0, row.top, length), (_BAR, 1))
    canvas.paste(Image.fromarray(_colour(ramp, row)), (right - length, top + 7))
    pen.rectangle((right - length - 1, top + 6, right, top + 7 + _BAR), outline=SOFT)
    pen.text((right - length - 8, top + 6), row.ends[0], font=small, fill=SOFT, anchor="ra")


def _sides(pen: ImageDraw.ImageDraw, x: int, y: int, cell: int, tall: int) -> None:
    """Write R and L into a slice's upper corners."""
    small = font(13)
    for text, place, anchor in (("R", x + 4, "la"), ("L", x + cell - 4, "ra")):
        pen.text((place, y + 3), text, font=small, fill=TEXT, anchor=anchor)


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font, the same on every machine."""
    return ImageFont.load_default(size)

"""A picture of fibre directions: short lines over FA, in a slice of each plane."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cohortflow.dwi import mosaic

FA_SHOWN = 0.2
"""Lines are drawn where FA is above this."""
_HEAD = 58
_GAP = 6
_PLANES = ("axial: R at the left", "coronal: R at the left", "sagittal: front at the left")


def draw(
    title: str,
    subtitle: str,
    fa: NDArray[np.floating],
    directions: NDArray[np.floating],
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
) -> Any:  # noqa: ANN401 - a PIL image
    """Draw directions over FA in the axial, coronal and sagittal slices with most white matter.

    Parameters
    ----------
    title, subtitle : str
    fa : ndarray, shape (x, y, z)
    directions : ndarray, shape (x, y, z, 3)
        Unit vectors in world axes (right, anterior, superior), coloured by them: red, green, blue.
    mask : ndarray of bool, shape (x, y, z)
    affine : ndarray, shape (4, 4)
        Voxel indices to world mm.

    Returns
    -------
    PIL.Image.Image
        Patient's right at the viewer's left; the sagittal slice looks to the left.
    """
    upright, sizes = mosaic.upright(np.where(mask, fa, 0), affine)
    turned = mosaic.upright(directions, affine)[0]
    axes = mosaic.upright_axes(affine)
    panels = [_panel(upright, turned, sizes, axes, plane) for plane in range(3)]
    height = max(panel.height for panel in panels)
    canvas = Image.new("RGB", (mosaic.WIDTH, _HEAD + height + 30), mosaic.BACK)
    pen = ImageDraw.Draw(canvas)
    pen.text((14, 10), title, font=mosaic.font(20), fill=mosaic.TEXT)
    pen.text((14, 36), subtitle, font=mosaic.font(13), fill=mosaic.SOFT)
    told = "lines along the fibres: red left-right, green front-back, blue up-down"
    right = mosaic.WIDTH - 14
    pen.text((right, 36), told, font=mosaic.font(13), fill=mosaic.SOFT, anchor="ra")
    left = _GAP
    for name, panel in zip(_PLANES, panels, strict=True):
        canvas.paste(panel, (left, _HEAD))
        pen.text((left + 4, _HEAD + height + 6), name, font=mosaic.font(13), fill=mosaic.SOFT)
        left += panel.width + _GAP
    return canvas


def _panel(
    fa: NDArray[Any],
    directions: NDArray[Any],
    sizes: NDArray[np.float64],
    axes: NDArray[np.float64],
    plane: int,
) -> Image.Image:
    """Draw one slice: to the right is left or posterior, down is posterior or inferior."""
    across, down, through = ((0, 1, 2), (0, 2, 1), (1, 2, 0))[plane]
    level = int(np.argmax((fa > FA_SHOWN).sum(axis=tuple(a for a in range(3) if a != through))))
    flat = np.take(fa, level, axis=through)
    vectors = np.take(directions, level, axis=through) @ axes.T
    colours = np.abs(np.take(directions, level, axis=through))
    if plane:  # superior is up
        flat, vectors, colours = flat[:, ::-1], vectors[:, ::-1], colours[:, ::-1]
    width = (mosaic.WIDTH - 4 * _GAP) // 3
    scale = width / (flat.shape[0] * sizes[across])
    cell = (scale * sizes[across], scale * sizes[down])
    size = (width, round(flat.shape[1] * cell[1]))
    grey = np.repeat(np.rint(np.clip(flat.T, 0, 1) * 150).astype(np.uint8)[..., None], 3, axis=2)
    picture = Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(picture)
    up = -1.0 if plane else 1.0
    for i, j in zip(*np.nonzero(flat > FA_SHOWN), strict=True):
        x, y = (i + 0.5) * cell[0], (j + 0.5) * cell[1]
        dx = 0.48 * cell[0] * vectors[i, j, across]
        dy = up * 0.48 * cell[1] * vectors[i, j, down]
        colour = tuple(int(v) for v in np.rint(255 * np.clip(colours[i, j], 0.15, 1)))
        pen.line((x - dx, y - dy, x + dx, y + dy), fill=colour, width=1)
    return picture

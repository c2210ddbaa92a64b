"""A picture of fibre directions: their number, and close-ups of where they cross."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from cohortflow.dwi import mosaic
from cohortflow.dwi.fod import Distributions
from cohortflow.dwi.series import Series

Map = NDArray[np.float32]

WINDOW_MM = 64.0
"""Side of a close-up."""
FA_SHOWN = 0.15
"""Lines are drawn where FA is above this: where fibres cross it is low."""
FA_BRIGHT = 0.3
"""The number of directions is dimmed where FA is below: in grey matter it is noise."""

_HEAD, _FOOT, _GAP = 26, 28, 6
_FINER = 3  # lines are drawn this much larger, then made smaller, so that they are smooth
_PLANES = ("axial: R at the left", "coronal: R at the left", "sagittal: front at the left")
_AXES = ((0, 1, 2), (0, 2, 1), (1, 2, 0))  # to the right, down (or up), through
_TISSUES = np.array([[0.35, 0.55, 1], [0.1, 0.8, 0.25], [1, 0.15, 0.15]])
_COUNTS = np.array([[0, 0, 0], [70, 95, 160], [255, 150, 50], [255, 245, 190]], np.uint8)


def draw(
    data: Series, found: Distributions, directions: Map, mask: NDArray[np.bool_], said: str
) -> Any:  # noqa: ANN401 - a PIL image
    """Draw the number of directions, the fractions of tissues if known, and close-ups.

    Parameters
    ----------
    data : Series
    found : Distributions
    directions : ndarray of float32, shape (x, y, z, number, 3)
        World axes, as long as their amplitude, the largest first; 0 where there is none.
    mask : ndarray of bool, shape (x, y, z)
    said : str
        The second line.
    """
    rows = [mosaic.Row("FA", np.where(mask, found.fa, 0), 1.0, ("0", "1"))]
    if found.plan.method == "tensor":
        shown = np.abs(directions[..., 0, :])
        shown /= np.maximum(np.linalg.norm(shown, axis=-1, keepdims=True), 1e-9)
        colour = np.rint(255 * shown * found.fa[..., np.newaxis]).astype(np.uint8)
        rows.append(mosaic.Row("direction: red left-right, green front-back, blue up-down", colour))
    else:
        number = np.minimum(directions.any(axis=-1).sum(axis=-1), len(_COUNTS) - 1)
        told = "number of fibre directions: blue 1, orange 2, yellow 3; dim where FA is low"
        bright = np.clip(found.fa / FA_BRIGHT, 0, 1)[..., np.newaxis]
        rows.append(mosaic.Row(told, np.rint(bright * _COUNTS[number]).astype(np.uint8)))
    if found.fractions is not None:
        colour = np.rint(255 * found.fractions @ _TISSUES).clip(0, 255)
        told = "fractions: blue white matter, green grey matter, red CSF"
        rows.append(mosaic.Row(told, colour.astype(np.uint8)))
    picture = mosaic.draw(f"{data.prefix}: fibre orientations", said, rows, mask, data.affine)
    near = close_ups(np.where(mask, found.fa, 0), directions, data.affine)
    canvas = Image.new("RGB", (mosaic.WIDTH, picture.height + near.height), mosaic.BACK)
    canvas.paste(picture, (0, 0))
    canvas.paste(near, (0, picture.height))
    return canvas


def close_ups(fa: Map, directions: Map, affine: NDArray[np.float64]) -> Any:  # noqa: ANN401 - a PIL image
    """Draw directions as lines over FA in a square of each plane, where most of them cross.

    Patient's right is at the viewer's left; the sagittal slice looks to the left. Lines are as long
    as the amplitude, relative to the voxel's largest.
    """
    upright, sizes = mosaic.upright(fa, affine)
    turned = mosaic.upright(directions, affine)[0]
    largest = np.linalg.norm(turned[..., :1, :], axis=-1, keepdims=True)
    turned = np.divide(turned, largest, out=np.zeros_like(turned), where=largest > 0)
    axes = mosaic.upright_axes(affine)
    width = (mosaic.WIDTH - 4 * _GAP) // 3
    canvas = Image.new("RGB", (mosaic.WIDTH, _HEAD + width + _FOOT), mosaic.BACK)
    pen = ImageDraw.Draw(canvas)
    place = "where most fibres cross" if directions[..., 1:, :].any() else "where FA is high"
    text = f"{place}, lines along fibres: red left-right, green front-back, blue up-down"
    pen.text((14, 4), text, font=mosaic.font(15), fill=mosaic.TEXT)
    for plane, name in enumerate(_PLANES):
        panel = _panel(upright, turned, sizes, axes, plane, width)
        left = _GAP + plane * (width + _GAP)
        canvas.paste(panel, (left, _HEAD))
        where = (left + 4, _HEAD + width + 6)
        pen.text(where, name, font=mosaic.font(13), fill=mosaic.SOFT)
    return canvas


def _panel(
    fa: Map,
    directions: Map,
    sizes: NDArray[np.float64],
    axes: NDArray[np.float64],
    plane: int,
    width: int,
) -> Image.Image:
    """Draw one plane."""
    across, down, through = _AXES[plane]
    corner, counts = _place(fa, directions, sizes, plane)
    box = [slice(0)] * 3
    for axis, count in zip((across, down, through), counts, strict=True):
        box[axis] = slice(corner[axis], corner[axis] + count)
    flat = fa[tuple(box)].squeeze(through)
    lines = directions[tuple(box)].squeeze(through)
    vectors = lines @ axes.T
    if plane:  # superior is up
        flat, lines, vectors = flat[:, ::-1], lines[:, ::-1], vectors[:, ::-1]
        vectors = vectors * np.where(np.arange(3) == down, -1, 1)
    scale = _FINER * width / max(flat.shape[0] * sizes[across], flat.shape[1] * sizes[down])
    cell = scale * sizes[across], scale * sizes[down]
    size = round(flat.shape[0] * cell[0]), round(flat.shape[1] * cell[1])
    grey = np.repeat(np.rint(np.clip(flat.T, 0, 1) * 150).astype(np.uint8)[..., None], 3, axis=2)
    picture = Image.fromarray(grey).resize(size, Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(picture)
    thick = max(_FINER, round(min(cell) / 9))
    for i, j, k in np.argwhere(lines.any(axis=-1) & (flat > FA_SHOWN)[..., None]):
        x, y = (i + 0.5) * cell[0], (j + 0.5) * cell[1]
        dx, dy = (0.47 * cell[n] * vectors[i, j, k, a] for n, a in enumerate((across, down)))
        share = np.abs(lines[i, j, k]) / np.linalg.norm(lines[i, j, k])
        colour = tuple(int(value) for value in np.rint(255 * np.clip(share, 0.15, 1)))
        pen.line((x - dx, y - dy, x + dx, y + dy), fill=colour, width=thick)
    small = (size[0] // _FINER, size[1] // _FINER)
    return picture.resize(small, Image.Resampling.LANCZOS)


def _place(
    fa: Map, directions: Map, sizes: NDArray[np.float64], plane: int
) -> tuple[list[int], tuple[int, int, int]]:
    """Return the corner of the close-up, and its voxels to the right, down and through.

    It is where most voxels with two directions are, each counted as its FA, or where FA is highest
    when none has two.
    """
    across, down, _ = _AXES[plane]
    crossing = (fa > FA_SHOWN) & directions[..., 1:, :].any(axis=(-2, -1))
    weight = np.where(crossing, fa, 0) if crossing.any() else fa
    counts = [
        min(fa.shape[axis], max(1, round(WINDOW_MM / float(sizes[axis]))))
        for axis in (across, down)
    ]
    window = [1, 1, 1]
    window[across], window[down] = counts
    dense = ndimage.uniform_filter(weight, window, mode="constant")
    best = np.unravel_index(int(dense.argmax()), fa.shape)
    corner = [
        int(np.clip(best[axis] - window[axis] // 2, 0, fa.shape[axis] - window[axis]))
        for axis in range(3)
    ]
    return corner, (counts[0], counts[1], 1)

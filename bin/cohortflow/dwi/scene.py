"""A view of streamlines in space: over two slices of FA, with regions, from one direction.

The projection is orthographic; nearer lines are drawn later and brighter. Drawn with Pillow at
twice the size and made smaller, so that lines are smooth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from cohortflow.dwi import mosaic
from cohortflow.dwi.streamlines import Streamlines

MOST = 400
"""Streamlines of a tract that are drawn."""

_FINE = 2

Array = NDArray[np.float64]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class View:
    """From where a scene is seen.

    Attributes
    ----------
    label : str
    azimuth : float
        Degrees: 0 looks from the front, 90 from the patient's left.
    elevation : float
        Degrees above the horizon.
    """

    label: str
    azimuth: float
    elevation: float

    def axes(self) -> Array:
        """Return the screen's right, down and depth (growing towards the viewer), shape (3, 3).

        Rows are in the frame left, posterior, superior.
        """
        a, e = np.deg2rad([self.azimuth, self.elevation])
        towards = np.array([np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e)])
        right = np.array([np.cos(a), np.sin(a), 0.0])
        up = np.cross(towards, right)
        up *= np.sign(up[2])
        return np.stack([right, -up, towards])


@dataclass(frozen=True)
class Shown:
    """A tract and its colour."""

    tract: Streamlines
    colour: Colour


@dataclass(frozen=True)
class Region:
    """A region, drawn as a cloud of its surface's voxels."""

    mask: NDArray[np.bool_]
    colour: Colour


def draw(
    view: View,
    fa: NDArray[np.floating],
    affine: Array,
    tracts: Sequence[Shown],
    regions: Sequence[Region],
    size: tuple[int, int],
) -> Image.Image:
    """Draw a scene.

    Parameters
    ----------
    view : View
    fa : ndarray, shape (x, y, z)
        0 outside the brain.
    affine : ndarray, shape (4, 4)
        Voxel indices to world mm.
    tracts : sequence of Shown
        World mm.
    regions : sequence of Region
    size : tuple of int
        Width and height in pixels.
    """
    upright, sizes = mosaic.upright(fa, affine)
    inside = np.argwhere(upright > 0) if (upright > 0).any() else np.argwhere(upright == 0)
    box = np.stack([inside.min(axis=0), inside.max(axis=0) + 1]) * sizes
    screen = _Screen(view, box, (size[0] * _FINE, size[1] * _FINE))
    origin = _origin(fa.shape, affine)
    lines = [(_own(shown.tract, affine, origin), shown.colour) for shown in tracts]
    ends = [points for pieces, _ in lines for points in pieces]
    canvas = Image.new("RGB", screen.size, mosaic.BACK)
    if ends:
        level = float(np.concatenate(ends)[:, 2].min())
        behind = float(np.concatenate(ends)[:, 1].max())
        _slice(canvas, screen, upright, sizes, 2, level)
        _slice(canvas, screen, upright, sizes, 1, behind)
    for region in regions:
        _cloud(canvas, screen, mosaic.upright(region.mask, affine)[0], sizes, region.colour)
    _lines(canvas, screen, lines)
    return canvas.resize(size, Image.Resampling.LANCZOS)


class _Screen:
    """Takes points in mm (left, posterior, superior) to pixels and depth."""

    def __init__(self, view: View, box: Array, size: tuple[int, int]) -> None:
        self.size = size
        self.axes = view.axes()
        corners = np.array(np.meshgrid(*box.T)).reshape(3, -1).T @ self.axes.T
        low, high = corners.min(axis=0), corners.max(axis=0)
        self.scale = float(min(size[0] / (high[0] - low[0]), size[1] / (high[1] - low[1])))
        self.middle = (low + high) / 2
        self.depth = float(high[2] - low[2])

    def __call__(self, points: Array) -> Array:
        """Return x, y in pixels and depth between 0 (far) and 1 (near), shape (n, 3)."""
        seen = points @ self.axes.T - self.middle
        flat = seen[:, :2] * self.scale + np.array(self.size) / 2
        return np.column_stack([flat, seen[:, 2] / self.depth + 0.5])


def _origin(grid: tuple[int, ...], affine: Array) -> Array:
    """Return where the upright volume's first corner is, mm along its axes."""
    axes = mosaic.upright_axes(affine)
    corners = np.array(np.meshgrid(*[[-0.5, n - 0.5] for n in grid])).reshape(3, -1).T
    world = corners @ affine[:3, :3].T + affine[:3, 3]
    return np.asarray((world @ axes.T).min(axis=0))


def _own(tract: Streamlines, affine: Array, origin: Array) -> list[Array]:
    """Return some of a tract's streamlines in mm from the upright volume's corner."""
    axes = mosaic.upright_axes(affine)
    chosen = np.linspace(0, len(tract) - 1, min(MOST, len(tract))).round().astype(int)
    points = tract.points.astype(np.float64) @ axes.T - origin
    return [points[tract.offsets[i] : tract.offsets[i + 1]] for i in chosen]


def _slice(
    canvas: Image.Image,
    screen: _Screen,
    volume: NDArray[np.floating],
    sizes: Array,
    axis: int,
    level: float,
) -> None:
    """Paste a slice of FA where it lies in space; its background is left out."""
    index = int(np.clip(level / sizes[axis], 0, volume.shape[axis] - 1))
    plane = np.clip(np.take(volume, index, axis=axis), 0, 1).astype(np.float64)
    first, second = (a for a in range(3) if a != axis)
    corner = np.zeros(3)
    corner[axis] = level
    steps = np.zeros((2, 3))
    steps[0, first], steps[1, second] = sizes[first], sizes[second]
    places = screen(np.stack([corner, corner + steps[0], corner + steps[1]]))[:, :2]
    matrix = np.column_stack([places[1] - places[0], places[2] - places[0]])
    if abs(np.linalg.det(matrix)) < 1e-6:  # seen from its edge
        return
    back = np.linalg.inv(matrix)
    shift = -back @ places[0]
    data = (*back[0], shift[0], *back[1], shift[1])
    grey = Image.fromarray((plane.T * 200).astype(np.uint8))
    shape = Image.fromarray((ndimage.binary_fill_holes(plane.T > 0) * 255).astype(np.uint8))
    turned = [
        image.transform(screen.size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
        for image in (grey, shape)
    ]
    canvas.paste(Image.merge("RGB", [turned[0]] * 3), (0, 0), turned[1].point(lambda v: v * 0.9))


def _cloud(
    canvas: Image.Image,
    screen: _Screen,
    mask: NDArray[np.bool_],
    sizes: Array,
    colour: Colour,
) -> None:
    """Blend the surface voxels of a region over the canvas."""
    rim = mask & ~ndimage.binary_erosion(mask)
    places = screen((np.argwhere(rim) + 0.5) * sizes)
    layer = Image.new("L", screen.size, 0)
    pen = ImageDraw.Draw(layer)
    radius = float(sizes.mean()) * screen.scale * 0.6
    for x, y, _ in places:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=90)
    canvas.paste(Image.new("RGB", screen.size, colour), (0, 0), layer)


def _lines(
    canvas: Image.Image, screen: _Screen, tracts: Sequence[tuple[list[Array], Colour]]
) -> None:
    """Draw all streamlines piece by piece, the farthest first."""
    starts, ends, colours = [], [], []
    for pieces, colour in tracts:
        for points in pieces:
            seen = screen(points[::2])
            starts.append(seen[:-1])
            ends.append(seen[1:])
            colours.append(np.tile(colour, (len(seen) - 1, 1)))
    if not starts:
        return
    one, other, colour_of = (np.concatenate(parts) for parts in (starts, ends, colours))
    depth = (one[:, 2] + other[:, 2]) / 2
    low, high = depth.min(), depth.max()
    light = 0.35 + 0.65 * (depth - low) / max(high - low, 1e-9)
    shaded = np.rint(colour_of * light[:, np.newaxis]).astype(int)
    pen = ImageDraw.Draw(canvas)
    for i in np.argsort(depth, kind="stable"):
        fill = (int(shaded[i, 0]), int(shaded[i, 1]), int(shaded[i, 2]))
        pen.line((one[i, 0], one[i, 1], other[i, 0], other[i, 1]), fill=fill, width=_FINE)

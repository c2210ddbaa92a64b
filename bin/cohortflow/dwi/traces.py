"""Panels for quality control pictures: curves over volumes, and a map of slices and volumes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cohortflow.dwi import mosaic

COLOURS = ((240, 96, 88), (110, 205, 110), (104, 156, 255))
"""Of curves for x, y and z."""
_LEFT, _RIGHT = 66, 14
_HEAD = 26
_GRID = (52, 57, 66)
_MARK = (255, 176, 0)

Array = NDArray[np.floating]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Curves:
    """Curves over the volumes that share a panel.

    Attributes
    ----------
    label : str
        Written above them, with the unit.
    values : ndarray, shape (n, curves)
    names : tuple of str
        Of the curves, written in their colours beside a piece of each.
    least : float
        The scale reaches at least so far from 0, lest noise look like motion.
    """

    label: str
    values: Array
    names: tuple[str, ...]
    least: float


def draw(curves: Curves, height: int = 92) -> Any:  # noqa: ANN401 - a PIL image
    """Draw curves, `mosaic.WIDTH` pixels wide."""
    canvas, pen = _panel(curves.label, _HEAD + height + 6)
    values = curves.values
    high = max(float(values.max(initial=0)), curves.least)
    low = min(float(values.min(initial=0)), 0.0)
    low = min(low, -curves.least) if low < 0 else 0.0
    top, bottom = _HEAD + 4, _HEAD + height

    def at(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    for level in {low, 0.0, high}:
        pen.line((_LEFT, at(level), mosaic.WIDTH - _RIGHT, at(level)), fill=_GRID)
        where = (_LEFT - 6, at(level))
        pen.text(where, f"{level:.2f}", font=mosaic.font(12), fill=mosaic.SOFT, anchor="rm")
    for column, name in enumerate(curves.names):
        colour = COLOURS[column] if len(curves.names) > 1 else _MARK
        points = [(x, at(y)) for x, y in zip(_places(len(values)), values[:, column], strict=True)]
        _curve(pen, points, colour, column)
        right = mosaic.WIDTH - _RIGHT - 70 * (len(curves.names) - 1 - column)
        pen.text((right, 6), name, font=mosaic.font(15), fill=colour, anchor="ra")
        if name:
            _curve(pen, [(right - 46 + 10 * step, 14) for step in range(4)], colour, column)
    return canvas


def _curve(pen: Any, points: list[tuple[float, float]], colour: Colour, style: int) -> None:  # noqa: ANN401
    """Draw a curve: the first plain, the second dashed, the third with dots at the volumes."""
    for (x, y), (after, then) in itertools.pairwise(points):
        end = 0.5 if style == 1 else 1.0
        pen.line((x, y, x + end * (after - x), y + end * (then - y)), fill=colour, width=2)
    for x, y in points if style == 2 or len(points) == 1 else ():
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)


def table(label: str, values: Array, judged: NDArray[np.bool_], marked: NDArray[np.bool_]) -> Any:  # noqa: ANN401 - a PIL image
    """Draw a map of slices (rows, the last on top) and volumes.

    Parameters
    ----------
    label : str
    values : ndarray, shape (slices, n)
        Shown from 0 (dark) to 1 (bright).
    judged : ndarray of bool, shape (slices, n)
        What was not is darker than 0.
    marked : ndarray of bool, shape (slices, n)
        Are framed.
    """
    slices, count = values.shape
    tall = max(3, min(6, 200 // max(slices, 1)))
    canvas, pen = _panel(label, _HEAD + slices * tall + 26)
    edges = np.linspace(_LEFT, mosaic.WIDTH - _RIGHT, count + 1)
    for row in range(slices):
        y = _HEAD + (slices - 1 - row) * tall
        for column in range(count):
            share = float(np.clip(values[row, column], 0, 1))
            grey = tuple(int(40 + share * (other - 40)) for other in (255, 150, 60))
            box = (edges[column], y, edges[column + 1] - 1, y + tall - 1)
            pen.rectangle(box, fill=grey if judged[row, column] else (24, 26, 31))
            if marked[row, column]:
                pen.rectangle(box, outline=(255, 255, 255))
    small, soft = mosaic.font(12), mosaic.SOFT
    pen.text((_LEFT - 6, _HEAD + 4), f"{slices - 1}", font=small, fill=soft, anchor="rm")
    pen.text((_LEFT - 6, _HEAD + slices * tall - 6), "slice 0", font=small, fill=soft, anchor="rm")
    y = _HEAD + slices * tall + 4
    step = max(1, round(count / 12))
    for column in range(0, count, step):
        x = (edges[column] + edges[column + 1]) / 2
        pen.text((x, y), f"{column}", font=small, fill=soft, anchor="ma")
    pen.text((_LEFT - 6, y), "volume", font=small, fill=soft, anchor="ra")
    return canvas


def between(picture: Any, panels: list[Any], head: int = 58) -> Any:  # noqa: ANN401 - PIL images
    """Put panels between the title of a picture (`head` pixels high) and what follows it."""
    height = picture.height + sum(panel.height for panel in panels)
    canvas = Image.new("RGB", (mosaic.WIDTH, height), mosaic.BACK)
    canvas.paste(picture.crop((0, 0, mosaic.WIDTH, head)), (0, 0))
    top = head
    for panel in panels:
        canvas.paste(panel, (0, top))
        top += panel.height
    canvas.paste(picture.crop((0, head, mosaic.WIDTH, picture.height)), (0, top))
    return canvas


def _panel(label: str, height: int) -> tuple[Any, Any]:
    canvas = Image.new("RGB", (mosaic.WIDTH, height), mosaic.BACK)
    pen = ImageDraw.Draw(canvas)
    pen.text((14, 4), label, font=mosaic.font(15), fill=mosaic.TEXT)
    return canvas, pen


def _places(count: int) -> Array:
    """Return the middle of each volume's column."""
    edges = np.linspace(_LEFT, mosaic.WIDTH - _RIGHT, count + 1)
    return np.asarray((edges[:-1] + edges[1:]) / 2)

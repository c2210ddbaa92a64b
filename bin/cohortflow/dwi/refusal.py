"""What a series that is refused looks like: its gradients on the sphere, and its image."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cohortflow.core import save as files
from cohortflow.dwi import gradients as tables
from cohortflow.dwi import mosaic
from cohortflow.dwi.gradients import Gradients, Unusable
from cohortflow.dwi.series import Series

_MARGIN = 14
_RADIUS = 138
_LINE = 20
_LEGEND_COLUMNS = 3
_MOST_SHELLS = 12
"""As many b-values are told apart; the others share the last one's colour and marker."""
_REFUSED = (255, 110, 90)
_VIEWS = ((0, 1, 2, 1), (0, 2, 1, -1), (1, 2, 0, 1))
"""Axis to the right, upwards and through the picture, and which end of that is near."""
_MARKERS = ("circle", "square", "triangle", "diamond")
_COLOURS = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 190, 140),
    (240, 228, 66),
    (204, 121, 167),
    (200, 205, 214),
)

Point = tuple[float, float]


@dataclass(frozen=True)
class _Shell:
    """The diffusion-weighted volumes of one b-value, and how they are drawn."""

    bval: float
    volumes: int
    directions: int
    vectors: NDArray[np.float64]
    colour: tuple[int, int, int]
    marker: str

    @property
    def text(self) -> str:
        """What the legend says."""
        volumes = f"{self.volumes} volume{'s' * (self.volumes != 1)}"
        found = f"{self.directions} direction{'s' * (self.directions != 1)}"
        return f"b = {self.bval:g}: {volumes}, {found}"


def save(output: Path, picture: Image.Image) -> Path:
    """Write the picture of a refusal beside the folder that a step does not make.

    Parameters
    ----------
    output : Path
        The folder that the step was asked for, ``orient`` for example.
    picture : PIL.Image.Image

    Returns
    -------
    Path
        ``orient-refused.png``, whole or not there; the same picture gives the same bytes.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    whole = output.absolute()
    path = whole.with_name(f"{whole.name}-refused.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, packed(picture))
    return path


@contextmanager
def pictured(output: Path | None) -> Iterator[None]:
    """Leave a picture beside the output of a step that refuses a series for its gradients.

    Parameters
    ----------
    output : Path or None
        The folder that the step was asked for; None for no picture.

    Raises
    ------
    OSError
        When the picture cannot be written.
    """
    try:
        yield
    except Unusable as failure:
        if output is not None:
            save(output, draw_table(failure.name, failure.gradients, failure.message))
        raise


def packed(picture: Image.Image) -> bytes:
    """Return a picture as a PNG file."""
    content = io.BytesIO()
    picture.save(content, format="PNG", compress_level=6)
    return content.getvalue()


def draw_table(name: str, gradients: Gradients, message: str) -> Image.Image:
    """Draw a gradient table: its b-vectors on the sphere, seen from three sides.

    Parameters
    ----------
    name : str
        Of the series.
    gradients : Gradients
        They may be wrong in any way; what is not a direction is counted and not drawn.
    message : str
        Why the series is refused.

    Returns
    -------
    PIL.Image.Image
        `mosaic.WIDTH` pixels wide. A direction is a full marker at the near side of the sphere
        and a hollow one at the far side; each b-value (rounded to 50 s/mm2) has its colour and
        marker.
    """
    shells = _shells(gradients)
    told = _wrapped(f"Refused: {message}")
    head = 40 + _LINE * len(told) + 12
    rows = 1 + -(-max(1, len(shells)) // _LEGEND_COLUMNS)
    sphere = 2 * _RADIUS + 46
    canvas = Image.new("RGB", (mosaic.WIDTH, head + sphere + rows * _LINE + 14), mosaic.BACK)
    pen = ImageDraw.Draw(canvas)
    pen.text((_MARGIN, 10), name, font=mosaic.font(20), fill=mosaic.TEXT)
    for number, line in enumerate(told):
        pen.text((_MARGIN, 38 + number * _LINE), line, font=mosaic.font(15), fill=_REFUSED)
    for place, view in enumerate(_VIEWS):
        centre = (mosaic.WIDTH * (2 * place + 1) / 6, head + 8 + _RADIUS)
        _sphere(pen, centre, view, shells)
    top = head + sphere
    pen.text((_MARGIN, top), _counts(gradients), font=mosaic.font(14), fill=mosaic.TEXT)
    wide = (mosaic.WIDTH - 2 * _MARGIN) / _LEGEND_COLUMNS
    for number, shell in enumerate(shells):
        x = _MARGIN + number % _LEGEND_COLUMNS * wide
        y = top + _LINE * (1 + number // _LEGEND_COLUMNS)
        _mark(pen, (x + 6, y + 10), shell, near=True)
        pen.text((x + 18, y + 2), shell.text, font=mosaic.font(13), fill=mosaic.SOFT)
    return canvas


def draw_series(data: Series, message: str) -> Image.Image:
    """Draw a series that is refused: its gradient table, then slices of its image.

    Parameters
    ----------
    data : Series
    message : str
        Why it is refused.

    Returns
    -------
    PIL.Image.Image
        As `draw_table`; below it axial slices of the mean without diffusion weighting and of
        the mean with it, as far as there are such volumes.
    """
    table = draw_table(data.path.name, data.gradients, message)
    rows = []
    for name, chosen in (
        ("mean of the volumes without diffusion weighting", data.gradients.b0),
        ("mean of the volumes with diffusion weighting", ~data.gradients.b0),
    ):
        if chosen.any():
            mean = np.nan_to_num(data.data[..., chosen].mean(axis=-1), posinf=0, neginf=0)
            top = float(np.percentile(mean, 99.5)) or 1.0
            rows.append(mosaic.Row(f"{name} ({int(chosen.sum())})", mean, top))
    return _stacked(table, _slices(data.data.shape, data.affine, rows))


def _slices(
    shape: tuple[int, ...], affine: NDArray[np.float64], rows: list[mosaic.Row]
) -> Image.Image:
    """Draw axial slices of a whole image."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    told = " x ".join(map(str, shape)) + " voxels of "
    told += " x ".join(f"{size:.3g}" for size in sizes) + " mm"
    everything = np.ones(shape[:3], dtype=bool)
    return mosaic.draw("Image", told, rows, everything, affine)


def _stacked(*pictures: Image.Image) -> Image.Image:
    height = sum(picture.height for picture in pictures)
    canvas = Image.new("RGB", (mosaic.WIDTH, height), mosaic.BACK)
    top = 0
    for picture in pictures:
        canvas.paste(picture, (0, top))
        top += picture.height
    return canvas


def _shells(gradients: Gradients) -> list[_Shell]:
    """Sort the directions by b-value, the lowest first."""
    rounded = np.round(np.nan_to_num(gradients.bvals) / 50) * 50
    length = np.linalg.norm(np.nan_to_num(gradients.bvecs), axis=1)
    weighted = ~gradients.b0
    found = []
    for number, bval in enumerate(np.unique(rounded[weighted])):
        chosen = weighted & (rounded == bval)
        usable = chosen & (length > 0)
        vectors = np.nan_to_num(gradients.bvecs[usable]) / length[usable, None]
        kind = min(number, _MOST_SHELLS - 1)
        count = tables.directions(Gradients(gradients.bvals[usable], vectors))
        found.append(
            _Shell(
                float(bval),
                int(chosen.sum()),
                count,
                vectors,
                _COLOURS[kind % len(_COLOURS)],
                _MARKERS[kind % len(_MARKERS)],
            )
        )
    return found


def _counts(gradients: Gradients) -> str:
    """Say how many volumes and directions a table has."""
    b0 = int(gradients.b0.sum())
    lengths = np.linalg.norm(np.nan_to_num(gradients.bvecs), axis=1)
    odd = ~gradients.b0 & ~(np.abs(lengths - 1) <= tables.UNIT_TOLERANCE)
    finite = np.isfinite(gradients.bvecs).all(axis=1) & np.isfinite(gradients.bvals)
    usable = Gradients(gradients.bvals[finite], gradients.bvecs[finite])
    text = f"{len(gradients.bvals)} volumes: {b0} without diffusion weighting, "
    text += f"{len(gradients.bvals) - b0} with it; {tables.directions(usable)} distinct directions"
    return text + (f"; not of unit length: {int(odd.sum())}" if odd.any() else "")


def _sphere(
    pen: ImageDraw.ImageDraw, centre: Point, view: tuple[int, int, int, int], shells: list[_Shell]
) -> None:
    """Draw the directions as seen along one axis of the b-vectors."""
    x, y = centre
    across, up, through, sign = view
    box = (x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS)
    pen.ellipse(box, fill=(24, 27, 33), outline=mosaic.SOFT)
    pen.line((x - _RADIUS, y, x + _RADIUS, y), fill=(52, 57, 66))
    pen.line((x, y - _RADIUS, x, y + _RADIUS), fill=(52, 57, 66))
    for near in (False, True):  # the near ones cover the far ones
        for shell in shells:
            for vector in shell.vectors[(sign * shell.vectors[:, through] >= 0) == near]:
                at = (x + _RADIUS * vector[across], y - _RADIUS * vector[up])
                _mark(pen, at, shell, near=near)
    small: Any = {"font": mosaic.font(13), "fill": mosaic.SOFT, "anchor": "mm"}
    pen.text((x + _RADIUS + 10, y), "xyz"[across], **small)
    pen.text((x + 8, y - _RADIUS - 9), "xyz"[up], **small)
    name = f"seen along {'xyz'[through]}: full markers are near, hollow ones far"
    pen.text((x, y + _RADIUS + 18), name, **small)


def _mark(pen: ImageDraw.ImageDraw, at: Point, shell: _Shell, *, near: bool) -> None:
    """Draw one marker, about 10 pixels large."""
    x, y = at
    r = 4.5
    paint: Any = {"fill": shell.colour if near else None, "outline": shell.colour}
    if shell.marker == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), **paint)
    elif shell.marker == "square":
        pen.rectangle((x - r + 0.5, y - r + 0.5, x + r - 0.5, y + r - 0.5), **paint)
    elif shell.marker == "triangle":
        pen.polygon([(x, y - r - 1), (x + r + 0.5, y + r - 1), (x - r - 0.5, y + r - 1)], **paint)
    else:
        pen.polygon([(x, y - r - 1), (x + r + 1, y), (x, y + r + 1), (x - r - 1, y)], **paint)


def _wrapped(text: str) -> list[str]:
    """Break a text into lines that fit the picture."""
    font = mosaic.font(15)
    room = mosaic.WIDTH - 2 * _MARGIN
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines

"""QC pictures as data that a page carries."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_WIDTH = 1100
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 100_000_000
QUALITY = 82
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, ready for ``<img src>``.

    Attributes
    ----------
    name : str
        File name.
    data : str or None
        A ``data:`` address; None when the file cannot be shown.
    width, height : int
        Pixels as embedded.
    """

    name: str
    data: str | None
    width: int = 0
    height: int = 0


def of_unit(folder: Path, names: list[str]) -> Iterator[Picture]:
    """Yield a unit's pictures, one at a time.

    Parameters
    ----------
    folder : Path
        The unit's folder.
    names : list of str
        Paths of the pictures in it.
    """
    for name in names:
        yield picture(folder / name)


def picture(path: Path) -> Picture:
    """Return a PNG file scaled to at most 1100 pixels of width, as WebP.

    Where Pillow is not installed the file is carried as it is.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            return Picture(path.name, None)
        content = path.read_bytes()
    except OSError:
        return Picture(path.name, None)
    if not content.startswith(PNG) or len(content) < 24:
        return Picture(path.name, None)
    width, height = struct.unpack(">II", content[16:24])
    if not width or not height or width * height > MAX_PIXELS:
        return Picture(path.name, None)
    try:
        from PIL import Image
    except ImportError:
        return Picture(path.name, _address("png", content), width, height)
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            shown = image.convert("RGBA" if image.has_transparency_data else "RGB")
        if width > MAX_WIDTH:
            size = (MAX_WIDTH, max(1, round(height * MAX_WIDTH / width)))
            shown = shown.resize(size, Image.Resampling.LANCZOS)
        packed = io.BytesIO()
        shown.save(packed, "WEBP", quality=QUALITY, method=2)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return Picture(path.name, None)
    return Picture(path.name, _address("webp", packed.getvalue()), *shown.size)


def _address(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"

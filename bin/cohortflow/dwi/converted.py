"""A diffusion series that was checked, and the folder that holds it."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cohortflow.core import save
from cohortflow.dwi import gradients, image

Metrics = dict[str, float | int | str | None]


@dataclass(frozen=True)
class Image:
    """A diffusion series in memory, checked.

    Attributes
    ----------
    content : bytearray
        An uncompressed NIfTI file without what could name a person.
    header : image.Header
    gradients : gradients.Gradients
    fields : dict
        Its sidecar's fields.
    metrics : dict
        What is known of where it comes from.
    """

    content: bytearray
    header: image.Header
    gradients: gradients.Gradients
    fields: dict[str, Any]
    metrics: Metrics


def write(series: Image, target: Path, prefix: str) -> Metrics:
    """Write image, gradients, sidecar and metrics; the same series gives the same bytes.

    Returns
    -------
    dict
        What ``metrics.json`` holds.

    Raises
    ------
    OSError
        When the folder cannot be written.
    """
    base = target / "dwi" / f"{prefix}_desc-converted_dwi"
    base.parent.mkdir()
    _write_image(base.with_name(f"{base.name}.nii.gz"), series.content)
    bval, bvec = (base.with_name(f"{base.name}.{end}") for end in ("bval", "bvec"))
    gradients.write(series.gradients, bval, bvec)
    save.write_json(base.with_name(f"{base.name}.json"), series.fields)
    metrics = {**_measure(series), **series.metrics}
    save.write_json(target / "metrics.json", metrics)
    return metrics


def _measure(prepared: Image) -> Metrics:
    shape, zooms, table = prepared.header.shape, prepared.header.zooms, prepared.gradients
    return {
        "volumes": prepared.header.volumes,
        "b0_volumes": int(table.b0.sum()),
        "b_values": gradients.shells(table),
        "directions": gradients.directions(table),
        **{f"voxel_size_{axis}": round(zooms[i], 4) for i, axis in enumerate("xyz")},
        "shape": "x".join(str(n) for n in shape),
    }


def _write_image(path: Path, content: bytearray) -> None:
    """Compress an image; neither time nor name is in the gzip header."""
    with (
        path.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed,
    ):
        view = np.frombuffer(content, np.uint8)
        for start in range(0, len(view), 1 << 24):
            packed.write(view[start : start + (1 << 24)].tobytes())

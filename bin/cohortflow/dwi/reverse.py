"""The image of reversed phase encoding that goes with a series: only its b=0 volumes are kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortflow.dwi import b0, bids, files, grids, image, phase
from cohortflow.dwi import sidecar as sidecars
from cohortflow.dwi.gradients import B0_MAXIMUM

_KEPT = (
    "TotalReadoutTime", "EstimatedTotalReadoutTime", "EffectiveEchoSpacing", "ReconMatrixPE",
    "EchoTime", "RepetitionTime", "SeriesDescription",
)  # fmt: skip


@dataclass(frozen=True)
class Files:
    """An image of reversed phase encoding and its sidecars; those beside it where None."""

    image: Path
    bval: Path | None = None
    sidecar: Path | None = None


@dataclass(frozen=True)
class Reverse:
    """The b=0 volumes of reversed phase encoding, in memory.

    Attributes
    ----------
    content : bytearray
        An uncompressed NIfTI file without what could name a person: 4-D, or 3-D of one volume.
    volumes, weighted : int
        Volumes kept, and diffusion-weighted ones left out.
    grid : grids.Grid
    side : phase.Side
        What is known of its phase encoding.
    fields : dict
        Its sidecar's fields, without the direction.
    """

    content: bytearray
    volumes: int
    weighted: int
    grid: grids.Grid
    side: phase.Side
    fields: dict[str, Any]


def of_files(given: Files, source: str) -> Reverse:
    """Read an image that goes with a NIfTI series.

    Parameters
    ----------
    given : Files
    source : str
        What `Sources` calls it.

    Raises
    ------
    Failure
        INPUT_MISSING, PERMISSION, or DATA_INVALID when it cannot be used.
    """
    for path in (given.image, given.bval, given.sidecar):
        if path is not None:
            files.status(str(path))
    bval, text = (
        path or _beside(given.image, end)
        for path, end in ((given.bval, "bval"), (given.sidecar, "json"))
    )
    fields = sidecars.anonymous(sidecars.read(text)) if text else {}
    return read(given.image, bval, fields, name=str(given.image), source=source)


def read(
    path: Path, bval: Path | None, fields: Mapping[str, Any], *, name: str, source: str
) -> Reverse:
    """Read an image and keep its volumes of b <= 50 s/mm2; all where it has no b-values.

    Raises
    ------
    Failure
        As `image.read`, `b0.which` and `voxels.clean`.
    """
    from cohortflow.dwi import voxels

    declared = image.header(path)
    kept = b0.which(declared, path, bval)
    declared, content = _only(*image.read(path), kept)
    raw, slope, intercept = image.stored(declared, content, path)
    warnings = voxels.clean(raw.reshape((*raw.shape, 1)[:4]), -intercept / slope, path)
    weighted = int((~kept).sum())
    said = f"Volumes with b <= {B0_MAXIMUM:g} s/mm2 and reversed phase encoding"
    return Reverse(
        image.anonymous(declared, content)[0],
        int(kept.sum()),
        weighted,
        grid := grids.of_content(declared, content),
        phase.side(name, fields, label_of(path), grid.affine),
        {
            "Description": f"{said}; {weighted} others are not used" if weighted else said,
            **{key: fields[key] for key in _KEPT if key in fields},
            "Sources": [source],
            "Warnings": warnings,
        },
    )


def label_of(path: Path) -> str | None:
    """Return the label of ``dir-`` in an image's BIDS name."""
    name = bids.parse(path.name)
    return name.entities.get("dir") if name else None


def _only(
    declared: image.Header, content: bytearray, kept: NDArray[np.bool_]
) -> tuple[image.Header, bytearray]:
    """Keep some volumes of a file's uncompressed bytes."""
    raw, head = image.voxels(declared, content)
    chosen = raw.reshape((*declared.shape[:3], -1), order="F")[..., kept]
    shape = chosen.shape if chosen.shape[3] > 1 else chosen.shape[:3]
    head.set_data_shape(shape)
    block = head.binaryblock
    made = bytearray(block) + content[len(block) : declared.offset] + chosen.tobytes(order="F")
    return dataclasses.replace(declared, shape=shape, size=len(made)), made


def _beside(path: Path, end: str) -> Path | None:
    found = path.with_name(f"{bids.stem(path.name)}.{end}")
    return found if found.is_file() else None

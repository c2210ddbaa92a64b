"""A diffusion series that was checked, and the folder that holds it."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cohortflow.core import save
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import gradients, grids, image, phase
from cohortflow.dwi.reverse import Reverse

_ADVICE = "correct PhaseEncodingDirection in the sidecars, or give the option phase_encoding"

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
    reverse : Reverse or None
        Its b=0 volumes of reversed phase encoding.
    """

    content: bytearray
    header: image.Header
    gradients: gradients.Gradients
    fields: dict[str, Any]
    metrics: Metrics
    reverse: Reverse | None = None

    @property
    def grid(self) -> grids.Grid:
        """Where its voxels lie."""
        return grids.of_content(self.header, self.content)


def read(
    path: Path, table: gradients.Gradients
) -> tuple[tuple[bytearray, image.Header], list[str]]:
    """Read a series whole, and check its gradients, affine and values.

    Returns
    -------
    (content, header)
        As an `Image` holds them.
    list of str
        Warnings.

    Raises
    ------
    Failure
        As `image.read`, `gradients.check`, `gradients.check_tensor` and `voxels.clean`.
    """
    from cohortflow.dwi import voxels

    declared = image.header(path)
    image.check_dimensions(declared, 4, path)
    gradients.check(table, declared.volumes, str(path))
    gradients.check_tensor(table, str(path))
    declared, content = image.read(path)
    raw, slope, intercept = image.stored(declared, content, path)
    warnings = voxels.clean(raw, -intercept / slope, path)
    return image.anonymous(declared, content), warnings


def joined(
    made: Image,
    reverse: Reverse | None,
    said: str | None,
    *,
    name: str,
    label: str | None,
    advice: str = _ADVICE,
) -> Image:
    """Give a series its phase-encoding direction, and its reversed volumes where there are.

    Parameters
    ----------
    made : Image
    reverse : Reverse or None
    said : str or None
        The direction of the series as a person tells.
    name : str
        What messages call the series.
    label : str or None
        The label of ``dir-`` in its name.
    advice : str
        What to do when directions are not opposite or not known.

    Raises
    ------
    Failure
        DATA_INVALID when the two are not on one grid; as `phase.of_pair`.
    """
    side = phase.side(name, made.fields, label, made.grid.affine)
    if reverse is None:
        return replace(made, fields={**made.fields, **_told(phase.of_series(side, said))})
    apart = grids.difference(made.grid, reverse.grid)
    if apart:
        raise Failure(
            Category.DATA_INVALID,
            f"{name} and {reverse.side.name}: are no pair, {apart}",
            "name another reverse image, or the series alone, in a manifest",
        )
    try:
        first, second = phase.of_pair(side, reverse.side, said)
    except Failure as failure:
        raise Failure(failure.category, failure.message, advice) from None
    warnings = list(made.fields["Warnings"])
    if reverse.weighted:
        source = reverse.fields["Sources"][0]
        warnings.append(f"{reverse.weighted} weighted volumes of {source} are not used")
    return replace(
        made,
        fields={**made.fields, **_told(first), "Warnings": warnings},
        metrics={**made.metrics, "warnings": len(warnings)},
        reverse=replace(reverse, fields={**reverse.fields, **_told(second)}),
    )


def _told(direction: phase.Direction | None) -> dict[str, str]:
    """Write a direction as fields of a sidecar; nothing when it is not known."""
    if direction is None:
        return {}
    source = {"PhaseEncodingDirectionSource": direction.source} if direction.source else {}
    return {"PhaseEncodingDirection": direction.value, **source}


def write(series: Image, target: Path, prefix: str) -> Metrics:
    """Write the files of a series and metrics; the same series gives the same bytes.

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
    if series.reverse:
        base = base.with_name(f"{prefix}_desc-reverse_epi")
        _write_image(base.with_name(f"{base.name}.nii.gz"), series.reverse.content)
        save.write_json(base.with_name(f"{base.name}.json"), series.reverse.fields)
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
        "phase_encoding": phase.told(prepared.fields),
        "reverse_volumes": prepared.reverse.volumes if prepared.reverse else 0,
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

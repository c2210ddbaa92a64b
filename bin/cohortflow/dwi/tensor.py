"""Diffusion tensor maps of a series: FA, MD, RD, AD, colour FA and V1, with checks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.core import save
from cohortflow.core import threads as pool
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import fit, gradients, image, mosaic, series
from cohortflow.dwi.series import Series

FA_WHITE_MATTER = 0.3
"""White matter in the metrics: FA above this inside the mask eroded by one voxel."""

_AXES, _ENCODING = {"EncodingAxis": 3, "Reference": "xyz"}, {"DEC": "dec", "V1": "unit3vector"}

Array = NDArray[np.float64]
Map = NDArray[np.float32]


@dataclass(frozen=True)
class Maps:
    """What the fit gives, on the series' grid; 0 outside the mask.

    Attributes
    ----------
    fa : ndarray of float32, shape (x, y, z)
        Fractional anisotropy, 0 to 1.
    md, ad, rd : ndarray of float32, shape (x, y, z)
        Mean, axial and radial diffusivity, mm2/s.
    principal : ndarray of float32, shape (x, y, z, 3)
        Unit eigenvector of the largest eigenvalue in the frame of the b-vectors.
    residual : ndarray of float32, shape (x, y, z)
        Root mean square misfit of the signal, relative to S0.
    unphysical : ndarray of bool, shape (x, y, z)
        Where an eigenvalue was negative (taken as 0 in the maps) or nothing could be fitted.
    """

    fa: Map
    md: Map
    ad: Map
    rd: Map
    principal: Map
    residual: Map
    unphysical: NDArray[np.bool_]


def read_mask(path: Path, data: Series) -> NDArray[np.bool_]:
    """Read a brain mask and see that it belongs to the series.

    Raises
    ------
    Failure
        As `image.load`; DATA_INVALID when shape or affine differ, the mask is empty, or the
        series is not finite inside it.
    """
    values, loaded = image.load(path, dimensions=3)
    if values.shape != data.data.shape[:3]:
        shapes = ["x".join(str(n) for n in s) for s in (values.shape, data.data.shape[:3])]
        raise _invalid(f"{path}: has {shapes[0]} voxels, {data.path.name} has {shapes[1]}")
    if not np.allclose(loaded.affine, data.affine, atol=1e-2):
        raise _invalid(f"{path}: lies elsewhere in space than {data.path.name}")
    mask = np.asarray(values > 0)
    if not mask.any():
        raise _invalid(f"{path}: the mask is empty")
    if bad := int((~np.isfinite(data.data[mask])).any(axis=-1).sum()):
        raise Failure(
            Category.DATA_INVALID,
            f"{data.path}: {bad} voxels of the brain are not finite numbers",
            "convert or correct the series again",
        )
    if not (data.data[mask] > 0).any():
        raise _invalid(f"{data.path}: no signal inside the mask {path.name}")
    return mask


def compute(data: Series, mask: NDArray[np.bool_], threads: int = 1) -> Maps:
    """Fit the tensor in every voxel of a mask, slice after slice.

    Parameters
    ----------
    data : Series
    mask : ndarray of bool, shape (x, y, z)
    threads : int
        The result is the same for any number.

    Raises
    ------
    Failure
        DATA_INVALID when the gradients do not determine a tensor, see
        `gradients.check_tensor`.
    """
    gradients.check_tensor(data.gradients, data.path.name)
    matrix = fit.design(data.gradients.bvals, _unit(data.gradients.bvecs))
    fa, md, ad, rd, misfit = (np.zeros(mask.shape, np.float32) for _ in range(5))
    principal = np.zeros((*mask.shape, 3), np.float32)
    maps = Maps(fa, md, ad, rd, principal, misfit, np.zeros_like(mask))
    levels = np.flatnonzero(mask.any(axis=(0, 1))).tolist()
    pool.each(partial(_level, data.data, mask, matrix, maps), levels, threads)
    return maps


def _level(data: Map, mask: NDArray[np.bool_], matrix: Array, maps: Maps, level: int) -> None:
    """Fit the voxels of a slice."""
    xs, ys = np.nonzero(mask[:, :, level])
    found = fit.level(data[:, :, level], xs, ys, matrix)
    maps.fa[xs, ys, level] = found[:, 0]
    for target, column in ((maps.md, 1), (maps.ad, 2), (maps.rd, 3)):
        target[xs, ys, level] = found[:, column] / 1000
    maps.residual[xs, ys, level] = found[:, 4]
    maps.principal[xs, ys, level] = found[:, 5:8]
    maps.unphysical[xs, ys, level] = found[:, 8] > 0


def anisotropy(values: Array) -> Array:
    """Return the fractional anisotropy (Basser, Pierpaoli 1996) of eigenvalues (voxels, 3)."""
    spread = values - values.mean(axis=1, keepdims=True)
    size = (values * values).sum(axis=1)
    ratio = 1.5 * (spread * spread).sum(axis=1) / np.where(size > 0, size, 1)
    return np.asarray(np.sqrt(ratio))


def fsl_signs(affine: Array) -> Array:
    """Return the signs that turn FSL b-vectors to image axes: x negated if determinant > 0."""
    positive = np.linalg.det(affine[:3, :3]) > 0
    return np.array([-1.0 if positive else 1.0, 1.0, 1.0])


def to_world(directions: NDArray[np.floating], affine: Array) -> Array:
    """Turn directions (..., 3) in FSL's convention to world axes (right, anterior, superior)."""
    axes = affine[:3, :3] / series.voxel_size(affine)
    return np.asarray((directions * fsl_signs(affine)) @ axes.T)


def colours(maps: Maps, affine: Array) -> NDArray[np.uint8]:
    """Return colour FA (Pajevic, Pierpaoli 1999), shape (x, y, z, 3).

    Red is left-right, green posterior-anterior, blue inferior-superior, in world axes.
    """
    shown = np.abs(to_world(maps.principal, affine)) * maps.fa[..., None]
    return np.asarray(np.rint(np.clip(shown, 0, 1) * 255), dtype=np.uint8)


def metrics(data: Series, maps: Maps, mask: NDArray[np.bool_]) -> dict[str, float | None]:
    """Return the numbers for ``metrics.json``; None for what is not known."""
    inner = ndimage.binary_erosion(mask, border_value=1) & ~maps.unphysical
    white = inner & (maps.fa > FA_WHITE_MATTER)
    some = bool(white.any())
    volume = float(white.sum()) * series.voxel_ml(data.affine)
    return {
        "fa_mean_white_matter": _number(maps.fa[white].mean(dtype=np.float64)) if some else None,
        "md_mean_white_matter": _number(maps.md[white].mean(dtype=np.float64)) if some else None,
        "white_matter_ml": round(volume, 1),
        "tensor_rms": _number(np.median(maps.residual[mask])),
        "unphysical_fraction": _number(maps.unphysical[mask].mean()),
    }


def _number(value: float | np.floating[Any]) -> float:
    return float(f"{float(value):.6g}")


def _unit(bvecs: Array) -> Array:
    length = np.linalg.norm(bvecs, axis=1, keepdims=True)
    return np.asarray(np.divide(bvecs, length, out=np.zeros_like(bvecs), where=length > 0))


def _invalid(message: str) -> Failure:
    return Failure(Category.DATA_INVALID, message, "use the mask that dwi-mask made of this series")


def write(folder: Path, data: Series, maps: Maps, mask: NDArray[np.bool_], mask_path: Path) -> None:
    """Write maps, sidecars, picture and metrics into a step's folder.

    Raises
    ------
    OSError
        When something cannot be written.
    """
    (folder / "dwi").mkdir()
    (folder / "figures").mkdir()
    colour = colours(maps, data.affine)
    world = to_world(maps.principal, data.affine).astype(np.float32)
    sources = [data.source, series.uri(data.prefix, f"dwi/{mask_path.name}")]
    for name, array, units, text in (
        ("FA", maps.fa, "arbitrary", "Fractional anisotropy"),
        ("MD", maps.md, "mm^2/s", "Mean diffusivity"),
        ("RD", maps.rd, "mm^2/s", "Radial diffusivity"),
        ("AD", maps.ad, "mm^2/s", "Axial diffusivity"),
        ("DEC", colour, "arbitrary", "Colour FA: the volumes are red, green, blue of 0 to 255 for "
         "the principal direction's right, anterior, superior component times FA"),
        ("V1", world, "arbitrary", "Unit vector of the largest diffusivity in world axes (right, "
         "anterior, superior); its sign means nothing"),
    ):  # fmt: skip
        stem = folder / "dwi" / f"{data.prefix}_space-orig_model-DTI_param-{name}_dwimap"
        series.save(stem.with_suffix(".nii.gz"), array, data)
        fields = _sidecar(text, units, sources)
        if name in _ENCODING:
            fields["OrientationEncoding"] = {**_AXES, "Type": _ENCODING[name]}
        save.write_json(stem.with_suffix(".json"), fields)
    numbers = metrics(data, maps, mask)
    picture = draw(data, maps, colour, mask, numbers)
    mosaic.save(folder / "figures" / f"{data.prefix}_desc-tensor_dwi.png", picture)
    save.write_json(folder / "metrics.json", numbers)


def _sidecar(text: str, units: str, sources: list[str]) -> dict[str, Any]:
    return series.sidecar(
        Description=text,
        Units=units,
        Model={
            "Description": "Diffusion tensor",
            "Parameters": {
                "FitMethod": "weighted least squares of the log signal, weights from an "
                "ordinary least squares fit"
            },
        },
        Sources=sources,
    )


def draw(
    data: Series,
    maps: Maps,
    colour: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    numbers: dict[str, float | None],
) -> Any:  # noqa: ANN401 - a PIL image
    """Draw FA, colour FA and MD."""
    fa, md = numbers["fa_mean_white_matter"], numbers["md_mean_white_matter"]
    said = "no white matter"
    if fa is not None and md is not None:
        said = f"white matter: FA {fa:.3f}, MD {1000 * md:.3f}e-3 mm2/s"
    return mosaic.draw(
        f"{data.prefix}: tensor maps",
        said,
        [
            mosaic.Row("FA", maps.fa, 1.0, ("0", "1")),
            mosaic.Row("colour FA: red left-right, green front-back, blue up-down", colour),
            mosaic.Row("MD", maps.md, 3e-3, ("0", "3e-3 mm2/s"), palette="heat"),
        ],
        mask,
        data.affine,
    )

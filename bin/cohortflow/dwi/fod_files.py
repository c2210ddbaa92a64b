"""Write orientation distributions: files in MRtrix3's basis, numbers and a picture.

File names and the sidecars' fields follow BEP-016; the name says which model a file is of, so that
the tensor's distribution is never taken for a deconvolution.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.core import save
from cohortflow.dwi import deconvolve, fod, fod_picture, mosaic, peaks, series
from cohortflow.dwi.fod import Distributions
from cohortflow.dwi.series import Series
from cohortflow.dwi.tensor import FA_WHITE_MATTER

Map = NDArray[np.float32]
Metrics = dict[str, float | int | str | None]

TISSUES = ("white", "grey", "csf")
"""Volumes of the fractions, in this order."""

_AXES = {"EncodingAxis": 3, "Reference": "xyz"}
_NAMES = {
    "csd": "Constrained spherical deconvolution of one shell (Tournier et al. 2007)",
    "msmt": "Multi-shell multi-tissue constrained spherical deconvolution (Jeurissen et al. 2014)",
    "tensor": "Orientation distribution of the diffusion tensor (Aganj et al. 2010), sharpened",
}


def metrics(found: Distributions, directions: Map, mask: NDArray[np.bool_]) -> Metrics:
    """Return the numbers for ``metrics.json``; None for what is not known."""
    plan, answer, shares = found.plan, found.response, found.fractions
    inner = ndimage.binary_erosion(mask, border_value=1)
    white = inner & (found.fa > FA_WHITE_MATTER)
    known = plan.method != "tensor" and bool(white.any())  # a tensor cannot tell crossings
    number = directions.any(axis=-1).sum(axis=-1)[white]
    means = [None] * 3 if shares is None else [_number(shares[mask][:, i].mean()) for i in range(3)]
    return {
        "fod_method": plan.method,
        "fod_lmax": plan.lmax,
        "fod_directions": plan.directions,
        "fod_shells": " ".join(f"{shell.bval:.0f}" for shell in plan.shells if shell.bval > 0),
        "fod_response_ratio": None if answer is None else _number(answer.ratio),
        "fod_response_voxels": None if answer is None else answer.fibres,
        "fod_peaks_mean": _number(number.mean()) if known else None,
        "fod_crossing_fraction": _number((number > 1).mean()) if known else None,
        **{f"fod_{name}_fraction": mean for name, mean in zip(TISSUES, means, strict=True)},
        "fod_warning": found.instead_of or None,
    }


def write(
    folder: Path,
    data: Series,
    found: Distributions,
    directions: Map,
    mask: NDArray[np.bool_],
    mask_path: Path,
) -> None:
    """Write distributions, directions, fractions, picture and metrics into a step's folder.

    Parameters
    ----------
    folder : Path
    data : Series
    found : Distributions
    directions : ndarray of float32, shape (x, y, z, PEAKS, 3)
        As `fod.directions_of` gives them.
    mask : ndarray of bool, shape (x, y, z)
    mask_path : Path

    Raises
    ------
    OSError
        When something cannot be written.
    """
    (folder / "dwi").mkdir()
    (folder / "figures").mkdir()
    sources = [data.source, series.uri(data.prefix, f"dwi/{mask_path.name}")]
    flat = directions.reshape(*mask.shape, -1)
    fields = [_distribution(found), _directions(found)]
    arrays = [found.white, flat]
    if found.fractions is not None:
        fields.append(_fractions())
        arrays.append(found.fractions)
    for (name, more), array in zip(fields, arrays, strict=True):
        stem = folder / "dwi" / f"{data.prefix}_space-orig_{name}_dwimap"
        series.save(stem.with_name(f"{stem.name}.nii.gz"), array, data)
        told = series.sidecar(**more, Model=_model(found), Sources=sources)
        save.write_json(stem.with_name(f"{stem.name}.json"), told)
    numbers = metrics(found, directions, mask)
    picture = fod_picture.draw(data, found, directions, mask, _said(numbers))
    mosaic.save(folder / "figures" / f"{data.prefix}_desc-fod_dwi.png", picture)
    save.write_json(folder / "metrics.json", numbers)


def _distribution(found: Distributions) -> tuple[str, dict[str, Any]]:
    tensor = found.plan.method == "tensor"
    name = "model-DTI_param-ODF" if tensor else "model-CSD_param-FOD"
    size = "its integral is 1" if tensor else "a single fibre of the response has the integral 1"
    return name, {
        "Description": "Fibre orientation distribution: coefficients of real, even spherical "
        f"harmonics; {size}",
        "Units": "arbitrary",
        "OrientationEncoding": {
            **_AXES,
            "Type": "sh",
            "SphericalHarmonicBasis": "MRtrix3",
            "SphericalHarmonicDegree": found.plan.lmax,
            "AntipodalSymmetry": True,
            "Axes": "world: right, anterior, superior",
        },
    }


def _directions(found: Distributions) -> tuple[str, dict[str, Any]]:
    tensor = found.plan.method == "tensor"
    number = "The direction" if tensor else f"Up to {fod.PEAKS} directions"
    return f"model-{'DTI' if tensor else 'CSD'}_param-peaks", {
        "Description": f"{number} of the largest amplitude, three volumes (right, anterior, "
        "superior) each, as long as the amplitude; 0 where there is none; the sign means nothing",
        "Units": "arbitrary",
        "OrientationEncoding": {
            **_AXES,
            "Type": "3vector",
            "Axes": "world: right, anterior, superior",
        },
        "Threshold": {
            "Amplitude": peaks.LEAST,
            "ShareOfLargest": peaks.SHARE,
            "DegreesApart": peaks.APART,
        },
    }


def _fractions() -> tuple[str, dict[str, Any]]:
    return "model-CSD_param-fractions", {
        "Description": "Volume fractions: how much of each tissue's response the signal holds, "
        "scaled to the sum 1 in the mask",
        "Units": "fraction",
        "Volumes": list(TISSUES),
    }


def _model(found: Distributions) -> dict[str, Any]:
    plan, answer = found.plan, found.response
    used: dict[str, Any] = {
        "Method": plan.method,
        "BValues": [round(shell.bval) for shell in plan.shells],
        "BValuesLeftOut": [round(bval) for bval in plan.left_out],
        "Directions": plan.directions,
        "SphericalHarmonicDegree": plan.lmax,
    }
    if answer is None:
        used["Sharpening"] = fod.SHARPENING
        return {"Description": _NAMES[plan.method], "Parameters": used}
    used["NonNegativityDirections"] = deconvolve.DIRECTIONS
    used["NonNegativityPenalty"] = fod.PENALTY
    response: dict[str, Any] = {
        "Type": "zsh",
        "Description": "Even zonal harmonics of each b-value's signal, MRtrix3's normalisation",
        "BValues": [round(shell.bval) for shell in answer.shells],
        "White": [[_number(value) for value in row] for row in answer.white],
        "WhiteVoxels": answer.fibres,
    }
    if answer.grey is not None and answer.csf is not None:
        for name, values, voxels in (
            ("Grey", answer.grey, answer.grey_voxels),
            ("CSF", answer.csf, answer.csf_voxels),
        ):
            response[name] = [[_number(value * np.sqrt(4 * np.pi))] for value in values]
            response[f"{name}Voxels"] = voxels
    return {
        "Description": _NAMES[plan.method],
        "Parameters": used,
        "ResponseFunction": response,
    }


def _said(numbers: Metrics) -> str:
    """Return the picture's second line."""
    method, degree = numbers["fod_method"], numbers["fod_lmax"]
    said = f"{method}, b = {numbers['fod_shells']}, {numbers['fod_directions']} directions, "
    said += f"degree {degree}"
    crossing, ratio = numbers["fod_crossing_fraction"], numbers["fod_response_ratio"]
    if ratio is not None:
        said += f" · response across / along {ratio:.1f}"
    if crossing is not None:
        said += f" · fibres cross in {100 * float(crossing):.0f} % of white matter"
    return said


def _number(value: float | np.floating[Any]) -> float:
    return float(f"{float(value):.6g}")

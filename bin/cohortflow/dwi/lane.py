"""The diffusion MRI lane as the engine sees it."""

from __future__ import annotations

from cohortflow.core.lanes import Lane, Parameter, Step
from cohortflow.dwi import csttool_options, discover, filters, refused, tract_lane

_MAPS = ("FA", "MD", "RD", "AD", "DEC", "V1")
_ORIENTATIONS = (
    "model-CSD_param-FOD",
    "model-CSD_param-peaks",
    "model-CSD_param-fractions",
    "model-DTI_param-ODF",
    "model-DTI_param-peaks",
)
"""What `fod` makes depends on the series."""
_SERIES = ("converted", "denoised", "unringed", "corrected", "unbiased")


def _figure(step: str) -> str:
    return f"figures/{{prefix}}_desc-{step}_dwi.png"


def _step(name: str, *others: str) -> Step:
    """Make a step that the parameter of its name leaves out, for all units or by a unit's own."""
    parameters = (name, *others)
    return Step(name, parameters=parameters, options=parameters, unless=((name, "none"),))


def _map(name: str) -> tuple[str, str]:
    stem = f"dwi/{{prefix}}_space-orig_{name}_dwimap"
    return f"{stem}.nii.gz", f"{stem}.json"


_MADE_BY = {
    "denoise": (*_map("param-noise"), _figure("denoise")),
    "unring": (_figure("unring"),),
    "correct": (
        "dwi/{prefix}_desc-motion_timeseries.tsv",
        "dwi/{prefix}_desc-motion_timeseries.json",
        _figure("correct"),
    ),
    "bias": (*_map("param-bias"), _figure("bias")),
    "tensor": (
        *(path for name in _MAPS for path in _map(f"model-DTI_param-{name}")),
        _figure("tensor"),
    ),
    "fod": (_figure("fod"),),
}
"""What each step that can be left out publishes; each has the parameter of its name."""
_FIGURES = tract_lane.FIGURES + tuple(
    _figure(step)
    for step in ("denoise", "unring", "correct", "mask", "bias", "orient", "tensor", "fod")
)
"""In the order in which the report shows them."""

LANE = Lane(
    name="dwi",
    title="Diffusion MRI: preprocessed series, tensor, fibre orientations, corticospinal tract",
    steps=(
        Step("convert", options=("series_uid", "reverse_series_uid", "phase_encoding")),
        _step("denoise"),
        _step("unring"),
        _step("correct", "outliers"),
        Step("mask", parameters=("mask",), options=("mask",)),
        _step("bias"),
        Step("orient", parameters=("gradient_check",), options=("gradient_check",)),
        _step("tensor"),
        _step("fod"),
        *tract_lane.STEPS,
    ),
    parameters=(
        Parameter("denoise", "mppca", ("mppca", "none"), "Denoise the series."),
        Parameter("unring", "subvoxel", ("subvoxel", "none"), "Remove Gibbs ringing."),
        Parameter(
            "correct",
            "eddy",
            ("eddy", "motion", "none"),
            "Correct head motion with eddy currents, head motion alone, or neither.",
        ),
        Parameter(
            "outliers",
            "replace",
            ("replace", "keep"),
            "What to do with slices that lost their signal.",
        ),
        Parameter("mask", "otsu", ("otsu", "whole"), "Find the brain, or take the whole image."),
        Parameter("bias", "none", ("n4", "none"), "Take the coil's bias field out."),
        Parameter(
            "gradient_check",
            "correct",
            ("correct", "refuse", "warn", "off"),
            "What to do when the b-vectors look flipped or swapped.",
        ),
        Parameter("tensor", "wls", ("wls", "none"), "Fit the diffusion tensor."),
        Parameter(
            "fod",
            "auto",
            ("auto", "msmt", "csd", "tensor", "none"),
            "Estimate fibre orientations: by what the series allows, or by one method.",
        ),
        *tract_lane.PARAMETERS,
    ),
    outputs=(
        *(f"dwi/{{prefix}}_desc-preproc_dwi.{end}" for end in ("nii.gz", "bval", "bvec", "json")),
        *(f"dwi/{{prefix}}_desc-brain_mask.{end}" for end in ("nii.gz", "json")),
        "metrics.json",
        *(path for made in _MADE_BY.values() for path in made if path not in _FIGURES),
        *tract_lane.OUTPUTS,
        *_FIGURES,
    ),
    optional=(
        *_map("param-displacement"),
        _figure("susceptibility"),
        *(path for name in _ORIENTATIONS for path in _map(name)),
        *tract_lane.OPTIONAL,
    ),
    unless={path: ((step, "none"),) for step, made in _MADE_BY.items() for path in made}
    | dict.fromkeys((*tract_lane.OUTPUTS, *tract_lane.FIGURES), tract_lane.NO_TRACT),
    handed_on=(
        *(f"dwi/{{prefix}}_desc-{name}_dwi.*" for name in _SERIES),
        "dwi/{prefix}_desc-reverse_epi.*",
        "dwi/{prefix}_desc-candidates_tractogram.*",
    ),
    discover=discover.of_selection,
    complete=discover.of_manifest,
    filters=filters.read_filters,
    roles=(
        "dwi",
        "bval",
        "bvec",
        "json",
        "dicom",
        "reverse",
        "reverse_bval",
        "reverse_json",
        "atlas",
    ),
    aliases={"nifti": "dwi"},
    foreign=csttool_options.of_csttool,
    picture=refused.picture,
    bidsignore=(
        "**/*_dwimap.*",
        "**/*_desc-preproc_dwi.bval",
        "**/*_desc-preproc_dwi.bvec",
        "**/*_desc-motion_timeseries.*",
        *tract_lane.BIDSIGNORE,
    ),
    gates=tract_lane.GATES,
    reasons=tract_lane.REASONS,
    curves=tract_lane.CURVES,
    pairs=tract_lane.PAIRS,
    notes=tract_lane.NOTES,
    headline=tract_lane.HEADLINE,
)

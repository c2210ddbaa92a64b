"""The diffusion MRI lane as the engine sees it."""

from __future__ import annotations

from cohortflow.core.lanes import Lane, Parameter, Step
from cohortflow.dwi import discover, filters

_MAPS = ("FA", "MD", "RD", "AD", "DEC")

LANE = Lane(
    name="dwi",
    title="Diffusion MRI: converted series, brain mask and tensor maps",
    steps=(
        Step("convert", options=("series_uid",)),
        Step("mask"),
        Step("tensor", parameters=("gradient_check",)),
    ),
    parameters=(
        Parameter(
            "gradient_check",
            "refuse",
            ("refuse", "warn", "off"),
            "What to do when the b-vectors look flipped or swapped.",
        ),
    ),
    outputs=(
        *(f"dwi/{{prefix}}_desc-converted_dwi.{end}" for end in ("nii.gz", "bval", "bvec", "json")),
        *(f"dwi/{{prefix}}_desc-brain_mask.{end}" for end in ("nii.gz", "json")),
        *(
            f"dwi/{{prefix}}_space-orig_model-DTI_param-{name}_dwimap.{end}"
            for name in _MAPS
            for end in ("nii.gz", "json")
        ),
        "figures/{prefix}_desc-mask_dwi.png",
        "figures/{prefix}_desc-tensor_dwi.png",
        "metrics.json",
    ),
    discover=discover.of_selection,
    complete=discover.of_manifest,
    filters=filters.read_filters,
    roles=("dwi", "bval", "bvec", "json", "dicom"),
    aliases={"nifti": "dwi"},
    bidsignore=("**/*_dwimap.*", "**/*_desc-converted_dwi.bval", "**/*_desc-converted_dwi.bvec"),
)

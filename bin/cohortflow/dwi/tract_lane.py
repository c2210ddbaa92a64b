"""The second half of the lane as the engine sees it: the corticospinal tract and its numbers."""

from __future__ import annotations

from cohortflow.core.lanes import Curve, Gate, Note, Pair, Parameter, Step
from cohortflow.dwi import atlas_input

NO_TRACT = (("tracking", "none"), ("tensor", "none"), ("fod", "none"))
"""Without any of these there is no tract."""
_SIDES = ("left", "right")
_TRACKING = ("tracking", "seeds", "step_size", "max_angle", "fa_threshold", "random_seed")


def _step(name: str, *parameters: str) -> Step:
    """Make a step of the corticospinal tract, which needs tensor and fibre orientations."""
    return Step(name, parameters=parameters, options=parameters, unless=NO_TRACT)


STEPS = (
    _step("register", "register"),
    _step("rois"),
    _step("track", *_TRACKING),
    _step("cst"),
    _step("metrics"),
)

PARAMETERS = (
    Parameter(
        "atlas",
        "",
        (),
        f"Folder with an atlas of your own in MNI space: {', '.join(atlas_input.FILES)}.",
        input=True,
    ),
    Parameter(
        "register",
        "syn",
        ("syn", "affine"),
        "Register FA to the template with a smooth deformation, or by an affine map alone.",
    ),
    Parameter(
        "tracking",
        "probabilistic",
        ("probabilistic", "deterministic", "peaks", "none"),
        "How streamlines of the corticospinal tract find their way.",
    ),
    Parameter(
        "seeds", "100", (),
        "Streamlines that are started in each voxel of the internal capsule.",
        type="integer", minimum=1, maximum=10000,
    ),
    Parameter(
        "step_size", "0.75", (), "Length of a step of a streamline, mm.",
        type="number", minimum=0.05, maximum=5,
    ),
    Parameter(
        "max_angle", "20", (), "Largest angle between two steps of a streamline, degrees.",
        type="number", minimum=8, maximum=90,
    ),
    Parameter(
        "fa_threshold", "0.15", (), "FA below which a streamline ends.",
        type="number", minimum=0, maximum=1,
    ),
    Parameter(
        "random_seed", "1", (),
        "Start of the random numbers: the same gives the same streamlines.",
        type="integer", minimum=1,
    ),
)  # fmt: skip

OUTPUTS = (
    *(
        f"dwi/{{prefix}}_from-orig_to-MNI152NLin6Asym_mode-points_xfm.{end}"
        for end in ("nii.gz", "json")
    ),
    *(f"dwi/{{prefix}}_space-orig_desc-rois_dseg.{end}" for end in ("nii.gz", "tsv", "json")),
    *(f"dwi/{{prefix}}_desc-CST_profile.{end}" for end in ("tsv", "json")),
    "figures/{prefix}_desc-methods.txt",
)
"""What the steps of the tract publish, but for their pictures."""
FIGURES = tuple(
    f"figures/{{prefix}}_desc-{step}_dwi.png" for step in ("cst", "register", "rois", "track")
)

OPTIONAL = (
    *(
        f"dwi/{{prefix}}_desc-CST{side}_tractogram.{end}"
        for side in _SIDES
        for end in ("trk", "tck", "json")
    ),
    *(
        f"dwi/{{prefix}}_space-orig_label-CST{side}_mask.{end}"
        for side in _SIDES
        for end in ("nii.gz", "json")
    ),
    *(
        f"dwi/{{prefix}}_space-orig_label-CST{side}_param-density_dwimap.{end}"
        for side in _SIDES
        for end in ("nii.gz", "json")
    ),
)
"""Of each side that has a tract."""

BIDSIGNORE = (
    "**/*_tractogram.*",
    "**/*_xfm.*",
    "**/*_desc-rois_dseg.*",
    "**/*_desc-CST_profile.*",
)


GATES = (
    Gate("register_affine_correlation", "FA correlates with the template, affine", 0.6, None),
    Gate("register_correlation", "FA correlates with the template, deformed", 0.75, None),
    Gate("register_brainstem_inside", "Brainstem in the field of view", 0.7, None),
    Gate("register_motor_left_inside", "Left motor cortex in the field of view", 0.7, None),
    Gate("register_motor_right_inside", "Right motor cortex in the field of view", 0.7, None),
    Gate("left_n_streamlines", "Streamlines of the left tract", 20, None),
    Gate("right_n_streamlines", "Streamlines of the right tract", 20, None),
)

REASONS = (
    ("left_reason", "Left corticospinal tract"),
    ("right_reason", "Right corticospinal tract"),
)

CURVES = tuple(
    Curve(
        f"{name.upper()} along the corticospinal tract",
        tuple((side, f"{side}_{name}_profile") for side in _SIDES),
        "from pons to cortex",
        unit,
    )
    for name, unit in (("fa", ""), ("md", "mm2/s"), ("rd", "mm2/s"), ("ad", "mm2/s"))
)

PAIRS = (
    Pair("FA of the tract", "left_fa_weighted", "right_fa_weighted"),
    Pair("MD of the tract", "left_md_weighted", "right_md_weighted", "mm2/s"),
    Pair("core volume", "left_core_volume_mm3", "right_core_volume_mm3", "mm3"),
)

NOTES = (Note("Methods, for a paper", "figures/{prefix}_desc-methods.txt"),)

HEADLINE = (
    "left_fa_weighted",
    "right_fa_weighted",
    "fa_weighted_laterality_index",
    "left_md_weighted",
    "right_md_weighted",
    "left_core_volume_mm3",
    "right_core_volume_mm3",
    "core_volume_laterality_index",
    "fibre_volume_laterality_index",
    "register_correlation",
    "fd_mean",
    "snr_b0",
    "fa_mean_white_matter",
    "md_mean_white_matter",
)

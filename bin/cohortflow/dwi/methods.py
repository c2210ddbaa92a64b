"""Methods text for a paper, from what the sidecars of a unit say was done to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cohortflow import __version__
from cohortflow.dwi import atlas_files, cst

Fields = Mapping[str, Any]

REFERENCES = {
    "Andersson 2016": "Andersson JLR, Sotiropoulos SN. An integrated approach to correction for "
    "off-resonance effects and subject movement in diffusion MR imaging. NeuroImage 125 (2016)",
    "Avants 2008": "Avants BB, Epstein CL, Grossman M, Gee JC. Symmetric diffeomorphic image "
    "registration with cross-correlation. Medical Image Analysis 12 (2008)",
    "Basser 1994": "Basser PJ, Mattiello J, LeBihan D. MR diffusion tensor spectroscopy and "
    "imaging. Biophysical Journal 66 (1994)",
    "Desikan 2006": "Desikan RS et al. An automated labeling system for subdividing the human "
    "cerebral cortex on MRI scans into gyral based regions of interest. NeuroImage 31 (2006)",
    "Efron 1993": "Efron B, Tibshirani RJ. An Introduction to the Bootstrap. Chapman and Hall "
    "(1993)",
    "Garyfallidis 2014": "Garyfallidis E et al. Dipy, a library for the analysis of diffusion MRI "
    "data. Frontiers in Neuroinformatics 8 (2014)",
    "Jeurissen 2014": "Jeurissen B et al. Multi-tissue constrained spherical deconvolution for "
    "improved analysis of multi-shell diffusion MRI data. NeuroImage 103 (2014)",
    "Kellner 2016": "Kellner E, Dhital B, Kiselev VG, Reisert M. Gibbs-ringing artifact removal "
    "based on local subvoxel-shifts. Magnetic Resonance in Medicine 76 (2016)",
    "Aganj 2010": "Aganj I et al. Reconstruction of the orientation distribution function in "
    "single- and multiple-shell q-ball imaging within constant solid angle. Magnetic Resonance in "
    "Medicine 64 (2010)",
    "Raffelt 2012": "Raffelt D et al. Apparent fibre density: a novel measure for the analysis of "
    "diffusion-weighted magnetic resonance images. NeuroImage 59 (2012)",
    "Tournier 2007": "Tournier JD, Calamante F, Connelly A. Robust determination of the fibre "
    "orientation distribution in diffusion MRI. NeuroImage 35 (2007)",
    "Tustison 2010": "Tustison NJ et al. N4ITK: improved N3 bias correction. IEEE Transactions on "
    "Medical Imaging 29 (2010)",
    "Veraart 2016": "Veraart J et al. Denoising of diffusion MRI using random matrix theory. "
    "NeuroImage 142 (2016)",
    "Wakana 2007": "Wakana S et al. Reproducibility of quantitative tractography methods applied "
    "to cerebral white matter. NeuroImage 36 (2007)",
    "Wasserthal 2018": "Wasserthal J, Neher P, Maier-Hein KH. TractSeg: fast and accurate white "
    "matter tract segmentation. NeuroImage 183 (2018)",
    "Yeatman 2012": "Yeatman JD et al. Tract profiles of white matter properties: automating "
    "fiber-tract quantification. PLoS ONE 7 (2012)",
}
"""What the text may cite; the key is how it does."""


def text(
    series: Fields,
    model: Fields,
    numbers: Fields,
    versions: Mapping[str, str],
) -> str:
    """Write the methods of one unit, paragraphs and references.

    Parameters
    ----------
    series : mapping
        Sidecar of the preprocessed series; ``Preprocessing`` lists what was done.
    model : mapping
        The field ``Model`` of the orientation distribution's sidecar.
    numbers : mapping
        Metrics of the steps from registration on, and the settings of tracking.
    versions : mapping of str to str
        Library to version.
    """
    paragraphs = [
        _preprocessing(series.get("Preprocessing") or []),
        _models(model),
        _registration(numbers),
        _tracking(numbers),
        _measures(str((model.get("Parameters") or {}).get("Method"))),
        _software(versions),
    ]
    body = "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
    cited = sorted(key for key in REFERENCES if key in body)
    listed = "\n".join(f"{key}: {REFERENCES[key]}." for key in cited)
    return f"{body}\n\nReferences\n\n{listed}\n"


def _preprocessing(done: Sequence[Fields]) -> str:
    writers: dict[str, Callable[[Fields], str]] = {
        "denoise": _denoised,
        "unring": lambda _step: (
            "Gibbs ringing was removed by local subvoxel shifts (Kellner 2016)."
        ),
        "correct": _corrected,
        "bias": lambda _step: (
            "The bias field was estimated from the mean b = 0 image by N4 and "
            "divided out (Tustison 2010)."
        ),
        "orient": _oriented,
    }
    said = [writers[step["Name"]](step) for step in done if step.get("Name") in writers]
    return " ".join(["Preprocessing.", *said]) if said else ""


def _denoised(step: Fields) -> str:
    size = " x ".join(str(edge) for edge in step.get("Window", []))
    return f"The series was denoised by MP-PCA in patches of {size} voxels (Veraart 2016)."


def _corrected(step: Fields) -> str:
    what = "head motion and eddy currents" if step.get("Correct") == "eddy" else "head motion"
    said = (
        f"Volumes were corrected for {what} by registration to predictions from the other volumes "
        "(Andersson 2016), and the b-vectors were rotated."
    )
    lost = len(step.get("OutlierSlices") or [])
    if lost:
        done = "replaced by their predictions" if step.get("Outliers") == "replace" else "kept"
        said += f" {lost} slices that had lost their signal were {done}."
    if "SusceptibilitySource" in step:
        said += " Susceptibility distortion was corrected with an image of reversed phase encoding."
    else:
        said += " Susceptibility distortion was not corrected."
    return said


def _oriented(step: Fields) -> str:
    if step.get("GradientCheck") == "off":
        return ""
    return f"The orientation of the gradient table was checked ({step.get('GradientOrientation')})."


def _models(model: Fields) -> str:
    used = model.get("Parameters") or {}
    method, degree = used.get("Method"), used.get("SphericalHarmonicDegree")
    named = {
        "csd": "constrained spherical deconvolution (Tournier 2007)",
        "msmt": "multi-shell multi-tissue constrained spherical deconvolution (Jeurissen 2014)",
        "tensor": "the orientation distribution of the tensor (Aganj 2010), sharpened by the power "
        f"{used.get('Sharpening')}",
    }
    shells = ", ".join(str(b) for b in used.get("BValues") or [] if b)
    return (
        "Models. The diffusion tensor (Basser 1994) was fitted by weighted least squares. Fibre "
        f"orientations were estimated by {named.get(str(method), str(method))}, with harmonics of "
        f"degree {degree} at most, from {used.get('Directions')} directions at b = {shells} s/mm2."
    )


def _registration(numbers: Fields) -> str:
    affine = numbers.get("register_affine_correlation")
    correlation = numbers.get("register_correlation", affine)
    how = (
        "by an affine transformation"
        if numbers.get("register_method") == "affine"
        else "by an affine transformation and symmetric diffeomorphic registration (Avants 2008)"
    )
    atlas = (
        "the group-average FA template of TractSeg in MNI space (Wasserthal 2018), with regions of "
        "the Desikan-Killiany atlas (Desikan 2006), both joined with their mirror image,"
        if numbers.get("register_atlas") == atlas_files.NAME
        else f"the FA template and regions of the atlas {numbers.get('register_atlas')}"
    )
    said = f"Registration. FA was registered to {atlas} {how}."
    if isinstance(correlation, (int, float)):
        said += f" FA and the registered template correlate with r = {correlation:.2f}."
    return said


def _tracking(numbers: Fields) -> str:
    step, angle, fa = (
        f"{numbers.get(f'track_{name}'):g}" for name in ("step_mm", "angle_degrees", "fa_threshold")
    )
    return (
        f"Tractography. {numbers.get('track_seeds_per_voxel')} streamlines were started in each "
        "voxel of the posterior limb of the internal capsule and tracked in both directions "
        f"({numbers.get('track_method')}; steps of {step} mm, at most {angle} degrees a step, FA "
        f"at least {fa}). Those that join brainstem, internal capsule and precentral or "
        "paracentral cortex of one side were taken for the corticospinal tract (Wakana 2007), "
        "unless they ran through the corpus callosum, the cerebellum, the thalamus or the other "
        "hemisphere; those whose course was more than four standard deviations from the others' "
        f"were left out (Yeatman 2012). A side with fewer than {cst.LEAST} of them, or than "
        f"{100 * cst.LEAST_SHARE:g} % of its candidates, has no tract."
    )


def _measures(method: str) -> str:
    fibres = (
        ""
        if method == "tensor"
        else "The fibre volume counts each voxel by the orientation distribution along the tract "
        f"(Raffelt 2012), from {100 * cst.FIBRE_SHARE:g} % of that density up. "
    )
    return (
        f"Measures. The tract's core is where at least {100 * cst.CORE_SHARE:g} % of the density "
        "that is typical at the same height is reached; its volume is that from the middle of the "
        f"pons to the cortex. {fibres}Weighted means count a voxel by the streamlines that visit "
        "it; profiles are at 20 points from the pons to the cortex, streamlines near the tract's "
        "middle counting more (Yeatman 2012). Laterality is (L - R) / (L + R), with 95 % intervals "
        "of a bootstrap over seed voxels (Efron 1993); those of volumes are widened by the error "
        "that phantoms of known laterality show."
    )


def _software(versions: Mapping[str, str]) -> str:
    used = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"Software. cohortflow {__version__}, with {used} (Garyfallidis 2014 for DIPY)."

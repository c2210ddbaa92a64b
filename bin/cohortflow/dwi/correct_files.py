"""Write what the correction of a series gave: files, numbers and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortflow.core import save
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import (
    alignment,
    correct,
    mosaic,
    outliers,
    refusal,
    series,
    susceptibility,
    traces,
)
from cohortflow.dwi import pose as poses
from cohortflow.dwi.correct import Corrected
from cohortflow.dwi.series import Series

Array = NDArray[np.float64]
Metrics = dict[str, float | int | str | None]

FARTHEST = (
    ("shifts", 50.0, "mm"),
    ("turns", 45.0, "degrees"),
    ("eddy currents", 20.0, "mm"),
)
"""More than a head in a coil, and eddy currents `pose.RADIUS_MM` from the middle, can do."""

_SHIFT = "Shift to the {}; one by eddy currents that is the same everywhere counts as the head's"
_EDDY = "Eddy currents: displacement in mm for each mm along the image axis {}"
_STRETCH = "Eddy currents: element {} of a symmetric stretch in world axes, less the identity"


def metrics(data: Series, result: Corrected) -> Metrics:
    """Return the numbers for ``metrics.json``; None for what is not known."""
    found = result.estimate
    moved = poses.displacement(found.poses)[1:]
    slices = found.slices
    judged, lost = int(slices.judged.sum()), int(slices.lost.sum())
    pair = result.distortion
    shift = None if pair is None else float(np.abs(pair.shift[result.brain]).max())
    return {
        "fd_mean": _rounded(moved.mean()) if moved.size else 0.0,
        "fd_max": _rounded(moved.max(initial=0)),
        "motion_max_mm": _rounded(np.linalg.norm(found.poses[:, :3], axis=1).max()),
        "motion_max_degrees": _rounded(np.degrees(_turns(found.poses)).max()),
        "eddy_max_mm": _eddy(found.poses),
        "outlier_slices": lost,
        "outlier_volumes": int(result.outliers.sum()),
        "outlier_fraction": _rounded(lost / judged) if judged else None,
        "susceptibility_corrected": "no" if pair is None else "yes",
        "displacement_max": None if shift is None else _rounded(shift),
        "reversed_difference_before": None if pair is None else _rounded(pair.field.before),
        "reversed_difference_after": None if pair is None else _rounded(pair.field.after),
    }


def _turns(given: Array) -> Array:
    """Return the angle of each pose's rotation, radians."""
    traced = np.array([np.trace(poses.rotation(pose[3:6])) for pose in given])
    return np.asarray(np.arccos(np.clip((traced - 1) / 2, -1, 1)))


def _eddy(given: Array) -> float | None:
    """Return the largest displacement by eddy currents at `pose.RADIUS_MM`; None if not sought."""
    if given.shape[1] == 6:
        return None
    return _rounded(poses.RADIUS_MM * np.linalg.norm(given[:, 6:], axis=1).max())


def refuse(data: Series, result: Corrected, output: Path | None) -> None:
    """Raise when a result cannot be right, a picture left beside the output if there is one.

    Too many volumes are outliers, or were moved or bent farther than `FARTHEST`.

    Raises
    ------
    Failure
        DATA_INVALID, naming the picture.
    OSError
        When the picture cannot be written.
    """
    said = _spoilt(result) or _astray(result)
    if not said:
        return
    path = refusal.save(output, draw(data, result)) if output else None
    remedy = "exclude the series" + ("" if result.hopeless else ", or set `correct` to none")
    raise Failure(
        Category.DATA_INVALID,
        f"{data.path.name}: {said}",
        f"look at {path or data.path}; {remedy}",
    )


def _astray(result: Corrected) -> str:
    """Say where volumes went that no head goes to; empty when they did not."""
    given = result.estimate.poses
    found = (
        float(np.linalg.norm(given[:, :3], axis=1).max()),
        float(np.degrees(_turns(given)).max()),
        _eddy(given) or 0.0,
    )
    what = [
        f"{name} up to {value:.0f} {unit}, at most {most:.0f} {unit} can be"
        for value, (name, most, unit) in zip(found, FARTHEST, strict=True)
        if not value <= most
    ]
    return f"volumes could not be aligned: {'; '.join(what)}" if what else ""


def _spoilt(result: Corrected) -> str:
    """Say how many volumes are outliers when they are too many; else nothing."""
    if not result.hopeless:
        return ""
    judged = int(result.estimate.slices.judged.any(axis=0).sum())
    return (
        f"{int(result.outliers.sum())} of {judged} weighted volumes lost signal in more than "
        f"{100 * outliers.MANY:.0f} % of their slices"
    )


def write(folder: Path, data: Series, result: Corrected, method: str) -> None:
    """Write series, motion, pictures and metrics into a step's folder.

    Raises
    ------
    OSError
        When something cannot be written.
    """
    numbers = metrics(data, result)
    step = _step(data, result, method, numbers)
    series.write(folder, data, "corrected", result.data, step=step, gradients=result.gradients)
    _write_motion(folder, data, result)
    (folder / "figures").mkdir()
    mosaic.save(folder / "figures" / f"{data.prefix}_desc-correct_dwi.png", draw(data, result))
    if result.distortion is not None:
        _write_distortion(folder, data, result)
    save.write_json(folder / "metrics.json", numbers)


def _step(data: Series, result: Corrected, method: str, numbers: Metrics) -> dict[str, Any]:
    pair, lost = result.distortion, result.estimate.slices.lost
    susceptible: dict[str, Any] = {"Susceptibility": correct.NO_PAIR}
    if pair is not None:
        susceptible = {
            "Susceptibility": "corrected: displacement of the pair with reversed phase encoding",
            "SusceptibilitySource": pair.source,
            "SusceptibilityAxis": "ijk"[pair.field.axis],
        }
    return {
        "Name": "correct",
        "Method": "registration to predictions from the other volumes (Andersson, Sotiropoulos "
        "2016), all in one cubic B-spline interpolation",
        "Correct": method,
        "EddyTerms": list(result.estimate.frame.names),
        "Reference": int(np.flatnonzero(data.gradients.b0)[0]),
        "SmoothingMM": list(alignment.SMOOTHING_MM),
        **susceptible,
        "Outliers": "replace" if result.replaced else "keep",
        "OutlierThresholds": {"Share": outliers.LEAST, "Deviations": outliers.SPREADS},
        "OutlierSlices": [[int(v), int(s)] for s, v in np.argwhere(lost)],
        "Bvecs": "rotated with the head",
        "FramewiseDisplacementMean": numbers["fd_mean"],
        "Warnings": list(result.warnings),
    }


def _write_motion(folder: Path, data: Series, result: Corrected) -> None:
    """Write a table with a row a volume, and its sidecar."""
    found = result.estimate
    columns = [*(f"trans_{a}" for a in "xyz"), *(f"rot_{a}" for a in "xyz"), *found.frame.names]
    names = [*columns, "framewise_displacement", "outlier_slices", "outlier_volume"]
    moved, lost = poses.displacement(found.poses), found.slices.lost.sum(axis=0)
    lines = ["\t".join(names)]
    for volume, pose in enumerate(found.poses):
        words = [f"{value + 0.0:.6f}" for value in pose]
        words.append("n/a" if volume == 0 else f"{moved[volume]:.6f}")
        words += [str(int(lost[volume])), str(int(result.outliers[volume]))]
        lines.append("\t".join(words))
    stem = folder / "dwi" / f"{data.prefix}_desc-motion_timeseries"
    save.write_text(stem.with_name(f"{stem.name}.tsv"), "\n".join(lines) + "\n")
    fields = series.sidecar(
        Description="Where the head lay in each volume, relative to the first without weighting: "
        "it turned about the middle of the image (x first, then y, z), then was shifted",
        Sources=[data.source],
        CentreMM=[_rounded(value) for value in found.frame.centre],
        **_columns(found.frame.names),
    )
    save.write_json(stem.with_name(f"{stem.name}.json"), fields)


def _columns(eddy: tuple[str, ...]) -> dict[str, Any]:
    world = {"x": "right", "y": "anterior", "z": "superior"}
    made: dict[str, Any] = {}
    for axis, way in world.items():
        made[f"trans_{axis}"] = {"Description": _SHIFT.format(way), "Units": "mm"}
    for axis, way in world.items():
        made[f"rot_{axis}"] = {"Description": f"Turn about the axis to the {way}", "Units": "rad"}
    for name in eddy:
        what = name.removeprefix("eddy_")
        text = (_EDDY if len(what) == 1 else _STRETCH).format(what)
        made[name] = {"Description": text, "Units": "mm/mm"}
    made["framewise_displacement"] = {
        "Description": "Sum of the changes of shifts and of arcs at 50 mm since the volume before "
        "(Power et al. 2012)",
        "Units": "mm",
    }
    made["outlier_slices"] = {"Description": "Number of slices that lost signal"}
    made["outlier_volume"] = {
        "Description": f"Whether more than {outliers.MANY:g} of the judged slices lost signal",
        "Levels": {"0": "no", "1": "yes"},
    }
    return made


def _write_distortion(folder: Path, data: Series, result: Corrected) -> None:
    pair = result.distortion
    if pair is None:
        return
    stem = folder / "dwi" / f"{data.prefix}_space-orig_param-displacement_dwimap"
    series.save(stem.with_name(f"{stem.name}.nii.gz"), pair.shift, data)
    axis = "ijk"[pair.field.axis]
    fields = series.sidecar(
        Description="How far susceptibility displaces the series at a point of the corrected "
        f"image, along the image axis {axis}, in the place of the first volume without weighting",
        Units="voxels",
        Axis=axis,
        Sources=[data.source, pair.source],
    )
    save.write_json(stem.with_name(f"{stem.name}.json"), fields)
    picture = susceptibility.draw(data.prefix, pair.pair, pair.field, data.affine)
    mosaic.save(folder / "figures" / f"{data.prefix}_desc-susceptibility_dwi.png", picture)


def draw(data: Series, result: Corrected) -> Any:  # noqa: ANN401 - a PIL image
    """Draw motion, framewise displacement, lost slices, and images before and after."""
    found, numbers = result.estimate, metrics(data, result)
    slices = found.slices
    lost = f"{numbers['outlier_slices']} slices lost signal (framed)"
    lost += ", replaced by predictions" if result.replaced else ", kept"
    panels = [
        traces.draw(traces.Curves("shift, mm", found.poses[:, :3], ("x", "y", "z"), 0.5)),
        traces.draw(
            traces.Curves("turn, degrees", np.degrees(found.poses[:, 3:6]), ("x", "y", "z"), 0.5)
        ),
        traces.draw(
            traces.Curves(
                f"framewise displacement, mm: {numbers['fd_mean']:.2f} in the mean",
                poses.displacement(found.poses)[:, None],
                ("",),
                0.5,
            ),
            60,
        ),
        traces.table(
            f"share of the expected signal that slices lack, by volume: {lost}",
            slices.loss,
            slices.judged,
            slices.lost,
        ),
    ]
    pair, eddy = numbers["displacement_max"], numbers["eddy_max_mm"]
    said = "susceptibility "
    said += correct.NO_PAIR if pair is None else f"corrected, up to {pair:.1f} voxels"
    title = f"{data.prefix}: correction of motion"
    title += "" if eddy is None else f" and eddy currents (up to {eddy:.2f} mm)"
    if wrong := _spoilt(result) or _astray(result):
        title = f"{data.prefix} refused: {wrong}"
    picture = mosaic.draw(title, said, _rows(data, result), result.brain, data.affine)
    return traces.between(picture, panels)


def _rows(data: Series, result: Corrected) -> list[mosaic.Row]:
    """Return means and spreads before and after: a rim of high spread shows what moved."""
    b0 = data.gradients.b0
    groups: list[tuple[str, NDArray[np.bool_], Any]] = [("mean of b=0", b0, np.mean)]
    if (~b0).sum() > 1:
        groups.append(("spread over weighted volumes", ~b0, np.std))
    made = []
    for label, chosen, measure in groups:
        before, after = (measure(image[..., chosen], axis=3) for image in (data.data, result.data))
        top = max(float(np.percentile(before[result.brain], 98)), 1e-6)
        ends = ("0", f"{top:.0f}" if top >= 10 else f"{top:.3g}")
        made += [
            mosaic.Row(f"{label}: before", before, top, ends),
            mosaic.Row(f"{label}: after", after, top, ends),
        ]
    return made


def _rounded(value: float | np.floating[Any]) -> float:
    return float(f"{float(value):.6g}")

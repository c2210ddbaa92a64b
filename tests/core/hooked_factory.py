"""A lane that declares something for the report, and a batch of its units."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from cohortflow.core.lanes import Curve, Gate, Note, Pair
from core import engine_factory
from core.report_factory import Factory

LANE = replace(
    engine_factory.LANE,
    name="dwi",
    optional=("*/*",),
    gates=(
        Gate("likeness", "Looks like the template", 0.75, None),
        Gate("shift_mm", "Shift of the head", None, 5, "mm"),
        Gate("left_number", "Lines of the left arm", 20, None),
        Gate("right_number", "Lines of the right arm", 20, None),
    ),
    reasons=(("left_reason", "Left arm"), ("right_reason", "Right arm")),
    curves=tuple(
        Curve(
            f"{name.title()} of the arms",
            tuple((side, f"{side}_{name}_profile") for side in ("left", "right")),
            "from shoulder to hand",
            unit,
        )
        for name, unit in (("width", "mm"), ("weight", "kg"))
    ),
    pairs=(
        Pair("Width of the arms", "left_width", "right_width", "mm"),
        Pair("Weight of the arms", "left_weight", "right_weight", "kg"),
    ),
    notes=(Note("How it was measured", "figures/{prefix}_desc-methods.txt"),),
    headline=("right_width", "left_width", "likeness", "shift_mm", "quality"),
)

METHODS = """The arms were measured with a band of steel. {long}

Read from /data/study/sub-01 with token=hunter2hunter2 <b>at once</b>.
  1. Hold still.
  2. Measure.
"""
LONG = "Each width is the median of three, and the band was held against a rule before. " * 9


def profile(base: float, seed: int, points: int = 20, *, scale: float = 1.0) -> str:
    """Return a smooth line of one unit, as a tool writes it."""
    values = (
        base * (1 + 0.25 * math.sin(point / 4) + 0.03 * math.sin(seed * 2.4 + point / 5))
        for point in range(points)
    )
    return ";".join(f"{scale * value:.5g}" for value in values)


def metrics(seed: int, **changes: Any) -> dict[str, Any]:
    """Return what a unit of this lane measures."""
    wide = 70 + math.sin(seed * 2.4)
    values: dict[str, Any] = {
        "left_width": round(wide, 2),
        "right_width": round(wide + 0.4 * math.sin(seed * 1.7), 2),
        "left_weight": round(3.1 + 0.1 * math.sin(seed), 3),
        "right_weight": round(3.1 + 0.1 * math.sin(seed + 0.3), 3),
        "likeness": round(0.87 + 0.01 * math.sin(seed * 3), 3),
        "shift_mm": round(1.2 + 0.2 * math.sin(seed * 5), 2),
        "left_number": 300 + 10 * (seed % 4),
        "right_number": 280 + 10 * (seed % 3),
        "quality": "good",
        "left_reason": None,
        "right_reason": "",
    }
    for side, push in (("left", 0), ("right", 2)):
        values[f"{side}_width_profile"] = profile(70, seed + push)
        values[f"{side}_weight_profile"] = profile(0.00031, seed + push)
    values |= {f"other_{n:02}": round(n + math.sin(seed * n), 3) for n in range(1, 41)}
    return values | changes


def add(make: Factory, label: str, text: str | None = METHODS, /, **values: Any) -> dict[str, Any]:
    """Add a complete unit with its note; `values` are its metrics."""
    unit = make.unit(label)
    make.planned(unit, "run", "new")
    folder = make.publish(unit, values)
    if text is not None:
        note(folder, unit["id"], text.format(long=LONG).encode())
    return unit


def note(folder: Path, unit: str, content: bytes) -> None:
    """Put a text into a published unit, and into its marker."""
    name = f"figures/{unit}_desc-methods.txt"
    (folder / name).write_bytes(content)
    marker = json.loads((folder / "_done.json").read_text())
    digest = hashlib.sha256(content).hexdigest()
    marker["outputs"].append({"path": name, "bytes": len(content), "sha256": digest})
    (folder / "_done.json").write_text(json.dumps(marker))


def batch(out: Path, *, pictures: bool = False) -> Factory:
    """Return eight units: one far from the others, one without a left arm, one that fails."""
    make = Factory(out, pictures=pictures)
    for seed in range(1, 6):
        add(make, f"{seed:02}", **metrics(seed))
    thin = {"left_width_profile": profile(70, 6, scale=0.6), "left_width": 42.3, "other_07": 99}
    add(make, "06", **metrics(6, likeness=0.61, shift_mm=7.25, **thin))
    gone = dict.fromkeys(("left_width", "left_weight", "left_number"))
    lost = {"left_width_profile": None, "left_weight_profile": None}
    add(make, "07", **metrics(7, **gone, **lost, left_reason="the arm is outside the image"))
    add(make, "08", **metrics(8))
    make.failed("09", message="no arm", remedy="look at the input")
    return make

"""The numbers that csttool reports, under the names that its users know."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

SIDES = ("left", "right")
SCALARS = ("fa", "md", "rd", "ad")
REGIONS = ("pontine", "plic", "precentral")
_MORPHOLOGY = {
    "n_streamlines": "n_streamlines",
    "mean_length_mm": "mean_length",
    "tract_volume_mm3": "tract_volume",
}
_ASYMMETRIES = ("volume", "streamline_count", "mean_length")
Value = float | int | str


def _names() -> Iterator[str]:
    for name in _MORPHOLOGY:
        yield from (f"{side}_{name}" for side in SIDES)
    yield from (f"{name}_laterality_index" for name in _ASYMMETRIES)
    for scalar in SCALARS:
        for name in ("mean", "std", "mean_point_weighted", *REGIONS, "profile"):
            yield from (f"{side}_{scalar}_{name}" for side in SIDES)
            if name == "mean":
                yield f"{scalar}_laterality_index"
            elif name in REGIONS:
                yield f"{scalar}_{name}_laterality_index"


#: Names as in csttool's tables, and ``…_profile``: 20 values from the pons up, ``;`` between.
METRICS = tuple(_names())


def from_json(report: Mapping[str, Any]) -> dict[str, Value]:
    """Flatten a subject's report (``…_metrics.json``).

    Parameters
    ----------
    report : mapping
        The file's object.

    Returns
    -------
    dict
        Name to number; of profiles a text. What is not finite is left out.
    """
    metrics = _at(report, "metrics")
    found: dict[str, object] = {}
    for side in SIDES:
        for name, key in _MORPHOLOGY.items():
            found[f"{side}_{name}"] = _at(metrics, side, "morphology").get(key)
        for scalar in SCALARS:
            block = _at(metrics, side, scalar)
            for name in ("mean", "std", "mean_point_weighted", *REGIONS):
                found[f"{side}_{scalar}_{name}"] = block.get(name)
            found[f"{side}_{scalar}_profile"] = _profile(block.get("profile"))
    asymmetry = _at(metrics, "asymmetry")
    for key in asymmetry:
        found[f"{key}_laterality_index"] = _at(asymmetry, key).get("laterality_index")
    return {name: value for name in METRICS if (value := _known(found.get(name))) is not None}


def from_csv(row: Mapping[str, str]) -> dict[str, Value]:
    """Return the numbers of a row of one of csttool's tables; empty cells are left out."""
    found: dict[str, Value] = {}
    for name in METRICS:
        try:
            value = float(row.get(name) or "")
        except ValueError:
            continue
        if math.isfinite(value):
            found[name] = int(value) if name.endswith("_n_streamlines") else value
    return found


def without_empty_sides(
    metrics: Mapping[str, Value],
) -> tuple[dict[str, Value], list[str]]:
    """Leave out the zeros that csttool writes for a side without any streamline.

    Parameters
    ----------
    metrics : mapping

    Returns
    -------
    dict, list of str
        What is known: an empty side's count and volume are 0, its scalars and lengths are
        unknown, and so are the indices made of them; and the names of the empty sides.
    """
    empty = [side for side in SIDES if metrics.get(f"{side}_n_streamlines") == 0]
    kept = {
        name: value
        for name, value in metrics.items()
        if not any(_unknown(name, side, len(empty)) for side in empty)
    }
    return kept, empty


def _unknown(name: str, side: str, sides: int) -> bool:
    """Tell whether a number has no meaning when a side has no streamline."""
    if name.endswith("_laterality_index"):
        # Of one empty side, the indices of volume and count are 1 or -1, which is true.
        return sides > 1 or not name.startswith(("volume", "streamline_count"))
    true = (f"{side}_n_streamlines", f"{side}_tract_volume_mm3")
    return name.startswith(f"{side}_") and name not in true


def _at(value: object, *keys: str) -> Mapping[str, Any]:
    """Return the object below some keys; an empty one where there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _profile(values: object) -> str | None:
    if not isinstance(values, list) or not values:
        return None
    return ";".join("" if _known(value) is None else repr(value) for value in values)


def _known(value: object) -> Value | None:
    if isinstance(value, str):
        return value or None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if number and math.isfinite(value) else None  # type: ignore[arg-type,return-value]

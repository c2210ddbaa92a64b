"""A small lane of the tests' own, with the units, plans and step folders that it would have."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cohortflow.core import marker, plan
from cohortflow.core.lanes import Lane, Parameter, Selection, Step
from cohortflow.core.manifest import Input, Unit
from cohortflow.core.outcome import Category, Failure

CODE = {"one": "0a1b2c3d4e5f", "two": "1b2c3d4e5f60"}
METRICS = {"volumes": 7, "snr": None}


def _discover(study: Path, _selection: Selection) -> Iterator[Unit]:
    for path in sorted(study.glob("*.txt")):
        yield unit(path.stem)


def _complete(given: Unit, base: Path, _parameters: Mapping[str, str]) -> Unit:
    """Make paths absolute and look up sizes; refuse a unit without an image."""
    if not any(i.role == "image" for i in given.inputs):
        raise Failure(Category.INPUT_MISSING, f"{given.id} has no image", "add one")
    inputs = [i.model_copy(update={"path": str(base / i.path), "bytes": 1}) for i in given.inputs]
    return given.model_copy(update={"inputs": inputs})


LANE = Lane(
    name="fake",
    title="A lane for tests",
    steps=(Step("one", options=("series_uid",)), Step("two", parameters=("level",))),
    parameters=(
        Parameter("level", "low", ("low", "high"), "How much."),
        Parameter("word", "", (), "A free word."),
    ),
    outputs=("dwi/{prefix}_a.txt", "figures/{prefix}_b.png", "metrics.json"),
    discover=_discover,
    complete=_complete,
    filters=lambda path: json.loads(path.read_text()),
    roles=("image", "side"),
    aliases={"picture": "image"},
)


def unit(label: str = "01", session: str = "", **changes: Any) -> Unit:
    """Return a unit with one image."""
    tail = f"_ses-{session}" if session else ""
    value = Unit(
        id=f"sub-{label}{tail}",
        folder=f"sub-{label}/ses-{session}" if session else f"sub-{label}",
        entities={"subject": label} | ({"session": session} if session else {}),
        inputs=[Input(role="image", path=f"/study/sub-{label}{tail}.nii", bytes=10, mtime_ns=5)],
    )
    return value.model_copy(update=changes)


def context(out: Path, **changes: Any) -> plan.Context:
    """Return what the units of a plan share."""
    facts: dict[str, Any] = {
        "lane": LANE,
        "dataset": "/study",
        "out": out,
        "run": "20261121T100000Z-0001",
        "parameters": {"level": "low", "word": ""},
        "code": CODE,
        "started": "2026-11-21T10:00:00Z",
    }
    return plan.Context(**{**facts, **changes})


def planned(one: Unit, out: Path, **changes: Any) -> dict[str, Any]:
    """Return a unit's line of a plan, as `core-publish` reads it."""
    shared = context(out, **changes)
    decision = plan.decide(one, shared, plan.Wishes(overwrite=True))
    value: dict[str, Any] = json.loads(json.dumps(plan.line(decision, shared)))
    return value


def step_folders(base: Path, prefix: str, text: str = "new") -> list[Path]:
    """Make the folders of both steps, complete as the lane declares them."""
    for name in ("one/dwi", "two/figures"):
        (base / name).mkdir(parents=True, exist_ok=True)
    (base / f"one/dwi/{prefix}_a.txt").write_text(f"{text} a")
    (base / f"two/figures/{prefix}_b.png").write_text(f"{text} b")
    (base / "one/metrics.json").write_text(json.dumps({"volumes": METRICS["volumes"]}))
    (base / "two/metrics.json").write_text(json.dumps({"snr": METRICS["snr"]}))
    return [base / "one", base / "two"]


def complete(folder: Path) -> str:
    """Return which version a unit's folder holds, after every file was compared with the marker."""
    found = marker.read(folder)
    assert isinstance(found, marker.Marker), found
    for output in found.outputs:
        content = (folder / output.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == output.sha256, output.path
    listed = {output.path for output in found.outputs}
    assert listed == LANE.expected(found.unit)
    return (folder / f"dwi/{found.unit}_a.txt").read_text().split()[0]

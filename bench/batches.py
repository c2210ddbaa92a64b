"""Outputs of runs that never were: markers, plan, records, metrics and pictures of many units."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from cohortflow.core import fingerprint, lanes, layout, manifest, marker, plan
from cohortflow.core.manifest import Header, Input, Unit

LANE = lanes.get("dwi")
STARTED = "2026-01-05T10:00:00Z"
RUN = "20260105T100000Z-0001"
METRICS = {
    "volumes": 33, "mask_volume_ml": 1402.5, "snr_b0": 28.4, "fa_mean_white_matter": 0.41,
    "md_mean_white_matter": 0.00078, "tensor_rms": 0.024, "gradient_orientation": "as given",
}  # fmt: skip


def _units(study: Path, count: int) -> list[Unit]:
    units = []
    for number in range(count):
        name = f"sub-{number:06d}"
        inputs = [
            Input(role=role, path=f"{study}/{name}/dwi/{name}_dwi{end}", bytes=9000, mtime_ns=17)
            for role, end in (("dwi", ".nii.gz"), ("bval", ".bval"), ("bvec", ".bvec"))
        ]
        units.append(Unit(id=name, folder=name, entities={"subject": name[4:]}, inputs=inputs))
    return units


def _context(out: Path, study: Path) -> plan.Context:
    study.mkdir(parents=True, exist_ok=True)
    layout.prepare(out, study, LANE)
    return plan.context(LANE, str(study), out, RUN, {}, STARTED)


def _publish(unit: Unit, shared: plan.Context, sources: dict[str, Path]) -> None:
    """Put a unit down as complete; its files are links to one file a kind."""
    folder = shared.out / unit.folder
    for below in ("dwi", "figures"):
        folder.joinpath(below).mkdir(parents=True)
    outputs = []
    for name in sorted(LANE.expected(unit.id)):
        source = sources[Path(name).suffix]
        os.link(source, folder / name)
        outputs.append(marker.Output(path=name, bytes=source.stat().st_size, sha256="0" * 64))
    value = marker.Marker(
        unit=unit.id, lane=LANE.name, run=RUN, pipeline_version="0.1.0", code=shared.code,
        parameters=shared.parameters, options={}, inputs=unit.inputs, finished=STARTED,
        input_fingerprint=fingerprint.inputs(unit.inputs), outputs=outputs,
        timings={step.name: 5.0 for step in LANE.steps},
    )  # fmt: skip
    (folder / marker.NAME).write_text(value.model_dump_json())


def _sources(out: Path) -> Callable[[int], dict[str, Path]]:
    """Return what gives a unit, by number, the files that its outputs are links to.

    They are made anew for each thousand units, since a file may have 65,000 links on ext4.
    """
    contents = dict.fromkeys((".gz", ".bval", ".bvec", ".tsv", ".txt"), b"0" * 100)
    contents |= {".png": _picture(), ".json": json.dumps(METRICS).encode()}

    @cache
    def of(thousand: int) -> dict[str, Path]:
        folder = layout.hidden(out, "sources", str(thousand))
        folder.mkdir(parents=True)
        for suffix, content in contents.items():
            (folder / f"source{suffix}").write_bytes(content)
        return {suffix: folder / f"source{suffix}" for suffix in contents}

    return lambda number: of(number // 1000)


def _picture() -> bytes:
    """Return a PNG of the size that the lane's mosaics have."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:600, 0:1500]
    values = 90 + 60 * np.sin(x / 40) * np.cos(y / 40) + rng.normal(0, 3, x.shape)
    file = io.BytesIO()
    Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def to_plan(out: Path, count: int) -> None:
    """Write a manifest beside the output; nine units of ten are complete and up to date."""
    study = out.with_name("study")
    shared, units = _context(out, study), _units(study, count)
    sources = _sources(out)
    for number, unit in enumerate(units):
        if number % 10:
            _publish(unit, shared, sources(number))
    head = Header(lane=LANE.name, dataset=str(study), generated_by="bench")
    manifest.write(out.with_name("manifest.jsonl"), head, units)


def to_report(out: Path, count: int) -> None:
    """Write one run of which nineteen units of twenty are done and the others failed."""
    study = out.with_name("study")
    shared, units = _context(out, study), _units(study, count)
    run = layout.run_folder(out, RUN)
    run.mkdir(parents=True)
    head = Header(lane=LANE.name, dataset=str(study), generated_by="bench")
    manifest.write(run / "manifest.jsonl", head, units)
    plan.write(run / "plan.jsonl", shared, plan.decisions(units, shared, plan.Wishes()))
    sources = _sources(out)
    with (run / "records.jsonl").open("w") as file:
        for number, unit in enumerate(units):
            failed = number % 20 == 0
            for step in ("convert",) if failed else ("convert", "mask", "tensor", "publish"):
                file.write(json.dumps(_record(unit.id, step, failed)) + "\n")
            if not failed:
                _publish(unit, shared, sources(number))
    started = {"run": RUN, "started": STARTED, "finished": "2026-01-05T12:00:00Z"}
    (run / "run.json").write_text(json.dumps(started | {"interrupted": False}))


def _record(unit: str, step: str, failed: bool) -> dict[str, object]:
    return {
        "schema_version": 1, "run": RUN, "unit": unit, "step": step, "attempt": 1,
        "exit": 65 if failed else 0, "category": "DATA_INVALID" if failed else None,
        "started": STARTED, "seconds": 5.0, "peak_memory_bytes": 3 * 10**8,
        "work": hashlib.sha256(unit.encode()).hexdigest()[:8], "command": f"dwi-{step} …",
        "message": "is truncated" if failed else None,
        "remedy": "copy the file again" if failed else None, "log": "line\n" * 20,
    }  # fmt: skip

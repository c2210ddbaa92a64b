"""Make an output folder as a run leaves it, without a run: the report's test bench."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

START = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
STEPS = ("convert", "mask", "tensor")
SECONDS = {"convert": 2.5, "mask": 3.75, "tensor": 10.25, "publish": 0.5}
CODE = {"convert": "0a1b2c3d4e5f", "mask": "1b2c3d4e5f60", "tensor": "2c3d4e5f6071"}
METRICS: dict[str, Any] = {
    "volumes": 33,
    "voxel_mm": 2.0,
    "fa_mean": 0.41,
    "md_mean": 0.00078,
    "snr": 28.4,
    "mask_ml": 1402.5,
    "bvec_check": "ok",
    "motion_mm": None,
}


def iso(seconds: float) -> str:
    """Return a time after the start of the first run."""
    moment = START + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def mosaic(seed: int = 0, columns: int = 8, tile: int = 150) -> bytes:
    """Return a picture that looks like slices of a brain, as PNG."""
    image = Image.new("RGB", (columns * tile, 2 * tile), "black")
    draw = ImageDraw.Draw(image)
    for index in range(columns * 2):
        x, y = (index % columns) * tile + tile // 2, (index // columns) * tile + tile // 2
        size = tile * (0.2 + 0.25 * (1 - abs(index - columns) / columns))
        for shell in range(8):
            r = size * (1 - shell / 11)
            level = (90, 70, 110, 95, 130, 120, 150, 60)[(shell + seed) % 8]
            colour = (level, level, level)
            draw.ellipse((x - r * 0.82, y - r, x + r * 0.82, y + r), fill=colour)
        draw.ellipse((x - size * 0.82, y - size, x + size * 0.82, y + size), outline="#ff5040")
        draw.line((x, y - size * 0.8, x, y + size * 0.8), fill=(70, 70, 70))
    packed = io.BytesIO()
    image.save(packed, "PNG")
    return packed.getvalue()


@dataclass
class Factory:
    """Builds one output folder, unit by unit; `write` puts down plan and run."""

    out: Path
    study: str = "/data/study"
    run: str = "20261121-100000-a1b2"
    offset: float = 0.0
    plan: list[dict[str, Any]] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    pictures: bool = True

    @property
    def folder(self) -> Path:
        return self.out / ".cohortflow" / "runs" / self.run

    def unit(self, subject: str, session: str | None = None, **more: Any) -> dict[str, Any]:
        """Return a manifest unit."""
        entities = {"subject": subject} | ({"session": session} if session else {})
        parts = [f"sub-{subject}"] + ([f"ses-{session}"] if session else [])
        below = f"{self.study}/{'/'.join(parts)}/dwi/{'_'.join(parts)}_dwi"
        inputs = [
            {"role": role, "path": below + suffix, "bytes": size, "mtime_ns": 1_700_000_000_000}
            for role, suffix, size in (("dwi", ".nii.gz", 30_146_560), ("bval", ".bval", 140))
        ]
        unit = {"id": "_".join(parts), "folder": "/".join(parts), "entities": entities}
        return unit | {"inputs": inputs} | more

    def planned(self, unit: dict[str, Any], decision: str, reason: str) -> None:
        self.plan.append({"unit": unit, "decision": decision, "reason": reason, "detail": ""})

    def record(self, unit: str, step: str, **more: Any) -> dict[str, Any]:
        """Add a supervisor's record; by default of an attempt that ended well."""
        number = len(self.records)
        value = {
            "schema_version": 1,
            "run": self.run,
            "unit": unit,
            "step": step,
            "attempt": 1,
            "exit": 0,
            "category": None,
            "started": iso(self.offset + 1 + number * 0.5),
            "seconds": SECONDS.get(step, 1.0),
            "peak_memory_bytes": 300 * 2**20 + number,
            "work": "ab/cdef12",
            "command": f"dwi-{step} {self.study}/{unit}/dwi/{unit}_dwi.nii.gz --output {step}",
            "message": None,
            "remedy": None,
            "log": f"INFO {step} done",
        }
        self.records.append(value | more)
        return self.records[-1]

    def publish(self, unit: dict[str, Any], metrics: dict[str, Any], /, **marker: Any) -> Path:
        """Put a unit's published folder down: figures, metrics, marker."""
        folder = self.out / unit["folder"]
        for below in ("dwi", "figures"):
            (folder / below).mkdir(parents=True, exist_ok=True)
        outputs = []
        files = {f"dwi/{unit['id']}_desc-brain_mask.nii.gz": b"mask"}
        if self.pictures:
            seed = sum(unit["id"].encode())
            files[f"figures/{unit['id']}_desc-mask_dwi.png"] = mosaic(seed)
            files[f"figures/{unit['id']}_desc-tensor_dwi.png"] = mosaic(seed + 3)
        files["metrics.json"] = json.dumps(metrics).encode()
        for name, content in files.items():
            (folder / name).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            outputs.append({"path": name, "bytes": len(content), "sha256": digest})
        value = {
            "schema_version": 1,
            "unit": unit["id"],
            "lane": "dwi",
            "run": self.run,
            "pipeline_version": "0.1.0",
            "code": CODE,
            "parameters": {},
            "options": {},
            "inputs": [i | {"path": Path(i["path"]).name} for i in unit["inputs"]],
            "input_fingerprint": "f" * 64,
            "outputs": outputs,
            "timings": {step: SECONDS[step] + len(unit["id"]) / 8 for step in STEPS},
            "finished": iso(self.offset + 60),
        }
        (folder / "_done.json").write_text(json.dumps(value | marker))
        return folder

    def done(self, subject: str, session: str | None = None, **metrics: Any) -> dict[str, Any]:
        """Add a unit that ran to its end."""
        unit = self.unit(subject, session)
        self.planned(unit, "run", "new")
        for step in (*STEPS, "publish"):
            self.record(unit["id"], step)
        self.publish(unit, METRICS | metrics)
        return unit

    def failed(self, subject: str, step: str = "tensor", **record: Any) -> dict[str, Any]:
        """Add a unit one of whose steps failed."""
        unit = self.unit(subject)
        self.planned(unit, "run", "new")
        for earlier in STEPS[: STEPS.index(step)]:
            self.record(unit["id"], earlier)
        self.record(unit["id"], step, **({"exit": 65, "category": "DATA_INVALID"} | record))
        return unit

    def write(self, *, run: bool = True, **more: Any) -> Path:
        """Write plan, manifest, records and run.json; return the output folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        common = {"lane": "dwi", "dataset": self.study, "generated_by": "cohortflow 0.1.0"}
        header = {
            "schema_version": 1,
            "run": self.run,
            "parameters": {"fit": "WLS", "b0_threshold": 50, "jobs": 2},
            "code": CODE,
            "steps": list(STEPS),
            "started": iso(self.offset),
        } | common
        lines(self.folder / "plan.jsonl", [header, *self.plan])
        units = [entry["unit"] for entry in self.plan]
        lines(self.folder / "manifest.jsonl", [{"schema_version": 1} | common, *units])
        lines(self.folder / "records.jsonl", self.records)
        if run:
            value = {
                "run": self.run,
                "started": iso(self.offset),
                "finished": iso(self.offset + 372.5),
                "engine": "nextflow 24.10.0",
                "command": f"cohortflow run dwi {self.study} {self.out}",
                "interrupted": False,
            }
            (self.folder / "run.json").write_text(json.dumps(value | more))
        return self.out


def lines(path: Path, values: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")


TRACEBACK = """INFO reading mask
Traceback (most recent call last):
  File "cohortflow/dwi/tensor.py", line 88, in fit
    weights = signal**2 / sigma
ZeroDivisionError: float division by zero
ERROR SOFTWARE sub-15 ZeroDivisionError in fit: report it with the lines above"""


def study(out: Path, place: str = Factory.study, *, pictures: bool = False) -> Factory:
    """Return a batch with every way in which a unit can end, not yet written."""
    make = Factory(out, place, pictures=pictures)
    for index in range(1, 13):
        make.done(
            f"{index:02}",
            fa_mean=round(0.41 + 0.004 * (index % 5), 4),
            md_mean=round(0.00078 + 0.000002 * ((index * 7) % 6), 8),
            snr=28.4 + 0.3 * ((index * 5) % 7),
            mask_ml=1400.0 + 11 * ((index * 3) % 8),
            motion_mm=round(0.2 + 0.03 * ((index * 11) % 9), 3) if index % 4 else None,
        )
    make.done("13", "02", fa_mean=0.213, md_mean=0.0011, snr=12.1, bvec_check="flipped: y",
              mask_ml=1433.0)  # fmt: skip
    for label in ("20", "21"):
        unit = make.unit(label)
        make.planned(unit, "skip", "up to date")
        make.publish(unit, METRICS | {"fa_mean": 0.42}, run="20261120-090000-0001")
    make.failed(
        "14",
        message=f"{make.study}/sub-14/dwi/sub-14_dwi.nii.gz: 33 volumes, 32 b-values",
        remedy="give one b-value for each volume",
        log="INFO reading\nERROR DATA_INVALID sub-14 33 volumes, 32 b-values",
    )
    make.failed("15", exit=70, category="SOFTWARE", message="ZeroDivisionError in fit",
                remedy="report it with the lines above", log=TRACEBACK)  # fmt: skip
    make.failed("16", "mask", exit=124, category="TIMEOUT", message="ran longer than 20 min",
                seconds=1200.0, remedy="rerun with --time 40m")  # fmt: skip
    make.failed("17", "convert", exit=None, category="LOST")
    series = [
        {"series_uid": f"1.2.840.113619.2.312.{number}", "description": text, "files": "520"}
        for number, text in ((1001, "DTI 32 dir AP"), (1002, "DTI 32 dir AP repeat"))
    ]
    make.planned(
        make.unit("18", excluded={
            "category": "DATA_INVALID",
            "message": "2 diffusion series in sub-18/dwi: one must be chosen",
            "remedy": "give its series_uid in a manifest",
            "choices": series,
        }), "invalid", "excluded",
    )  # fmt: skip
    make.planned(
        make.unit("19", excluded={
            "category": "INPUT_MISSING",
            "message": "sub-19/dwi/sub-19_dwi.bvec: not there",
            "remedy": "add the file, or run datalad get",
        }), "invalid", "excluded",
    )  # fmt: skip
    make.planned(make.unit("22"), "run", "new")
    return make


EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">'\""


def evil(out: Path) -> Factory:
    """Return a batch in which every text of a study is an attack."""
    make = Factory(out, pictures=False, study=f"/data/{EVIL.replace('/', '')}", run="r1")
    unit = make.unit("01", id=f"sub-{EVIL}", entities={EVIL: EVIL})
    make.planned(unit, "run", EVIL)
    make.record(unit["id"], "publish", command=EVIL)
    make.publish(unit | {"id": "x"}, {EVIL: EVIL, f"n{EVIL}": 3.0}, unit=unit["id"])
    for label in ("02", "03", "04", "05", "06"):
        make.done(label, **{f"n{EVIL}": 1.0 + int(label) / 100})
    make.failed("07", message=EVIL, remedy=EVIL, log=EVIL, command=EVIL)
    reason = {"category": "DATA_INVALID", "message": EVIL, "remedy": EVIL,
              "choices": [{EVIL: EVIL, "series_uid": EVIL}]}  # fmt: skip
    make.planned(make.unit("08", excluded=reason), "invalid", "excluded")
    make.write(engine=EVIL, command=EVIL)
    return make

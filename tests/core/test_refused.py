"""Pictures of what was refused: kept with a failure, drawn at the plan, shown in the report."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from cohortflow.core import failed, lanes, records, refused, report
from cohortflow.core.lanes import Lane
from cohortflow.core.manifest import Excluded, Unit
from cohortflow.core.outcome import Category, Failure
from cohortflow.front import why
from core import report_factory
from core.engine_factory import LANE, unit
from core.report_factory import Factory

RED, GREEN = (200, 20, 20), (20, 160, 20)
WHY = "the b-vectors fit in no way"


def png(colour: tuple[int, int, int] = RED) -> bytes:
    packed = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(packed, "PNG")
    return packed.getvalue()


def excluded(label: str, message: str = "3 directions") -> Unit:
    return unit(label, excluded=Excluded(category=Category.DATA_INVALID, message=message))


def task(folder: Path, files: dict[str, bytes]) -> records.TaskRecord:
    """Leave a failed task's folder; return its record."""
    place = folder / "ab" / "cdef"
    place.mkdir(parents=True)
    (place / ".command.err").write_text("words")
    for name, content in files.items():
        (place / name).write_bytes(content)
    made = Factory(folder).record("sub-01", "orient", exit=65, category=Category.DATA_INVALID)
    return records.TaskRecord(**made | {"work": "ab/cdef", "message": WHY, "remedy": "mend it"})


def kept(out: Path, work: Path, record: records.TaskRecord) -> set[str]:
    """Keep a failure; return what its folder holds."""
    records.keep_failures(out, [record], {"sub-01": "identity"}, work)
    (attempt,) = (out / ".cohortflow/failed/sub-01").iterdir()
    return {str(p.relative_to(attempt)) for p in attempt.rglob("*") if p.is_file()}


def test_a_steps_picture_is_kept_with_its_log(out: Path, tmp_path: Path) -> None:
    record = task(tmp_path / "work", {"orient-refused.png": png(), "half.nii": b"half"})
    assert kept(out, tmp_path / "work", record) == {
        "command.err",
        "failure.json",
        "partial/half.nii",
        "refused.png",
    }
    found = refused.find(out, record.run, "sub-01", step="orient", message="")
    assert found is not None
    assert found.read_bytes() == png()


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"0" * refused.MOST_BYTES], ids=len
)
def test_what_is_no_picture_or_too_large_is_none(out: Path, tmp_path: Path, content: bytes) -> None:
    record = task(tmp_path / "work", {"orient-refused.png": content})
    assert "refused.png" not in kept(out, tmp_path / "work", record)
    assert refused.find(out, record.run, "sub-01", step="orient", message="") is None


def _link(path: Path) -> None:
    path.with_name("secret").write_bytes(png())
    path.symlink_to(path.with_name("secret"))


@pytest.mark.parametrize("make", [_link, os.mkfifo, Path.mkdir], ids=["link", "pipe", "folder"])
def test_only_a_regular_file_is_a_picture(
    out: Path, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """A link could show any file; a pipe would be waited for."""
    record = task(tmp_path / "work", {})
    make(tmp_path / "work/ab/cdef/orient-refused.png")
    assert refused.of_task(tmp_path / "work/ab/cdef") is None
    assert refused.read(tmp_path / "work/ab/cdef/orient-refused.png") is None
    assert record.unit == "sub-01"


def drawing(draw: Callable[[Unit, Path], bytes | None]) -> Lane:
    return replace(LANE, picture=draw)


def test_a_lane_draws_what_its_discovery_refused(tmp_path: Path) -> None:
    asked: list[tuple[str, Path]] = []

    def draw(one: Unit, study: Path) -> bytes | None:
        asked.append((one.id, study))
        return png() if one.id == "sub-01" else None

    units = [excluded("01"), unit("02"), excluded("03")]
    refused.draw(drawing(draw), Path("/study"), units, tmp_path)
    assert asked == [("sub-01", Path("/study")), ("sub-03", Path("/study"))]
    assert [p.name for p in (tmp_path / "refused").iterdir()] == ["sub-01.png"]


@pytest.mark.parametrize(
    "error", [Failure(Category.PERMISSION, "no"), OSError(5, "no"), ValueError("no")], ids=repr
)
def test_what_cannot_be_drawn_stops_nothing(tmp_path: Path, error: Exception) -> None:
    def draw(one: Unit, _study: Path) -> bytes | None:
        if one.id == "sub-01":
            raise error
        return png()

    refused.draw(drawing(draw), tmp_path, [excluded("01"), excluded("02")], tmp_path)
    assert [p.name for p in (tmp_path / "refused").iterdir()] == ["sub-02.png"]


def test_no_name_leads_out_of_the_runs_folder(tmp_path: Path) -> None:
    away = excluded("01").model_copy(update={"id": "../../away"})
    refused.draw(drawing(lambda *_: png()), tmp_path, [away], tmp_path / "run")
    assert list(tmp_path.rglob("*")) == []
    assert refused.find(tmp_path, "r", "../../away", step=None, message="") is None


def test_the_number_of_pictures_has_a_limit(tmp_path: Path) -> None:
    many = [excluded(f"{n}") for n in range(refused.MOST_DRAWN + 5)]
    refused.draw(drawing(lambda *_: png()), tmp_path, many, tmp_path)
    assert len(list((tmp_path / "refused").iterdir())) == refused.MOST_DRAWN


def test_a_lane_that_draws_nothing_makes_no_folder(tmp_path: Path) -> None:
    refused.draw(LANE, tmp_path, [excluded("01")], tmp_path)
    refused.draw(drawing(lambda *_: b"text"), tmp_path, [excluded("01")], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def batch(out: Path) -> Factory:
    """Leave a run in which a step refused a unit, the plan another, and an earlier run a third."""
    make = Factory(out, pictures=False)
    make.done("01")
    make.failed("02", "tensor", exit=65, category="DATA_INVALID", message=WHY, remedy="mend it")
    reason = {"category": "DATA_INVALID", "message": "3 directions", "remedy": "leave it out"}
    make.planned(make.unit("03", excluded=reason), "invalid", "excluded")
    make.planned(make.unit("04", excluded=reason | {"message": WHY}), "invalid", "failed before")
    make.write()
    for label, run, colour in (("02", make.run, RED), ("04", "r-before", GREEN)):
        verdict = failed.Verdict(
            unit=f"sub-{label}",
            run=run,
            step="tensor",
            category=Category.DATA_INVALID,
            message=WHY,
            remedy="mend it",
            fingerprint="00",
            time=report_factory.iso(9),
        )
        (out / "picture").write_bytes(png(colour))
        failed.keep(out, verdict, {refused.NAME: out / "picture"})
        (out / "picture").unlink()
    refused.draw(drawing(lambda *_: png((0, 0, 250))), out, [excluded("03")], make.folder)
    return make


def shown(out: Path, label: str) -> list[tuple[str, tuple[int, ...]]]:
    """Return where the pictures of a unit's section lead, and the colour of each."""
    page = (out / "report.html").read_text()
    section = page.split(f'id="unit-sub-{label}"')[1].split('<details class="unit"')[0]
    found = re.findall(r'<a href="([^"]+)"><img src="data:image/\w+;base64,([^"]+)"', section)
    images = [(place, Image.open(io.BytesIO(base64.b64decode(data)))) for place, data in found]
    return [
        (place, image.convert("RGB").resize((1, 1)).getpixel((0, 0))) for place, image in images
    ]


@pytest.mark.parametrize(("label", "channel"), [("02", 0), ("03", 2), ("04", 1)])
def test_the_report_shows_the_picture_of_the_refusal(
    batch: Factory, label: str, channel: int
) -> None:
    report.build(batch.out)
    ((place, colour),) = shown(batch.out, label)
    assert max(range(3), key=lambda one: colour[one]) == channel
    assert (batch.out / place).is_file()
    assert shown(batch.out, "01") == []
    first = (batch.out / "report.html").read_bytes()
    report.build(batch.out)
    assert (batch.out / "report.html").read_bytes() == first


def test_a_picture_of_another_failure_is_not_shown(batch: Factory) -> None:
    attempt = next((batch.out / ".cohortflow/failed/sub-02").iterdir())
    verdict = json.loads((attempt / "failure.json").read_text())
    (attempt / "failure.json").write_text(json.dumps(verdict | {"run": "another"}))
    report.build(batch.out)
    assert shown(batch.out, "02") == []


def test_why_names_the_picture(batch: Factory) -> None:
    for label in ("02", "03", "04"):
        told = why.story(batch.out, f"sub-{label}")
        assert Path(told.picture).is_file()
        assert f"What was refused: {told.picture}\n" in why.text(told)
    told = why.story(batch.out, "sub-01")
    assert told.picture == ""
    assert "refused" not in why.text(told)


def test_figures_stand_in_the_order_that_the_lane_declares() -> None:
    lane = lanes.get("dwi")
    steps = [re.search(r"desc-(\w+)_dwi", path) for path in lane.outputs if "figures/" in path]
    declared = [found.group(1) for found in steps if found]
    assert declared[:4] == ["cst", "register", "rois", "track"], "the tract, what it was found by"
    others = declared[4:]
    assert others == [step.name for step in lane.steps if step.name in others]
    assert {"cst", "tensor"} <= set(declared)
    names = [f"figures/sub-01_desc-{step}_dwi.png" for step in declared]
    assert lane.ordered(["z.txt", *sorted(names)], "sub-01") == [*names, "z.txt"]
    assert sorted(names) != names, "names alone would mix them up"

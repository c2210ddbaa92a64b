"""Which scratch is freed: what nobody needs again, and never what a run could go on from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cohortflow.core import lanes
from cohortflow.core.lanes import Lane, Step
from cohortflow.core.outcome import Category
from cohortflow.core.records import TaskRecord
from cohortflow.front import drive
from cohortflow.front.engine import Event
from cohortflow.front.progress import Progress


@pytest.fixture
def lane() -> Lane:
    steps = (Step("convert"), Step("upload", network=True))
    return replace(lanes.get("cells"), steps=steps)


def record(unit: str, step: str, category: Category | None = None, **more: Any) -> TaskRecord:
    facts: dict[str, Any] = {
        "schema_version": 1, "run": "r", "unit": unit, "step": step, "attempt": 1, "exit": 0,
        "category": category, "started": "2026-11-21T10:00:00Z", "seconds": 1.0,
        "peak_memory_bytes": None, "work": "ab/cdef12", "command": "", "message": None,
        "remedy": None, "log": "",
    }  # fmt: skip
    return TaskRecord(**(facts | more))


@pytest.mark.parametrize(
    ("step", "category", "freed"),
    [
        ("convert", Category.DATA_INVALID, True),
        ("convert", Category.OUT_OF_MEMORY, True),
        ("convert", Category.UNAVAILABLE, True),
        ("convert", Category.INTERRUPTED, False),
        ("convert", Category.LOST, False),
        ("upload", Category.UNAVAILABLE, False),
        ("publish", Category.OUTPUT_WRITE, False),
    ],
)
def test_a_failed_units_scratch_goes_unless_the_next_run_goes_on_from_it(
    lane: Lane, step: str, category: Category, freed: bool
) -> None:
    found = [record("a", "convert"), record("a", step, category), record("b", "convert")]
    assert drive._given_up(found, lane) == (["a"] if freed else [])


def test_a_step_that_was_tried_again_with_success_has_not_failed(lane: Lane) -> None:
    tries = [record("a", "convert", Category.TEMPORARY), record("a", "convert", attempt=2)]
    assert drive._given_up(tries, lane) == []


def test_what_is_freed_keeps_its_log_and_record(tmp_path: Path) -> None:
    task = tmp_path / "ab" / "cdef1234"
    (task / "convert").mkdir(parents=True)
    for name in (".command.log", ".supervise.json", "convert/big"):
        (task / name).write_text("x")
    progress = Progress(["a"], ("convert", "publish"), tmp_path)
    progress.take(Event("submitted", "ab/cdef12", "convert", "a"))
    drive._free(progress, ["b"], tmp_path)
    assert (task / "convert").exists()
    drive._free(progress, ["a"], tmp_path)
    assert sorted(p.name for p in task.iterdir()) == [".command.log", ".supervise.json"]

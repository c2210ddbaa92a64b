"""Records: what the supervisors left in the tasks' folders, read for one run."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from cohortflow.core import failed, layout, records
from cohortflow.core.outcome import OUTCOMES, Category, Failure
from cohortflow.core.records import TaskRecord

RUN = "20261121T100000Z-0001"


class Work:
    """A work folder as Nextflow and the supervisors leave it."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0

    def task(self, out: str = "", err: str = "", **facts: Any) -> Path:
        """Add a task's folder."""
        self.count += 1
        folder = self.path / f"{self.count:02x}" / f"cdef{self.count:04d}"
        folder.mkdir(parents=True)
        value = {
            "schema_version": 1,
            "run": RUN,
            "unit": "sub-01",
            "step": "mask",
            "attempt": 1,
            "started": f"2026-11-21T10:00:{self.count:02d}Z",
            "exit": 0,
            "reason": "",
            "seconds": 1.5,
            "peak_memory_bytes": 1000,
            "signal": "",
        }
        (folder / ".supervise.json").write_text(json.dumps({**value, **facts}))
        (folder / ".command.sh").write_text("#!/bin/bash -ue\nfake-mask a.nii --output mask\n")
        (folder / ".command.out").write_text(out)
        (folder / ".command.err").write_text(err)
        return folder

    def all(self, since: float = 0) -> list[TaskRecord]:
        return list(records.collect(self.path, RUN, since))

    def one(self, out: str = "", err: str = "", **facts: Any) -> TaskRecord:
        """Return the record of a task added now."""
        self.task(out, err, **facts)
        return self.all()[-1]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path / "work")


def test_a_task_that_went_well(work: Work) -> None:
    assert work.one(out="hello\n") == TaskRecord(
        schema_version=1,
        run=RUN,
        unit="sub-01",
        step="mask",
        attempt=1,
        exit=0,
        category=None,
        started="2026-11-21T10:00:01Z",
        seconds=1.5,
        peak_memory_bytes=1000,
        work="01/cdef0001",
        command="fake-mask a.nii --output mask",
        message=None,
        remedy=None,
        log="",
    )


def test_what_a_good_task_said_is_kept_as_far_as_it_is_short(work: Work) -> None:
    said = [f"INFO line {number}" for number in range(30)]
    found = work.one(out="a result", err="\n".join(said))
    assert found.said.splitlines() == said[-20:]
    assert found.log == ""


def test_what_a_failed_task_said_is_its_log(work: Work) -> None:
    found = work.one(out="a result", err="ERROR DATA_INVALID sub-01 bad: mend it", exit=65)
    assert found.said == ""
    assert found.log.endswith("mend it")


def test_no_work_folder_is_no_record(work: Work) -> None:
    assert work.all() == []


def test_only_tasks_of_this_run_and_of_units_count(work: Work) -> None:
    work.task(run="20251121T100000Z-0001")
    for step in ("plan", "report", "discover"):
        work.task(step=step, unit="-")
    (work.task() / ".supervise.json").write_text("{")
    (work.task() / ".supervise.json").unlink()
    (work.path / "tmp").mkdir()
    (work.path / "collect-file").mkdir()
    (work.path / "aa").write_text("a file")
    assert work.all() == []
    work.task(unit="sub-02", step="publish")
    assert [(r.unit, r.step) for r in work.all()] == [("sub-02", "publish")]


def test_folders_older_than_the_run_are_not_read(work: Work) -> None:
    now = time.time()
    old, _new = work.task(unit="sub-01"), work.task(unit="sub-02")
    os.utime(old, (now - 3600, now - 3600))
    assert [r.unit for r in work.all(since=now)] == ["sub-02"]


@pytest.mark.parametrize(
    ("facts", "category"),
    [
        ({"exit": 65}, Category.DATA_INVALID),
        ({"exit": 70}, Category.SOFTWARE),
        ({"exit": 139}, Category.SOFTWARE),
        ({"exit": None}, Category.LOST),
        ({"exit": 137}, Category.LOST),
        ({"exit": 137, "reason": "memory"}, Category.OUT_OF_MEMORY),
        ({"exit": 124, "reason": "time"}, Category.TIMEOUT),
        ({"exit": 143, "reason": "signal"}, Category.INTERRUPTED),
        ({"exit": None, "reason": "signal"}, Category.INTERRUPTED),
    ],
)
def test_the_category(work: Work, facts: dict[str, Any], category: Category) -> None:
    record = work.one(**facts)
    assert record.category is category
    assert record.message
    assert record.remedy


def test_the_tools_own_words_are_taken(work: Work) -> None:
    failure = Failure(Category.DATA_INVALID, "a.nii: 3 volumes: 4 b-values", "one of: a, b")
    err = f"INFO reading\n{failure.line('sub-01')}\n"
    record = work.one(out="no newline at the end", err=err, exit=65)
    assert record.message == "a.nii: 3 volumes: 4 b-values"
    assert record.remedy == "one of - a, b"
    assert record.log.splitlines()[0] == "no newline at the end"


def test_the_last_words_of_the_right_category_are_taken(work: Work) -> None:
    err = "ERROR DATA_INVALID x first: a\nERROR DATA_INVALID x last: b\nERROR IO_ERROR x other: c\n"
    record = work.one(err=err, exit=65)
    assert (record.message, record.remedy) == ("last", "b")


def test_a_tool_that_ran_out_of_memory_by_itself_is_believed(work: Work) -> None:
    line = Failure(Category.OUT_OF_MEMORY, "cannot allocate").line("sub-01")
    record = work.one(err=line, exit=137)
    assert record.category is Category.OUT_OF_MEMORY
    assert record.message == "cannot allocate"
    assert work.one(err=line, exit=65).category is Category.DATA_INVALID


def test_without_words_the_category_speaks(work: Work) -> None:
    record = work.one(exit=66)
    assert record.message == OUTCOMES[Category.INPUT_MISSING].meaning
    assert record.remedy == OUTCOMES[Category.INPUT_MISSING].remedy
    assert work.one(exit=124, reason="time", seconds=60.2).message == "ended after 60 s, its limit"


def test_a_crash_shows_its_last_line(work: Work) -> None:
    err = "Traceback (most recent call last):\n  …\nKeyError: 'b0'\n\n"
    assert work.one(err=err, exit=1).message == "exit status 1: KeyError: 'b0'"
    assert work.one(exit=1).message == "exit status 1: no output"


def test_the_log_is_the_end_of_the_output(work: Work) -> None:
    folder = work.task(out="".join(f"{n}\n" for n in range(100_000)), err="\xff end\n", exit=1)
    (folder / ".command.err").write_bytes(b"\xff end\n")
    log = records.tail(folder).splitlines()
    assert log[-2:] == ["99999", "\N{REPLACEMENT CHARACTER} end"]
    assert len(log) == 40


def test_all_records_are_saved_in_the_order_of_their_start(work: Work, out: Path) -> None:
    layout.run_folder(out, RUN).mkdir(parents=True)
    work.task(started="2026-11-21T10:00:02Z", step="tensor")
    work.task(started="2026-11-21T10:00:01Z", exit=65)
    found = records.save_all(out, RUN, work.path, 0)
    assert [record.step for record in found] == ["mask", "tensor"]
    text = (layout.run_folder(out, RUN) / "records.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [TaskRecord(**line) for line in lines] == found
    assert lines[0]["category"] == "DATA_INVALID"


def keep(work: Work, out: Path) -> None:
    layout.run_folder(out, RUN).mkdir(parents=True, exist_ok=True)
    found = records.save_all(out, RUN, work.path, 0)
    records.keep_failures(out, found, {"sub-01": "identity"}, work.path)


def test_a_failure_is_kept_with_its_logs_and_what_it_was_made_on(work: Work, out: Path) -> None:
    work.task(err="words\n", exit=65)
    work.task(unit="sub-02", exit=65)  # was not in the plan of this run
    keep(work, out)
    verdict = failed.last(out, "sub-01")
    assert verdict is not None
    assert (verdict.category, verdict.step) == (Category.DATA_INVALID, "mask")
    assert (verdict.fingerprint, verdict.run) == ("identity", RUN)
    (folder,) = (out / ".cohortflow/failed/sub-01").iterdir()
    assert (folder / "command.err").read_text() == "words\n"
    assert {p.name for p in folder.iterdir()} == {
        "command.err",
        "command.out",
        "command.sh",
        "failure.json",
        "record.json",
    }
    assert failed.last(out, "sub-02") is None


def test_a_retry_that_went_well_leaves_no_failure(work: Work, out: Path) -> None:
    same = "2026-11-21T10:00:00Z"
    work.task(exit=75, attempt=1, started=same)
    work.task(exit=0, attempt=2, started=same)
    work.task(exit=0, step="publish", started="2026-11-21T10:00:09Z")
    keep(work, out)
    assert failed.last(out, "sub-01") is None


def test_a_step_that_ended_well_without_its_output_is_a_bug(work: Work, out: Path) -> None:
    work.task(exit=0, unit="sub-01", step="mask")
    work.task(exit=0, unit="sub-02", step="mask")
    work.task(exit=0, unit="sub-02", step="publish", started="2026-11-21T10:00:09Z")
    layout.run_folder(out, RUN).mkdir(parents=True)
    stopped = records.save_all(out, RUN, work.path, 0, ended=False)
    assert [record.category for record in stopped] == [None] * 3
    found = {(r.unit, r.step): r for r in records.save_all(out, RUN, work.path, 0)}
    assert found["sub-01", "mask"].category is Category.SOFTWARE
    assert "output is missing" in str(found["sub-01", "mask"].message)
    assert found["sub-02", "mask"].category is None


def test_a_failure_within_the_second_of_an_earlier_step_is_kept(work: Work, out: Path) -> None:
    same = "2026-11-21T10:00:00Z"
    work.task(step="tensor", started=same)
    work.task(step="publish", exit=73, started=same)
    keep(work, out)
    verdict = failed.last(out, "sub-01")
    assert verdict is not None
    assert verdict.step == "publish"


def test_the_newest_three_failures_are_kept(work: Work, out: Path) -> None:
    for number in range(5):
        work.task(exit=70, started=f"2026-11-2{number}T10:00:00Z")
        keep(work, out)
    kept = sorted(p.name for p in (out / ".cohortflow/failed/sub-01").iterdir())
    assert kept == [f"2026112{number}T100000Z-SOFTWARE" for number in (2, 3, 4)]


def test_seconds_of_a_record(work: Work, tmp_path: Path) -> None:
    assert records.seconds(work.task() / ".supervise.json") == 1.5
    assert records.seconds(tmp_path / "none") == 0
    (tmp_path / "broken").write_text("[]")
    assert records.seconds(tmp_path / "broken") == 0


# What Nextflow's own files tell of a task whose supervisor never started.
LAUNCHER = """#!/bin/bash
nxf_main() {{
    # beforeScript directive
    export COHORTFLOW_RUN='{run}'
    export COHORTFLOW_UNIT='sub-01'
    export COHORTFLOW_STEP='DWI:DWI_MASK'
    export COHORTFLOW_ATTEMPT='2'
    export COHORTFLOW_REFUSED='{refused}'
}}
"""


def unsupervised(work: Work, err: str = "", refused: str = "", run: str = RUN) -> Path:
    folder = work.task(err=err)
    (folder / ".supervise.json").unlink()
    (folder / ".command.run").write_text(LAUNCHER.format(run=run, refused=refused))
    return folder


@pytest.mark.parametrize("status", [125, 126, 127])
def test_a_step_that_could_not_be_started_is_config_with_the_runtimes_words(
    work: Work, status: int
) -> None:
    folder = unsupervised(work, "Error: localhost/cohortflow-dwi:1: image not known\n")
    (folder / ".exitcode").write_text(str(status))
    (record,) = work.all()
    assert (record.unit, record.step, record.attempt) == ("sub-01", "mask", 2)
    assert record.category is Category.CONFIG
    assert record.message is not None
    assert record.message.endswith("image not known")


def test_a_task_that_began_and_left_nothing_is_lost(work: Work) -> None:
    (unsupervised(work) / ".command.begin").touch()
    (record,) = work.all()
    assert record.category is Category.LOST


def test_a_task_that_never_began_is_not_told(work: Work) -> None:
    unsupervised(work)
    assert work.all() == []


def test_a_task_of_another_run_is_not_told(work: Work) -> None:
    (unsupervised(work, run="another") / ".exitcode").write_text("125")
    assert work.all() == []


@pytest.mark.parametrize(
    ("words", "category"),
    [
        ("sbatch: error: Job violates accounting/QOS policy (job submit limit)", "TEMPORARY"),
        ("sbatch: error: Unable to contact slurm controller", "TEMPORARY"),
        ("sbatch: error: it'\\''s an invalid account", "CONFIG"),
    ],
)
def test_a_task_that_was_refused_to_the_end_tells_the_schedulers_words(
    work: Work, words: str, category: str
) -> None:
    unsupervised(work, refused=words + "\n   second line")
    (record,) = work.all()
    assert record.category == category
    assert record.message == words.replace("'\\''", "'") + "; second line"


def test_of_a_run_that_was_stopped_a_step_without_a_status_is_interrupted(
    work: Work, tmp_path: Path
) -> None:
    (unsupervised(work) / ".command.begin").touch()
    layout.run_folder(tmp_path, RUN).mkdir(parents=True)
    (record,) = records.save_all(tmp_path, RUN, work.path, 0, ended=False)
    assert record.category is Category.INTERRUPTED

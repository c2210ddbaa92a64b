"""The state of a run, its estimate, and its picture on any terminal."""

from __future__ import annotations

import io
import math
import re
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cohortflow.front.engine import Event, parse
from cohortflow.front.progress import Progress

STEPS = ("convert", "mask", "tensor", "publish")


def start(step: str, unit: str, work: str) -> Event:
    return parse(f"[{work}] Submitted process > DWI:DWI_{step.upper()} ({unit})")


def cached(step: str, unit: str) -> Event:
    return parse(f"[00/000000] Cached process > DWI:DWI_{step.upper()} ({unit})")


def failed(work: str, then: str = "Error is ignored") -> Event:
    return parse(f"[{work}] NOTE: Process `x` terminated with an error exit status (1) -- {then}")


def ends(progress: Progress, work: str, status: str = "0") -> None:
    """Put down what Nextflow's wrapper leaves when a task ends."""
    folder = progress.work / f"{work}0a1b2c"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".exitcode").write_text(status)
    progress.look()


@pytest.fixture
def two(tmp_path: Path) -> Progress:
    return Progress(["sub-01", "sub-02"], STEPS, tmp_path / "work")


def run_through(progress: Progress, unit: str) -> None:
    for number, step in enumerate(STEPS):
        work = f"{number:02}/{unit[-2:] * 3}"
        progress.take(start(step, unit, work))
        ends(progress, work)


def test_a_unit_is_finished_when_it_is_published(two: Progress) -> None:
    two.take(start("convert", "sub-01", "aa/000001"))
    assert two.states == {("sub-01", "convert"): "running"}
    assert two.finished() == 0
    run_through(two, "sub-02")
    assert two.finished() == 1
    assert two.states["sub-02", "publish"] == "done"


def test_a_unit_is_finished_when_a_step_failed(two: Progress) -> None:
    two.take(start("convert", "sub-01", "aa/000001"))
    ends(two, "aa/000001", "65")
    assert two.states["sub-01", "convert"] == "running", "a retry may follow: Nextflow says it"
    two.take(failed("aa/000001"))
    assert two.states["sub-01", "convert"] == "failed"
    assert two.failures == ["sub-01: convert failed"]
    assert two.finished() == 1


def test_a_unit_of_which_two_steps_failed_is_one_that_failed(two: Progress) -> None:
    for number, step in enumerate(("convert", "mask")):
        two.take(start(step, "sub-01", f"aa/00000{number}"))
        two.take(failed(f"aa/00000{number}"))
    assert "1 failed" in two.line()


def test_a_task_that_left_its_output_out_failed_although_it_exited_0(two: Progress) -> None:
    two.take(start("mask", "sub-01", "aa/000001"))
    ends(two, "aa/000001")
    two.take(parse("[aa/000001] NOTE: Missing output file(s) `mask` expected -- Error is ignored"))
    assert two.states["sub-01", "mask"] == "failed"
    assert two.finished() == 1


def test_a_task_that_fails_while_it_is_looked_at_failed(two: Progress) -> None:
    two.take(start("mask", "sub-01", "aa/000001"))
    folder = two.work / "aa" / "0000010a1b2c"
    folder.mkdir(parents=True)
    (folder / ".exitcode").write_text("0")

    class Slow:
        """A work folder that takes so long to read that Nextflow speaks meanwhile."""

        def __truediv__(self, name: str) -> Path:
            two.take(failed("aa/000001"))
            return folder.parents[1] / name

    two.work = Slow()  # type: ignore[assignment]
    two.look()
    assert two.states == {("sub-01", "mask"): "failed"}


def test_a_retried_task_runs_again_and_can_be_done(two: Progress) -> None:
    two.take(start("mask", "sub-01", "aa/000001"))
    two.take(failed("aa/000001", "Execution is retried (1)"))
    assert two.finished() == 0
    assert not two.running
    assert not two.failures
    two.take(parse("[bb/000002] Re-submitted process > DWI:DWI_MASK (sub-01)"))
    ends(two, "bb/000002")
    assert two.states["sub-01", "mask"] == "done"


def test_cached_steps_cost_no_time_in_the_estimate(two: Progress) -> None:
    for step in STEPS[:3]:
        two.take(cached(step, "sub-01"))
        two.take(cached(step, "sub-02"))
    assert two.remaining_seconds() is None
    two.take(start("publish", "sub-01", "aa/000001"))
    ends(two, "aa/000001")
    two.began = time.monotonic() - 10
    left = two.remaining_seconds()
    assert left == pytest.approx(10, abs=1), "one of two publish tasks took ten seconds"


def test_what_is_not_of_the_plan_changes_nothing(two: Progress) -> None:
    for event in (parse("[aa/000001] Submitted process > CORE_REPORT"), failed("ff/ffffff"),
                  parse("WARN: something")):  # fmt: skip
        two.take(event)
    two.look()
    assert (two.states, two.failures, two.finished()) == ({}, [], 0)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["start", "cached", "failed", "retried", "ends"]),
        st.integers(0, 3),
        st.integers(0, 3),
        st.integers(0, 15),
    ),
    max_size=60,
)


@given(EVENTS, st.floats(0, 1e6))
def test_the_estimate_is_never_negative_nor_nonsense(
    happened: list[tuple[str, int, int, int]], seconds: float
) -> None:
    progress = Progress([f"sub-{n}" for n in range(4)], STEPS, Path("/nowhere"))
    progress.began = time.monotonic() - seconds
    for what, unit, step, task in happened:
        work = f"aa/{task:06x}"
        name, label = STEPS[step], f"sub-{unit}"
        if what == "ends" and (key := progress.running.pop(work, None)):
            progress.states[key] = "done"
        event = {"start": start(name, label, work), "cached": cached(name, label),
                 "failed": failed(work), "retried": failed(work, "Execution is retried (1)"),
                 "ends": parse("")}[what]  # fmt: skip
        progress.take(event)
        left = progress.remaining_seconds()
        assert left is None or (left >= 0 and math.isfinite(left))
        assert 0 <= progress.finished() <= len(progress.units)
        said = re.search("about (.*) left", progress.line())
        assert said is None or re.fullmatch(r"(\d+:)?\d+:\d\d", said[1])
    picture(progress, 80, 24)


def picture(progress: Progress, width: int, height: int, encoding: str = "utf-8") -> list[str]:
    """Render on a terminal without colour, and return its lines."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)  # strict: what it cannot say fails
    console = Console(width=width, height=height, record=True, file=stream, no_color=True)
    console.print(progress.render(console))
    return console.export_text().splitlines()


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Progress:
    """A thousand units: many done, four failed, two at work since long ago."""
    names = [f"sub-{n:04}_ses-01" for n in range(1000)]
    progress = Progress(names, STEPS, tmp_path_factory.mktemp("work"))
    progress.take(start("tensor", names[3], "fe/000001"))
    progress.take(start("mask", names[700], "fe/000002"))
    for number, name in enumerate(names[100:600]):
        for step in STEPS:
            progress.take(start(step, name, f"aa/{number:06x}"))
            progress.states[progress.running.pop(f"aa/{number:06x}")] = "done"
    for number, name in enumerate(names[600:604]):
        progress.take(start("convert", name, f"bb/{number:06x}"))
        progress.take(failed(f"bb/{number:06x}"))
    return progress


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (200, 60), (20, 6)])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_picture_fits_the_terminal(
    thousand: Progress, width: int, height: int, encoding: str
) -> None:
    lines = picture(thousand, width, height, encoding)
    assert len(lines) < height, "the last line is the cursor's"
    assert max(map(len, lines)) <= width


def test_at_80_by_24_states_are_words(thousand: Progress) -> None:
    lines = picture(thousand, 80, 24)
    assert lines[0].split() == ["unit", *STEPS]
    text = "\n".join(lines)
    assert "504 of 1000 units" in text
    assert "sub-0003_ses-01" in text, "a unit that runs is shown, however long ago it started"
    assert "▶ running" in text
    assert "✘ sub-0603_ses-01: convert failed" in text
    assert "units not shown" in text
    assert len(lines) > 20, "the room is used"


def test_at_40_by_10_states_are_symbols(thousand: Progress) -> None:
    lines = picture(thousand, 40, 10)
    text = "\n".join(lines)
    assert "sub-0003_ses-01" in text
    assert "sub-0700_ses-01" in text
    assert "▶" in text
    assert "running" not in text
    assert "504 of 1000 units" in text


def test_without_unicode_words_say_it(thousand: Progress) -> None:
    text = "\n".join(picture(thousand, 80, 24, "ascii"))
    assert "running" in text
    assert "done" in text


def test_no_colour_is_needed(thousand: Progress) -> None:
    console = Console(width=80, height=24, file=io.StringIO(), force_terminal=True, no_color=True)
    with console.capture() as captured:
        console.print(thousand.render(console))
    assert "38;5" not in captured.get()
    assert "[31m" not in captured.get()
    assert "✘ failed" in captured.get()


def test_a_picture_of_many_units_is_quick(thousand: Progress) -> None:
    many = Progress([f"sub-{n:06}" for n in range(20_000)], STEPS, thousand.work)
    many.order = dict.fromkeys(many.units)
    console = Console(width=80, height=24, file=io.StringIO())
    began = time.thread_time()
    many.render(console)
    assert time.thread_time() - began < 0.5


def test_it_may_be_looked_at_while_it_changes(tmp_path: Path) -> None:
    progress = Progress([f"sub-{n:03}" for n in range(400)], STEPS, tmp_path)
    console = Console(width=80, height=24, file=io.StringIO())
    trouble: list[BaseException] = []
    done = threading.Event()

    def watch() -> None:
        try:
            while not done.is_set():
                progress.look()
                progress.line()
                progress.render(console)
        except BaseException as error:
            trouble.append(error)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number, unit in enumerate(progress.units):
        for step in STEPS:
            work = f"{STEPS.index(step):02}/{number:06x}"
            progress.take(start(step, unit, work))
            progress.take(failed(work, "Execution is retried (1)"))
    done.set()
    watcher.join()
    assert trouble == []

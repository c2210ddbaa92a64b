"""Publishing: the old complete version or the new one, at every moment; nothing foreign is lost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cohortflow.core import failed, fingerprint, lanes, marker, plan, publish, save
from cohortflow.core.manifest import Input
from cohortflow.core.outcome import Category, Failure
from core.engine_factory import LANE, METRICS, complete, context, planned, step_folders, unit

IMAGE = "dwi/sub-01_a.txt"


def do(out: Path, steps: Path, text: str = "new", **changes: Any) -> Path:
    """Publish sub-01 with a text of its own."""
    folders = step_folders(steps, "sub-01", text)
    return publish.publish(out, LANE, planned(unit(**changes), out), folders, {"one": 1.5})


def kept(out: Path) -> dict[str, str]:
    """Return what was moved to kept/: place in the unit's folder → text."""
    base = out / ".cohortflow/kept/sub-01"
    return {
        "/".join(p.relative_to(base).parts[1:]): p.read_text()
        for p in base.rglob("*")
        if p.is_file()
    }


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ((), "data/part-*.txt missing"),
        (("data/part-0.txt", "data/part-1.txt"), ""),
        (("data/part-0.txt", "maybe.txt"), ""),
        (("data/part-0.txt", "more.txt"), "more.txt not declared"),
        (("data/part-0.txt", "data/below/part-1.txt"), "data/below/part-1.txt not declared"),
    ],
)
def test_a_lane_may_declare_files_by_pattern_and_files_that_may_be_there(
    out: Path, tmp_path: Path, extra: tuple[str, ...], said: str
) -> None:
    lane = replace(LANE, outputs=(*LANE.outputs, "data/part-*.txt"), optional=("maybe.txt",))
    folders = step_folders(tmp_path / "steps", "sub-01")
    for name in extra:
        (folders[0] / name).parent.mkdir(parents=True, exist_ok=True)
        (folders[0] / name).write_text("x")
    if said:
        with pytest.raises(Failure, match=re.escape(said)):
            publish.publish(out, lane, planned(unit(), out), folders, {})
        assert not (out / "sub-01").exists()
    else:
        folder = publish.publish(out, lane, planned(unit(), out), folders, {})
        found = marker.read(folder)
        assert isinstance(found, marker.Marker)
        assert set(extra) < {output.path for output in found.outputs}


def test_what_a_step_hands_on_is_not_published(out: Path, tmp_path: Path) -> None:
    lane = replace(LANE, handed_on=("dwi/{prefix}_desc-half_dwi.*",))
    folders = step_folders(tmp_path / "steps", "sub-01")
    for folder in folders:  # also where two steps have one name for it
        (folder / "dwi").mkdir(exist_ok=True)
        (folder / "dwi" / "sub-01_desc-half_dwi.nii").write_text("x")
    folder = publish.publish(out, lane, planned(unit(), out), folders, {})
    assert not list(folder.rglob("*half*"))
    assert isinstance(marker.read(folder), marker.Marker)


def staged(out: Path) -> list[str]:
    return [p.name for p in (out / ".cohortflow/work").iterdir()]


def test_a_complete_unit_is_published(out: Path, tmp_path: Path) -> None:
    folder = do(out, tmp_path / "steps")
    assert folder == out / "sub-01"
    assert complete(folder) == "new"
    assert json.loads((folder / "metrics.json").read_text()) == METRICS
    assert staged(out) == []
    assert plan.decide(unit(), context(out), plan.Wishes()).decision == "skip"


def test_the_marker_tells_what_was_made_of_what(out: Path, tmp_path: Path) -> None:
    inputs = [
        Input(role="image", path="/study/sub-01/a.nii", bytes=1),
        Input(role="side", path="/elsewhere/a.json", bytes=2),
    ]
    options = {"series_uid": "1.2"}
    found = marker.read(do(out, tmp_path / "steps", inputs=inputs, options=options))
    assert isinstance(found, marker.Marker)
    assert [i.path for i in found.inputs] == ["sub-01/a.nii", "a.json"]  # no folder of a machine
    assert found.input_fingerprint == fingerprint.inputs(inputs)
    assert (found.options, found.parameters) == (options, {"level": "low", "word": ""})
    assert (found.code, found.timings) == (context(out).code, {"one": 1.5})


def test_the_marker_is_written_last_and_the_swap_follows(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []
    flushed: list[str] = []
    fsync_path, write_text = save.fsync_path, save.write_text

    def write(path: Path, text: str) -> None:
        assert not (out / "sub-01").exists()
        seen.append({p.name for p in path.parent.rglob("*") if p.is_file()})
        assert seen[0] <= set(flushed)
        write_text(path, text)

    def flush(path: Path) -> None:
        flushed.append(path.name)
        fsync_path(path)

    monkeypatch.setattr(save, "write_text", write)
    monkeypatch.setattr(save, "fsync_path", flush)
    do(out, tmp_path / "steps")
    assert seen == [{"sub-01_a.txt", "sub-01_b.png", "metrics.json"}]
    assert flushed[-1] == out.name


def test_a_unit_in_a_session_folder(out: Path, tmp_path: Path) -> None:
    one = unit("01", "a")
    folders = step_folders(tmp_path / "steps", one.id)
    folder = publish.publish(out, LANE, planned(one, out), folders, {})
    assert folder == out / "sub-01/ses-a"
    assert complete(folder) == "new"


def missing(steps: Path) -> None:
    (steps / "one" / IMAGE).unlink()


def extra(steps: Path) -> None:
    (steps / "one/dwi/surprise.txt").write_text("x")


def empty(steps: Path) -> None:
    (steps / "one" / IMAGE).write_text("")


def twice(steps: Path) -> None:
    (steps / "two/dwi").mkdir()
    (steps / "two" / IMAGE).write_text("x")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (missing, f"{IMAGE} missing"),
        (extra, "dwi/surprise.txt not declared"),
        (empty, f"{IMAGE} empty"),
        (twice, f"two steps wrote {IMAGE}"),
    ],
)
def test_what_is_not_as_declared_is_not_published(
    out: Path, tmp_path: Path, harm: Any, said: str
) -> None:
    do(out, tmp_path / "old", "old")
    folders = step_folders(tmp_path / "steps", "sub-01")
    harm(tmp_path / "steps")
    with pytest.raises(Failure) as caught:
        publish.publish(out, LANE, planned(unit(), out), folders, {})
    assert caught.value.category is Category.SOFTWARE
    assert said in caught.value.message
    assert complete(out / "sub-01") == "old"
    assert staged(out) == []


def test_a_disk_that_fills_leaves_the_old_version(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    do(out, tmp_path / "steps", "old")

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publish, "_copy", full)
    with pytest.raises(OSError, match="No space"):
        do(out, tmp_path / "steps")
    assert complete(out / "sub-01") == "old"
    assert staged(out) == []


def test_an_older_version_is_replaced(out: Path, tmp_path: Path) -> None:
    do(out, tmp_path / "steps", "old")
    assert complete(do(out, tmp_path / "steps", "new")) == "new"
    assert staged(out) == []
    assert kept(out) == {}


@pytest.mark.usefixtures("no_exchange")
def test_it_is_replaced_where_folders_cannot_be_exchanged(out: Path, tmp_path: Path) -> None:
    do(out, tmp_path / "steps", "old")
    assert complete(do(out, tmp_path / "steps", "new")) == "new"
    assert staged(out) == []


def test_a_reader_sees_a_complete_unit_at_every_moment(out: Path, tmp_path: Path) -> None:
    folder = do(out, tmp_path / "steps", "v0")
    seen: list[object] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            seen.append(marker.read(folder))

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(10):
        do(out, tmp_path / "steps", f"v{number}")
    stop.set()
    reader.join()
    assert len(seen) > 10
    assert {type(found) for found in seen} == {marker.Marker}


def test_foreign_files_are_moved_never_lost(out: Path, tmp_path: Path) -> None:
    folder = do(out, tmp_path / "steps", "old")
    (folder / "notes.txt").write_text("mine")
    (folder / "dwi/deep").mkdir()
    (folder / "dwi/deep/roi.txt").write_text("drawn by hand")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "far.txt").write_text("far")
    (folder / "link").symlink_to(elsewhere)
    do(out, tmp_path / "steps")
    assert kept(out) == {"notes.txt": "mine", "dwi/deep/roi.txt": "drawn by hand"}
    links = [p for p in (out / ".cohortflow/kept/sub-01").rglob("link") if p.is_symlink()]
    assert [link.resolve() for link in links] == [elsewhere]
    assert (elsewhere / "far.txt").exists()
    assert complete(folder) == "new"


def test_two_foreign_files_of_one_name_are_both_kept(out: Path, tmp_path: Path) -> None:
    folder = do(out, tmp_path / "steps", "old")
    for text in ("first", "second"):
        (folder / "notes.txt").write_text(text)
        do(out, tmp_path / "steps")
    places = sorted((out / ".cohortflow/kept/sub-01").glob("*/notes.txt"))
    assert {p.read_text() for p in places} == {"first", "second"}


def test_a_folder_without_marker_is_kept_whole(out: Path, tmp_path: Path) -> None:
    folder = do(out, tmp_path / "steps", "old")
    (folder / marker.NAME).unlink()
    do(out, tmp_path / "steps")
    assert set(kept(out)) == LANE.expected("sub-01"), "metrics.json, too"
    assert kept(out)[IMAGE] == "old a"
    assert complete(folder) == "new"


def test_a_file_in_the_folders_place_is_kept(out: Path, tmp_path: Path) -> None:
    (out / "sub-01").write_text("a file")
    assert complete(do(out, tmp_path / "steps")) == "new"
    kept_files = [p for p in (out / ".cohortflow/kept").rglob("*") if p.is_file()]
    assert [p.read_text() for p in kept_files] == ["a file"]


def test_a_folder_that_holds_another_published_unit_is_not_replaced(
    out: Path, tmp_path: Path
) -> None:
    one = unit("01", "a")
    folders = step_folders(tmp_path / "session", one.id)
    inner = publish.publish(out, LANE, planned(one, out), folders, {})
    with pytest.raises(Failure, match="published unit ses-a") as caught:
        do(out, tmp_path / "steps")
    assert caught.value.category is Category.OUTPUT_WRITE
    assert complete(inner) == "new"


def test_an_edit_of_the_output_does_not_reach_the_cache(out: Path, tmp_path: Path) -> None:
    folder = do(out, tmp_path / "steps")
    published, source = folder / IMAGE, tmp_path / "steps/one" / IMAGE
    assert published.stat().st_ino != source.stat().st_ino
    assert published.stat().st_nlink == 1
    with published.open("r+") as file:
        file.write("XXX")
    assert source.read_text() == "new a"


def test_step_folders_may_be_links_as_nextflow_makes_them(out: Path, tmp_path: Path) -> None:
    links = tmp_path / "task"
    links.mkdir()
    for folder in step_folders(tmp_path / "steps", "sub-01"):
        (links / folder.name).symlink_to(folder)
    folders = [links / "one", links / "two"]
    folder = publish.publish(out, LANE, planned(unit(), out), folders, {})
    assert complete(folder) == "new"
    assert not (folder / IMAGE).is_symlink()


def test_success_forgives_what_failed_before(out: Path, tmp_path: Path) -> None:
    verdict = failed.Verdict(
        unit="sub-01",
        run="r",
        step="one",
        category=Category.LOST,
        message="",
        remedy="",
        fingerprint="",
        time="2026-11-21T10:00:00Z",
    )
    failed.keep(out, verdict, {})
    do(out, tmp_path / "steps")
    assert failed.last(out, "sub-01") is None


def test_two_do_not_publish_one_unit(out: Path, tmp_path: Path) -> None:
    do(out, tmp_path / "steps", "old")
    with publish.locked(out, "sub-01"), pytest.raises(Failure, match=str(os.getpid())) as caught:
        do(out, tmp_path / "steps")
    assert caught.value.category is Category.TEMPORARY
    assert complete(out / "sub-01") == "old"
    with publish.locked(out, "sub-02"):  # another unit's lock is no obstacle
        do(out, tmp_path / "steps")
    assert complete(out / "sub-01") == "new"


def drive(
    out: Path, steps: Path, environment: dict[str, str], before: list[str], *more: str
) -> int:
    driver = Path(__file__).with_name("publish_driver.py")
    command = [*before, sys.executable, str(driver), str(out), str(steps), *more]
    return subprocess.run(command, env=environment, check=False).returncode


# The n-th call of each kind at which the process is killed; a number too large fails the test.
KILLS = [
    *(("mkdir", n) for n in (1, 3, 5)),
    *(("fsync", n) for n in (1, 5, 7, 8, 9)),
    *(("rename", n) for n in (1, 2)),
    ("renameat2", 1),
    *(("unlinkat", n) for n in (1, 3, 5)),
]


@pytest.fixture
def replaced(out: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Return an output with an old version and a foreign file, and the new one's steps."""
    (do(out, tmp_path / "steps", "old") / "notes.txt").write_text("mine")
    step_folders(tmp_path / "steps", "sub-01", "new")
    return out, tmp_path / "steps"


def killed(strace: str, call: str, number: int) -> list[str]:
    injected = f"inject={call}:signal=KILL:when={number}"
    return [strace, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", injected]


@pytest.mark.parametrize(("call", "number"), KILLS)
def test_a_kill_at_any_call_leaves_old_or_new_and_is_repaired(
    replaced: tuple[Path, Path],
    environment: dict[str, str],
    strace: str,
    call: str,
    number: int,
) -> None:
    out, steps = replaced
    assert drive(out, steps, environment, killed(strace, call, number)) != 0
    folder = out / "sub-01"
    version = complete(folder)
    assert version in {"old", "new"}
    where = {**{p.name: p.read_text() for p in folder.glob("notes.txt")}, **kept(out)}
    assert where == {"notes.txt": "mine"}
    assert drive(out, steps, environment, []) == 0
    assert complete(folder) == "new"
    assert kept(out) == {"notes.txt": "mine"}
    assert staged(out) == []


@pytest.mark.parametrize("number", range(1, 6))
def test_a_kill_without_exchange_is_repaired(
    replaced: tuple[Path, Path], environment: dict[str, str], strace: str, number: int
) -> None:
    out, steps = replaced
    before = killed(strace, "rename", number)
    assert drive(out, steps, environment, before, "without-exchange") != 0
    (steps / "one" / IMAGE).unlink()  # the next publish comes, but has nothing to publish
    with pytest.raises(Failure, match="missing"):
        publish.publish(out, LANE, planned(unit(), out), [steps / "one", steps / "two"], {})
    assert complete(out / "sub-01") in {"old", "new"}
    assert kept(out).get("notes.txt", "mine") == "mine"
    assert staged(out) == []


def core_publish(
    root: Path, environment: dict[str, str], line: str, *arguments: object
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "bin/core-publish"), *map(str, arguments)]
    return subprocess.run(
        command, env=environment, input=line, capture_output=True, text=True, check=False
    )


def test_the_tool_publishes_a_unit_of_a_real_lane(
    root: Path, environment: dict[str, str], out: Path, tmp_path: Path
) -> None:
    lane = lanes.get("dwi")
    line = json.dumps({**planned(unit(), out), "lane": "dwi"})
    task = tmp_path / "ab" / "cdef"
    for name in lane.expected("sub-01") - {"metrics.json"}:
        (task / "convert" / name).parent.mkdir(parents=True, exist_ok=True)
        (task / "convert" / name).write_text("x")
    (task / ".supervise.json").write_text('{"seconds": 2.5}')
    arguments = (task / "convert", "--outdir", out, "--unit", "sub-01")
    assert core_publish(root, environment, line, *arguments, "--dry-run").returncode == 0
    assert list(out.iterdir()) == []
    done = core_publish(root, environment, line, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    found = marker.read(out / "sub-01")
    assert isinstance(found, marker.Marker)
    assert {output.path for output in found.outputs} == lane.expected("sub-01")
    assert found.timings == {"convert": 2.5}
    assert (out / "dataset_description.json").is_file()
    (task / "convert/surprise").write_text("x")
    done = core_publish(root, environment, line, *arguments)
    assert done.returncode == 70
    assert done.stderr.startswith("ERROR SOFTWARE sub-01 outputs of sub-01: surprise not declared")

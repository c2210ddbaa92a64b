"""A run does not end with whoever listens to it, and leaves nothing when it fails itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.test_signals import ours, start, wait_for_a_task, wait_until_nothing_runs
from pipeline.driving import BINARIES, RUN, Finished, bare, cohortflow, outputs, plan

pytestmark = pytest.mark.pipeline


def test_a_run_goes_on_when_the_reader_of_its_log_is_gone(
    make_study: Callable[..., Path], finished: Finished, tmp_path: Path
) -> None:
    study, out = make_study(tmp_path / "study", "01", "02"), tmp_path / "out"
    process = start([BINARIES / "cohortflow", *RUN, study, out], tmp_path)
    wait_for_a_task(out)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(120) == 0
    assert outputs(out) == outputs(finished.out)
    summary = json.loads((out / "batch_summary.json").read_text())
    assert summary["counts"]["done"] == 2


def test_a_nextflow_that_stops_by_itself_blames_no_unit(
    make_study: Callable[..., Path], finished: Finished, tmp_path: Path
) -> None:
    """What is computed stays in the cache, and the next run takes it."""
    study, out = make_study(tmp_path / "study", "01", "02"), tmp_path / "out"
    process = start([BINARIES / "cohortflow", *RUN, study, out, "--jobs", "1"], tmp_path)
    work = out / ".cohortflow" / "nextflow" / "work"
    deadline = time.monotonic() + 300
    while not [p for p in work.glob("*/*/convert") if (p.parent / ".exitcode").exists()]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    found = subprocess.run(
        ["pgrep", "-f", f"nextflow.cli.Launcher.*{out}"], capture_output=True, text=True, check=True
    )
    for pid in found.stdout.split():
        os.kill(int(pid), signal.SIGINT)
    process.communicate(timeout=90)
    assert process.returncode != 0
    summary = json.loads((out / "batch_summary.json").read_text())
    assert "SOFTWARE" not in {unit["category"] for unit in summary["units"]}
    assert list(work.glob("*/*/convert")), "nothing was moved out of the cache"
    assert cohortflow(*RUN, study, out, cwd=tmp_path).status == 0
    assert outputs(out) == outputs(finished.out)


def test_a_full_disk_leaves_no_process_and_no_lock(
    make_study: Callable[..., Path], tmp_path: Path
) -> None:
    """The output stands on a small disk of its own, which fills up in the middle."""
    if os.getuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("only root can mount a disk")
        pytest.skip("only root can mount a disk")
    study, disk = make_study(tmp_path / "study", "01"), tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(disk)], check=True)
    try:
        out = disk / "out"
        command = [BINARIES / "cohortflow", *RUN, study, out]
        process = start([*command, "--work-dir", tmp_path / "work"], tmp_path)
        deadline = time.monotonic() + 300
        while not list((tmp_path / "work").glob("*/*/.supervise.json")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        filler = disk / "fill"
        with filler.open("wb") as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
                    file.flush()
            except OSError:
                pass
        text, _ = process.communicate(timeout=200)
        assert process.returncode in (1, 3), text
        wait_until_nothing_runs(tmp_path, 40)
        filler.unlink()
        again = cohortflow(*RUN, study, out, "--work-dir", tmp_path / "work", cwd=tmp_path)
        assert again.status == 0, again.text
        assert (out / "sub-01" / "_done.json").is_file()
    finally:
        for _ in range(50):
            if not ours(disk):
                break
            time.sleep(0.2)
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_a_damaged_cache_is_set_aside(copied: Finished, tmp_path: Path) -> None:
    launch = copied.out / ".cohortflow" / "nextflow"
    (current,) = launch.glob(".nextflow/cache/*/db/CURRENT")
    current.write_text("")
    words = (*RUN, copied.study, copied.out, "--overwrite", "--participant-label", "01")
    first = cohortflow(*words, cwd=tmp_path)
    assert first.status == 3
    assert "set aside" in first.err
    second = cohortflow(*words, cwd=tmp_path)
    assert second.status == 0, second.text


def test_a_second_study_is_refused_but_a_moved_one_is_not(
    copied: Finished, make_study: Callable[..., Path], tmp_path: Path
) -> None:
    other = make_study(tmp_path / "other", "01")
    refused = cohortflow(*RUN, other, copied.out, cwd=tmp_path)
    assert refused.status == 2
    assert "holds results of the study" in refused.err
    moved = copied.study.rename(tmp_path / "moved")
    ended = cohortflow(*RUN, moved, copied.out, cwd=tmp_path)
    assert ended.status == 0, ended.text
    assert set(plan(copied.out).values()) == {("skip", "up to date")}
    description = json.loads((copied.out / "dataset_description.json").read_text())
    assert description["DatasetLinks"]["raw"] == "../moved"


def test_a_run_of_a_part_keeps_the_failures_of_the_others(
    make_study: Callable[..., Path], tmp_path: Path
) -> None:
    study, out = make_study(tmp_path / "study", "01", "02"), tmp_path / "out"
    broken = study / "sub-02" / "dwi" / "sub-02_dwi.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-5000])
    assert cohortflow(*RUN, study, out, cwd=tmp_path).status == 1
    part = cohortflow(*RUN, study, out, "--participant-label", "01", cwd=tmp_path)
    assert part.status == 0, part.text
    rerun = json.loads((out / "rerun.json").read_text())
    assert [unit["id"] for unit in rerun["units"]] == ["sub-02"]
    summary = json.loads((out / "batch_summary.json").read_text())
    assert summary["counts"]["invalid"] == 1


def test_a_bare_run_takes_relative_paths(finished: Finished, root: Path, tmp_path: Path) -> None:
    (tmp_path / "study").symlink_to(finished.study)
    ended = bare(root, Path("study"), Path("out"), "-stub-run", cwd=tmp_path)
    assert ended.status == 0, ended.text

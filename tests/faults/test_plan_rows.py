"""Every row of the plan's table by a run, and nothing lost on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cohortflow.core import fingerprint
from cohortflow.example.phantom import Phantom
from pipeline.driving import (
    BINARIES,
    RUN,
    STEPS,
    Finished,
    cohortflow,
    outputs,
    plan,
    runs,
    tree,
    write_scan,
)

pytestmark = pytest.mark.pipeline


def submitted(out: Path) -> set[tuple[str, str]]:
    """Return unit and step of the tasks that the latest run started."""
    lines = (runs(out)[-1] / "records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return {(r["unit"], r["step"]) for r in records if r["step"] != "publish"}


def test_new_changed_damaged_and_up_to_date(
    copied: Finished, scan: Phantom, tmp_path: Path
) -> None:
    """In one run: a new unit, an input of the same size that changed, a lost file, a good unit."""
    study, out = copied.study, copied.out
    write_scan(study / "sub-03" / "dwi", "sub-03", scan)
    write_scan(study / "sub-04" / "dwi", "sub-04", scan)
    first = cohortflow(*RUN, study, out, cwd=tmp_path)
    assert first.status == 0, first.text
    before = outputs(out)

    write_scan(study / "sub-05" / "dwi", "sub-05", scan)
    bval = study / "sub-02" / "dwi" / "sub-02_dwi.bval"
    size = bval.stat().st_size
    bval.write_text(bval.read_text().replace("1000", "1001", 1))
    assert bval.stat().st_size == size
    (out / "sub-03" / "figures" / "sub-03_desc-mask_dwi.png").unlink()
    mine = out / "sub-02" / "my notes.txt"
    mine.write_text("what I saw")
    (out / "sub-04" / "_done.json").write_text("{")

    second = cohortflow(*RUN, study, out, cwd=tmp_path)
    assert second.status == 0, second.text
    assert plan(out) == {
        "sub-01": ("skip", "up to date"),
        "sub-02": ("run", "input changed"),
        "sub-03": ("run", "marker damaged"),
        "sub-04": ("run", "marker damaged"),
        "sub-05": ("run", "new"),
    }
    after = outputs(out)
    assert {name for name in before if before[name] != after.get(name)} >= {
        "sub-02/dwi/sub-02_desc-preproc_dwi.bval"
    }
    for unit in ("sub-01", "sub-03", "sub-04"):
        mended = {name: digest for name, digest in after.items() if name.startswith(unit)}
        assert mended == {name: d for name, d in before.items() if name.startswith(unit)}
    kept = list((out / ".cohortflow" / "kept" / "sub-02").rglob("my notes.txt"))
    assert [path.read_text() for path in kept] == ["what I saw"]


def test_a_parameter_reruns_the_steps_that_read_it(copied: Finished, tmp_path: Path) -> None:
    warn = ("--parameter", "gradient_check=warn")
    ended = cohortflow(*RUN, copied.study, copied.out, *warn, cwd=tmp_path)
    assert ended.status == 0, ended.text
    assert set(plan(copied.out).values()) == {("run", "parameter changed")}
    again = cohortflow(*RUN, copied.study, copied.out, *warn, cwd=tmp_path)
    assert again.status == 0, again.text
    assert set(plan(copied.out).values()) == {("skip", "up to date")}


def test_overwrite_runs_every_step_again(copied: Finished, tmp_path: Path) -> None:
    words = ("--overwrite", "--participant-label", "01")
    ended = cohortflow(*RUN, copied.study, copied.out, *words, cwd=tmp_path)
    assert ended.status == 0, ended.text
    assert plan(copied.out) == {"sub-01": ("run", "requested")}
    assert submitted(copied.out) == {("sub-01", step) for step in STEPS}
    assert outputs(copied.out) == outputs(_finished_of(copied))


def _finished_of(copied: Finished) -> Path:
    """Return the output that a copy was made from; its bytes must be the same."""
    return Path(copied.ended.out.rsplit("Report: ", 1)[1].splitlines()[0]).parent


@pytest.mark.parametrize(
    ("stale", "expected"), [("run", ("run", "code changed")), ("keep", ("skip", "up to date"))]
)
def test_changed_code_is_run_or_kept(
    copied: Finished, stale: str, expected: tuple[str, str], tmp_path: Path
) -> None:
    """The marker of an older code is made by hand: a real edit is another test's matter."""
    for unit in ("sub-01", "sub-02"):
        path = copied.out / unit / "_done.json"
        marker = json.loads(path.read_text())
        assert marker["code"]["tensor"] == fingerprint.code("dwi-tensor")
        marker["code"]["tensor"] = "0" * 12
        path.write_text(json.dumps(marker))
    words = ("--stale", stale, "--participant-label", "02")
    ended = cohortflow(*RUN, copied.study, copied.out, *words, cwd=tmp_path)
    assert ended.status == 0, ended.text
    assert plan(copied.out) == {"sub-02": expected}


def test_a_run_that_waits_finds_nothing_left_to_do(
    make_study: Callable[..., Path], tmp_path: Path
) -> None:
    study, out = make_study(tmp_path / "study", "01"), tmp_path / "out"
    path = os.pathsep.join([str(BINARIES), os.environ["PATH"]])

    def start(said: Path, *options: str) -> subprocess.Popen[bytes]:
        with said.open("w") as file:
            return subprocess.Popen(
                [BINARIES / "cohortflow", *RUN, study, out, *options],
                env={**os.environ, "PATH": path}, cwd=tmp_path, stdout=file, stderr=file,
            )  # fmt: skip

    def until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)

    said = tmp_path / "said"
    first = start(tmp_path / "said-first")
    try:
        until((out / ".cohortflow" / "runs").is_dir, first)
        first.send_signal(signal.SIGSTOP)  # it holds the output until it may go on
        refused = cohortflow(*RUN, study, out, cwd=tmp_path)
        second = start(said, "--wait")
        until(lambda: "waiting" in said.read_text(), second)
    finally:
        first.send_signal(signal.SIGCONT)
    assert refused.status == 3
    assert "another run holds" in refused.err
    assert first.wait(300) == 0
    assert second.wait(300) == 0, said.read_text()
    assert plan(out) == {"sub-01": ("skip", "up to date")}


def test_the_scratch_of_published_units_is_freed(
    make_study: Callable[..., Path], finished: Finished, tmp_path: Path
) -> None:
    study, out = make_study(tmp_path / "study", "01", "02"), tmp_path / "out"
    ended = cohortflow(*RUN, study, out, "--clean", "unit", cwd=tmp_path)
    assert ended.status == 0, ended.text
    assert outputs(out) == outputs(finished.out)
    work = out / ".cohortflow" / "nextflow" / "work"
    images = [path for path in work.rglob("*.nii.gz") if path.is_file()]
    assert images == []
    assert len(list(work.glob("*/*/.supervise.json"))) == 2 * (len(STEPS) + 1)


def test_a_secret_is_found_nowhere_on_disk(make_study: Callable[..., Path], tmp_path: Path) -> None:
    """It reaches the steps by the environment, and no marker, log, command or report."""
    secret = "".join(["s3cr3t", "-t0ken-", "0123456789abcdef"])
    study = make_study(tmp_path / "study", "01")
    broken = study / "sub-01" / "dwi" / "sub-01_dwi.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-5000])
    path = os.pathsep.join([str(BINARIES), os.environ["PATH"]])
    given = dict.fromkeys(("HF_TOKEN", "SOME_PASSWORD"), secret)
    subprocess.run(
        [BINARIES / "cohortflow", *RUN, study, tmp_path / "out"],
        env={**os.environ, "PATH": path, **given},
        cwd=tmp_path,
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    files = [p for p in tmp_path.rglob("*") if p.is_file() and not p.is_symlink()]
    assert any(path.name == ".command.run" for path in files)
    assert [p for p in files if secret.encode() in p.read_bytes()] == []


def test_a_filesystem_whose_locks_do_nothing_is_refused(copied: Finished, tmp_path: Path) -> None:
    """Strace makes every flock succeed without a lock."""
    before = tree(copied.out / "sub-01")
    command = ["strace", "-f", "-qq", "-e", "trace=flock", "-e", "inject=flock:retval=0"]
    path = os.pathsep.join([str(BINARIES), os.environ["PATH"]])
    ended = subprocess.run(
        [*command, sys.executable, BINARIES / "cohortflow", *RUN, copied.study, copied.out],
        env={**os.environ, "PATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 3, ended.stderr
    assert "file locks do not work" in ended.stderr
    assert tree(copied.out / "sub-01") == before

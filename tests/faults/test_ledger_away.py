"""The database is killed in the middle of a run: the run ends well, and the ledger catches up."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.conftest import postgresql, server
from ledger.looking import chosen, rows
from ledger.postgres import PLAIN, Server
from pipeline.driving import BINARIES, RUN, Finished, execute, outputs

__all__ = ["postgresql", "server"]
pytestmark = pytest.mark.pipeline


def test_a_run_goes_on_without_its_database_which_catches_up(
    server: Server,
    postgresql: str,
    make_study: Callable[..., Path],
    finished: Finished,
    tmp_path: Path,
) -> None:
    study, out = make_study(tmp_path / "study", "01", "02"), tmp_path / "out"
    path = os.pathsep.join([str(BINARIES), os.environ["PATH"]])
    run = subprocess.Popen(
        [BINARIES / "cohortflow", *RUN, study, out, "--jobs", "1"],
        env={**os.environ, "PATH": path, "DATABASE_URL": postgresql},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not list(out.glob(".cohortflow/nextflow/work/*/*/.supervise.json")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    server.kill()
    text, _ = run.communicate(timeout=200)
    assert run.returncode == 0, text
    assert outputs(out) == outputs(finished.out)
    assert "ledger" in text, "the run says so, in one line"
    assert PLAIN not in text

    server.start()
    words = [BINARIES / "cohortflow", "status", out, "--json"]
    told = execute(words, tmp_path, DATABASE_URL=postgresql)
    assert told.status == 0, told.text
    caught_up = rows(chosen(postgresql, out))
    assert {row["id"]: row["state"] for row in caught_up["units"]} == {
        "sub-01": "done",
        "sub-02": "done",
    }
    rebuilt = execute(
        [BINARIES / "cohortflow", "ledger", "rebuild", out], tmp_path, DATABASE_URL=postgresql
    )
    assert rebuilt.status == 0, rebuilt.text
    assert rows(chosen(postgresql, out)) == caught_up

"""`cohortflow status`, `history` and `ledger`: what they print, and where it comes from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner, Result

from cohortflow.commands import history, ledger, status
from core.report_factory import Factory, study

LATER = {"run": "20261122-100000-c3d4", "offset": 86_400.0}


def call(command: click.Command, *arguments: object) -> Result:
    result = CliRunner().invoke(command, [str(a) for a in arguments], prog_name="x")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


@pytest.fixture
def ran(out: Path) -> Path:
    study(out).write()
    return out


def test_status_says_where_the_batch_stands(ran: Path) -> None:
    result = call(status.command, ran)
    assert result.exit_code == 0
    first, second, *more = result.stdout.splitlines()
    assert first == "Run 20261121-100000-a1b2 finished, 0:06:12"
    assert second == "22 units: 15 done, 3 invalid, 2 failed, 1 lost, 1 missing"
    assert "  convert  16 ended  1 failed  2.5 s each" in more
    assert any(line.startswith("  TIMEOUT sub-16 ran longer than 20 min: rerun") for line in more)


def test_status_as_json_holds_the_same(ran: Path) -> None:
    value = json.loads(call(status.command, ran, "--json").stdout)
    assert value["counts"]["done"] == 15
    assert value["total"] == 22
    assert value["going"] is False
    assert value["warning"] is None
    assert {p["id"] for p in value["problems"]} == {
        f"sub-{n}" for n in (14, 15, 16, 17, 18, 19, 22)
    }


def test_status_answers_from_the_files_when_the_database_is_away(
    ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = call(status.command, ran).stdout
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@127.0.0.1:1/x")
    result = call(status.command, ran)
    assert result.exit_code == 0
    assert result.stdout == there
    assert result.stderr.startswith("WARNING from the files, not the ledger: postgresql://me:***@")
    assert "hunter2" not in result.output


def test_who_may_only_read_the_output_gets_an_answer(ran: Path, root: Path, tmp_path: Path) -> None:
    call(status.command, ran)
    top = Path(tempfile.gettempdir()).resolve()
    for folder in (tmp_path, *tmp_path.resolve().parents):
        if folder != top and folder.is_relative_to(top):
            folder.chmod(0o755)  # else nobody could reach the output
    for path in (ran / ".cohortflow", *(ran / ".cohortflow").glob("ledger*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    code = "from cohortflow.commands.status import command; command()"
    done = subprocess.run(
        [*(nobody if os.getuid() == 0 else []), sys.executable, "-c", code, str(ran)],
        env={"PYTHONPATH": str(root / "bin"), "PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    (ran / ".cohortflow").chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert "22 units: 15 done" in done.stdout
    assert done.stderr.startswith("WARNING ")


def test_status_tells_a_run_that_goes_on_from_one_that_was_killed(out: Path) -> None:
    make = Factory(out, pictures=False)
    make.planned(make.unit("01"), "run", "new")
    make.write(finished=None)
    lock = out / ".cohortflow" / "run.lock"
    lock.write_text(f"process {os.getpid()} on {os.uname().nodename} since now")
    assert json.loads(call(status.command, out, "--json").stdout)["how"] == "goes on"
    gone = subprocess.Popen(["true"])
    gone.wait()
    lock.write_text(f"process {gone.pid} on {os.uname().nodename} since now")
    assert json.loads(call(status.command, out, "--json").stdout)["how"] == "killed"
    assert " killed" in call(status.command, out).stdout


def test_watch_follows_a_run_to_its_end(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Factory(out, pictures=False)
    unit = make.unit("01")
    make.planned(unit, "run", "new")
    make.write(finished=None)

    def going_on() -> Iterator[None]:
        yield  # a look at which nothing changed
        make.record("sub-01", "convert")
        make.write(finished=None)
        yield
        make.record("sub-01", "publish")
        make.publish(unit, {"snr": 1})
        make.write()
        yield

    run = going_on()
    monkeypatch.setattr(status, "clock", SimpleNamespace(sleep=lambda _seconds: next(run)))
    result = call(status.command, out, "--watch", "--json")
    assert result.exit_code == 0
    seen = [json.loads(line)["counts"] for line in result.stdout.splitlines()]
    states = [[state for state, count in counts.items() if count] for counts in seen]
    assert states == [["waiting"], ["running"], ["done"]]


def test_watch_draws_what_fits_a_terminal(ran: Path) -> None:
    from rich.console import Console

    from cohortflow.ledger import query
    from cohortflow.ledger.reader import Reader

    with Reader(ran) as reader:
        standing = reader.ask(lambda c, output: query.standing(c, output, ran))
    console = Console(width=60, height=12, force_terminal=True, record=True)
    console.print(status._picture(standing, "the database is away", console))
    lines = console.export_text().splitlines()
    assert len(lines) <= 12
    assert all(len(line) <= 60 for line in lines)
    assert any("the database is away" in line for line in lines)


def test_history_lists_the_runs(ran: Path) -> None:
    make = Factory(ran, pictures=False, **LATER)  # type: ignore[arg-type]
    make.failed("01")
    make.done("14")
    make.write(interrupted=True)
    rows = [line.split() for line in call(history.command, ran).stdout.splitlines()]
    assert rows[0][0] == "run"
    assert [row[0] for row in rows[1:]] == ["20261121-100000-a1b2", "20261122-100000-c3d4"]
    assert rows[1][3:] == ["0:06:12", "18", "13", "4", "2", "2", "finished"]
    assert rows[2][3:] == ["0:06:12", "2", "1", "1", "0", "0", "interrupted"]
    value = json.loads(call(history.command, ran, "--json").stdout)
    assert [run["published"] for run in value] == [13, 1]
    assert value[0]["started"] == "2026-11-21T10:00:00.000Z"


def test_history_of_a_unit_tells_every_attempt(ran: Path) -> None:
    make = Factory(ran, pictures=False, **LATER)  # type: ignore[arg-type]
    make.done("15")
    make.write()
    value = json.loads(call(history.command, ran, "sub-15", "--json").stdout)
    assert value["unit"]["state"] == "done"
    assert [(a["run"][:8], a["step"], a["category"]) for a in value["attempts"]] == [
        ("20261121", "convert", None),
        ("20261121", "mask", None),
        ("20261121", "tensor", "SOFTWARE"),
        *(("20261122", step, None) for step in ("convert", "mask", "tensor", "publish")),
    ]
    text = call(history.command, ran, "sub-15").stdout
    assert "SOFTWARE: ZeroDivisionError in fit" in text
    assert text.index("20261121-100000-a1b2  run: new") < text.index(
        "20261122-100000-c3d4  run: new"
    )


def test_a_unit_that_no_run_knew_is_a_usage_error(ran: Path) -> None:
    result = call(history.command, ran, "sub-99")
    assert result.exit_code == 2
    assert result.stderr.startswith("ERROR USAGE - no run knew a unit 'sub-99': ")


@pytest.mark.parametrize("command", [status.command, history.command])
def test_a_folder_that_is_no_output_is_refused(command: click.Command, tmp_path: Path) -> None:
    result = call(command, tmp_path)
    assert result.exit_code == 3
    assert "no run is recorded here" in result.stderr


def test_ledger_where_rebuild_and_upgrade(ran: Path) -> None:
    path = ran / ".cohortflow" / "ledger.sqlite"
    assert call(ledger.command, "where", ran).stdout == f"{path}\nnot made yet\n"
    assert not path.exists()
    assert call(ledger.command, "upgrade", ran).stdout == f"{path}: form 0001, before empty\n"
    rebuilt = json.loads(call(ledger.command, "rebuild", ran, "--json").stdout)
    assert rebuilt["rows"]["units"] == 22
    assert json.loads(call(ledger.command, "where", ran, "--json").stdout) == rebuilt


@pytest.mark.parametrize("name", ["where", "rebuild", "upgrade"])
def test_ledger_says_in_a_line_that_the_database_is_away(
    name: str, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@127.0.0.1:1/x")
    result = call(ledger.command, name, ran)
    assert result.exit_code == 3
    assert result.stderr.startswith("ERROR UNAVAILABLE - postgresql://me:***@127.0.0.1:1/x: ")
    assert len(result.stderr.splitlines()) == 1
    assert "hunter2" not in result.output

"""What the command lines share: one line an error, whatever went wrong."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from cohortflow import cli
from cohortflow.core.outcome import Category, Failure


def failing(error: BaseException) -> click.Command:
    @cli.tool(example="break it")
    @cli.unit_option
    def command(unit: str) -> None:
        """Break."""
        raise error

    return command


def end_of(error: BaseException, *words: str) -> Result:
    return CliRunner().invoke(failing(error), words)


@pytest.mark.parametrize("category", [c for c in Category if c not in {"INTERRUPTED", "LOST"}])
def test_a_failure_is_one_line_and_its_status(category: Category) -> None:
    failure = Failure(category, "a file\nis wrong", "mend: it")
    result = end_of(failure, "--unit", "sub-01")
    assert result.exit_code == failure.status
    assert result.stderr == f"ERROR {category} sub-01 a file\\nis wrong: mend - it\n"


def test_an_error_of_the_system_names_the_file() -> None:
    result = end_of(PermissionError(13, "Permission denied", "/data/x"))
    assert result.exit_code == 77
    assert result.stderr.startswith("ERROR PERMISSION - /data/x: Permission denied")


def test_no_memory_has_a_status_of_its_own() -> None:
    assert end_of(MemoryError()).exit_code == 137


def test_a_bug_keeps_its_traceback_and_ends_with_one_line() -> None:
    result = end_of(ZeroDivisionError("x"))
    assert result.exit_code == 70
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("ERROR SOFTWARE - ZeroDivisionError")


def test_a_wrong_call_is_one_line_that_names_the_help() -> None:
    result = end_of(ValueError(), "--nope")
    assert result.exit_code == 2
    assert result.stderr.startswith("ERROR USAGE - No such option")
    assert result.stderr.endswith("see `command --help`\n")
    assert result.stderr.count("\n") == 1


def test_ctrl_c_ends_as_a_shell_expects() -> None:
    result = end_of(KeyboardInterrupt())
    assert result.exit_code == 130
    assert "Traceback" not in result.stderr


def test_called_as_a_function_a_command_raises() -> None:
    with pytest.raises(click.NoSuchOption):
        failing(ValueError()).main(["--nope"], standalone_mode=False)


def test_a_reader_that_went_away_is_no_error() -> None:
    assert end_of(BrokenPipeError()).exit_code == 141


def test_a_terminal_without_unicode_gets_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    @cli.tool(example="say")
    def command() -> None:
        """Say."""
        print("a → b")

    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    with pytest.raises(SystemExit) as ended:
        command.main([])
    narrow.flush()
    assert ended.value.code == 0
    assert narrow.buffer.getvalue() == b"a \\u2192 b\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "pair"), [("a=b", ("a", "b")), ("a=", ("a", "")), ("a=b=c", ("a", "b=c"))]
)
def test_a_pair_is_split_at_its_first_sign(text: str, pair: tuple[str, str]) -> None:
    assert cli.pair(text) == pair


def test_the_front_door_has_two_statuses_for_what_it_foresees(tmp_path: Path) -> None:
    def status(error: Exception) -> int:
        @click.command()
        @cli.front_errors
        def command() -> None:
            raise error

        return CliRunner().invoke(command).exit_code

    assert status(Failure(Category.USAGE, "x")) == 2
    assert status(Failure(Category.INPUT_MISSING, "x")) == 3
    assert status(OSError(28, "No space left on device", "x")) == 3
    assert status(ValueError("a bug")) == 70

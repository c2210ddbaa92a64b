"""The launchers that set-up made: they start, pass signals on, and judge strict syntax."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAMS = Path(sys.executable).parent

GOOD = """
process GREET {
    input:
    val name

    output:
    stdout

    script:
    \"\"\"
    echo hello ${name}
    \"\"\"
}

workflow {
    GREET(channel.of('world')).view()
}
"""
# Valid in 24.10; the strict parser of later versions refuses each.
BAD = {
    "a statement beside declarations": "println 'x'\n" + GOOD,
    "a for loop": GOOD + "\ndef count() {\n    for (i in 1..2) { println i }\n}\n",
    "an unknown name": GOOD.replace("${name}", "${nam}"),
}
SLEEPER = """
process SLEEP {
    script:
    \"\"\"
    sleep 600
    \"\"\"
}

workflow {
    SLEEP()
}
"""


def run(folder: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PROGRAMS / program), *arguments],
        capture_output=True,
        check=False,
        cwd=folder,
        env={**os.environ, "NXF_ANSI_LOG": "false"},
        text=True,
        timeout=120,
    )


def test_lint_accepts_a_strict_script(tmp_path: Path) -> None:
    (tmp_path / "good.nf").write_text(GOOD)
    result = run(tmp_path, "nextflow-lint", "good.nf")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("fault", BAD)
def test_lint_refuses_what_the_strict_parser_refuses(tmp_path: Path, fault: str) -> None:
    (tmp_path / "bad.nf").write_text(BAD[fault])
    result = run(tmp_path, "nextflow-lint", "bad.nf")
    assert result.returncode == 1
    assert "bad.nf" in result.stdout


@pytest.mark.pipeline
@pytest.mark.parametrize("program", ["nextflow", "nextflow-strict"])
def test_a_script_runs_offline(tmp_path: Path, program: str) -> None:
    (tmp_path / "good.nf").write_text(GOOD)
    result = run(tmp_path, program, "run", "good.nf")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "hello world" in result.stdout


@pytest.mark.pipeline
def test_the_strict_parser_is_the_one_that_runs(tmp_path: Path) -> None:
    (tmp_path / "bad.nf").write_text(BAD["a for loop"])
    result = run(tmp_path, "nextflow-strict", "run", "bad.nf")
    assert result.returncode == 1
    assert "no longer supported" in result.stdout + result.stderr


@pytest.mark.pipeline
def test_a_signal_to_the_launcher_ends_nextflow(tmp_path: Path) -> None:
    (tmp_path / "sleep.nf").write_text(SLEEPER)
    process = subprocess.Popen(
        [str(PROGRAMS / "nextflow"), "run", "sleep.nf"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 300
        while not list(tmp_path.glob("work/*/*/.command.begin")):
            assert time.monotonic() < deadline, "the task did not start"
            assert process.poll() is None
            time.sleep(0.1)
        name = ["ps", "-o", "comm=", "-p", str(process.pid)]
        assert subprocess.check_output(name, text=True).strip() == "java"
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(30) != 0
    finally:
        process.kill()
        process.communicate()


def test_a_heap_of_the_users_own_wins(tmp_path: Path) -> None:
    result = subprocess.run(
        [str(PROGRAMS / "nextflow"), "-version"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "NXF_OPTS": "-Xmx64g -XX:+PrintFlagsFinal"},
        text=True,
    )
    assert f"MaxHeapSize                              = {64 * 1024**3}" in result.stdout

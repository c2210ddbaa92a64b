"""A step that sends something is given the hub's token, and no file of the run holds it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pipeline.driving import BINARIES, execute

pytestmark = pytest.mark.pipeline

TOKEN = "hf_thisisasecretofatest"
SCRIPT = """
process A_LOCAL {
    label 'small'
    output:
    path 'seen'
    script:
    '''
    env > seen
    '''
}
process A_SEND {
    label 'network'
    output:
    path 'seen'
    script:
    '''
    env > seen
    '''
}
workflow {
    A_LOCAL()
    A_SEND()
}
"""
# Stands in for an engine: notes its arguments, and gives the command the variables that they name.
ENGINE = """#!{python}
import os, re, sys
words = sys.argv[1:]
with open({notes!r}, "a") as notes:
    print(*words, file=notes)
given = {{}}
for before, word in zip(["", *words], words):
    if before in ("--env", "-e"):
        name, sign, value = word.partition("=")
        if sign or name in os.environ:
            given[name] = value if sign else os.environ[name]
    file = word.removeprefix("--set-env=")
    if file.startswith("/dev/fd/"):
        given |= dict(line.strip().split("=", 1) for line in open(file))
at = max(n for n, word in enumerate(words) if word == {image!r}) + 1
at += words[at] == "--"
os.environ.pop("HF_TOKEN", None)
os.environ.pop("HF_ENDPOINT", None)
os.execvpe(words[at], words[at:], {{**os.environ, **given}})
"""
PROGRAMS = {"charliecloud": "ch-run"}


@pytest.mark.parametrize("engine", ["podman", "docker", "charliecloud", "apptainer"])
def test_a_token_reaches_the_step_that_sends_and_stands_in_no_file_or_command(
    root: Path, tmp_path: Path, engine: str
) -> None:
    image, notes = tmp_path / "image", tmp_path / "notes"
    program = tmp_path / "programs" / PROGRAMS.get(engine, engine)
    program.parent.mkdir()
    program.write_text(ENGINE.format(python=sys.executable, notes=str(notes), image=str(image)))
    program.chmod(0o755)
    image.mkdir()
    (tmp_path / "main.nf").write_text(SCRIPT)
    (tmp_path / "nextflow.config").write_text(
        f"params {{ lane = 'x'; input = ''; outdir = '{tmp_path}/out'; bids_filter_file = ''\n"
        "run_id = 'r'; unit_timeout = 0; cluster = false; max_cpus = 0; max_memory = ''\n"
        "max_time = ''; image_folder = ''; hgnc = '' }\n"
        f"includeConfig '{root}/conf/base.config'\nincludeConfig '{root}/conf/{engine}.config'\n"
        f"process.container = '{image}'\n"
    )
    path = f"{program.parent}:{root / 'bin'}:{BINARIES}:{os.environ['PATH']}"
    ended = execute(
        [BINARIES / "nextflow", "run", "main.nf", "-ansi-log", "false"],
        tmp_path, PATH=path, HF_TOKEN=TOKEN, HF_ENDPOINT="http://hub.example",
    )  # fmt: skip
    assert ended.status == 0, ended.text
    seen = {
        ("A_SEND" in (path.parent / ".command.run").read_text()): path.read_text()
        for path in (tmp_path / "work").glob("*/*/seen")
    }
    assert {f"HF_TOKEN={TOKEN}", "HF_ENDPOINT=http://hub.example"} <= set(seen[True].splitlines())
    assert "HF_" not in seen[False]
    held = [
        path.relative_to(tmp_path)
        for path in tmp_path.rglob("*")
        if path.is_file() and path.name != "seen" and TOKEN.encode() in path.read_bytes()
    ]
    assert held == []
    assert len(notes.read_text().splitlines()) == 2

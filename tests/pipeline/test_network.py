"""A step that sends something is given the hub's token, and no file of the run holds it."""

from __future__ import annotations

import os
import re
import subprocess
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
    cat "$HF_TOKEN_PATH" > token
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
for name in [name for name in os.environ if name.startswith("HF_") or "PROXY" in name.upper()]:
    del os.environ[name]
os.execvpe(words[at], words[at:], {{**os.environ, **given}})
"""
PROGRAMS = {"charliecloud": "ch-run"}


PROXY = "http://proxy.example:3128"


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
        tmp_path, PATH=path, HF_TOKEN=TOKEN, HF_ENDPOINT="http://hub.example", HTTPS_PROXY=PROXY,
        SSL_CERT_FILE="/lab/ca.pem",
    )  # fmt: skip
    assert ended.status == 0, ended.text
    work = tmp_path / "work"
    seen = {
        ("A_SEND" in (path.parent / ".command.run").read_text()): path.read_text()
        for path in work.glob("*/*/seen")
    }
    assert [path.read_text() for path in work.glob("*/*/token")] == [TOKEN]
    assert {"HF_ENDPOINT=http://hub.example", f"HTTPS_PROXY={PROXY}"} <= set(seen[True].split())
    assert "HF_TOKEN=" not in seen[True], "engines keep a container's variables in their files"
    assert "HF_" not in seen[False]
    assert PROXY not in seen[False]
    held = [
        path.relative_to(tmp_path)
        for path in tmp_path.rglob("*")
        if path.is_file() and path.name != "token" and TOKEN.encode() in path.read_bytes()
    ]
    assert held == []
    local, sends = sorted(
        notes.read_text().splitlines(), key=lambda line: "HF_" in line or "/dev/fd/" in line
    )
    assert ("/lab/ca.pem:" in local, "/lab/ca.pem:" in sends) == (False, True)
    if engine in {"podman", "docker"}:
        assert ("--network=none" in local, "--network=host" in local) == (True, False)
        assert ("--network=none" in sends, "--network=host" in sends) == (False, True)


def token(root: Path, **environment: str) -> str:
    """Return what a container is given on its standard input."""
    text = (root / "conf" / "base.config").read_text()
    function = re.search(r"^cohortflow_token\(\) \{.*?^\}$", text, re.DOTALL | re.MULTILINE)
    assert function
    script = f"set -u\n{function[0]}\ncat < <(cohortflow_token)\n"
    return subprocess.run(
        ["bash", "-c", script], env={"PATH": os.environ["PATH"], **environment},
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip


def test_the_token_is_found_where_the_hubs_client_finds_it(root: Path, tmp_path: Path) -> None:
    for name in ("named", "hub/token", "cache/huggingface/token", "me/.cache/huggingface/token"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"hf_{name[:3]}")
    places = {
        "HOME": f"{tmp_path}/me",
        "XDG_CACHE_HOME": f"{tmp_path}/cache",
        "HF_HOME": f"{tmp_path}/hub",
        "HF_TOKEN_PATH": f"{tmp_path}/named",
        "HF_TOKEN": "hf_given",
    }
    found = [token(root, **dict(list(places.items())[:count])) for count in range(6)]
    assert found == ["", "hf_me/", "hf_cac", "hf_hub", "hf_nam", "hf_given"]
    assert token(root, HF_TOKEN_PATH=f"{tmp_path}/nothing") == ""

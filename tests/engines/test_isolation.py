"""What a step in a container can reach: it tries."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.running import Engine, checkout

pytestmark = pytest.mark.pipeline

TOOL = r'''#!/usr/bin/env python3
"""Tries to do what a step must not; says on stderr what it could."""
import json, os, socket, sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
told = json.loads((HERE / "told.json").read_text())
OUT, PORT = Path(told["out"]), told["port"]
source = Path(next(w for w in sys.argv[1:] if not w.startswith("-")))


def could(action):
    try:
        action()
    except OSError as error:
        return error.strerror or str(error)
    return "yes"


def connect():
    socket.create_connection(("127.0.0.1", PORT), 2).close()


found = {
    "reach the network": could(connect),
    "see a network device": "yes" if len(socket.if_nameindex()) > 1 else "no",
    "change an input": could(lambda: source.open("r+b")),
    "write beside an input": could(lambda: source.resolve().with_name("new").touch()),
    "change the code": could(lambda: (HERE / "new").touch()),
    "write into the output": could(lambda: (OUT / "new").touch()),
    "read the output": "yes" if (OUT / "dataset_description.json").exists() else "no",
    "write another task's folder": could(lambda: Path("../../new").touch()),
    "write into the system": could(lambda: Path("/usr/new").touch()),
    "write its own folder": could(lambda: Path("new").touch()),
    "threads": os.environ["OMP_NUM_THREADS"] + os.environ["OPENBLAS_NUM_THREADS"],
    "the user's umask": f"{os.umask(0):03o}",
}
print("FOUND " + json.dumps(found), file=sys.stderr)
sys.exit(70)
'''


@pytest.mark.parametrize("name", ["podman", "slurm,podman"])
def test_a_step_reaches_its_own_folder_and_nothing_else(
    name: str,
    engine_of: Callable[[str], Engine],
    make_study: Callable[..., Path],
    root: Path,
    tmp_path: Path,
) -> None:
    engine, out = engine_of(name), tmp_path / "out"
    # Beside each other, so that Nextflow mounts the folder that holds them all.
    study = make_study(tmp_path / "study", "01")
    copy = checkout(root, tmp_path / "checkout", dwi_convert=TOOL)
    two = engine.config("process { withName: 'DWI_CONVERT' { cpus = 2 } }")
    with socket.create_server(("127.0.0.1", 0)) as server:
        told = {"out": str(out), "port": server.getsockname()[1]}
        (copy / "bin" / "told.json").write_text(json.dumps(told))
        command = engine.command(study, out, root=copy, config=two)
        ended = engine.execute(["sh", "-c", 'umask 002; exec "$@"', "sh", *command])
    assert ended.status == 1, ended.text
    (log,) = out.glob(".cohortflow/failed/sub-01/*/command.err")
    line = next(text for text in log.read_text().splitlines() if text.startswith("FOUND "))
    found = json.loads(line.removeprefix("FOUND "))
    readonly = "Read-only file system"
    assert found == {
        "reach the network": "Connection refused",
        "see a network device": "no",
        "change an input": readonly,
        "write beside an input": readonly,
        "change the code": readonly,
        "write into the output": readonly,
        "read the output": "no",
        "write another task's folder": readonly,
        "write into the system": readonly,
        "write its own folder": "yes",
        "threads": "22",
        "the user's umask": "002",
    }


def test_what_a_run_leaves_belongs_to_the_users_group_and_keeps_the_umask(
    engine_of: Callable[[str], Engine],
    make_study: Callable[..., Path],
    root: Path,
    tmp_path: Path,
) -> None:
    engine, shared = engine_of("podman"), tmp_path / "shared"
    study = make_study(tmp_path / "study", "01")
    shared.mkdir()
    os.chown(shared, -1, 100)
    shared.chmod(0o2775)
    out = shared / "out"
    command = engine.command(study, out, root=root)
    ended = engine.execute(["sh", "-c", 'umask 002; exec "$@"', "sh", *command])
    assert ended.status == 0, ended.text
    work = out / ".cohortflow" / "nextflow"
    left = [path for path in out.rglob("*") if not path.is_relative_to(work)]
    assert (out / "sub-01" / "_done.json") in left
    for path in left:
        assert path.stat().st_gid == 100, path
        assert path.stat().st_mode & 0o020, path

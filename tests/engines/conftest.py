"""Fixtures of the tests on containers and clusters."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from engines import podman as podman_here
from engines import slurm as slurm_here
from engines.absent import absent


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

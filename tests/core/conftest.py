"""Fixtures of the engine's tests."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cohortflow.core import lanes
from core.engine_factory import LANE


@pytest.fixture
def fake_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the tests' own lane the one that every name means."""
    monkeypatch.setattr(lanes, "get", lambda _name: LANE)


@pytest.fixture
def no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for a filesystem whose folders cannot be exchanged."""

    class Libc:
        def renameat2(self, *_arguments: object) -> int:
            ctypes.set_errno(errno.EINVAL)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_a, **_k: Libc())


@pytest.fixture(scope="session")
def environment(root: Path) -> dict[str, str]:
    """Return the environment of a process that imports the package from the checkout."""
    return {**os.environ, "PYTHONPATH": str(root / "bin"), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return an output folder."""
    path = tmp_path / "out"
    path.mkdir()
    return path


@pytest.fixture
def strace() -> str:
    """Return the path of strace, or leave the test out where it does not work (CI fails)."""
    found = shutil.which("strace") or ""
    message = "strace does not work here: apt-get install strace, and allow ptrace"
    works = found and subprocess.run([found, "-o", os.devnull, "true"], check=False).returncode == 0
    if not works:
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found

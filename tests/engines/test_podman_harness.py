"""Containers start on this machine with what the fixture gives to children."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from engines import podman as here


def test_a_container_starts_with_the_fixtures_environment(
    podman: Mapping[str, str], tmp_path: Path
) -> None:
    command = [*here.RUN, str(here.rootfs(tmp_path)), "/usr/bin/echo", "inside"]
    done = subprocess.run(
        command, env={**os.environ, **podman}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "inside\n"), done.stderr


def test_nothing_is_given_where_podman_works_without(
    podman: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in podman.items():
        monkeypatch.setenv(name, value)
    assert here.environment(tmp_path) == {}


def test_a_machine_without_podman_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(here, "SYSTEM_PATH", str(tmp_path))
    with pytest.raises(here.CannotStartError, match="no podman: apt-get install podman"):
        here.environment(tmp_path)

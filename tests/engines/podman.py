"""What podman needs on this machine beyond the product's own configuration.

A sandbox that forbids to raise limits refuses podman's default ones, and one with mixed control
groups needs runc. Both are the machine's matter, so they stand in a containers.conf that only the
tests' children are given.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

PROGRAMS = {"podman": "podman", "runc": "runc", "conmon": "conmon", "catatonit": "catatonit"}
SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
RUN = ("podman", "run", "--rm", "--init", "--network=none", "--volume=/usr:/usr:ro", "--rootfs")
LIMITED = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
"""


class CannotStartError(RuntimeError):
    """No container can be started on this machine; the message says why."""


def missing() -> str | None:
    """Say what this machine lacks for podman, if anything."""
    for program, package in PROGRAMS.items():
        found = shutil.which(program, path=SYSTEM_PATH + ":/usr/libexec/podman")
        if found is None:
            return f"no {program}: apt-get install {package}"
    return None


def environment(folder: Path) -> Mapping[str, str]:
    """Return what children need so that ``podman run`` works: nothing where it works anyway.

    Raises
    ------
    CannotStartError
        Containers cannot be started with these settings either.
    """
    lacks = missing()
    if lacks is not None:
        raise CannotStartError(lacks)
    if _said(folder, {}) is None:
        return {}
    limited = folder / "containers.conf"
    limited.write_text(LIMITED)
    own = {"CONTAINERS_CONF": str(limited)}
    said = _said(folder, own)
    if said is not None:
        raise CannotStartError(f"podman starts no container: {said}")
    return own


def _said(folder: Path, own: Mapping[str, str]) -> str | None:
    """Start a container of this machine's own programs; return podman's words when it cannot."""
    done = subprocess.run(
        [*RUN, str(rootfs(folder)), "/usr/bin/true"],
        env={**os.environ, **own}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    return None if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2]


def rootfs(folder: Path) -> Path:
    """Return an empty system that takes its programs from /usr; no image is needed."""
    made = folder / "rootfs"
    for name in ("usr", "etc", "proc", "sys", "dev", "run", "tmp"):
        (made / name).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "lib", "lib64"):
        if not (made / name).is_symlink():
            (made / name).symlink_to(f"usr/{name}")
    return made

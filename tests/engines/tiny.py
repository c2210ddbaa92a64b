"""An image that a test makes in a moment: a shell and a few programs of this machine."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

PROGRAMS = ("sh", "sleep", "cat", "touch", "ps")


def tiny_image(*programs: str) -> str:
    """Make an image of this machine's programs, unless it is there; return its name.

    Parameters
    ----------
    *programs : str
        What it holds in /bin, with the libraries that they need; `PROGRAMS` by default.
    """
    archive = _archive(programs or PROGRAMS)
    name = f"localhost/cohortflow-test-tiny:{hashlib.sha256(archive).hexdigest()[:12]}"
    lock = Path(tempfile.gettempdir()) / f"cohortflow-test-tiny-{os.getuid()}.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # two tests that start together make it once
        if subprocess.run(["podman", "image", "exists", name], check=False).returncode != 0:
            subprocess.run(
                ["podman", "import", "--quiet", "--change", "ENV=PATH=/bin", "-", name],
                input=archive, stdout=subprocess.DEVNULL, check=True,
            )  # fmt: skip
    return name


def _archive(programs: tuple[str, ...]) -> bytes:
    """Return a tar of programs and libraries, the same bytes each time."""
    files: dict[str, Path] = {}
    for program in programs:
        path = shutil.which(program)
        assert path, f"no program {program}"
        files[f"/bin/{program}"] = Path(path)
        needs = subprocess.run(["ldd", path], capture_output=True, check=False, text=True).stdout
        files |= {name: Path(name) for name in re.findall(r"(/\S+) \(0x", needs)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("proc", "sys", "dev", "etc", "tmp"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, path in sorted(files.items()):
            content = path.read_bytes()
            entry = tarfile.TarInfo(name.lstrip("/"))
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()

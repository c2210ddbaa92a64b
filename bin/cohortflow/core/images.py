"""Which image a lane's steps run in, for each container runtime, and whether it is here.

The image of a lane is named after its recipe and the lock file, so that it never is out of date.
The same name is made by ``conf/containers.config`` and by ``containers/build.sh``.
"""

from __future__ import annotations

import hashlib
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from cohortflow.core.fingerprint import PACKAGE
from cohortflow.core.outcome import Category, Failure

Runtime = Literal["podman", "docker", "charliecloud", "apptainer"]

RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
PREFIX = "localhost"


def project() -> Path:
    """Return the folder of recipes and lock file: the checkout, else the installed copy.

    Raises
    ------
    Failure
        CONFIG when there is neither.
    """
    installed = Path(sysconfig.get_path("data"), "share", "cohortflow")
    for folder in (PACKAGE.parent.parent, installed):
        if (folder / "containers").is_dir() and (folder / "requirements.lock").is_file():
            return folder
    raise Failure(
        Category.CONFIG, "containers/ is not beside the package", "install cohortflow again"
    )


def lanes(root: Path | None = None) -> list[str]:
    """Return the lanes that have a recipe.

    Parameters
    ----------
    root : Path, optional
        Folder of ``containers/`` and ``requirements.lock``; :func:`project` when left out.
    """
    return sorted(path.parent.name for path in _recipes(root).glob("*/Containerfile"))


def tag(lane: str, root: Path | None = None) -> str:
    """Return a lane's tag: 12 digits of the SHA-256 of its recipe followed by the lock file.

    Raises
    ------
    Failure
        CONFIG when the lane has no recipe.
    """
    recipe = _recipes(root) / lane / "Containerfile"
    lock = (root or project()) / "requirements.lock"
    if not recipe.is_file():
        known = ", ".join(lanes(root))
        raise Failure(Category.CONFIG, f"no image recipe for lane {lane}", f"choose one of {known}")
    return hashlib.sha256(recipe.read_bytes() + lock.read_bytes()).hexdigest()[:12]


def name(lane: str, prefix: str = PREFIX, root: Path | None = None) -> str:
    """Return the image that Podman and Docker start, for example ``localhost/cohortflow-dwi:…``."""
    return f"{prefix}/cohortflow-{lane}:{tag(lane, root)}"


def folder(lane: str, images: Path | None = None, root: Path | None = None) -> Path:
    """Return the folder that Charliecloud starts.

    Parameters
    ----------
    lane : str
    images : Path, optional
        Folder of images; ``.images`` beside the recipes when left out.
    root : Path, optional
        Folder of ``containers/`` and ``requirements.lock``; :func:`project` when left out.
    """
    images = images or (root or project()) / ".images"
    return images / f"cohortflow-{lane}-{tag(lane, root)}"


def file(lane: str, images: Path | None = None, root: Path | None = None) -> Path:
    """Return the file that Apptainer starts: that of :func:`folder` with ``.sif``."""
    target = folder(lane, images, root)
    return target.with_name(f"{target.name}.sif")


def reference(
    runtime: Runtime,
    lane: str,
    prefix: str = PREFIX,
    images: Path | None = None,
    root: Path | None = None,
) -> str:
    """Return what a run with a runtime would start: a name, or a path."""
    if runtime == "charliecloud":
        return str(folder(lane, images, root))
    if runtime == "apptainer":
        return str(file(lane, images, root))
    return name(lane, prefix, root)


def present(runtime: Runtime, image: str, environ: Mapping[str, str] | None = None) -> bool:
    """Tell whether an image, as :func:`reference` names it, is on this machine.

    Parameters
    ----------
    runtime : {"podman", "docker", "charliecloud", "apptainer"}
    image : str
        A name for Podman and Docker, else a path.
    environ : Mapping of str to str, optional
        Environment to ask Podman or Docker in; this process's own when left out.

    Returns
    -------
    bool
        False, too, when the engine is not installed or does not answer.
    """
    if runtime == "charliecloud":
        return Path(image, "ch", "environment").is_file()
    if runtime == "apptainer":
        return Path(image).is_file()
    try:
        result = subprocess.run(
            [runtime, "image", "inspect", "--format", "{{.Id}}", image],
            capture_output=True,
            check=False,
            env=environ and dict(environ),
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0


def remedy(runtime: Runtime, root: Path | None = None) -> str:
    """Say how to make the image: by make in a checkout, by the script of an installed copy."""
    root = root or project()
    if (root / "Makefile").is_file():
        choice = "" if runtime == "podman" else f" RUNTIME={runtime}"
        return f"run `make images{choice}`"
    return f"run `RUNTIME={runtime} bash {root / 'containers' / 'build.sh'}`"


def _recipes(root: Path | None) -> Path:
    return (root or project()) / "containers"

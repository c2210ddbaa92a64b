"""See that a run in containers can start them, before anything is written."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from cohortflow.core import images
from cohortflow.core.outcome import Category, Failure

UNMOUNTABLE = re.compile(r'[:$`"\\]')
PROGRAMS = {"charliecloud": "ch-run"}


def check(profile: str, lane: str, paths: Sequence[Path] = (), *, own_image: bool = True) -> None:
    """Refuse a run whose paths no container can be given, or whose runtime or image is missing.

    With a scheduler the containers start on its nodes, and the first task there tells.

    Parameters
    ----------
    profile : str
        Nextflow's profiles, separated by commas.
    lane : str
    paths : sequence of Path
        Study, output and work folder.
    own_image : bool
        False when a site's configuration may name another image.

    Raises
    ------
    Failure
        USAGE for a path, CONFIG for a runtime or image.
    """
    names = [name.strip() for name in profile.split(",") if name.strip()]
    runtimes = [runtime for runtime in images.RUNTIMES if runtime in names]
    if not runtimes:
        return
    runtime = runtimes[0]
    for path in paths:
        if odd := UNMOUNTABLE.search(str(path.absolute())):
            raise Failure(
                Category.USAGE,
                f"{path} holds {odd[0]!r}, which {runtime} cannot mount",
                "rename the folder, or run without a container profile",
            )
    if set(names) - {*runtimes, "standard"}:
        return
    program = PROGRAMS.get(runtime, runtime)
    if shutil.which(program) is None:
        raise Failure(
            Category.CONFIG,
            f"--profile {runtime}: {program} is not installed",
            f"install {program}, or choose another profile",
        )
    image = images.reference(runtime, lane)
    if own_image and not images.present(runtime, image):
        raise Failure(
            Category.CONFIG, f"the image {image} is not on this machine", images.remedy(runtime)
        )

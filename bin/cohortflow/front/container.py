"""See that a run in containers can start them, before anything is written."""

from __future__ import annotations

import shutil

from cohortflow.core import images
from cohortflow.core.outcome import Category, Failure

PROGRAMS = {"charliecloud": "ch-run"}


def check(profile: str, lane: str) -> None:
    """Refuse a run on this machine whose container runtime or image is missing.

    Nothing is asked when a scheduler is named as well: the containers start on its nodes, and the
    first task there tells.

    Parameters
    ----------
    profile : str
        Nextflow's profiles, separated by commas.
    lane : str

    Raises
    ------
    Failure
        CONFIG.
    """
    names = [name.strip() for name in profile.split(",") if name.strip()]
    runtimes = [runtime for runtime in images.RUNTIMES if runtime in names]
    if not runtimes or set(names) - {*runtimes, "standard"}:
        return
    runtime = runtimes[0]
    program = PROGRAMS.get(runtime, runtime)
    if shutil.which(program) is None:
        raise Failure(
            Category.CONFIG,
            f"--profile {runtime}: {program} is not installed",
            f"install {program}, or choose another profile",
        )
    image = images.reference(runtime, lane)
    if not images.present(runtime, image):
        raise Failure(
            Category.CONFIG, f"the image {image} is not on this machine", images.remedy(runtime)
        )

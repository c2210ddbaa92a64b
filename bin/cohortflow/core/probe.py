"""What a machine that runs steps must have: asked by the first task on a cluster."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

from cohortflow.core import doctor
from cohortflow.core.needs import LANES
from cohortflow.core.outcome import Category, Failure


def probe(
    lane: str, folders: Mapping[str, Path | None], machine: doctor.Machine | None = None
) -> str:
    """Look at this machine as a step of a lane would.

    Parameters
    ----------
    lane : str
    folders : mapping of str to Path or None
        What must be seen, by what it is; None is not asked for.
    machine : doctor.Machine, optional
        This machine when left out.

    Returns
    -------
    str
        The machine's name.

    Raises
    ------
    Failure
        CONFIG when a program or package of the lane is missing, or a folder is not to be seen.
    """
    machine = machine or doctor.this_machine()
    name = platform.node()
    found = [doctor.check(need, lane, machine) for need in LANES[lane]]
    missing = [finding.name for finding in found if finding.status == "missing"]
    if missing:
        raise Failure(
            Category.CONFIG,
            f"the machine {name} has no {', '.join(missing)}",
            "install cohortflow in a folder that all nodes see, or use a container profile",
        )
    for what, folder in folders.items():
        if folder is not None and not folder.is_dir():
            raise Failure(
                Category.CONFIG,
                f"the machine {name} does not see the {what} {folder}",
                "put it where all nodes see it",
            )
    return name

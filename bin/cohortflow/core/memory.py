"""The memory that the processes below this one use, and whether the kernel ended one for it."""

from __future__ import annotations

import os

from cohortflow.core.processes import contents, family


def used() -> int:
    """Return the resident memory of all descendants, in bytes; shared pages count each time."""
    resident = (contents(f"/proc/{pid}/statm").split() for pid in family())
    return sum(int(sizes[1]) for sizes in resident if sizes) * os.sysconf("SC_PAGESIZE")


def used_exactly() -> int:
    """Return the memory of all descendants, in bytes, each shared page counted once; it is dear."""
    return 1024 * sum(
        int(line.split()[1])
        for pid in family()
        for line in contents(f"/proc/{pid}/smaps_rollup").splitlines()
        if line.startswith(b"Pss:")
    )


def kills(proc: str = "/proc", groups: str = "/sys/fs/cgroup") -> int:
    """Count the processes of this one's control group that the kernel ended for lack of memory.

    Parameters
    ----------
    proc : str
        Where the kernel shows the processes.
    groups : str
        Where the control groups are mounted, of version 1, 2 or both.

    Returns
    -------
    int
        Since the group was made; 0 when the kernel does not tell.
    """
    for line in contents(f"{proc}/self/cgroup").decode(errors="replace").splitlines():
        number, controllers, group = line.split(":", 2)
        if "memory" in controllers.split(","):
            return _count(f"{groups}/memory", group, "memory.oom_control")
        # Version 2 is listed last, and has the memory when no line of version 1 has it.
        if (number, controllers) == ("0", ""):
            return _count(groups, group, "memory.events")
    return 0


def alone(root: str = "/") -> bool:
    """Tell whether this is a container, or a job with a control group of its own.

    Parameters
    ----------
    root : str
        The root of the file system.
    """
    marks = (f"{root}run/.containerenv", f"{root}.dockerenv")
    return any(map(os.path.exists, marks)) or b"/job_" in contents(f"{root}proc/self/cgroup")


def _count(mount: str, group: str, file: str) -> int:
    """Read the count from a group's file.

    In a container the mount shows the container's own part only, while the group may be named as
    it is outside: so the beginning of the name is left out until there is such a folder.
    """
    names = group.strip("/").split("/")
    for first in range(len(names) + 1):
        text = contents("/".join([mount, *names[first:], file]))
        if text:
            counts = dict(line.split() for line in text.splitlines())
            return int(counts.get(b"oom_kill", 0))
    return 0

"""The processes around this one, as /proc shows them, and the end of those below it."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # the supervisor says why


def contents(path: str) -> bytes:
    """Return a file of /proc or /sys; empty when it, or the process it tells of, is not there."""
    try:
        file = os.open(path, os.O_RDONLY)
        try:
            parts = []
            while part := os.read(file, 1 << 16):  # the kernel gives a page at a time
                parts.append(part)
            return b"".join(parts)
        finally:
            os.close(file)
    except OSError:
        return b""


def started(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it is not there."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def parent(pid: int) -> int | None:
    """Return the parent of a process; None when it is not there."""
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def _stat(pid: int) -> list[bytes]:
    """Return what follows the name of a process, which may hold any character."""
    return contents(f"/proc/{pid}/stat").rpartition(b")")[2].split()


def is_above(pid: int) -> bool:
    """Tell whether this process descends from another one."""
    above: int | None = os.getppid()
    while above and above != pid:
        above = parent(above)
    return above == pid


def descendants(root: int) -> list[int]:
    """Return the process ids below one, as /proc shows them now; it looks at every process."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib costs start-up time
        if name.isdigit() and (above := parent(int(name))) is not None:
            children.setdefault(above, []).append(int(name))
    found = [root]
    for pid in found:  # grows while it is read
        found += children.get(pid, [])
    return found[1:]


def family() -> list[int]:
    """Return the process ids below this one; it looks at these only.

    That is cheap on a machine with thousands of processes, but one that starts or ends meanwhile
    may be missed: good enough to measure, not to end them.
    """
    me = os.getpid()
    if not os.access(f"/proc/{me}/task/{me}/children", os.R_OK):  # a kernel built without it
        return descendants(me)
    found = [me]
    for pid in found:  # grows while it is read
        found += _children(pid)
    return found[1:]


def _children(pid: int) -> list[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208
    except OSError:
        return []
    return [
        int(child)
        for thread in threads
        for child in contents(f"/proc/{pid}/task/{thread}/children").split()
    ]


def end_all(grace: float) -> None:
    """End all descendants: SIGTERM, `grace` seconds, then SIGKILL until none is left."""
    if not _drain():
        return
    if grace > 0:
        _signal_all(signal.SIGTERM)
    deadline = time.monotonic() + grace
    while _drain():
        if time.monotonic() >= deadline:
            _signal_all(signal.SIGKILL)
        signal.sigtimedwait({signal.SIGCHLD}, 0.05)


def _drain() -> bool:
    """Collect ended children; return whether any process is left."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True


def _signal_all(number: int) -> None:
    for pid in descendants(os.getpid()):
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue

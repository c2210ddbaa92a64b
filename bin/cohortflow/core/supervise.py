"""The supervisor: runs one step, ends it with all its descendants, and records what happened.

It imports little and knows nothing of the package, because it starts once for every task.
Limits and names come by environment, so that they are not part of Nextflow's task hash:
``COHORTFLOW_RUN``, ``COHORTFLOW_UNIT``, ``COHORTFLOW_STEP``, ``COHORTFLOW_ATTEMPT``,
``COHORTFLOW_TIME`` (seconds of this step), ``COHORTFLOW_BUDGET`` (seconds of the unit, over its
steps), ``COHORTFLOW_MEMORY`` (bytes), ``COHORTFLOW_GRACE`` (seconds between SIGTERM and SIGKILL)
and ``COHORTFLOW_ENGINE`` (process id of a Nextflow on this machine: the step ends with it).
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

RECORD = ".supervise.json"
GRACE = 30.0
TIMEOUT = 124
KILLED = 137
NOT_EXECUTABLE = 126
NOT_FOUND = 127
_INTERVAL = 1.0
_PR_SET_CHILD_SUBREAPER = 36
_ENDING = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2}


@dataclass
class Record:
    """What the supervisor writes into the task's folder, at the start and at the end.

    ``spent`` holds the seconds of this step and of those that its inputs come from.
    """

    schema_version: int
    run: str
    unit: str
    step: str
    attempt: int
    started: str
    exit: int | None = None
    reason: str = ""
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    signal: str = ""
    spent: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """Seconds and bytes a step, and seconds a unit may use; None is unlimited."""

    seconds: float | None
    memory: int | None
    grace: float = GRACE
    budget: float | None = None
    engine: int | None = None


def limits(environment: Mapping[str, str]) -> Limits:
    """Read the limits from an environment; what is absent or not a number is unlimited."""
    seconds = _number(environment.get("COHORTFLOW_TIME"))
    memory = _number(environment.get("COHORTFLOW_MEMORY"))
    grace = _number(environment.get("COHORTFLOW_GRACE"))
    budget = _number(environment.get("COHORTFLOW_BUDGET"))
    engine = _number(environment.get("COHORTFLOW_ENGINE"))
    return Limits(
        seconds,
        int(memory) if memory else None,
        GRACE if grace is None else grace,
        budget or None,
        int(engine) if engine else None,
    )


def run(command: Sequence[str], environment: Mapping[str, str], folder: str) -> int:
    """Run a command to its end, or end it.

    Parameters
    ----------
    command : sequence of str
    environment : mapping
        Passed on to the command; also names the unit and its limits.
    folder : str
        Where the record is written.

    Returns
    -------
    int
        The command's exit status; 124 after its time limit, 137 after its memory limit, 128 + n
        when signal n ended it or the supervisor; 126 or 127, as a shell says, when it could not
        be started.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    waited = _ENDING | {signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    # An ignored SIGCHLD would be reaped unseen, and an ignored TERM never delivered.
    for number in waited:
        signal.signal(number, signal.SIG_DFL)
    record = _record(environment)
    record.spent = spent_before(folder)
    _write(record, folder)
    begin = time.monotonic()
    try:
        child = os.posix_spawnp(
            command[0],
            list(command),
            dict(environment),
            setsigmask=[],
            setsigdef=[*_ENDING, signal.SIGPIPE],
        )
    except OSError as error:
        os.write(2, f"core-supervise: {command[0]}: {error.strerror}\n".encode())
        record.exit = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        _write(record, folder)
        return record.exit
    status = _watch(child, limits(environment), record, begin, folder)
    record.exit = status
    record.seconds = round(time.monotonic() - begin, 3)
    record.spent[record.step] = record.seconds
    _write(record, folder)
    return status


def _watch(child: int, limit: Limits, record: Record, begin: float, folder: str) -> int:
    """Wait for the child within its limits; return the exit status to report."""
    seconds, reason = _time_left(limit, record)
    engine = _started(limit.engine)
    sampled = begin
    while (status := _reap(child)) is None:
        left = _INTERVAL
        if seconds is not None:
            left = min(left, max(begin + seconds - time.monotonic(), 0))
        info = signal.sigtimedwait(_ENDING | {signal.SIGCHLD}, left)
        if info is not None and info.si_signo in _ENDING:
            number = signal.Signals(info.si_signo)
            return _interrupted(record, folder, "signal", number, limit.grace)
        if seconds is not None and time.monotonic() - begin >= seconds:
            record.reason = reason
            end_all(limit.grace)
            return TIMEOUT
        if time.monotonic() - sampled < _INTERVAL / 2:
            continue  # many short children must not cost a look at all processes each
        sampled = time.monotonic()
        if engine is not None and _started(limit.engine) != engine:
            return _interrupted(record, folder, "engine", signal.SIGTERM, limit.grace)
        record.peak_memory_bytes = max(record.peak_memory_bytes, memory_used())
        if limit.memory is not None and _exceeds(limit.memory):
            record.reason = "memory"
            _leave_evidence(folder)
            end_all(0)
            return KILLED
    end_all(limit.grace)  # what the step left in the background
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    record.peak_memory_bytes = max(record.peak_memory_bytes, largest)
    return status


def _interrupted(
    record: Record, folder: str, reason: str, number: signal.Signals, grace: float
) -> int:
    record.reason, record.signal = reason, number.name
    _write(record, folder)  # now: who reads the record may not wait for the end
    end_all(grace)
    return 128 + number


def _time_left(limit: Limits, record: Record) -> tuple[float | None, str]:
    """Return the seconds that this step has, and which limit that is."""
    if limit.budget is None:
        return limit.seconds, "time"
    left = max(limit.budget - sum(record.spent.values()), 0)
    return (
        (left, "budget")
        if limit.seconds is None or left < limit.seconds
        else (
            limit.seconds,
            "time",
        )
    )


def spent_before(folder: str) -> dict[str, float]:
    """Add up what the steps before this one used, from the records beside the task's inputs.

    Parameters
    ----------
    folder : str
        The task's folder; Nextflow links the inputs into it.

    Returns
    -------
    dict of str to float
        Seconds of each step, also of those further back.
    """
    spent: dict[str, float] = {}
    try:
        with os.scandir(folder) as entries:
            links = [entry.path for entry in entries if entry.is_symlink()]
    except OSError:
        return spent
    for link in links:
        beside = os.path.join(os.path.dirname(os.path.realpath(link)), RECORD)  # noqa: PTH118, PTH120
        try:
            with open(beside, encoding="utf-8") as file:  # noqa: PTH123
                before = json.load(file)["spent"]
            spent.update({str(step): float(seconds) for step, seconds in before.items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return spent


def _started(pid: int | None) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it is not there."""
    if pid is None:
        return None
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _leave_evidence(folder: str) -> None:
    """Make the file that tells Nextflow's retry rule that memory ended the step, as podman does."""
    try:
        with open(os.path.join(folder, "oom"), "w"):  # noqa: PTH118, PTH123
            pass
    except OSError as error:
        os.write(2, f"core-supervise: {folder}/oom: {error.strerror}\n".encode())


def _reap(child: int) -> int | None:
    """Collect ended processes; return the child's exit status once it has ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 1
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return 128 - code if code < 0 else code
        if pid == 0:
            return None


def end_all(grace: float) -> None:
    """End all descendants: SIGTERM, `grace` seconds, then SIGKILL until none is left."""
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


def descendants(root: int) -> Iterator[int]:
    """Yield the process ids below one, as /proc shows them now."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib costs start-up time
        if name.isdigit():
            parent = _parent(int(name))
            if parent is not None:
                children.setdefault(parent, []).append(int(name))
    pending = children.get(root, [])
    while pending:
        pid = pending.pop()
        yield pid
        pending.extend(children.get(pid, []))


def _parent(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def memory_used() -> int:
    """Return the resident memory of all descendants, in bytes (shared pages count each time)."""
    total = 0
    for pid in descendants(os.getpid()):
        try:
            with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123
                total += int(file.read().split()[1])
        except (OSError, ValueError, IndexError):
            continue
    return total * os.sysconf("SC_PAGESIZE")


def _exceeds(limit: int) -> bool:
    """Tell whether the descendants use more than a limit, each shared page counted once.

    The exact sum is dear, so it is taken only when the rough one exceeds the limit.
    """
    if memory_used() <= limit:
        return False
    total = 0
    for pid in descendants(os.getpid()):
        try:
            with open(f"/proc/{pid}/smaps_rollup", "rb") as file:  # noqa: PTH123
                total += sum(int(r.split()[1]) for r in file if r.startswith(b"Pss:"))
        except (OSError, ValueError, IndexError):
            continue
    return total * 1024 > limit


def _record(environment: Mapping[str, str]) -> Record:
    return Record(
        schema_version=1,
        run=environment.get("COHORTFLOW_RUN", ""),
        unit=environment.get("COHORTFLOW_UNIT", ""),
        step=environment.get("COHORTFLOW_STEP", "").rpartition(":")[2].partition("_")[2].lower(),
        attempt=int(_number(environment.get("COHORTFLOW_ATTEMPT")) or 1),
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


def _write(record: Record, folder: str) -> None:
    """Replace the record; a full disk must not change how the step ended."""
    path = os.path.join(folder, RECORD)  # noqa: PTH118
    try:
        with open(f"{path}.new", "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump(asdict(record), file)
        os.replace(f"{path}.new", path)  # noqa: PTH105
    except OSError as error:
        os.write(2, f"core-supervise: {path}: {error.strerror}\n".encode())


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is not None and abs(value) < float("inf") else None

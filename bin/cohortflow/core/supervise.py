"""The supervisor: runs one step, ends it with all its descendants, and records what happened.

It starts once for every task, so it must load fast: it has no data classes, loads ``json`` only
for rare cases, and takes two modules below public ones. ``signal`` would take 5 ms (its
enumerations), ``ctypes`` 4 ms, ``dataclasses`` 17 ms and ``json`` 8 ms; the whole supervisor takes
13 ms, of which Python itself takes 8.

Limits and names come by environment, so that they are not part of Nextflow's task hash:
``COHORTFLOW_RUN``, ``COHORTFLOW_UNIT``, ``COHORTFLOW_STEP``, ``COHORTFLOW_ATTEMPT``,
``COHORTFLOW_TIME`` (seconds of this step), ``COHORTFLOW_BUDGET`` (seconds of the unit, over its
steps), ``COHORTFLOW_MEMORY`` (bytes), ``COHORTFLOW_GRACE`` (seconds between SIGTERM and SIGKILL),
``COHORTFLOW_ENGINE`` (process id of a Nextflow above this process: the step ends with it),
``COHORTFLOW_UMASK`` (octal; a container does not know the user's) and ``COHORTFLOW_REFUSED``
(what a scheduler said that refused the task: the step is not started).
"""

from __future__ import annotations

import os
import resource
import time

from cohortflow.core import memory, processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence
else:
    import _signal as signal

RECORD = ".supervise.json"
GRACE = 30.0
REFUSED = 78
TIMEOUT = 124
KILLED = 137
NOT_EXECUTABLE = 126
NOT_FOUND = 127
_INTERVAL = 1.0
_PR_SET_CHILD_SUBREAPER = 36
_ENDING: dict[int, str] = {
    signal.SIGTERM: "SIGTERM",
    signal.SIGINT: "SIGINT",
    signal.SIGHUP: "SIGHUP",
    signal.SIGUSR2: "SIGUSR2",
}
REFUSED_REMEDY = "ask for less, or correct the queue, account or limits of the profile"


class Record:
    """What the supervisor writes into the task's folder, at the start and at the end.

    ``spent`` holds the seconds of this step and of those that its inputs come from.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        process = environment.get("COHORTFLOW_STEP", "")
        self.schema_version = 1
        self.run = environment.get("COHORTFLOW_RUN", "")
        self.unit = environment.get("COHORTFLOW_UNIT", "")
        self.step = process.rpartition(":")[2].partition("_")[2].lower()
        self.attempt = int(_number(environment.get("COHORTFLOW_ATTEMPT")) or 1)
        self.started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.exit: int | None = None
        self.reason = ""
        self.seconds = 0.0
        self.peak_memory_bytes = 0
        self.signal = ""
        self.spent: dict[str, float] = {}

    def save(self, folder: str) -> None:
        """Replace the record; a full disk must not change how the step ended."""
        path = os.path.join(folder, RECORD)  # noqa: PTH118 - pathlib costs start-up time
        try:
            with open(f"{path}.new", "w", encoding="utf-8") as file:  # noqa: PTH123
                file.write(_json(vars(self)))
            os.replace(f"{path}.new", path)  # noqa: PTH105
        except OSError as error:
            _say(f"core-supervise: {path}: {error.strerror}")


class Limits:
    """Seconds and bytes a step, and seconds a unit may use, as an environment says.

    What is absent or not a number is None: unlimited.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        bytes_ = _number(environment.get("COHORTFLOW_MEMORY"))
        grace = _number(environment.get("COHORTFLOW_GRACE"))
        engine = _number(environment.get("COHORTFLOW_ENGINE"))
        self.seconds = _number(environment.get("COHORTFLOW_TIME"))
        self.budget = _number(environment.get("COHORTFLOW_BUDGET")) or None
        self.memory = int(bytes_) if bytes_ else None
        self.grace = GRACE if grace is None else grace
        self.engine = int(engine) if engine else None


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
        be started; 78 when the scheduler refused the task.
    """
    _set_umask(environment.get("COHORTFLOW_UMASK", ""))
    record = Record(environment)
    refusal = environment.get("COHORTFLOW_REFUSED")
    if refusal:
        return _refused(refusal, record, folder)
    _adopt_orphans()
    _receive_signals()
    limits = Limits(environment)
    engine = _engine(limits)  # before there is a record: whoever sees it may end the engine
    record.spent = spent_before(folder)
    record.save(folder)
    begin = time.monotonic()
    try:
        child = _start(command, environment)
    except OSError as error:
        _say(f"core-supervise: {command[0]}: {error.strerror}")
        record.exit = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    else:
        record.exit = _watch(child, limits, engine, record, begin, folder)
        record.seconds = round(time.monotonic() - begin, 3)
        record.spent[record.step] = record.seconds
    record.save(folder)
    return record.exit


def _set_umask(octal: str) -> None:
    try:
        os.umask(int(octal, 8) & 0o777)
    except ValueError:  # none was given
        return


def _refused(refusal: str, record: Record, folder: str) -> int:
    """Say what the scheduler said, and record it."""
    from cohortflow.core.outcome import Category, Failure

    failure = Failure(Category.CONFIG, " ".join(refusal.split()), REFUSED_REMEDY)
    _say(failure.line(record.unit))
    record.exit, record.reason = REFUSED, "refused"
    record.save(folder)
    return REFUSED


def _adopt_orphans() -> None:
    """Become the parent of each descendant whose own parent ends, so that none escapes."""
    try:
        import _ctypes

        # None is this program itself.
        prctl = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]
        _ctypes.call_function(prctl, (_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
    except (ImportError, AttributeError):  # a Python that has them elsewhere
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _receive_signals() -> None:
    """Keep signals until they are asked for; the first process of a container gets them, too."""
    waited = {*_ENDING, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    # An ignored SIGCHLD would be reaped unseen, and an ignored TERM never delivered.
    for number in waited:
        signal.signal(number, signal.SIG_DFL)


def _start(command: Sequence[str], environment: Mapping[str, str]) -> int:
    return os.posix_spawnp(
        command[0],
        list(command),
        dict(environment),
        setsigmask=[],
        setsigdef=[*_ENDING, signal.SIGPIPE],
    )


def _engine(limits: Limits) -> tuple[int, int] | None:
    """Return the process id of the engine, and when that was started.

    None where it is out of sight, as in a container: another process may have its number there.
    """
    started = processes.started(limits.engine) if limits.engine else None
    if limits.engine and started is not None and processes.is_above(limits.engine):
        return limits.engine, started
    return None


def _watch(
    child: int,
    limit: Limits,
    engine: tuple[int, int] | None,
    record: Record,
    begin: float,
    folder: str,
) -> int:
    """Wait for the child within its limits; return the exit status to report."""
    seconds, reason = _time_left(limit, record)
    kills = memory.kills()
    sampled = begin
    while (status := _reap(child)) is None:
        left = _INTERVAL
        if seconds is not None:
            left = min(left, max(begin + seconds - time.monotonic(), 0))
        info = signal.sigtimedwait({*_ENDING, signal.SIGCHLD}, left)
        if info is not None and info.si_signo in _ENDING:
            return _interrupted(record, folder, "signal", info.si_signo, limit.grace)
        if seconds is not None and time.monotonic() - begin >= seconds:
            record.reason = reason
            processes.end_all(limit.grace)
            return TIMEOUT
        if time.monotonic() - sampled < _INTERVAL / 2:
            continue  # many short children must not cost a look at all processes each
        sampled = time.monotonic()
        if engine and processes.started(engine[0]) != engine[1]:
            return _interrupted(record, folder, "engine", signal.SIGTERM, limit.grace)
        used = memory.used()
        record.peak_memory_bytes = max(record.peak_memory_bytes, used)
        # The exact sum is dear, so it is taken only when the rough one exceeds the limit.
        if limit.memory and used > limit.memory and memory.used_exactly() > limit.memory:
            return _out_of_memory(record, folder, 0)
    processes.end_all(limit.grace)  # what the step left in the background
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    record.peak_memory_bytes = max(record.peak_memory_bytes, largest)
    # In a container or a job's own control group the kill of a process explains any failure; where
    # other steps may share the group, as below an engine, it does only when the status says so.
    own = not engine and memory.alone()
    if (status == KILLED or (status and own)) and memory.kills() > kills:
        return _out_of_memory(record, folder, limit.grace)
    return status


def _interrupted(record: Record, folder: str, reason: str, number: int, grace: float) -> int:
    record.reason, record.signal = reason, _ENDING[number]
    record.save(folder)  # now: who reads the record may not wait for the end
    processes.end_all(grace)
    return 128 + number


def _out_of_memory(record: Record, folder: str, grace: float) -> int:
    """End the step, and make the file that tells Nextflow's retry rule why, as podman does."""
    record.reason = "memory"
    try:
        with open(os.path.join(folder, "oom"), "w"):  # noqa: PTH118, PTH123
            pass
    except OSError as error:
        _say(f"core-supervise: {folder}/oom: {error.strerror}")
    processes.end_all(grace)
    return KILLED


def _time_left(limit: Limits, record: Record) -> tuple[float | None, str]:
    """Return the seconds that this step has, and which limit that is."""
    if limit.budget is None:
        return limit.seconds, "time"
    left = max(limit.budget - sum(record.spent.values()), 0)
    if limit.seconds is None or left < limit.seconds:
        return left, "budget"
    return limit.seconds, "time"


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


def spent_before(folder: str) -> dict[str, float]:
    """Add up what the steps before this one used, from the records beside the task's inputs.

    Parameters
    ----------
    folder : str
        The task's folder; Nextflow links the inputs into it, or into a folder in it (`stageAs`).

    Returns
    -------
    dict of str to float
        Seconds of each step, also of those further back.
    """
    spent: dict[str, float] = {}
    links, folders = _links(folder)
    for inner in folders:
        links += _links(inner)[0]
    for link in links:
        beside = os.path.join(os.path.dirname(os.path.realpath(link)), RECORD)  # noqa: PTH118, PTH120
        try:
            with open(beside, encoding="utf-8") as file:  # noqa: PTH123
                spent.update(_spent(file.read()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return spent


def _links(folder: str) -> tuple[list[str], list[str]]:
    """Return the links and the folders in a folder; none of one that cannot be read."""
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
        links = [entry.path for entry in found if entry.is_symlink()]
        return links, [entry.path for entry in found if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return [], []


def _spent(record: str) -> dict[str, float]:
    """Read the seconds of each step from a record; from one that is not plain, with `json`."""
    inside = record.partition('"spent": {')[2].partition("}")[0]
    pairs = [pair.split(": ") for pair in inside.split(", ")]
    if "\\" in inside or any(len(pair) != 2 for pair in pairs):
        import json

        pairs = json.loads(record)["spent"].items()
    return {str(step).strip('"'): float(seconds) for step, seconds in pairs}


def _json(value: object) -> str:
    """Write a value as JSON; a text that is not plain, with `json` itself."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_json(key)}: {_json(one)}" for key, one in value.items()) + "}"
    if not isinstance(value, str):
        return repr(value)
    if value.isascii() and value.isprintable() and '"' not in value and "\\" not in value:
        return f'"{value}"'
    import json

    return json.dumps(value)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is not None and abs(value) < float("inf") else None


def _say(line: str) -> None:
    """Print a line on standard error, whatever its encoding is, closed or not."""
    try:
        os.write(2, f"{line}\n".encode(errors="backslashreplace"))
    except OSError:
        return

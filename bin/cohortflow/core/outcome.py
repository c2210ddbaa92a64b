"""How a step can end: exit status, category, what Nextflow does, what a user should do.

This is the one table that the tools, the Nextflow configuration and the report read.
"""

from __future__ import annotations

import errno
import re
import signal
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Category(StrEnum):
    """Why a unit has no result."""

    USAGE = "USAGE"
    DATA_INVALID = "DATA_INVALID"
    INPUT_MISSING = "INPUT_MISSING"
    UNAVAILABLE = "UNAVAILABLE"
    SOFTWARE = "SOFTWARE"
    OUTPUT_WRITE = "OUTPUT_WRITE"
    IO_ERROR = "IO_ERROR"
    TEMPORARY = "TEMPORARY"
    PERMISSION = "PERMISSION"
    CONFIG = "CONFIG"
    TIMEOUT = "TIMEOUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    INTERRUPTED = "INTERRUPTED"
    LOST = "LOST"


@dataclass(frozen=True)
class Policy:
    """One row of the outcome table.

    Attributes
    ----------
    statuses : tuple of int
        Exit statuses that mean this category; the first is the one a tool uses.
    retries : int
        How often Nextflow submits the task again before it ignores the failure.
    meaning : str
        One sentence for the report.
    remedy : str
        What a user should do when the tool itself did not say.
    """

    statuses: tuple[int, ...]
    retries: int
    meaning: str
    remedy: str


#: What Nextflow gives as the exit status of a task that has none.
NO_STATUS = 2147483647

OUTCOMES: dict[Category, Policy] = {
    Category.USAGE: Policy(
        (2, 64), 0, "A tool was called in a way it does not accept.", "correct the option it names"
    ),
    Category.DATA_INVALID: Policy(
        (65,), 0, "The input is there but cannot be used.", "correct or exclude the input"
    ),
    Category.INPUT_MISSING: Policy(
        (66,), 0, "An input is not there.", "add the file, then run again"
    ),
    Category.UNAVAILABLE: Policy(
        (69,), 2, "A service could not be reached.", "start the service, then run again"
    ),
    Category.SOFTWARE: Policy(
        (70, 1), 0, "A tool failed in a way it did not foresee.", "report it with the log"
    ),
    Category.OUTPUT_WRITE: Policy(
        (73,), 1, "The output could not be written.", "free space or correct the folder's rights"
    ),
    Category.IO_ERROR: Policy(
        (74,), 1, "Reading or writing failed on the device.", "check the disk, then run again"
    ),
    Category.TEMPORARY: Policy((75,), 2, "A passing fault.", "run again"),
    Category.PERMISSION: Policy(
        (77,), 0, "A file or folder may not be read.", "give yourself the right to read it"
    ),
    Category.CONFIG: Policy(
        (78,), 0, "Something that the step needs is not set up.", "run `cohortflow doctor`"
    ),
    Category.TIMEOUT: Policy(
        (124, 140), 0, "The step ran longer than its limit.", "rerun with a longer limit"
    ),
    Category.OUT_OF_MEMORY: Policy(
        (137,), 2, "The step needed more memory than its limit.", "rerun with a larger limit"
    ),
    Category.INTERRUPTED: Policy(
        (), 0, "The run was stopped before the unit was done.", "run again: it resumes"
    ),
    Category.LOST: Policy(
        (NO_STATUS,), 1, "The step vanished without an exit status.", "run again: it resumes"
    ),
}

# A process that ends itself this way has a bug; nobody stopped it.
_CRASHES = {
    128 + number
    for number in (
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGPIPE,
        signal.SIGSEGV,
        signal.SIGSYS,
        signal.SIGTRAP,
    )
}
_BY_STATUS = {status: c for c, policy in OUTCOMES.items() for status in policy.statuses}


def category_of(status: int | None, *, out_of_memory: bool = False) -> Category | None:
    """Name the category of an exit status.

    Parameters
    ----------
    status : int or None
        Exit status of a step; None when there is none.
    out_of_memory : bool
        Whether there is evidence that memory ended the step; 137 alone may be any SIGKILL.

    Returns
    -------
    Category or None
        None for status 0.
    """
    if status == 0:
        return None
    if status is None:
        return Category.LOST
    if out_of_memory:
        return Category.OUT_OF_MEMORY
    if status == 137:
        return Category.LOST
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    stopped = 128 < status <= 128 + signal.NSIG and status not in _CRASHES
    return Category.INTERRUPTED if stopped else Category.SOFTWARE


class Failure(Exception):
    """A foreseen failure: it becomes one line on stderr and an exit status, not a traceback.

    Parameters
    ----------
    category : Category
        Decides exit status and policy.
    message : str
        What is wrong, naming the file.
    remedy : str, optional
        What to do; the category's own advice when left out.
    """

    def __init__(self, category: Category, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.category = category
        self.message = one_line(message)
        self.remedy = one_line(remedy or OUTCOMES[category].remedy)

    @property
    def status(self) -> int:
        """Exit status of a tool that ends with this failure."""
        statuses = [s for s in OUTCOMES[self.category].statuses if s != NO_STATUS]
        return statuses[0] if statuses else 1

    def line(self, unit: str = "-") -> str:
        """Return the one line that the tool prints: ``ERROR CATEGORY unit message: remedy``."""
        # One word for the unit and no second ": " in the remedy, so that the line can be parsed.
        word = one_line(unit).replace(" ", "_") or "-"
        return f"ERROR {self.category} {word} {self.message}: {re.sub(':+ ', ' - ', self.remedy)}"


class NothingToRun(Failure):
    """The study has no unit for this lane; a tool ends with status 3."""

    @property
    def status(self) -> int:
        """Exit status of a tool that ends with this failure."""
        return 3


def one_line(text: str) -> str:
    """Make a text one printable line: control characters and line breaks are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def failure_of(error: OSError, path: Path | str | None = None) -> Failure:
    """Translate an operating system error into a foreseen failure that names the file."""
    name = str(path or error.filename or "?")
    reason = error.strerror or str(error)
    by_errno = {
        errno.EEXIST: Category.USAGE,
        errno.ENOENT: Category.INPUT_MISSING,
        errno.ENOTDIR: Category.INPUT_MISSING,
        errno.ELOOP: Category.INPUT_MISSING,
        errno.EEXIST: Category.USAGE,
        errno.ENOTEMPTY: Category.USAGE,
        errno.EACCES: Category.PERMISSION,
        errno.EPERM: Category.PERMISSION,
        errno.ENOSPC: Category.OUTPUT_WRITE,
        errno.EDQUOT: Category.OUTPUT_WRITE,
        errno.EROFS: Category.OUTPUT_WRITE,
        errno.ENOMEM: Category.OUT_OF_MEMORY,
    }
    category = by_errno.get(error.errno or 0, Category.IO_ERROR)
    remedy = "use --overwrite or name another output" if category is Category.USAGE else ""
    return Failure(category, f"{name}: {reason}", remedy)

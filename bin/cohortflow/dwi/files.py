"""Files of a study: what is there, how large and how old, and why it cannot be read."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence

from cohortflow.core.manifest import Input
from cohortflow.core.outcome import Category, Failure, failure_of

_ANNEX = ".git/annex/objects"
_POINTER = b"/annex/objects/"


def status(path: str) -> os.stat_result:
    """Return a file's status, links followed.

    Raises
    ------
    Failure
        INPUT_MISSING when it is absent, a broken link or a git-annex file whose content was
        not fetched; PERMISSION when its folder may not be searched.
    """
    try:
        return os.stat(path)  # noqa: PTH116 - this is called for every file of a study
    except OSError as error:
        raise missing(path, error) from None


def missing(path: str, error: OSError) -> Failure:
    """Explain why a file cannot be opened, broken links by their target."""
    try:
        target = os.readlink(path)  # noqa: PTH115
    except OSError:
        return failure_of(error, path)
    if isinstance(error, PermissionError):
        return failure_of(error, path)
    if _ANNEX in target:
        return _fetch(path)
    return Failure(
        Category.INPUT_MISSING,
        f"{path}: broken link to {target}",
        "restore the file that the link points to, or remove the link",
    )


def _fetch(path: str) -> Failure:
    return Failure(
        Category.INPUT_MISSING,
        f"{path}: its content is not here, git-annex has a placeholder only",
        f"run `datalad get {path}`",
    )


def refuse_pointer(path: str) -> None:
    """Explain a file that could not be read: an unlocked git-annex file without its content.

    Raises
    ------
    Failure
        INPUT_MISSING when it is one.
    """
    with open(path, "rb") as file:  # noqa: PTH123
        if file.read(len(_POINTER)) == _POINTER:
            raise _fetch(path)


def one(role: str, path: str) -> Input:
    """Fingerprint a file by size and time.

    Raises
    ------
    Failure
        As `status`.
    """
    found = status(path)
    return Input(role=role, path=path, bytes=found.st_size, mtime_ns=found.st_mtime_ns)


def many(role: str, folder: str, files: Sequence[str]) -> Input:
    """Fingerprint some files of a folder together.

    Parameters
    ----------
    role : str
    folder : str
    files : sequence of str
        Paths below the folder.

    Returns
    -------
    Input
        Sum of sizes, newest time, number, and a digest over relative names, sizes and times.

    Raises
    ------
    Failure
        As `status`.
    """
    digest = hashlib.sha256()
    total = newest = 0
    for path in sorted(files):
        found = status(path)
        total += found.st_size
        newest = max(newest, found.st_mtime_ns)
        name = os.path.relpath(path, folder).encode("utf-8", "surrogateescape")
        digest.update(name + b"\0%d\0%d\n" % (found.st_size, found.st_mtime_ns))
    return Input(
        role=role,
        path=folder,
        bytes=total,
        mtime_ns=newest,
        files=len(files),
        listing=digest.hexdigest(),
    )


def below(folder: str) -> list[str]:
    """List all files below a folder, links followed, loops entered once, sorted.

    Names that begin with a dot are left out.

    Raises
    ------
    Failure
        PERMISSION for a folder that may not be read, INPUT_MISSING for a broken link.
    """
    files: list[str] = []
    seen: set[tuple[int, int]] = set()
    pending = [folder]
    while pending:
        here = pending.pop()
        found = status(here)
        if (found.st_dev, found.st_ino) in seen:
            continue
        seen.add((found.st_dev, found.st_ino))
        # real folders first, so that what is reachable twice has one name on every machine
        for entry in sorted(entries(here), key=lambda e: (e.is_symlink(), e.name), reverse=True):
            if not entry.name.startswith("."):
                kind = status(entry.path).st_mode if entry.is_symlink() else 0
                if entry.is_dir(follow_symlinks=False) or stat.S_ISDIR(kind):
                    pending.append(entry.path)
                elif entry.is_file(follow_symlinks=False) or stat.S_ISREG(kind):
                    files.append(entry.path)
    return sorted(files)


def entries(folder: str) -> list[os.DirEntry[str]]:
    """List a folder.

    Raises
    ------
    Failure
        PERMISSION or INPUT_MISSING.
    """
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError as error:
        raise missing(folder, error) from None

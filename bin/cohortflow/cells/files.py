"""Files of the lane: what a dataset is called, and whether a file is HDF5."""

from __future__ import annotations

import re
from pathlib import Path

from cohortflow.core import names
from cohortflow.core.outcome import Category, Failure, failure_of

SUFFIX = ".h5ad"
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def dataset_name(stem: str) -> str:
    """Return a file's stem as the name of its dataset.

    What is not a letter, a digit, ``.``, ``_`` or ``-`` becomes ``_``; several ``_`` become one,
    and none is left at either end.

    Parameters
    ----------
    stem : str
        Name of a file without its suffix.

    Returns
    -------
    str
        Empty when nothing is left. `cohortflow.core.names.name` says whether it can be used.

    Examples
    --------
    >>> dataset_name("dataset@special")
    'dataset_special'
    >>> dataset_name("  blood  (10x v3).final")
    'blood_10x_v3_.final'
    >>> dataset_name("PBMC-68k")
    'PBMC-68k'
    """
    return re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9_.-]", "_", stem)).strip("_")


def check_hdf5(path: Path) -> None:
    """Refuse what is not an HDF5 file, by its signature.

    The signature stands at byte 0, or behind a user block at 512, 1024, 2048 and so on (HDF5 File
    Format Specification 3.0, II.A).

    Raises
    ------
    Failure
        INPUT_MISSING, PERMISSION or IO_ERROR when the file cannot be read, DATA_INVALID when it
        is empty or not HDF5.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            offset = 0
            while offset + len(_SIGNATURE) <= size:
                file.seek(offset)
                if file.read(len(_SIGNATURE)) == _SIGNATURE:
                    return
                offset = offset * 2 or 512
    except OSError as error:
        raise failure_of(error, path) from None
    what = "is not an HDF5 file" if size else "is empty"
    raise Failure(
        Category.DATA_INVALID, f"{path.name}: {what}", "get the file again, or leave it out"
    )


def datasets(source: Path, batch: bool) -> list[tuple[str, Path]]:
    """Return the names and paths of h5ad files: of one, or of all in a folder.

    Parameters
    ----------
    source : Path
        A file; a folder with `batch`, of which hidden files are left out.
    batch : bool

    Raises
    ------
    Failure
        USAGE when it is the other of the two, or two files of a folder have one name; DATA_INVALID
        when one's name cannot be that of a folder; INPUT_MISSING when it is not there or has no
        h5ad file.
    """
    if not source.exists():
        raise Failure(Category.INPUT_MISSING, f"{source}: no such file or folder", "name another")
    if source.is_dir() != batch:
        what = "a folder" if source.is_dir() else "a file"
        remedy = "add --batch-mode" if source.is_dir() else "leave --batch-mode out"
        raise Failure(Category.USAGE, f"{source}: is {what}", remedy)
    if not batch:
        return [(dataset_name(source.stem) or "-", source)]
    listed = sorted(source.glob(f"[!.]*{SUFFIX}"))
    found = [(_folder_name(path), path) for path in listed]
    if not found:
        raise Failure(Category.INPUT_MISSING, f"{source}: has no {SUFFIX} file", "name another")
    seen: dict[str, Path] = {}
    for name, path in found:
        other = seen.setdefault(name.casefold(), path)
        if other is not path:
            raise Failure(
                Category.USAGE, f"{other.name} and {path.name} are both named {name}", "rename one"
            )
    return found


def _folder_name(path: Path) -> str:
    """Return what a file's folder is called; no file may have the folder of all, or one above."""
    try:
        return names.name(dataset_name(path.stem))
    except Failure as failure:
        message = f"{path.name}: {failure.message}"
        raise Failure(failure.category, message, "rename the file") from None

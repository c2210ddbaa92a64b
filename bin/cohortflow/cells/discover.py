"""Find the datasets of a folder: each ``*.h5ad`` file in it is a unit.

What cannot be used is a unit as well, with the reason why. Of a file its first bytes are read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cohortflow.cells import files, gene_table
from cohortflow.core import names
from cohortflow.core.lanes import Selection
from cohortflow.core.manifest import Excluded, Input, Unit
from cohortflow.core.outcome import Category, Failure, NothingToRun, failure_of

ROLE = "h5ad"
#: What stands for a name of which nothing is left; no file can have it as its dataset's name.
NO_NAME = "(no name)"


def discover(study: Path, selection: Selection) -> Iterator[Unit]:
    """Find the datasets of a study, ordered by name.

    Parameters
    ----------
    study : Path
        A folder; what lies in folders below is not looked at, hidden files are left out, links
        are followed.
    selection : Selection
        ``file`` is the only file wanted; the parameter ``hgnc`` names the gene table.

    Returns
    -------
    iterator of Unit
        Usable units with fingerprinted inputs, the others with `excluded`. Files whose datasets
        would have one name, also when it differs by letter case alone, are one excluded unit.

    Raises
    ------
    NothingToRun
        When there is no such file.
    Failure
        USAGE when the study is not a folder; as `gene_table.of_run` says.
    """
    study = Path(os.path.normpath(study.absolute()))
    found = [selection.file] if selection.file else _listed(study)
    if not found:
        raise NothingToRun(
            Category.INPUT_MISSING,
            f"{study}: no *{files.SUFFIX} file to work on",
            "give the folder that holds the files themselves",
        )
    table = gene_table.of_run(study, selection.parameters.get("hgnc", ""))
    # One file names its dataset alone, so that its repository needs no further name.
    options = {"suffix": "none"} if selection.file else {}
    groups: dict[str, list[Path]] = {}
    for path in found:
        groups.setdefault(files.dataset_name(_stem(path)).casefold(), []).append(path)
    return (_unit(group, table, options) for group in groups.values())


def _stem(path: Path) -> str:
    return path.name.removesuffix(files.SUFFIX)


def _listed(study: Path) -> list[Path]:
    if not study.is_dir():
        raise Failure(Category.USAGE, f"{study}: is not a folder", "give a folder or an h5ad file")
    try:
        with os.scandir(study) as entries:
            wanted = [e.name for e in entries if e.name.endswith(files.SUFFIX)]
    except OSError as error:
        raise failure_of(error, study) from None
    return [study / name for name in sorted(wanted) if not name.startswith(".")]


def _unit(paths: Sequence[Path], table: Input, options: Mapping[str, str]) -> Unit:
    """Make the unit of a file, or of several that would have one name."""
    name = files.dataset_name(_stem(paths[0])) or NO_NAME
    unit = Unit(
        id=name,
        folder=name,
        inputs=[Input(role=ROLE, path=_printable(str(path))) for path in paths],
        options=dict(options),
    )
    try:
        if len(paths) > 1:
            raise _ambiguous(name, paths)
        _check_name(name, paths[0])
        return unit.model_copy(update={"inputs": [_described(paths[0]), table]})
    except Failure as failure:
        choices = [{"path": _printable(path.name)} for path in paths] if len(paths) > 1 else []
        excluded = Excluded(
            category=failure.category,
            message=failure.message,
            remedy=failure.remedy,
            choices=choices,
        )
        return unit.model_copy(update={"excluded": excluded})


def _printable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _ambiguous(name: str, paths: Sequence[Path]) -> Failure:
    return Failure(
        Category.DATA_INVALID,
        f"{' and '.join(_printable(path.name) for path in paths)} would both be dataset {name}",
        "rename one of them, or give each an id of its own in a manifest",
    )


def _check_name(name: str, path: Path) -> None:
    try:
        names.name(name)
    except Failure as failure:
        raise Failure(
            failure.category,
            f"{_printable(path.name)}: {failure.message}",
            "rename the file, or give it an id of its own in a manifest",
        ) from None


def _described(path: Path) -> Input:
    """Return a file as an input, when it can be used as far as its first bytes tell."""
    text = names.path(str(path))
    if "$" in text:
        raise Failure(
            Category.DATA_INVALID,
            f"{text}: has a '$' in its path, which Nextflow takes for a variable",
            "rename it, or reach it through a link with another name",
        )
    try:
        facts = path.stat()
    except OSError as error:
        raise failure_of(error, path) from None
    if not stat.S_ISREG(facts.st_mode):
        raise Failure(Category.DATA_INVALID, f"{path.name}: is not a regular file", "leave it out")
    files.check_hdf5(path)
    return Input(role=ROLE, path=text, bytes=facts.st_size, mtime_ns=facts.st_mtime_ns)


def complete(unit: Unit, base: Path, parameters: Mapping[str, str]) -> Unit:
    """Fill in what a hand-written unit left out, and check it as `discover` does.

    Parameters
    ----------
    unit : Unit
        With one input ``h5ad``, and ``hgnc`` where it has a gene table of its own.
    base : Path
        Folder that relative paths begin at.
    parameters : mapping of str to str
        A table that ``hgnc`` names goes before the unit's own.

    Returns
    -------
    Unit
        With fingerprinted inputs.

    Raises
    ------
    Failure
        As for the units that `discover` excludes; INPUT_MISSING without an h5ad file.
    """
    paths = [one.path for one in unit.inputs if one.role == ROLE]
    tables = [one.path for one in unit.inputs if one.role == gene_table.ROLE]
    if not paths:
        raise Failure(Category.INPUT_MISSING, f"{unit.id}: no h5ad file is given", "add its path")
    if len(paths) > 1:
        raise _ambiguous(unit.id, [Path(path) for path in paths])
    if len(tables) > 1:
        raise Failure(Category.USAGE, f"{unit.id}: has two gene tables", "keep one of them")
    named = parameters.get("hgnc", "")
    table = (
        gene_table.of_place(tables[0], base)
        if tables and not named
        else gene_table.of_run(base, named)
    )
    path = Path(os.path.normpath(base.absolute() / paths[0]))
    return unit.model_copy(update={"inputs": [_described(path), table]})

"""Which gene table a run uses, and its fingerprint: of its content, so that a copy is the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from cohortflow.core import names
from cohortflow.core.manifest import Input
from cohortflow.core.outcome import Category, Failure, failure_of

ROLE = "hgnc"
#: The complete set as HGNC publishes it (genenames.org, "Download", "Complete HGNC approved data").
ADDRESS = "https://storage.googleapis.com/public-download-files/hgnc/tsv/tsv/hgnc_complete_set.txt"
REMEDY = "give the table with --hgnc FILE"
_NAME = "hgnc_complete_set"
_SUFFIXES = (".txt", ".tsv", ".tsv.gz", ".txt.gz", ".parquet")


def of_run(study: Path, named: str, environment: Mapping[str, str] = os.environ) -> Input:
    """Return the gene table of a run.

    Parameters
    ----------
    study : Path
        A file ``hgnc_complete_set*`` in it is the table when none is named.
    named : str
        Path or address of the table; empty when none is named. Without one in the study it is
        then HGNC's own.
    environment : mapping
        Says with ``XDG_CACHE_HOME`` or ``HOME`` where a download is kept.

    Returns
    -------
    Input
        With size and SHA-256, and without a time.

    Raises
    ------
    Failure
        UNAVAILABLE when an address does not give it; USAGE when the study holds several; as
        opening the file says.
    """
    if named:
        return of_place(named, Path.cwd(), environment)
    beside = _beside(study)
    if len(beside) > 1:
        raise Failure(
            Category.USAGE,
            f"{study} holds several gene tables: {', '.join(path.name for path in beside)}",
            "choose one with --hgnc FILE",
        )
    return of_place(str(beside[0]) if beside else ADDRESS, study, environment)


def of_place(place: str, base: Path, environment: Mapping[str, str] = os.environ) -> Input:
    """Return the gene table at a path below `base`, or at an address.

    Raises
    ------
    Failure
        As `of_run`.
    """
    if not place.startswith(("http://", "https://")):
        return _described(base.absolute() / place)
    found = _fetched(place, cache_folder(environment))
    if isinstance(found, Failure):
        raise found
    return _described(found)


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder that keeps downloads (XDG Base Directory Specification)."""
    cached = environment.get("XDG_CACHE_HOME", "")
    home = Path(environment.get("HOME") or Path.home())
    # The specification has a relative path ignored.
    return (Path(cached) if cached.startswith("/") else home / ".cache") / "cohortflow"


def _beside(study: Path) -> list[Path]:
    try:
        found = sorted(study.iterdir())
    except OSError as error:
        raise failure_of(error, study) from None
    return [p for p in found if p.name.startswith(_NAME) and p.name.endswith(_SUFFIXES)]


@cache
def _fetched(address: str, folder: Path) -> Path | Failure:
    """Download a table once; what went wrong is not tried again for the next unit."""
    from cohortflow.cells import hgnc

    try:
        return hgnc.fetch(address, folder)
    except Failure as failure:
        return Failure(failure.category, failure.message, REMEDY)
    except OSError as error:
        away = failure_of(error, folder)
        return Failure(away.category, away.message, REMEDY)


def _described(path: Path) -> Input:
    path = Path(os.path.normpath(names.path(str(path))))
    try:
        facts = path.stat()
        return Input(
            role=ROLE,
            path=str(path),
            bytes=facts.st_size,
            sha256=_digest(path, facts.st_size, facts.st_mtime_ns),
        )
    except OSError as error:
        failure = failure_of(error, path)
        raise Failure(failure.category, failure.message, REMEDY) from None


@cache
def _digest(path: Path, _bytes: int, _mtime_ns: int) -> str:
    """Hash a file once for all units of a run."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

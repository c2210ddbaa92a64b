"""Find the image of reversed phase encoding that belongs to a session's diffusion series.

Two series of ``dwi`` are a pair when their sidecars tell opposite directions or, where neither
tells one, when their names differ only by opposite ``dir-`` labels. An ``epi`` image of ``fmap``
is used when its sidecar says that it is for the series, or when it is the only opposite one and
nothing says whose it is. Whatever is not certain is refused, with what there is to choose from.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cohortflow.core.manifest import Input
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import fieldmaps, files, grids, phase, scans
from cohortflow.dwi.candidates import Candidate


@dataclass(frozen=True)
class Decision:
    """What a unit with images runs on.

    Attributes
    ----------
    main : Candidate or None
        None when several could be meant.
    reverse : list of Input
        Files of the image of reversed phase encoding; empty without one.
    failure : Failure or None
        Why nothing can run, `choices` with it.
    choices : list of dict
    said : list of str
        What a user should know.
    """

    main: Candidate | None = None
    reverse: list[Input] = field(default_factory=list)
    failure: Failure | None = None
    choices: list[dict[str, str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


def decide(found: Sequence[Candidate], root: str) -> Decision | None:
    """Choose the series among a folder's images, and the image of reversed phase encoding.

    Parameters
    ----------
    found : sequence of Candidate
        Images of one ``dwi`` folder; one or two of them usable, the others with a failure.
    root : str
        The study.

    Returns
    -------
    Decision or None
        None when two usable series are nothing like a pair.

    Raises
    ------
    Failure
        DATA_INVALID for a JSON sidecar, of the series or in ``fmap``, that cannot be read;
        INPUT_MISSING or PERMISSION.
    """
    usable = [one for one in found if one.failure is None]
    if len(usable) > 1:
        usable.sort(key=_rank)
    main, *others = [*usable, *(one for one in found if one.failure)]
    fieldmap = fieldmaps.images(str(main.image).rpartition("/")[0], root)
    if not others and not fieldmap:
        return Decision(main)  # the usual study: nothing more is read
    scan = _usable(main)
    reverses, said = list[scans.Scan](), list[str]()
    try:
        for other in others:
            seen = _usable(other) if other.inputs else _other(str(other.image), scan, root)
            if seen and scans.opposed(scan, seen):
                reverses.append(seen)
                said.append(_said(main, other))
            elif seen and scans.labels_opposite(scan, seen):
                raise scans.doubt(scan, seen)
            elif other.failure:
                said.append(f"left out: {other.failure.message}")
            else:
                return None
        reverses += _fields(scan, fieldmap, root, said, alone=not reverses)
        if len(reverses) > 1:
            return _too_many(main, scan, reverses, root)
        return Decision(main, check(scan, reverses[0]) if reverses else [], said=said)
    except Failure as failure:
        return _refused(failure, usable, others)


def _too_many(
    main: Candidate, scan: scans.Scan, reverses: Sequence[scans.Scan], root: str
) -> Decision:
    paths = [reverse.path for reverse in reverses]
    failure = Failure(
        Category.DATA_INVALID,
        f"{len(paths)} images of reversed phase encoding for {scan.path}, one is needed: "
        + "; ".join(paths),
        # a filter chooses among the images of dwi only
        "name one as reverse in a manifest, or the series alone"
        if all("/fmap/" in path for path in paths)
        else "choose with --bids-filter-file, or name one as reverse in a manifest",
    )
    choices = [{**main.choice, "reverse": path.removeprefix(f"{root}/")} for path in paths]
    return Decision(failure=failure, choices=choices)


def _refused(
    failure: Failure, usable: Sequence[Candidate], others: Sequence[Candidate]
) -> Decision:
    # a filter chooses among the images of dwi only
    filters = " or with --bids-filter-file" if others else ""
    remedy = f"{failure.remedy}, or choose one series alone in a manifest{filters}"
    return Decision(
        failure=Failure(failure.category, failure.message, remedy),
        choices=[one.choice for one in usable],
    )


def _fields(
    scan: scans.Scan, paths: Sequence[str], root: str, said: list[str], *, alone: bool
) -> list[scans.Scan]:
    """Find the ``epi`` images of ``fmap`` for a series.

    Those that nothing claims count only where the series is `alone`; what is passed over is
    added to `said`.
    """
    claimed, free = list[scans.Scan](), list[scans.Scan]()
    doubts, passed = list[Failure](), list[Failure]()
    for path in paths:
        seen = scans.beside(path, root)
        whose = fieldmaps.is_for(seen.fields, scan.fields, scan.name)
        if whose is False:
            continue
        if scans.opposed(scan, seen, alike=False):
            (claimed if whose else free).append(seen)
        elif scans.labels_opposite(scan, seen, alike=False) or not scans.same_way(scan, seen):
            (doubts if whose else passed).append(scans.doubt(scan, seen))
    if claimed or not alone:
        return claimed
    if doubts:
        raise doubts[0]
    found = [one for one in free if _fits(scan, one, said)]
    if not found:
        said += [f"no image of fmap is used: {failure.message}" for failure in passed]
    return found


def _fits(scan: scans.Scan, free: scans.Scan, said: list[str]) -> bool:
    """Tell whether an image that nothing claims is on the series' grid."""
    try:
        apart = grids.difference(scan.grid(), free.grid())
    except Failure as failure:
        apart = failure.message
    if apart:
        said.append(f"{free.path} is not used for {scan.path}: {apart}")
    return apart is None


def named(
    inputs: Sequence[Input], given: Mapping[str, str], root: str, said: str | None
) -> list[Input]:
    """Check the image of reversed phase encoding that a manifest names, and its sidecars.

    Parameters
    ----------
    inputs : sequence of Input
        The series' files.
    given : mapping of str to str
        Paths by role: ``reverse``, and ``reverse_bval`` and ``reverse_json`` where they are not
        to be searched.
    root : str
        The study of the reverse image.
    said : str or None
        The series' phase encoding, as the manifest tells.

    Raises
    ------
    Failure
        As `check`; INPUT_MISSING; USAGE for one image as both.
    """
    files.status(given["reverse"])
    if os.path.realpath(given["reverse"]) == os.path.realpath(given["dwi"]):
        raise Failure(
            Category.USAGE,
            f"{given['dwi']}: is given as its own image of reversed phase encoding",
            "name the other image as reverse",
        )
    own = {one.role: one.path for one in inputs}
    scan = scans.of_files(own["dwi"], own.get("bval"), own.get("json"))
    return check(scan, scans.beside(given["reverse"], root, given), said)


def check(main: scans.Scan, reverse: scans.Scan, said: str | None = None) -> list[Input]:
    """See by headers that an image can be used with a series, and fingerprint its files.

    Raises
    ------
    Failure
        INPUT_MISSING or PERMISSION for a file; DATA_INVALID when an image cannot be read, has
        another grid, no b=0 volume, or phase encoding that is not opposite.
    """
    from cohortflow.dwi import b0, nifti

    roles = {"reverse": reverse.path, "reverse_bval": reverse.bval, "reverse_json": reverse.json}
    inputs = [files.one(role, path) for role, path in roles.items() if path]
    try:
        apart = grids.difference(main.grid(), reverse.grid())
        if apart:
            raise Failure(
                Category.DATA_INVALID,
                f"{main.path} and {reverse.path}: are no pair, {apart}",
                "convert both again with the same grid",
            )
        bval = Path(reverse.bval) if reverse.bval else None
        b0.which(nifti.header(Path(reverse.path)), Path(reverse.path), bval)
        phase.of_pair(main.side(), reverse.side(), said)
    except Failure as failure:
        if failure.category is Category.DATA_INVALID:
            for one in inputs:
                files.refuse_pointer(one.path)
        raise
    return inputs


def _rank(candidate: Candidate) -> tuple[int, int, str]:
    """Order series: more directions first, then more volumes, then by name."""
    from cohortflow.dwi import gradients

    paths = {one.role: Path(one.path) for one in candidate.inputs}
    table = gradients.read(paths["bval"], paths["bvec"])
    return -gradients.directions(table), -len(table.bvals), str(candidate.image)


def _said(main: Candidate, other: Candidate) -> str:
    """Say what of a pair is not used, and why this one is the main series."""
    said = f"of {other.image} only b=0 volumes are used"
    if other.failure:
        return f"{said}: {other.failure.message}"
    if _rank(main)[:2] == _rank(other)[:2]:
        said += f"; {main.image} has as many directions and volumes and is the first by name"
    return said


def _usable(candidate: Candidate) -> scans.Scan:
    paths = {one.role: one.path for one in candidate.inputs}
    return scans.of_files(paths["dwi"], paths["bval"], paths.get("json"))


def _other(image: str, main: scans.Scan, root: str) -> scans.Scan | None:
    """Look at an image that is no usable series; None where it cannot be told what it is.

    Raises
    ------
    Failure
        When its sidecars cannot be read, and its name says that it is of a pair.
    """
    bare = scans.of_files(image, None, None)
    if any(bare.entities.get(key) != main.entities.get(key) for key in ("sub", "ses")):
        return None
    try:
        return scans.beside(image, root)
    except Failure:
        if scans.labels_opposite(main, bare):
            raise
        return None

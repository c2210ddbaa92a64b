"""Find what could be the diffusion series of one folder, and check it by its headers."""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cohortflow.core.manifest import Input
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import bids, dicom_series, files, filters

_NOT_DICOM = (".nii", ".nii.gz", ".bval", ".bvec", ".json", ".tsv", ".txt", ".md", ".csv", ".html",
              ".pdf", ".png", ".jpg", ".xml", ".yaml", ".log")  # fmt: skip
NOT_MAGNITUDE = ("phase", "real", "imag")


@dataclass(frozen=True)
class Candidate:
    """An image or a DICOM series that a unit could use.

    Attributes
    ----------
    choice : dict
        How the manifest lists it: ``path``, or ``series_uid``, ``description`` and ``files``.
    inputs : list of Input
    options : dict
    failure : Failure or None
        Why it cannot be used.
    image : str or None
        Path of a NIfTI image.
    note : str
        What a user should know of it, though it can be used.
    """

    choice: dict[str, str]
    inputs: list[Input] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    failure: Failure | None = None
    image: str | None = None
    note: str = ""


def of_folder(
    folder: str, unit: Mapping[str, str], root: str, query: Mapping[str, Any]
) -> list[Candidate]:
    """List the candidates of a unit's ``dwi`` folder.

    Parameters
    ----------
    folder : str
    unit : mapping
        The unit's entities by key, ``{"sub": "01", "ses": "02"}``.
    root : str
        The study: sidecars are inherited from no higher.
    query : mapping
        A filter's ``dwi`` query; empty for all.

    Raises
    ------
    Failure
        PERMISSION or INPUT_MISSING for the folder, DATA_INVALID for a damaged DICOM file.
    """
    found = [entry for entry in files.entries(folder) if not entry.name.startswith(".")]
    names = {entry.name for entry in found}
    images = [name for name in sorted(names) if name.endswith(bids.IMAGE_ENDS)]
    wanted = [name for name in images if _wanted(name, query)]
    result = [_image(folder, name, names, unit, root) for name in wanted]
    if any(not entry.name.lower().endswith(_NOT_DICOM) for entry in found):
        result += dicom_candidates(folder, query)
    return result


def dicom_candidates(folder: str, query: Mapping[str, Any]) -> list[Candidate]:
    """List the diffusion series among the DICOM files below a folder.

    Two whose descriptions are equal but for opposite directions, such as AP and PA, are one
    candidate: a series, and the one that gives it b=0 volumes of reversed phase encoding.

    Raises
    ------
    Failure
        As `files.below` and `dicom_series.list_series`.
    """
    if filters.asks_for_images(query) and not filters.asks_for_series(query):
        return []
    paths = [path for path in files.below(folder) if not path.lower().endswith(_NOT_DICOM)]
    every = dicom_series.list_series(paths)
    wanted = every if filters.asks_for_series(query) else dicom_series.candidates(every)
    if every and not wanted:
        shown = describe([s.choice() for s in every])
        failure = Failure(
            Category.DATA_INVALID,
            f"{folder}: {len(every)} MR series, none has several volumes: {shown}",
            "add the diffusion series",
        )
        return [Candidate(every[0].choice(), failure=failure)]
    matching = [series for series in every if filters.matches_series(series, query)]
    chosen = [series for series in wanted if series in matching]
    main, reverses, note = dicom_series.reversed_of(chosen, matching)
    if main and reverses:
        return [series_candidate(main, reverse, note) for reverse in reverses]
    return [series_candidate(series, note=note) for series in chosen]


def named_series(folder: str, uid: str | None, reverse_uid: str) -> list[Candidate]:
    """Return the candidate of two DICOM series that someone named.

    Parameters
    ----------
    folder : str
    uid : str or None
        The series; when None, the only other diffusion series of the folder.
    reverse_uid : str
        The one of reversed phase encoding.

    Raises
    ------
    Failure
        DATA_INVALID when a series is not there; USAGE for one series as both; as `files.below`
        and `dicom_series.list_series`.
    """
    paths = [path for path in files.below(folder) if not path.lower().endswith(_NOT_DICOM)]
    every = dicom_series.list_series(paths)
    reverse = dicom_series.named(every, reverse_uid, folder)
    if uid is None:
        others = [series for series in dicom_series.candidates(every) if series is not reverse]
        if not others:
            raise Failure(
                Category.DATA_INVALID,
                f"{folder}: no diffusion series beside {dicom_series.describe([reverse])}",
                "name the series as series_uid",
            )
        return [series_candidate(series, reverse) for series in others]
    series = dicom_series.named(every, uid, folder)
    dicom_series.check_two(series, reverse, folder)
    return [series_candidate(series, reverse)]


def series_candidate(
    series: dicom_series.Series, reverse: dicom_series.Series | None = None, note: str = ""
) -> Candidate:
    """Make the candidate of a DICOM series, optionally with one of reversed phase encoding."""
    paths = [*series.files, *(reverse.files if reverse else ())]
    common = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120
    options = {"series_uid": series.uid}
    if reverse:
        options["reverse_series_uid"] = reverse.uid
    return Candidate(
        {**series.choice(), **options}, [files.many("dicom", common, paths)], options, note=note
    )


def _wanted(name: str, query: Mapping[str, Any]) -> bool:
    parsed = bids.parse(name)
    entities = parsed.entities if parsed else {}
    if filters.asks_for_series(query) and not filters.asks_for_images(query):
        return False
    if "part" not in query and entities.get("part") in NOT_MAGNITUDE:
        return False
    return filters.matches(entities, query)


def _image(
    folder: str, name: str, names: Collection[str], unit: Mapping[str, str], root: str
) -> Candidate:
    path = f"{folder}/{name}"
    choice = {"path": path.removeprefix(f"{root}/")}
    try:
        parsed = bids.parse(name)
        if parsed is None or any(
            parsed.entities.get(key) != unit.get(key) for key in ("sub", "ses")
        ):
            raise Failure(
                Category.DATA_INVALID,
                f"{path}: its name is not of this subject and session",
                "rename it, or move it to the folder of its subject and session",
            )
        inputs = image_inputs(path, levels(folder, names, root))
        return Candidate(choice, inputs, image=path)
    except Failure as failure:
        return Candidate(choice, failure=failure, image=path)


def levels(folder: str, names: Collection[str], root: str) -> Iterator[tuple[str, Collection[str]]]:
    """Yield a folder's file names, then those of each folder above it up to the study's."""
    yield folder, names
    while folder != root and "/" in folder:
        folder = folder.rpartition("/")[0]
        yield folder, names_in(folder)


def names_in(folder: str) -> frozenset[str]:
    """Return the names in a folder, from memory while the folder has not changed.

    Raises
    ------
    Failure
        PERMISSION or INPUT_MISSING.
    """
    return _names(folder, files.status(folder).st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _names(folder: str, _changed: int) -> frozenset[str]:
    """Return a folder's names; all units of a study ask for those of the study itself."""
    return frozenset(entry.name for entry in files.entries(folder))


def image_inputs(
    path: str,
    above: Iterator[tuple[str, Collection[str]]],
    given: Mapping[str, str] | None = None,
) -> list[Input]:
    """Find an image's sidecars, check it by headers and gradients, and fingerprint all.

    Parameters
    ----------
    path : str
        A NIfTI file.
    above : iterator of (folder, file names)
        Where sidecars may be, nearest first.
    given : mapping, optional
        Sidecars by role that someone named; they are not searched then.

    Raises
    ------
    Failure
        INPUT_MISSING without image, bval or bvec; PERMISSION; DATA_INVALID as
        `image.header`, `gradients.check` and `gradients.check_tensor`.
    """
    from cohortflow.dwi import gradients, image

    inputs = [files.one("dwi", path)]
    folder, _, name = path.rpartition("/")
    seen = list[tuple[str, Collection[str]]]()
    for role in ("bval", "bvec", "json"):
        found = (given or {}).get(role) or bids.sidecar(name, f".{role}", _again(seen, above))
        if found:
            inputs.append(files.one(role, found))
        elif role != "json":
            raise Failure(
                Category.INPUT_MISSING,
                f"{path}: has no {role} file",
                f"add {bids.stem(name)}.{role} to {folder}, or one that BIDS lets it inherit",
            )
    file = Path(path)
    try:
        header = image.header(file)
        image.check_dimensions(header, 4, file)
        table = gradients.read(Path(inputs[1].path), Path(inputs[2].path))
        gradients.check(table, header.volumes, path)
        gradients.check_tensor(table, path)
    except Failure as failure:
        if failure.category is Category.DATA_INVALID:
            for each in inputs:
                files.refuse_pointer(each.path)
        raise
    return inputs


def _again(
    seen: list[tuple[str, Collection[str]]], rest: Iterator[tuple[str, Collection[str]]]
) -> Iterator[tuple[str, Collection[str]]]:
    """Yield what was listed before, then go on listing: each folder is read once."""
    yield from list(seen)
    for level in rest:
        seen.append(level)
        yield level


def describe(choices: list[dict[str, str]], limit: int = 20) -> str:
    """Write choices as one line."""
    shown = [
        (
            choice.get("path")
            or f"{choice['series_uid']} ({choice['description']}, {choice['files']} files)"
        )
        + (f" with {choice[key]}" if (key := _reverse_of(choice)) else "")
        for choice in choices[:limit]
    ]
    return "; ".join(shown + (["..."] if len(choices) > limit else []))


def _reverse_of(choice: Mapping[str, str]) -> str | None:
    return next((key for key in ("reverse", "reverse_series_uid") if key in choice), None)

"""Complete the units of a manifest that a person wrote or changed."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cohortflow.core import names
from cohortflow.core.manifest import Unit
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import candidates, choose, files, pairs, phase


def complete(blank: Unit, paths: Mapping[str, str]) -> Unit:
    """Find, check and fingerprint the files of a unit.

    Parameters
    ----------
    blank : Unit
        Without inputs; its options count.
    paths : mapping of str to str
        Absolute paths by role, as the manifest names them.

    Raises
    ------
    Failure
        As `discover.complete`.
    """
    said = blank.options.get("phase_encoding")
    if said:
        phase.check_given(said)
    if {"dwi", "dicom"} <= paths.keys():
        raise _usage(f"{blank.id}: both an image and DICOM are given", "keep one of them")
    spare = sorted({"reverse_bval", "reverse_json"} & paths.keys())
    if spare and "reverse" not in paths:
        raise _usage(f"{blank.id}: {spare[0]} is given without reverse", "give the image, too")
    if "dicom" in paths:
        if "reverse" in paths:
            raise _usage(
                f"{blank.id}: a reverse image is given with DICOM",
                "name the reversed DICOM series by the option reverse_series_uid",
            )
        return _dicom(blank, paths["dicom"])
    if "dwi" not in paths:
        raise Failure(
            Category.INPUT_MISSING, f"{blank.id}: neither dwi nor dicom is given", "add its path"
        )
    if "reverse_series_uid" in blank.options:
        raise _usage(
            f"{blank.id}: reverse_series_uid is given with an image",
            "name the image of reversed phase encoding as reverse",
        )
    return _image(blank, paths, said)


def _dicom(blank: Unit, folder: str) -> Unit:
    uid, reverse = (blank.options.get(key) for key in ("series_uid", "reverse_series_uid"))
    if reverse:
        return choose.unit(blank, candidates.named_series(folder, uid, reverse), folder, {})
    query = {"SeriesInstanceUID": names.uid(uid)} if uid else {}
    found = candidates.dicom_candidates(folder, query)
    if not found and uid:
        others = [one.choice for one in candidates.dicom_candidates(folder, {})]
        raise Failure(
            Category.DATA_INVALID,
            f"{folder}: has no series {uid}, only: {candidates.describe(others)}",
            "use one of these UIDs as series_uid",
        )
    return choose.unit(blank, found, folder, query)


def _image(blank: Unit, paths: Mapping[str, str], said: str | None) -> Unit:
    folder = os.path.dirname(paths["dwi"])  # noqa: PTH120
    files.status(paths["dwi"])
    above = candidates.levels(folder, candidates.names_in(folder), _study_of(folder))
    inputs = candidates.image_inputs(paths["dwi"], above, paths)
    if "reverse" in paths:
        study = _study_of(os.path.dirname(paths["reverse"]))  # noqa: PTH120
        inputs += pairs.named(inputs, paths, study, said)
    return blank.model_copy(update={"inputs": inputs})


def _study_of(folder: str) -> str:
    """Return the study that a folder belongs to, by the names of the folders above."""
    while (name := folder.rpartition("/")[2]) in ("dwi", "fmap") or name.startswith(
        ("ses-", "sub-")
    ):
        folder = folder.rpartition("/")[0]
    return folder


def _usage(message: str, remedy: str) -> Failure:
    return Failure(Category.USAGE, message, remedy)

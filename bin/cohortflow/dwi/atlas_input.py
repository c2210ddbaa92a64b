"""A user's atlas as an input of each unit: its folder, fingerprinted."""

from __future__ import annotations

from pathlib import Path

from cohortflow.core.manifest import Input, Unit
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import files

ROLE = "atlas"

FILES = ("template_FA.nii.gz", "regions.nii.gz", "regions.tsv")
"""What an atlas' folder holds, see `atlas.read`."""


def of_folder(folder: Path) -> Input:
    """Return an atlas as an input.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    Failure
        INPUT_MISSING when the folder or one of its files is not there.
    """
    path = folder.absolute()
    missing = [name for name in FILES if not (path / name).is_file()]
    if missing:
        raise Failure(
            Category.INPUT_MISSING,
            f"{folder}: holds no {', no '.join(missing)}",
            f"give --atlas a folder with {', '.join(FILES)}, or leave it out",
        )
    return files.many(ROLE, str(path), [str(path / name) for name in FILES])


def added(unit: Unit, atlas: Input | None) -> Unit:
    """Return a unit that can run with an atlas added to its inputs; others as they are."""
    if atlas is None or unit.excluded is not None:
        return unit
    return unit.model_copy(update={"inputs": [*unit.inputs, atlas]})

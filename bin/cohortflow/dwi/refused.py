"""Draw what discovery refused: nothing ran for these units, so that no step left a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cohortflow.core.manifest import Unit
from cohortflow.core.outcome import Failure
from cohortflow.dwi import bids, candidates

if TYPE_CHECKING:
    from cohortflow.dwi.gradients import Unusable


def picture(unit: Unit, study: Path) -> bytes | None:
    """Draw the gradients of a unit that discovery refused for them.

    Parameters
    ----------
    unit : Unit
        Excluded, its inputs as they are or none.
    study : Path

    Returns
    -------
    bytes or None
        A PNG file; None when the unit was refused for something else, or its files have changed.

    Raises
    ------
    Failure, OSError
        When its folder or files cannot be read.
    """
    from cohortflow.dwi import refusal

    if unit.excluded is None:
        return None
    root = str(study.resolve())
    said = unit.excluded.message.replace(f"{root}/", "")
    for image in _images(unit, root):
        failure = _refused(image, unit, root)
        if failure is not None and failure.message.replace(f"{root}/", "") == said:
            return refusal.packed(refusal.draw_table(failure.name, failure.gradients, said))
    return None


def _images(unit: Unit, root: str) -> Iterator[str]:
    """Yield the image that a unit names, or else those of its folder."""
    named = [one.path for one in unit.inputs if one.role == "dwi"]
    yield from named
    if not named and not unit.inputs:
        folder = f"{root}/{unit.folder}/dwi"
        names = sorted(candidates.names_in(folder))
        yield from (f"{folder}/{name}" for name in names if name.endswith(bids.IMAGE_ENDS))


def _refused(image: str, unit: Unit, root: str) -> Unusable | None:
    """Check an image as discovery did; return the refusal of its gradients, if it is one."""
    from cohortflow.dwi.gradients import Unusable  # needs NumPy, which a lane loads late

    folder = image.rpartition("/")[0]
    given = {one.role: one.path for one in unit.inputs}
    try:
        above = candidates.levels(folder, candidates.names_in(folder), root)
        candidates.image_inputs(image, above, given)
    except Unusable as failure:
        return failure
    except Failure:
        return None
    return None

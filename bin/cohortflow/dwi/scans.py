"""What names, sidecars and headers say of images that may have opposite phase encoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import bids, candidates, grids, labels, phase
from cohortflow.dwi import sidecar as sidecars


@dataclass(frozen=True)
class Scan:
    """An image that may be one of a pair.

    Attributes
    ----------
    path : str
    entities : dict
        Of its BIDS name; empty when that is of another form.
    bval, json : str or None
        Paths of sidecars that apply to it.
    fields : mapping
        What the JSON sidecar holds.
    """

    path: str
    entities: dict[str, str]
    bval: str | None
    json: str | None
    fields: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.rpartition("/")[2]

    def grid(self) -> grids.Grid:
        """Read where its voxels lie."""
        return grids.of_header(Path(self.path))

    def side(self) -> phase.Side:
        """Return what is known of its phase encoding; the header is read for the axes."""
        return phase.side(self.path, self.fields, self.entities.get("dir"), self.grid().affine)


def beside(image: str, root: str, given: Mapping[str, str] | None = None) -> Scan:
    """Look at an image whose sidecars are given, or inherited as BIDS says."""
    folder, _, name = image.rpartition("/")
    names = candidates.names_in(folder)
    bval, json = (
        (given or {}).get(f"reverse_{end}")
        or bids.sidecar(name, f".{end}", candidates.levels(folder, names, root))
        for end in ("bval", "json")
    )
    return of_files(image, bval, json)


def of_files(image: str, bval: str | None, json: str | None) -> Scan:
    """Look at an image and its sidecars; only the JSON is read."""
    name = bids.parse(image.rpartition("/")[2])
    fields = sidecars.read(Path(json)) if json else {}
    return Scan(image, name.entities if name else {}, bval, json, fields)


def opposed(main: Scan, other: Scan, *, alike: bool = True) -> bool:
    """Tell whether directions are opposite: by the sidecars, else by the labels.

    Labels count when the names are `alike` otherwise; an image of ``fmap`` need not be.
    """
    first, second = phase.told(main.fields), phase.told(other.fields)
    if first and second:
        return second == phase.opposite(first)
    return not (first or second) and labels_opposite(main, other, alike=alike)


def same_way(main: Scan, other: Scan) -> bool:
    """Tell whether it is known that directions are not opposite."""
    first, second = phase.told(main.fields), phase.told(other.fields)
    told_by_name = [scan.entities.get("dir") for scan in (main, other)]
    return bool(first and second) or (
        not (first or second) and all(map(labels.known, told_by_name))
    )


def labels_opposite(main: Scan, other: Scan, *, alike: bool = True) -> bool:
    """Tell whether labels are opposite, of names that are `alike` otherwise."""
    one, two = ({**scan.entities} for scan in (main, other))
    opposite = labels.opposite(one.pop("dir", None), two.pop("dir", None))
    return opposite and (one == two or not alike)


def doubt(main: Scan, other: Scan) -> Failure:
    """Make the failure of two images named as a pair whose sidecars do not say so."""
    told = [phase.told(scan.fields) for scan in (main, other)]
    silent = [scan.path for scan, one in zip((main, other), told, strict=True) if one is None]
    return Failure(
        Category.DATA_INVALID,
        f"{main.path} and {other.path}: opposite phase encoding is not certain, "
        + (
            f"no PhaseEncodingDirection is known of {' and '.join(silent)}"
            if silent
            else f"their sidecars tell {told[0]} and {told[1]}"
        ),
        "correct PhaseEncodingDirection in the sidecars",
    )

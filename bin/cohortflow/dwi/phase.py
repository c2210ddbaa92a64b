"""Phase encoding: its direction, by sidecar or by label, and which directions are opposite.

A direction is written as BIDS does: ``i``, ``j`` or ``k`` for an image axis along which the
phase-encoding coordinate grows, with ``-`` where it falls (BIDS 1.10, PhaseEncodingDirection).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import labels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIRECTIONS = ("i", "i-", "j", "j-", "k", "k-")
"""Values of PhaseEncodingDirection."""


@dataclass(frozen=True)
class Side:
    """What is known of a series' phase encoding.

    Attributes
    ----------
    name : str
        What messages call the series.
    told : str or None
        PhaseEncodingDirection of its sidecar; None when that has no valid one.
    axis : str or None
        The axis that the sidecar tells, with or without a sign.
    label : str or None
        The label of ``dir-`` in its name.
    affine : ndarray of float, shape (4, 4)
        Voxel indices to world mm (right, anterior, superior).
    """

    name: str
    told: str | None
    axis: str | None
    label: str | None
    affine: NDArray[np.float64]


@dataclass(frozen=True)
class Direction:
    """A phase-encoding direction, and where it was read when that is not the sidecar."""

    value: str
    source: str | None = None


def told(fields: Mapping[str, Any]) -> str | None:
    """Return a sidecar's PhaseEncodingDirection, None without a valid one."""
    value = fields.get("PhaseEncodingDirection")
    return value if isinstance(value, str) and value in DIRECTIONS else None


def side(
    name: str, fields: Mapping[str, Any], label: str | None, affine: NDArray[np.float64]
) -> Side:
    """Gather what is known of a series' phase encoding."""
    axis = told(fields) or fields.get("PhaseEncodingAxis")
    known = axis if isinstance(axis, str) and axis[:1] in ("i", "j", "k") else None
    return Side(name, told(fields), known and known[0], label, affine)


def opposite(direction: str) -> str:
    """Return the direction of the other sign.

    Examples
    --------
    >>> opposite("j"), opposite("j-")
    ('j-', 'j')
    """
    return direction[0] if direction.endswith("-") else f"{direction}-"


def of_series(series: Side, given: str | None = None) -> Direction | None:
    """Find the direction of a series that has no partner.

    Parameters
    ----------
    series : Side
    given : str, optional
        What a person says: a direction or a label. It must agree with the sidecar.

    Returns
    -------
    Direction or None
        Of the sidecar, else as given, else of the label; None when nothing tells it, or the
        label contradicts the sidecar's axis.

    Raises
    ------
    Failure
        As `_given`.
    """
    if given:
        return _given(series, given)
    if series.told:
        return Direction(series.told)
    value = labels.of_label(series.label, series.affine)
    if value is None or series.axis not in (None, value[0]):
        return None
    return _of_label(series, value)


def of_pair(main: Side, reverse: Side, given: str | None = None) -> tuple[Direction, Direction]:
    """Find the directions of two series, and see that they are opposite.

    The sidecars decide. Labels count only when neither sidecar has the field.

    Parameters
    ----------
    main, reverse : Side
        Two series on one grid.
    given : str, optional
        The main series' direction as a person says, for a series whose sidecar lacks it.

    Raises
    ------
    Failure
        DATA_INVALID, naming both, when the directions are not opposite or not known; as
        `_given`.
    """
    if given:
        first = _given(main, given)
        source = first.source or "the opposite of the series that it goes with"
        second = Direction(reverse.told or opposite(first.value), None if reverse.told else source)
        # what a person says of one image does not make a pair of two that are named alike
        if not reverse.told and labels.same(main.label, reverse.label):
            raise _bad(
                f"{main.name} and {reverse.name}: are both named dir-{reverse.label}, opposite "
                "phase encoding is not certain",
                "add PhaseEncodingDirection to the sidecars, or rename the images",
            )
    elif main.told and reverse.told:
        first, second = Direction(main.told), Direction(reverse.told)
    elif not (main.told or reverse.told) and labels.opposite(main.label, reverse.label):
        first, second = (
            _of_label(one, str(labels.of_label(one.label, one.affine))) for one in (main, reverse)
        )
    else:
        raise _unknown(main, reverse)
    for one, found in ((main, first), (reverse, second)):
        if one.axis not in (None, found.value[0]):
            raise _bad(
                f"{one.name}: its sidecar tells phase encoding along {one.axis}, "
                f"{found.source} along {found.value[0]} (pair with "
                f"{(reverse if one is main else main).name})"
            )
    if second.value != opposite(first.value):
        raise _bad(
            f"{main.name} and {reverse.name}: phase encoding {first.value} and {second.value} "
            "is not opposite"
        )
    return first, second


def check_given(given: str) -> None:
    """Refuse what is neither a direction nor a label.

    Raises
    ------
    Failure
        USAGE.
    """
    if given not in DIRECTIONS and not labels.known(given):
        raise Failure(
            Category.USAGE,
            f"phase encoding {given!r} is no direction",
            f"use one of {', '.join((*DIRECTIONS, *labels.TOWARDS))}",
        )


def _given(series: Side, given: str) -> Direction:
    """Read what a person says, and compare it with the sidecar."""
    check_given(given)
    value = given if given in DIRECTIONS else str(labels.of_label(given, series.affine))
    if (series.told and series.told != value) or series.axis not in (None, value[0]):
        raise _bad(
            f"{series.name}: its sidecar tells phase encoding {series.told or series.axis}, "
            f"the option phase_encoding tells {given} ({value})"
        )
    return Direction(value, None if series.told else f"the option phase_encoding {given}")


def _of_label(series: Side, value: str) -> Direction:
    return Direction(value, f"the label dir-{series.label} of its name and the image's affine")


def _unknown(main: Side, reverse: Side) -> Failure:
    silent = [one.name for one in (main, reverse) if not one.told]
    return _bad(
        f"{main.name} and {reverse.name}: opposite phase encoding is not certain, no "
        f"PhaseEncodingDirection is known of {' and '.join(silent)}",
        "add PhaseEncodingDirection to the sidecars",
    )


def _bad(message: str, remedy: str = "correct the sidecars") -> Failure:
    return Failure(Category.DATA_INVALID, message, remedy)

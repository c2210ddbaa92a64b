"""Phase encoding: its direction, by sidecar or by label, and which directions are opposite.

A direction is written as BIDS does: ``i``, ``j`` or ``k`` for an image axis along which the
phase-encoding coordinate grows, with ``-`` where it falls (BIDS 1.10, PhaseEncodingDirection).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.outcome import Category, Failure

DIRECTIONS = ("i", "i-", "j", "j-", "k", "k-")
"""Values of PhaseEncodingDirection."""

_TOWARDS = {
    "LR": (0, 1),
    "RL": (0, -1),
    "PA": (1, 1),
    "AP": (1, -1),
    "IS": (2, 1),
    "FH": (2, 1),
    "SI": (2, -1),
    "HF": (2, -1),
}
"""World axis (right, anterior, superior) and sign of a label: AP is from anterior to posterior."""

_TOKEN = re.compile(rf"(?<![A-Za-z0-9])({'|'.join(_TOWARDS)})(?![A-Za-z0-9])", re.IGNORECASE)


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


def labels_opposite(one: str | None, other: str | None) -> bool:
    """Tell whether two labels name opposite directions; upper and lower case are the same.

    Examples
    --------
    >>> labels_opposite("AP", "PA"), labels_opposite("AP", "LR"), labels_opposite("AP", None)
    (True, False, False)
    """
    first, second = (_TOWARDS.get((label or "").upper()) for label in (one, other))
    return bool(first and second) and first == (second[0], -second[1])  # type: ignore[index]


def known(label: str | None) -> bool:
    """Tell whether a label names a direction.

    Examples
    --------
    >>> known("ap"), known("98"), known(None)
    (True, False, False)
    """
    return (label or "").upper() in _TOWARDS


def differ_by_direction(one: str, other: str) -> bool:
    """Tell whether two descriptions are equal but for one word that names opposite directions.

    Examples
    --------
    >>> differ_by_direction("ep2d_diff_AP", "ep2d_diff_PA")
    True
    >>> differ_by_direction("DTI AP 30", "DTI PA 60"), differ_by_direction("DTI MAP", "DTI MPA")
    (False, False)
    """
    # the pattern's group makes re.split keep the words: they are at the odd places
    first, second = (_TOKEN.split(" ".join(text.split()).casefold()) for text in (one, other))
    if len(first) != len(second):
        return False
    changed = [place for place, text in enumerate(first) if text != second[place]]
    return (
        len(changed) == 1
        and changed[0] % 2 == 1
        and labels_opposite(first[changed[0]], second[changed[0]])
    )


def of_label(label: str | None, affine: NDArray[np.float64]) -> str | None:
    """Read a direction from a label and the image's axes; None when the label names none.

    Parameters
    ----------
    label : str or None
        ``AP``, ``PA``, ``LR``, ``RL``, ``SI``, ``IS``, ``HF`` or ``FH``.
    affine : ndarray of float, shape (4, 4)

    Examples
    --------
    >>> of_label("AP", np.diag([-2.0, 2.0, 2.0, 1.0]))
    'j-'
    >>> of_label("LR", np.diag([-2.0, 2.0, 2.0, 1.0]))
    'i-'
    """
    towards = _TOWARDS.get((label or "").upper())
    if towards is None:
        return None
    world, sign = towards
    axes = affine[:3, :3]
    cosines = axes[world] / np.linalg.norm(axes, axis=0)
    axis = int(np.abs(cosines).argmax())
    return "ijk"[axis] + ("" if sign * cosines[axis] > 0 else "-")


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
    value = of_label(series.label, series.affine)
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
        other = opposite(first.value)
        second = Direction(reverse.told) if reverse.told else Direction(other, first.source)
    elif main.told and reverse.told:
        first, second = Direction(main.told), Direction(reverse.told)
    elif not (main.told or reverse.told) and labels_opposite(main.label, reverse.label):
        first, second = (
            _of_label(one, str(of_label(one.label, one.affine))) for one in (main, reverse)
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
    if given not in DIRECTIONS and not known(given):
        raise Failure(
            Category.USAGE,
            f"phase encoding {given!r} is no direction",
            f"use one of {', '.join((*DIRECTIONS, *_TOWARDS))}",
        )


def _given(series: Side, given: str) -> Direction:
    """Read what a person says, and compare it with the sidecar."""
    check_given(given)
    value = given if given in DIRECTIONS else str(of_label(given, series.affine))
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

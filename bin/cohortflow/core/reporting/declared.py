"""What a lane declares of its numbers and texts, so that the report can show them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gate:
    """A limit that a number of each unit is held against.

    Attributes
    ----------
    metric : str
    title : str
        What is checked, for people.
    least, most : float or None
        The limits, themselves allowed; None where there is none.
    unit : str
        Of the number, for example ``mm``; empty when it has none.
    """

    metric: str
    title: str
    least: float | None
    most: float | None
    unit: str = ""


@dataclass(frozen=True)
class Curve:
    """Numbers along an axis, one line or more.

    Attributes
    ----------
    title : str
    series : tuple of (str, str)
        Name and metric of each line. The metric is a text of numbers with ``;`` between, an
        unknown one empty; all units have as many.
    axis : str
        What the points go along, for example ``from pons to cortex``.
    unit : str
        Of the numbers; empty when they have none.
    """

    title: str
    series: tuple[tuple[str, str], ...]
    axis: str
    unit: str = ""


@dataclass(frozen=True)
class Pair:
    """Two numbers of a unit that should be alike.

    Attributes
    ----------
    title : str
    left, right : str
        The two metrics.
    unit : str
        Of both; empty when they have none.
    """

    title: str
    left: str
    right: str
    unit: str = ""


@dataclass(frozen=True)
class Note:
    """A published text that is shown with its unit.

    Attributes
    ----------
    title : str
    pattern : str
        The file, written as the lane's outputs; UTF-8, 64 kB at most.
    """

    title: str
    pattern: str

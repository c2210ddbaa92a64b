"""What the engine must know of a lane; each lane states it once in its module `lane`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

from cohortflow.core.manifest import Unit
from cohortflow.core.outcome import Category, Failure
from cohortflow.core.parameters import Parameter
from cohortflow.core.reporting.declared import Curve, Gate, Note, Pair

__all__ = [
    "LANES", "Curve", "Gate", "Lane", "Note", "Pair", "Parameter", "Selection", "Step", "Values",
    "get", "matches",
]  # fmt: skip

LANES = ("dwi", "cells")

Values = tuple[tuple[str, str], ...]  # pairs of a parameter and a value of it


@dataclass(frozen=True)
class Step:
    """A step of a lane: its tool is ``<lane>-<name>``, its folder of outputs ``<name>/``.

    Attributes
    ----------
    name : str
    parameters : tuple of str
        Parameters of the lane that the step's tool reads: a change re-runs this step.
    options : tuple of str
        Options of a unit that the step's tool reads, for example ``series_uid``.
    network : bool
        Whether the step sends something elsewhere: what it sends is complete before, and stays
        when it fails, so that the next run only sends.
    unless : tuple of (str, str)
        Parameters and a value each; with any of them the step is left out.
    """

    name: str
    parameters: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    network: bool = False
    unless: Values = ()


@dataclass(frozen=True)
class Selection:
    """Which part of a study is wanted, and what a lane's discovery may need beside it.

    Attributes
    ----------
    participants, sessions : tuple of str
        Labels, with or without prefix; all when empty.
    filters : mapping
        As the lane's reader of filter files gives them.
    parameters : mapping of str to str
        The lane's parameters, resolved; those left out have their defaults.
    file : Path or None
        The only file wanted, where a study was named by one.
    """

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    filters: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None


@dataclass(frozen=True)
class Lane:
    """A lane as the engine sees it.

    Attributes
    ----------
    name : str
    title : str
        What the lane makes, for dataset_description.json.
    steps : tuple of Step
        In the order of the pipeline.
    parameters : tuple of Parameter
    outputs : tuple of str
        Every file of a complete unit, relative to its folder; ``{prefix}`` is the unit's id. A
        name with ``*`` stands for one file or more, none of them in another folder.
    discover : callable
        ``discover(study, selection)`` yields the units of a study.
    complete : callable
        ``complete(unit, base, parameters)`` fills in what a hand-written manifest left out
        (sizes, times, sidecars) and checks the inputs; relative paths are below ``base``,
        ``parameters`` are the lane's, resolved.
    filters : callable or None
        ``filters(path)`` reads a ``--bids-filter-file`` for a selection; None when the lane
        takes none.
    roles : tuple of str
        Roles of inputs, as a manifest names them.
    space : float
        Bytes of scratch and output for each byte of input, to reckon disk space before a run.
    aliases : mapping of str to str
        Other names of roles that users' manifests have.
    foreign : callable or None
        ``foreign(options)`` makes options of a unit of those in csttool's manifest, the study's
        and the subject's own; None when nothing corresponds to them.
    picture : callable or None
        ``picture(unit, study)`` draws what discovery refused, as the bytes of a PNG file; None
        for a unit that shows nothing.
    bidsignore : tuple of str
        Patterns that hide the lane's outputs that BIDS does not name yet.
    optional : tuple of str
        Files that a complete unit may have, too; written as `outputs`.
    unless : mapping of str to tuple of (str, str)
        Of `outputs`, those that are not made when any of some parameters has a value: the
        pattern, and the parameters with that value.
    handed_on : tuple of str
        Files that one step hands on to the next and that are not published; written as `outputs`.
    bids : bool
        Whether a unit is a subject's session of a BIDS study; else it has a name and no labels.
    takes_file : bool
        Whether a study may be named by one file in it.
    unit_logs : bool
        Whether the report writes a log of each unit, ``OUT/logs/<unit>/``.
    clean : str
        When scratch is freed unless ``--clean`` says otherwise: ``unit``, ``run`` or ``never``.
    shorthands : mapping of str to str
        Other names of options, for the front door: a name as ``--work-dir``, an option with its
        value as ``--clean=never`` (the other name then takes none), ``STUDY`` or ``OUT`` for
        what is named by position, or nothing for a flag that says what is done anyway.
    refused : mapping of str to str
        Options that take a value and are never accepted, with what to do instead.
    default_study, default_out : str or None
        What STUDY and OUT are when they are left out; None when they must be given.
    gates : tuple of Gate
        Limits that the report holds each complete unit's numbers against.
    reasons : tuple of (str, str)
        Metrics whose text says why something was not measured, empty when it was; with a title.
    curves : tuple of Curve
        Metrics that are numbers along an axis, drawn over those of the other units.
    pairs : tuple of Pair
        Metrics that should be alike, drawn against each other.
    notes : tuple of Note
        Published texts that the report shows.
    headline : tuple of str
        Metrics that the report shows first, in this order; the others are folded. When empty,
        or when no unit has one of them, all are shown alike.
    """

    name: str
    title: str
    steps: tuple[Step, ...]
    parameters: tuple[Parameter, ...]
    outputs: tuple[str, ...]
    discover: Callable[[Path, Selection], Iterator[Unit]]
    complete: Callable[[Unit, Path, Mapping[str, str]], Unit]
    filters: Callable[[Path], Mapping[str, Any]] | None
    roles: tuple[str, ...]
    space: float = 4.0
    aliases: Mapping[str, str] = field(default_factory=dict)
    foreign: Callable[[Mapping[str, Any]], dict[str, str]] | None = None
    picture: Callable[[Unit, Path], bytes | None] | None = None
    bidsignore: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    unless: Mapping[str, Values] = field(default_factory=dict)
    handed_on: tuple[str, ...] = ()
    bids: bool = True
    takes_file: bool = False
    unit_logs: bool = False
    clean: str = "never"
    shorthands: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    default_study: str | None = None
    default_out: str | None = None
    gates: tuple[Gate, ...] = ()
    reasons: tuple[tuple[str, str], ...] = ()
    curves: tuple[Curve, ...] = ()
    pairs: tuple[Pair, ...] = ()
    notes: tuple[Note, ...] = ()
    headline: tuple[str, ...] = ()

    def running(self, parameters: Mapping[str, str]) -> tuple[Step, ...]:
        """Return the steps that are not left out by a parameter."""
        return tuple(step for step in self.steps if not _any(step.unless, parameters))

    def expected(self, prefix: str, parameters: Mapping[str, str] | None = None) -> set[str]:
        """Return the files of a complete unit, relative to its folder; some names hold ``*``.

        Parameters
        ----------
        prefix : str
            The unit's id.
        parameters : mapping, optional
            What the unit was made with; the defaults where left out.
        """
        have = {one.name: one.default for one in self.parameters} | dict(parameters or {})
        made = (pattern for pattern in self.outputs if not _any(self.unless.get(pattern, ()), have))
        return {pattern.format(prefix=prefix) for pattern in made}

    def missing(
        self, found: Collection[str], prefix: str, parameters: Mapping[str, str] | None = None
    ) -> list[str]:
        """Return what is `expected` of a unit and not among its files, sorted."""
        return sorted(
            pattern
            for pattern in self.expected(prefix, parameters)
            if not any(matches(path, pattern) for path in found)
        )

    def ordered(self, found: Iterable[str], prefix: str) -> list[str]:
        """Return a unit's files in the order in which the lane declares them, then others."""
        patterns = [one.format(prefix=prefix) for one in (*self.outputs, *self.optional)]

        def place(path: str) -> tuple[int, str]:
            known = (n for n, pattern in enumerate(patterns) if matches(path, pattern))
            return next(known, len(patterns)), path

        return sorted(found, key=place)

    def is_handed_on(self, path: str, prefix: str) -> bool:
        """Tell whether a step's file is for the next step alone."""
        return any(matches(path, one.format(prefix=prefix)) for one in self.handed_on)

    def unexpected(self, found: Iterable[str], prefix: str) -> list[str]:
        """Return a unit's files that the lane does not declare, sorted."""
        patterns = {one.format(prefix=prefix) for one in (*self.outputs, *self.optional)}
        return sorted(
            path for path in found if not any(matches(path, pattern) for pattern in patterns)
        )

    def resolve(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return all parameters with their defaults, checked and written in one way.

        Raises
        ------
        Failure
            USAGE for an unknown name or a value that its parameter does not take.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in known:
                raise Failure(
                    Category.USAGE,
                    f"lane {self.name} has no parameter {name!r}",
                    f"use one of: {', '.join(sorted(known)) or 'none'}",
                )
        return {
            name: parameter.checked(given.get(name, parameter.default))
            for name, parameter in known.items()
        }

    def recorded(self, parameters: Mapping[str, str]) -> dict[str, str]:
        """Return the parameters that plan and markers hold: those that name no input."""
        inputs = {parameter.name for parameter in self.parameters if parameter.input}
        return {name: value for name, value in parameters.items() if name not in inputs}


def _any(values: Values, have: Mapping[str, str]) -> bool:
    """Tell whether any parameter has the value beside it."""
    return any(have.get(name) == value for name, value in values)


def matches(path: str, pattern: str) -> bool:
    """Tell whether a path is what a pattern says; a ``*`` stands for no ``/``."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def get(name: str) -> Lane:
    """Return a lane by its name.

    Raises
    ------
    Failure
        USAGE when there is no such lane.
    """
    if name not in LANES:
        raise Failure(Category.USAGE, f"no lane {name!r}", f"use one of: {', '.join(LANES)}")
    return cast(Lane, importlib.import_module(f"cohortflow.{name}.lane").LANE)

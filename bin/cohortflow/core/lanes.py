"""What the engine must know of a lane; each lane states it once in its module `lane`."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from cohortflow.core.manifest import Unit
from cohortflow.core.outcome import Category, Failure

LANES = ("dwi",)


@dataclass(frozen=True)
class Parameter:
    """A parameter of a lane.

    Attributes
    ----------
    name : str
        As in ``params.NAME`` and ``--name``.
    default : str
    choices : tuple of str
        Allowed values; empty when any text matching `pattern` is.
    help : str
    """

    name: str
    default: str
    choices: tuple[str, ...]
    help: str


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
    """

    name: str
    parameters: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selection:
    """Which part of a study is wanted."""

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    filters: Mapping[str, Any] = field(default_factory=dict)


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
        Every file of a complete unit, relative to its folder; ``{prefix}`` is the unit's id.
    discover : callable
        ``discover(study, selection)`` yields the units of a study.
    complete : callable
        ``complete(unit, base)`` fills in what a hand-written manifest left out (sizes, times,
        sidecars) and checks the inputs; relative paths are below ``base``.
    filters : callable
        ``filters(path)`` reads a ``--bids-filter-file`` for a selection.
    roles : tuple of str
        Roles of inputs, as a manifest names them.
    space : float
        Bytes of scratch and output for each byte of input, to reckon disk space before a run.
    aliases : mapping of str to str
        Other names of roles that users' manifests have.
    bidsignore : tuple of str
        Patterns that hide the lane's outputs that BIDS does not name yet.
    """

    name: str
    title: str
    steps: tuple[Step, ...]
    parameters: tuple[Parameter, ...]
    outputs: tuple[str, ...]
    discover: Callable[[Path, Selection], Iterator[Unit]]
    complete: Callable[[Unit, Path], Unit]
    filters: Callable[[Path], Mapping[str, Any]]
    roles: tuple[str, ...]
    space: float = 4.0
    aliases: Mapping[str, str] = field(default_factory=dict)
    bidsignore: tuple[str, ...] = ()

    def expected(self, prefix: str) -> set[str]:
        """Return the files of a complete unit, relative to its folder."""
        return {pattern.format(prefix=prefix) for pattern in self.outputs}

    def resolve(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return all parameters with their defaults, checked.

        Raises
        ------
        Failure
            USAGE for an unknown name or a value that is not a choice.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        for name, value in given.items():
            if name not in known:
                raise Failure(
                    Category.USAGE,
                    f"lane {self.name} has no parameter {name!r}",
                    f"use one of: {', '.join(sorted(known)) or 'none'}",
                )
            choices = known[name].choices
            if (choices and value not in choices) or not re.fullmatch(r"[\w.+:-]{0,128}", value):
                raise Failure(
                    Category.USAGE,
                    f"parameter {name} cannot be {value!r}",
                    f"use one of: {', '.join(choices)}"
                    if choices
                    else "use a plain word or number",
                )
        return {name: given.get(name, known[name].default) for name in known}


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

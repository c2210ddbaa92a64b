"""Shells of b-values, and what they allow: which deconvolution, up to which degree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import gradients, harmonics
from cohortflow.dwi.gradients import Gradients

METHODS = ("auto", "msmt", "csd", "tensor")
"""Multi-shell multi-tissue and single-shell deconvolution, and the tensor's distribution."""

LEAST_DIRECTIONS = 20
"""Fewer cannot tell crossing fibres apart: then it is the tensor's distribution."""
LARGEST_LMAX = 8
"""The degree that is chosen at most."""
TENSOR_LMAX = 6
"""Degree of the tensor's distribution."""
_SHELL_GAP = 100.0  # s/mm2 between shells at least
_SHELL_LEAST = 6  # directions of a shell that is used


@dataclass(frozen=True)
class Shell:
    """Volumes of about the same b-value.

    Attributes
    ----------
    bval : float
        Their mean, s/mm2; 0 without weighting.
    volumes : ndarray of int
    """

    bval: float
    volumes: NDArray[np.intp]


@dataclass(frozen=True)
class Plan:
    """How a series is going to be deconvolved.

    Attributes
    ----------
    method : {"msmt", "csd", "tensor"}
    shells : tuple of Shell
        What is used, ascending; the one without weighting only for msmt.
    lmax : int
    directions : int
        Of the shell that has the most.
    left_out : tuple of float
        b-values of the weighted shells that are not used.
    """

    method: str
    shells: tuple[Shell, ...]
    lmax: int
    directions: int
    left_out: tuple[float, ...]


def group(table: Gradients) -> tuple[Shell, ...]:
    """Group volumes by b-value, ascending; those without weighting come first, as b = 0."""
    order = np.argsort(table.bvals, kind="stable")
    order = order[~table.b0[order]]
    ends = np.flatnonzero(np.diff(table.bvals[order]) > _SHELL_GAP) + 1
    groups = [group for group in np.split(order, ends) if len(group)]
    zero = [Shell(0.0, np.flatnonzero(table.b0))] if table.b0.any() else []
    return (*zero, *(Shell(float(table.bvals[g].mean()), np.sort(g)) for g in groups))


def plan(table: Gradients, method: str = "auto", lmax: int = 0, name: str = "the series") -> Plan:
    """Choose method, shells and degree.

    Parameters
    ----------
    table : Gradients
    method : str
        One of `METHODS`. "auto" takes msmt for two or more weighted shells of at least 6
        directions, csd for one, and tensor where no shell has `LEAST_DIRECTIONS`.
    lmax : int
        Even degree; 0 for the largest whose coefficients are no more than the directions of the
        largest shell, at most `LARGEST_LMAX` (6 for tensor).
    name : str
        Of the series, for errors.

    Raises
    ------
    Failure
        USAGE for a degree that is odd or out of range; DATA_INVALID when the gradients do not
        suffice for the method that is asked for.
    """
    if lmax % 2 or not 0 <= lmax <= harmonics.LARGEST:
        raise Failure(
            Category.USAGE, f"lmax {lmax} is no degree", f"use 2, 4, ... {harmonics.LARGEST}, or 0"
        )
    zero, *weighted = group(table)
    numbers = [directions(table, shell) for shell in weighted]
    usable = [i for i, number in enumerate(numbers) if number >= _SHELL_LEAST]
    most = max(numbers, default=0)
    found = _automatic(most, len(usable)) if method == "auto" else method
    if found != "tensor" and most < LEAST_DIRECTIONS:
        raise _unfit(name, found, f"{most} directions, {{}} needs {LEAST_DIRECTIONS}")
    if found == "msmt" and len(usable) < 2:
        raise _unfit(name, found, "fewer than two weighted shells, {} needs two")
    if found == "tensor":
        return Plan(found, (zero, *weighted), lmax or TENSOR_LMAX, most, ())
    # the highest b-value tells crossings apart best, as long as it has directions enough
    used = usable if found == "msmt" else [_last(numbers)]
    chosen = tuple(weighted[i] for i in used)
    rest = tuple(s.bval for i, s in enumerate(weighted) if i not in used)
    number = max(numbers[i] for i in used)
    degree = lmax or _degree(number)
    return Plan(found, (zero, *chosen) if found == "msmt" else chosen, degree, number, rest)


def _automatic(most: int, usable: int) -> str:
    if most < LEAST_DIRECTIONS:
        return "tensor"
    return "msmt" if usable >= 2 else "csd"


def _last(numbers: list[int]) -> int:
    return max(i for i, number in enumerate(numbers) if number >= LEAST_DIRECTIONS)


def _degree(directions: int) -> int:
    fits = [d for d in range(2, LARGEST_LMAX + 1, 2) if harmonics.count(d) <= directions]
    return fits[-1]


def directions(table: Gradients, shell: Shell) -> int:
    """Return how many distinct directions a shell has, see `gradients.directions`."""
    part = Gradients(table.bvals[shell.volumes], table.bvecs[shell.volumes])
    return gradients.directions(part)


def _unfit(name: str, method: str, why: str) -> Failure:
    return Failure(Category.DATA_INVALID, f"{name}: has {why.format(method)}", "use --fod auto")

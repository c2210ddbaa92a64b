"""A lane's other names of options, replaced before a command line is parsed.

Users of an older program find its options here; what they mean is stated by the lane.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import click

from cohortflow.core import lanes
from cohortflow.core.lanes import Lane

_PLACES = ("STUDY", "OUT")


@dataclass
class _Line:
    """A command line that is being taken apart."""

    options: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)


def replaced(args: Sequence[str], flags: Collection[str]) -> list[str]:
    """Return a command line in the front door's own words.

    Parameters
    ----------
    args : sequence of str
        What follows the command's name.
    flags : collection of str
        The command's options that take no value.

    Returns
    -------
    list of str
        Unchanged when its lane has no other names and no places that may be left out.

    Raises
    ------
    click.UsageError
        For an option that the lane refuses (its value is not repeated), or one without its value.
    """
    end = args.index("--") if "--" in args else len(args)
    lane = _lane(args[:end], flags)
    if lane is None or not (lane.shorthands or lane.refused or lane.default_study):
        return list(args)
    line = _taken_apart(args[:end], lane, flags)
    words = iter([*line.words[1:], *args[end + 1 :]])
    defaults = {"STUDY": lane.default_study, "OUT": lane.default_out}
    places = [line.places.get(name) or next(words, defaults[name]) for name in _PLACES]
    given = [place for place in places if place is not None]
    return [*line.options, "--", lane.name, *given, *words]


def rows(lane: Lane) -> list[tuple[str, str]]:
    """Return a lane's other names with what they mean, for `--help`."""
    meaning = {"STUDY": "The same as STUDY", "OUT": "The same as OUT", "": "What is done anyway"}
    defaults = {"STUDY": lane.default_study, "OUT": lane.default_out}
    found = []
    for name, target in lane.shorthands.items():
        text = meaning.get(target, f"The same as {target}")
        default = f"  [default: {defaults[target]}]" if defaults.get(target) else ""
        found.append((name, f"{text}.{default}"))
    return found


def _pieces(args: Sequence[str], flags: Collection[str]) -> Iterator[tuple[str, str | None]]:
    """Yield each option with its value, and each other word with an empty name."""
    rest = iter(args)
    for arg in rest:
        name, sign, value = arg.partition("=")
        if not arg.startswith("-") or arg == "-":
            yield "", arg
        elif sign:
            yield _hyphened(name), value
        elif _hyphened(name) in flags:
            yield _hyphened(name), None
        else:
            yield _hyphened(name), next(rest, None)


def _hyphened(name: str) -> str:
    return name.replace("_", "-") if name.startswith("--") else name


def _lane(args: Sequence[str], flags: Collection[str]) -> Lane | None:
    """Return the lane that a command line is for."""
    # The lane is not known yet: any lane's other name of a flag may stand before it.
    others = {name for one in lanes.LANES for name in _flags(lanes.get(one), flags)}
    words = (value for name, value in _pieces(args, {*flags, *others}) if not name)
    return next((lanes.get(word) for word in words if word in lanes.LANES), None)


def _flags(lane: Lane, flags: Collection[str]) -> set[str]:
    """Return a lane's other names that take no value."""
    return {
        name
        for name, target in lane.shorthands.items()
        if not target or "=" in target or target in flags
    }


def _taken_apart(args: Sequence[str], lane: Lane, flags: Collection[str]) -> _Line:
    """Sort a command line into options, words and what stands for STUDY and OUT."""
    line = _Line()
    bare = {*flags, *_flags(lane, flags)}
    for name, value in _pieces(args, bare):
        target = lane.shorthands.get(name)
        if not name:
            line.words += [value or ""]
        elif name in lane.refused:
            raise click.UsageError(f"{name} is not taken here: {lane.refused[name]}")
        elif target is None:
            line.options += [name] if value is None else [name, value]
        elif target in _PLACES:
            line.places[target] = _value(name, value)
        elif name not in bare:
            line.options += [target, _value(name, value)]
        elif target:
            line.options += [target]
    # Words before the lane's name are values of an option that takes several.
    at = line.words.index(lane.name)
    line.options += line.words[:at]
    line.words = line.words[at:]
    return line


def _value(name: str, value: str | None) -> str:
    if not value:
        raise click.UsageError(f"Option {name!r} requires an argument.")
    return value

"""A parameter of a lane: what it may be, and the one way in which a value is written."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from cohortflow.core import names
from cohortflow.core.outcome import Category, Failure

#: A plain word: it needs no quotes in a script.
WORD = r"[\w.+:-]{0,128}"
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a lane.

    Attributes
    ----------
    name : str
        As in ``params.NAME``, ``--parameter NAME=`` and, with hyphens, as an option.
    default : str
        Written as every value of it: plan and markers hold strings.
    choices : tuple of str
        Allowed values of a string; empty when any that matches `pattern` is.
    help : str
    type : {"string", "integer", "number", "boolean"}
    minimum, maximum : float or None
        Of an integer or a number, both allowed.
    below : float or None
        What an integer or a number is less than.
    pattern : str
        Regular expression for the whole of a string.
    input : bool
        Whether it names a file (a path or an address) that discovery makes an input of each unit,
        with the parameter's name as its role. The input's fingerprint decides what runs again;
        the parameter itself is in no plan and no marker.
    """

    name: str
    default: str
    choices: tuple[str, ...]
    help: str
    type: Literal["string", "integer", "number", "boolean"] = "string"
    minimum: float | None = None
    maximum: float | None = None
    below: float | None = None
    pattern: str = WORD
    input: bool = False

    @property
    def option(self) -> str:
        """The parameter as an option of a command line."""
        return "--" + self.name.replace("_", "-")

    def checked(self, value: str) -> str:
        """Return a value as plan and markers hold it: ``2000``, ``0.05``, ``true``.

        Raises
        ------
        Failure
            USAGE, saying what is allowed.

        Examples
        --------
        >>> Parameter("rate", "1", (), "A rate.", type="number").checked("0.50")
        '0.5'
        """
        text = self._normal(value)
        if text is None:
            shown = value if len(value) <= 100 else f"{value[:100]}…"
            raise Failure(
                Category.USAGE,
                f"parameter {self.name} cannot be {shown!r}",
                f"use {self.allowed()}",
            )
        return text

    def _normal(self, value: str) -> str | None:
        """Return a value written in the one way, or None when it is not allowed."""
        if self.type == "boolean":
            return value.lower() if value.lower() in {"true", "false"} else None
        if self.type == "string":
            return value if self._is_text(value) else None
        try:
            number = int(value) if self.type == "integer" else float(value)
        except ValueError:
            return None
        if self.type == "integer" and not _INTEGER.fullmatch(value):
            return None
        return repr(number + 0).removesuffix(".0") if self._is_within(number) else None

    def _is_text(self, value: str) -> bool:
        if value == self.default:
            return True
        if self.choices:
            return value in self.choices
        if self.input:
            try:
                return names.path(value) == value
            except Failure:
                return False
        return re.fullmatch(self.pattern, value) is not None

    def _is_within(self, number: float) -> bool:
        return (
            math.isfinite(number)
            and (self.minimum is None or number >= self.minimum)
            and (self.maximum is None or number <= self.maximum)
            and (self.below is None or number < self.below)
        )

    def kind(self) -> str:
        """Say in a word or two what it is, for a list of parameters."""
        if self.choices:
            return "|".join(self.choices)
        if self.type != "string":
            return self.allowed()
        return "a path or an address" if self.input else "text"

    def allowed(self) -> str:
        """Say what a value may be."""
        if self.type == "boolean":
            return "true or false"
        if self.choices:
            return f"one of: {', '.join(self.choices)}"
        if self.input:
            return "a path or an address"
        if self.type == "string":
            return "a plain word or number" if self.pattern == WORD else "text as its help says"
        kind = "a whole number" if self.type == "integer" else "a number"
        limits = [
            f"{word} {limit:g}"
            for word, limit in (
                ("from", self.minimum),
                ("up to", self.maximum),
                ("below", self.below),
            )
            if limit is not None
        ]
        return " ".join([kind, *limits])

"""The age that a label of a developmental stage names.

Numbers are read by a small grammar ("29-year-old stage", "9th week post-fertilization stage"),
named stages by one table. Both follow the Human and Mouse Developmental Stages ontologies HsapDv
and MmusDv, release v2025-01-23 (cellxgene-ontology-guide holds the same one): a term's
description, and where this has no numbers the bounds that the term asserts (``start_dpf``,
``end_ypb`` and so on).

How ages are counted:

- A stage of one number holds that number up to the next: "29-year-old" is [29, 30), age 29. So
  is "1-month-old", although HsapDv lets it begin at 28 days.
- A range names its first and last number: "15-19 year-old" is [15, 20). Its age is the midpoint.
- "9th week post-fertilization" is "over 8 and under 9 weeks": [8, 9), age 8.5.
- A range that is open above has its low bound as age. The stages that span adult life or all
  life after birth have bounds and no age.
- LMP months are given in weeks post-fertilization, as the weeks that HsapDv puts into each.
- Days post coitum of the mouse count as days post-fertilization.

The ontologies share names that differ in age (middle aged is 40 years or 10 months), so such a
name is read only when the organism is known. A label with the word human or mouse in it names its
organism itself. Labels of old releases are read, too, unless today's release gives the same label
another age: then today's is meant, except "human middle aged stage", which only old releases have.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

YEAR, MONTH, WEEK, DAY = "year", "month", "week", "day"
FETAL_WEEK, FETAL_DAY = "week post-fertilization", "day post-fertilization"
UNITS = (YEAR, MONTH, WEEK, DAY, FETAL_WEEK, FETAL_DAY)


@dataclass(frozen=True, slots=True)
class Age:
    """The age that a label names.

    Attributes
    ----------
    age : float or None
        The point value; None for a span of adult life, or of all life after birth.
    low : float or None
        Lower bound, inclusive.
    high : float or None
        Upper bound, exclusive; None when the range is open.
    unit : str
        One of `UNITS`: what the three numbers count, after birth or after fertilization.
    """

    age: float | None
    low: float | None
    high: float | None
    unit: str


def of_label(label: str, organism: str | None = None) -> Age | None:
    """Read the age that a label of a developmental stage names.

    Case, spaces, and hyphens for spaces do not matter.

    Parameters
    ----------
    label : str
        A label of HsapDv or MmusDv, of today's release or an old one.
    organism : str, optional
        As CELLxGENE writes it: ``Homo sapiens`` or ``NCBITaxon:9606``, ``Mus musculus`` or
        ``NCBITaxon:10090``; or ``human``, ``mouse``. Of any other organism, only stages with
        numbers are read. Without one, a name that means different ages in human and mouse is
        not read.

    Returns
    -------
    Age or None
        None when the label names no age, or is no label that is known.

    Examples
    --------
    >>> of_label("29-year-old stage")
    Age(age=29.0, low=29.0, high=30.0, unit='year')
    >>> of_label("middle aged stage", "Mus musculus")
    Age(age=14.0, low=10.0, high=18.0, unit='month')
    >>> of_label("middle aged stage") is None
    True
    """
    text, named = _normal(label)
    for pattern, read in _GRAMMAR:
        match = pattern.fullmatch(text)
        if match:
            return read(match)
    if named == "human" and text in _HUMAN_ONCE:
        return _HUMAN_ONCE[text]
    return _named(text, named or _organism(organism))


def _normal(label: str) -> tuple[str, str | None]:
    """Return the label's words without those that say nothing, and the organism in it."""
    text = _DASHES.sub("-", label.casefold())
    text = re.sub(r"\((human|mouse)\)", r" \1", text)
    text = re.sub(r"(?<=[0-9])\s*-\s*(?=[0-9])", "~", text)  # the dash of a range
    words = re.split(r"[-_\s]+", text)
    named = next((word for word in words if word in _TABLES), None)
    kept = [word for word in words if word and word not in _TABLES and word not in _FILLERS]
    return " ".join(kept), named


def _organism(text: str | None) -> str | None:
    """Return human, mouse, the text of another organism, or None when it is not known."""
    name = " ".join((text or "").casefold().split())
    return None if name in {"", "na", "nan", "unknown"} else _ORGANISMS.get(name, name)


def _named(text: str, organism: str | None) -> Age | None:
    if organism is not None:
        return _TABLES.get(organism, {}).get(text)
    found = {table[text] for table in _TABLES.values() if text in table}
    return found.pop() if len(found) == 1 else None


def _one(number: float, unit: str) -> Age:
    return Age(float(number), float(number), number + 1.0, unit)


def _range(low: float, high: float, unit: str) -> Age:
    return Age((low + high) / 2, float(low), float(high), unit)


def _open(low: float, unit: str) -> Age:
    return Age(float(low), float(low), None, unit)


def _span(low: float, unit: str) -> Age:
    return Age(None, float(low), None, unit)


def _counted(match: re.Match[str]) -> Age | None:
    unit = YEAR if match["unit"] == "yo" else match["unit"]
    low = int(match["low"])
    if match["high"] is None:
        return _open(low, unit) if match["over"] else _one(low, unit)
    high = int(match["high"])
    return None if match["over"] or high < low else _range(low, high + 1, unit)


def _fetal_week(match: re.Match[str]) -> Age | None:
    number = int(match["number"])
    if number == 0:
        return None
    if match["over"]:
        return _open(number - 1, FETAL_WEEK)
    return _range(number - 1, number, FETAL_WEEK)


def _decade(match: re.Match[str]) -> Age:
    number = _ORDINALS.index(match["ordinal"])
    return _range(10 * number, 10 * number + 10, YEAR)


def _lmp_month(match: re.Match[str]) -> Age | None:
    weeks = _LMP_WEEKS.get(match["ordinal"])
    return _range(*weeks, FETAL_WEEK) if weeks else None


def _carnegie(match: re.Match[str]) -> Age | None:
    number = int(match["number"])
    if not 1 <= number < len(_CARNEGIE):
        return None
    return _range(_CARNEGIE[number - 1], _CARNEGIE[number], FETAL_DAY)


def _theiler(match: re.Match[str]) -> Age | None:
    return _THEILER.get(int(match["number"]))


_DASHES = re.compile(r"[\u2010-\u2015\u2212]")
_FILLERS = frozenset({"stage", "developmental"})
_ORGANISMS = {
    "homo sapiens": "human",
    "ncbitaxon:9606": "human",
    "mus musculus": "mouse",
    "ncbitaxon:10090": "mouse",
}
_ORDINALS = (
    *("first", "second", "third", "fourth", "fifth", "sixth"),
    *("seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth"),
)
_ORDINAL = f"(?P<ordinal>{'|'.join(_ORDINALS)})"

_GRAMMAR: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Age | None]], ...] = (
    (
        re.compile(
            r"(?P<low>[0-9]{1,3})(?:~(?P<high>[0-9]{1,3}))?"
            r" (?P<unit>year|month|week|day|yo)s?(?: old)?"
            r"(?P<over> (?:and|or) (?:over|older))?(?: (?:child|adult|mature))?"
        ),
        _counted,
    ),
    (
        re.compile(
            r"(?P<number>[0-9]{1,2})(?:st|nd|rd|th) week post ?fertili[sz]ation"
            r"(?P<over> and over)?"
        ),
        _fetal_week,
    ),
    (re.compile(f"{_ORDINAL} decade"), _decade),
    (re.compile(f"{_ORDINAL} lmp month"), _lmp_month),
    (re.compile(r"(?:carnegie |cs ?)(?P<number>[0-9]{1,2})[a-c]?"), _carnegie),
    (re.compile(r"(?:theiler |ts ?)(?P<number>[0-9]{1,2})[a-d]?"), _theiler),
)

# Weeks post-fertilization that are part of the LMP month in HsapDv: the third has the 9th to
# the 11th week, the ninth begins with the 34th and ends at birth, which HsapDv has at 266 days.
_LMP_WEEKS = {
    "third": (8, 11),
    "fourth": (11, 15),
    "fifth": (15, 19),
    "sixth": (19, 24),
    "seventh": (24, 28),
    "eighth": (28, 33),
    "ninth": (33, 38),
}

# First days of the Carnegie stages 1 to 23 (HsapDv, start_dpf); a stage ends where the next
# begins, the last at day 60 (its comment). HsapDv divides 5 and 6 without ages, so that 5a, 5b
# and 5c have those of 5.
_CARNEGIE = (
    *(0, 2.5, 4.5, 5.5, 7, 13, 15, 17, 19, 22, 23, 26),
    *(28, 31, 35, 37, 42, 44, 48, 51, 53, 54, 56, 60),
)

# Embryonic days of the Theiler stages 1 to 26 (MmusDv, synonyms such as "E6.5-7.75"): those at
# which embryos of the stage are found, so that neighbours overlap. 27 and 28 are after birth.
_THEILER_DAYS = (
    *((0, 2.5), (1, 2.5), (1, 3.5), (2, 4), (3, 5.5), (4, 5.5), (4.5, 6), (5, 6.5)),
    *((6.25, 7.25), (6.5, 7.75), (7.25, 8), (7.5, 8.75), (8, 9.25), (8.5, 9.75), (9, 10.25)),
    *((9.5, 10.75), (10, 11.25), (10.5, 11.25), (11, 12.25), (11.5, 13), (12.5, 14), (13.5, 15)),
    *((15, 16), (16, 17), (17, 18), (18, 19)),
)
_THEILER = {
    **{n: _range(*days, FETAL_DAY) for n, days in enumerate(_THEILER_DAYS, start=1)},
    27: _range(0, 4, DAY),
    28: _span(4, DAY),
}

_HUMAN = {
    "prenatal": _range(0, 266, FETAL_DAY),
    "embryonic": _range(0, 56, FETAL_DAY),
    "cleavage": _range(2.5, 4.5, FETAL_DAY),  # Carnegie stage 2, of which the morula is a part
    "morula": _range(2.5, 4.5, FETAL_DAY),
    "blastula": _range(4.5, 13, FETAL_DAY),  # Carnegie stages 3 to 5
    "gastrula": _range(13, 15, FETAL_DAY),  # 6
    "neurula": _range(15, 19, FETAL_DAY),  # 7 and 8
    "organogenesis": _range(19, 60, FETAL_DAY),  # 9 to 23
    "fetal": _range(56, 266, FETAL_DAY),
    "postnatal": _span(0, YEAR),
    "pediatric": _range(0, 15, YEAR),
    "nursing": _range(0, 12, MONTH),
    "nursing (0~11 months)": _range(0, 12, MONTH),
    "newborn (0~28 days)": _range(0, 28, DAY),  # "within the first 28 days of life"
    "infant": _range(0.92, 12, MONTH),  # 28 days are 0.92 months (start_mpb)
    "child (1~4 yo)": _range(1, 5, YEAR),
    "juvenile": _range(5, 15, YEAR),
    "juvenile (5~14 yo)": _range(5, 15, YEAR),
    "adult": _span(15, YEAR),
    "prime adult": _range(15, 60, YEAR),
    "young adult": _range(15, 40, YEAR),
    "middle aged": _range(40, 60, YEAR),
    "late adult": _open(60, YEAR),
    "centenarian": _open(100, YEAR),
    # no longer in HsapDv
    "immature": _range(0, 13, YEAR),
    "newborn": _range(0, 32, DAY),
    "under 1 year old": _range(1, 12, MONTH),  # "over 31 days and under 12 months"
    "child": _range(2, 13, YEAR),
    "adolescent": _range(13, 19, YEAR),
    "mature": _span(13, YEAR),
    "early adulthood": _range(19, 45, YEAR),
    "late adulthood": _open(45, YEAR),
    "aged": _open(65, YEAR),
}

# Named with "human" in old releases of HsapDv alone, and of another age under today's name.
_HUMAN_ONCE = {
    "adult": _span(19, YEAR),
    "middle aged": _range(45, 65, YEAR),
}

_MOUSE = {
    "prenatal": _range(0, 19, FETAL_DAY),
    "embryonic": _range(0, 15, FETAL_DAY),  # until Theiler stage 23 begins
    "cleavage": _range(1, 3.5, FETAL_DAY),  # Theiler stages 2 and 3
    "blastula": _range(2, 6.5, FETAL_DAY),  # 4 to 8
    "gastrula": _range(6.25, 7.75, FETAL_DAY),  # 9 and 10
    "organogenesis": _range(7.5, 15, FETAL_DAY),  # 12 to 22
    "fetal": _range(15, 19, FETAL_DAY),  # 23 to 26
    "postnatal": _span(0, WEEK),
    "immature": _range(0, 6, WEEK),  # to the end of the 5-week-old stage (end_wpb)
    "nursing": _range(0, 23, DAY),
    "newborn": _range(0, 4, DAY),  # Theiler stage 27
    "infant": _range(4, 23, DAY),
    "juvenile": _range(23, 42, DAY),  # until it is mature
    "mature": _span(6, WEEK),
    "prime adult": _range(1.5, 18, MONTH),  # 6 weeks are 1.5 months (start_mpb)
    "young adult": _range(1.5, 10, MONTH),
    "middle aged": _range(10, 18, MONTH),
    "late adult": _open(18, MONTH),
    # no longer in MmusDv
    "neurula": _range(7.25, 8, FETAL_DAY),  # Theiler stage 11
    "post embryonic": _span(0, WEEK),
    "postpartum": _span(0, WEEK),
    "early immature": _range(0, 7, DAY),
    "premature": _range(4, 42, DAY),
    "adolescent": _range(4, 7, WEEK),
    "adult": _span(5, WEEK),
    "early adult": _range(1.5, 7, MONTH),
    "aged adult": _open(15, MONTH),
}

_TABLES = {"human": _HUMAN, "mouse": _MOUSE}

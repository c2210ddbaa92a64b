"""Texts from tools made fit to show: printable, relative, without secrets or patients."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cohortflow.core.outcome import one_line

REMOVED = "[removed]"
MAX_LINES = 40
MAX_LINE = 400

Clean = Callable[[str], str]

_WORD = r"(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|credential)"
_SECRET_NAME = re.compile(_WORD, re.IGNORECASE)
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # name=value, "name": "value", --name value
    (re.compile(rf"(?i)([\w.-]*{_WORD}[\w.-]*[\"']?\s*[:=]\s*[\"']?)[^\s\"',;&]+"), r"\1"),
    (re.compile(rf"(?i)(--[\w-]*{_WORD}[\w-]*\s+)[^\s-]\S*"), r"\1"),
    (re.compile(r"(?i)\b((?:bearer|basic)\s+)[\w.~+/=-]{8,}"), r"\1"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s:@]*:[^@\s/]+(?=@)", re.IGNORECASE), r"\1"),
    (
        re.compile(
            r"\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_\w{20,}|sk-[\w-]{20,}"
            r"|AKIA[0-9A-Z]{16}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{4,})"
        ),
        "",
    ),
    # DICOM: dump lines by tag, and names with a value behind
    (re.compile(r"(\(?0010,\s?(?:0010|0030|1001|1005)\)?)[^\n]*"), r"\1 "),
    (
        re.compile(
            r"(?i)((?:other[\s_]*)?patient(?:['’]?s)?[\s_]*(?:birth[\s_]*)?(?:names?|date|time)\b)"
            r"[^\n:=]{0,40}[:=][^\n]*"
        ),
        r"\1: ",
    ),
)
# Every text that a pattern changes holds one of these, in lower case.
_HINTS = (
    "passw", "pwd", "secret", "token", "key", "credential", "bearer", "basic", "://", "ghp_",
    "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "hf_", "sk-", "akia", "eyj", "0010,",
    "patient",
)  # fmt: skip
_PERSON = re.compile(r"patient.*(name|birth|address)|birth_?date", re.IGNORECASE)


def printable(text: str) -> str:
    r"""Return a text without terminal codes; what cannot be shown is escaped, lines are kept.

    Examples
    --------
    >>> printable("a\x00b\x1b[31m red")
    'a\\x00b red'
    """
    if text.isprintable():
        return _cut(text)
    lines = _ANSI.sub("", text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(_cut(line if line.isprintable() else _escape(line)) for line in lines)


def _escape(line: str) -> str:
    return one_line(line.replace("\t", "    "))


def _cut(line: str) -> str:
    return line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]} … ({len(line)} characters)"


def without_secrets(text: str) -> str:
    """Return a text in which what looks like a secret or names a patient is removed.

    Examples
    --------
    >>> without_secrets("connect postgresql://me:hunter2@db/x")
    'connect postgresql://[removed]@db/x'
    """
    low = text.lower()
    if not any(hint in low for hint in _HINTS):
        return text  # most texts: nearly free in a large batch
    for pattern, kept in _PATTERNS:
        text = pattern.sub(kept + REMOVED, text)
    return text


def cleaner(out: Path, dataset: str) -> Clean:
    """Return a function that makes a tool's text fit for a report.

    Parameters
    ----------
    out : Path
        Output folder; its paths become relative to it.
    dataset : str
        Study; its paths become relative to it.
    """
    # The longer path first: the output may lie inside the study.
    roots = sorted({str(out), dataset.rstrip("/")} - {"", "/", "."}, key=len, reverse=True)
    patterns = [
        (root, re.compile(rf"(?<![\w./-]){re.escape(root)}(?:(/)|(?![\w.-]))")) for root in roots
    ]

    def clean(text: str) -> str:
        if not text:
            return text
        for root, pattern in patterns:
            if root in text:
                text = pattern.sub(lambda found: "" if found.group(1) else ".", text)
        return without_secrets(printable(text))

    return clean


def tail(text: str) -> str:
    """Return the last lines of a log."""
    return "\n".join(text.rstrip().splitlines()[-MAX_LINES:])


def personal(name: str) -> bool:
    """Tell whether a field's name says that its value identifies a person."""
    return bool(_PERSON.search(name))


def parameters(value: Any, clean: Clean) -> Any:  # noqa: ANN401 - any JSON value
    """Return parameters with secrets removed, by name and by look."""
    if isinstance(value, dict):
        return {
            clean(str(key)): REMOVED
            if _SECRET_NAME.search(str(key)) or personal(str(key))
            else parameters(inner, clean)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [parameters(inner, clean) for inner in value]
    return clean(value) if isinstance(value, str) else value

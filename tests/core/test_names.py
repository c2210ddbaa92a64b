"""Identifiers: nothing that is accepted can leave a folder or surprise a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cohortflow.core import names
from cohortflow.core.outcome import Category, Failure

# Mostly letters that are allowed, so that many texts are accepted, with what could do harm.
RISKY = st.text(alphabet="aZ09+._-" * 4 + "/\\ \n\t\0$`'\"*~;|&<>é²٣", max_size=140)
CHECKS = [names.bids_label, names.name, names.uid]


def accepted(check: Callable[[str], str], text: str) -> bool:
    try:
        assert check(text) == text
    except Failure as failure:
        assert failure.category is Category.DATA_INVALID
        assert failure.message.isprintable()
        return False
    return True


@pytest.mark.parametrize("check", CHECKS)
@given(text=st.one_of(RISKY, st.text(), st.from_regex(r"[A-Za-z0-9+._-]+", fullmatch=True)))
@example(text="..")
@example(text="a..b")
@example(text="01\n")
@example(text="")
def test_what_is_accepted_is_one_plain_name(check: Callable[[str], str], text: str) -> None:
    if accepted(check, text):
        out = Path("/out")
        assert (out / text).resolve().parent == out
        assert ".." not in text
        assert text.isascii()
        assert not any(c.isspace() for c in text)
        assert not text.startswith(("-", "."))
        assert shlex.quote(text) == text
        assert 0 < len(text) <= 128


@given(RISKY)
def test_a_bids_label_is_letters_digits_and_plus(text: str) -> None:
    assert accepted(names.bids_label, text) == bool(re.fullmatch(r"[A-Za-z0-9+]{1,64}", text))


@pytest.mark.parametrize("label", ["01", "001", "A", "pilot+2", "a" * 64])
def test_ordinary_labels_are_accepted(label: str) -> None:
    assert names.bids_label(label) == label


@pytest.mark.parametrize("label", ["", "a" * 65, "a_b", "a-b", "é", "a b", "٣", "sub-01"])
def test_other_labels_are_refused(label: str) -> None:
    assert not accepted(names.bids_label, label)


@pytest.mark.parametrize("text", ["sub-01", "sub-01_ses-a", "20261121T093300Z-4f2a", "a" * 128])
def test_ordinary_names_are_accepted(text: str) -> None:
    assert names.name(text) == text


@pytest.mark.parametrize("text", ["", ".", "..", "-rf", ".hidden", "a/b", "a b", "a" * 129, "a\n"])
def test_other_names_are_refused(text: str) -> None:
    assert not accepted(names.name, text)


@pytest.mark.parametrize("text", ["1.2.840.113619.2.55", "0", "2.25." + "1" * 59])
def test_uids_are_accepted(text: str) -> None:
    assert names.uid(text) == text


@pytest.mark.parametrize("text", ["", "1.", ".1", "1..2", "1.a", "1.2\n", "2.25." + "1" * 60])
def test_what_is_no_uid_is_refused(text: str) -> None:
    assert not accepted(names.uid, text)

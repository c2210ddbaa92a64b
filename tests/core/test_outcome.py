"""The outcome table: what each exit status means, and the one line that a failure prints."""

from __future__ import annotations

import errno
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortflow.core.outcome import OUTCOMES, Category, Failure, category_of, failure_of, one_line

# The contract, written a second time: a change of the table must be made here, too.
CONTRACT = {
    0: None,
    1: Category.SOFTWARE,
    2: Category.USAGE,
    3: Category.SOFTWARE,
    64: Category.USAGE,
    65: Category.DATA_INVALID,
    66: Category.INPUT_MISSING,
    69: Category.UNAVAILABLE,
    70: Category.SOFTWARE,
    73: Category.OUTPUT_WRITE,
    74: Category.IO_ERROR,
    75: Category.TEMPORARY,
    77: Category.PERMISSION,
    78: Category.CONFIG,
    124: Category.TIMEOUT,
    127: Category.SOFTWARE,
    129: Category.INTERRUPTED,
    130: Category.INTERRUPTED,
    134: Category.SOFTWARE,  # abort
    137: Category.LOST,  # a SIGKILL of which nobody knows
    139: Category.SOFTWARE,  # segmentation fault
    140: Category.TIMEOUT,
    143: Category.INTERRUPTED,
    255: Category.SOFTWARE,
    None: Category.LOST,
}


@pytest.mark.parametrize(("status", "category"), CONTRACT.items())
def test_each_status_has_its_category(status: int | None, category: Category | None) -> None:
    assert category_of(status) is category


def test_memory_needs_evidence() -> None:
    assert category_of(137, out_of_memory=True) is Category.OUT_OF_MEMORY
    assert category_of(0, out_of_memory=True) is None


def test_every_category_has_one_row_and_no_status_has_two() -> None:
    assert set(OUTCOMES) == set(Category)
    statuses = [status for policy in OUTCOMES.values() for status in policy.statuses]
    assert len(statuses) == len(set(statuses))
    assert all(policy.meaning.endswith(".") and policy.remedy for policy in OUTCOMES.values())


def test_only_what_may_pass_is_retried() -> None:
    retried = {category: policy.retries for category, policy in OUTCOMES.items() if policy.retries}
    assert retried == {
        Category.UNAVAILABLE: 2,
        Category.OUTPUT_WRITE: 1,
        Category.IO_ERROR: 1,
        Category.TEMPORARY: 2,
        Category.OUT_OF_MEMORY: 2,
        Category.LOST: 1,
    }


@pytest.mark.parametrize("category", Category)
def test_a_tools_status_leads_back_to_its_category(category: Category) -> None:
    status = Failure(category, "x").status
    assert 0 < status < 256
    if status in OUTCOMES[category].statuses:
        memory = category is Category.OUT_OF_MEMORY
        assert category_of(status, out_of_memory=memory) is category


@pytest.mark.parametrize(
    ("number", "category"),
    [
        (errno.ENOENT, Category.INPUT_MISSING),
        (errno.ENOTDIR, Category.INPUT_MISSING),
        (errno.ELOOP, Category.INPUT_MISSING),
        (errno.EEXIST, Category.USAGE),
        (errno.EACCES, Category.PERMISSION),
        (errno.EPERM, Category.PERMISSION),
        (errno.ENOSPC, Category.OUTPUT_WRITE),
        (errno.EDQUOT, Category.OUTPUT_WRITE),
        (errno.EROFS, Category.OUTPUT_WRITE),
        (errno.ENOMEM, Category.OUT_OF_MEMORY),
        (errno.EIO, Category.IO_ERROR),
        (errno.ESTALE, Category.IO_ERROR),
    ],
)
def test_operating_system_errors_are_foreseen(number: int, category: Category) -> None:
    failure = failure_of(OSError(number, "reason", "some/file"))
    assert failure.category is category
    assert failure.message == "some/file: reason"


def test_the_file_that_the_caller_knows_is_named() -> None:
    assert "known" in failure_of(OSError(errno.EIO, "reason"), "known").message
    assert failure_of(OSError("no number")).category is Category.IO_ERROR


def test_what_is_in_the_way_says_how_to_replace_it() -> None:
    assert "--overwrite" in failure_of(FileExistsError(errno.EEXIST, "exists", "out")).remedy


def test_the_line_reads_as_the_contract_says() -> None:
    failure = Failure(Category.DATA_INVALID, "a.nii: 3 volumes, 4 b-values", "correct one")
    assert failure.line("sub-01") == (
        "ERROR DATA_INVALID sub-01 a.nii: 3 volumes, 4 b-values: correct one"
    )
    assert Failure(Category.IO_ERROR, "x").line("") == (
        "ERROR IO_ERROR - x: check the disk, then run again"
    )


@given(st.sampled_from(Category), st.text(), st.text(), st.text())
def test_the_line_is_one_line_and_can_be_taken_apart(
    category: Category, unit: str, message: str, remedy: str
) -> None:
    failure = Failure(category, message, remedy)
    line = failure.line(unit)
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    parts = re.fullmatch(r"ERROR ([A-Z_]+) (\S+) (.*): (.*)", line)
    assert parts is not None
    assert parts[1] == category
    assert parts[3] == failure.message
    assert ": " not in parts[4]


@given(st.text())
def test_escaping_loses_nothing_that_can_be_printed(text: str) -> None:
    assert one_line(text).isprintable()
    if text.isprintable():
        assert one_line(text) == text

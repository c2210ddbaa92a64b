"""Keep records and ledger current while a run goes on, at a small share of its time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cohortflow import ledger
from cohortflow.core import plan, records

_EVERY = 5.0
_SHARE = 20.0


def keeper(
    shared: plan.Context, work: Path, began: float, say: Callable[[str], Any]
) -> Callable[[], None]:
    """Return a function that notes the run's state; called often, it acts now and then.

    Parameters
    ----------
    shared : plan.Context
    work : Path
        Nextflow's work folder.
    began : float
        POSIX time of the run's start.
    say : callable
        Is told once when the disk is full or the ledger's database away: the run goes on.
    """
    due, told = time.monotonic() + _EVERY, False

    def note() -> None:
        nonlocal due, told
        start = time.monotonic()
        if start < due:
            return
        warning: str | None
        try:
            records.save_all(shared.out, shared.run, work, began, ended=False)
            warning = ledger.try_sync(shared.out, shared.run)
        except OSError as error:  # a full disk may be free again at the end
            warning = f"{shared.out}: {error.strerror}: the run goes on"
        if warning and not told:
            say(warning)
            told = True
        spent = time.monotonic() - start
        due = time.monotonic() + max(_EVERY, _SHARE * spent)

    return note

"""Sync without ever ending what called it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cohortflow.core.outcome import Failure, failure_of, one_line
from cohortflow.ledger.database import Database, choose
from cohortflow.ledger.sync import sync


def attempt(
    out: Path,
    run: str | None = None,
    *,
    final: bool = False,
    environment: Mapping[str, str] | None = None,
) -> str | None:
    """Do what `cohortflow.ledger.try_sync` says."""
    database: Database | None = None
    try:
        database = choose(out, environment)
        sync(out, database, run, final=final)
    except Exception as error:  # whatever it is, the run is worth more
        return f"ledger not written: {reason(error, database)}"
    return None


def reason(error: Exception, database: Database | None) -> str:
    """Return one line on what went wrong, without a password or the statement that failed."""
    if isinstance(error, OSError):
        error = failure_of(error)
    if isinstance(error, Failure):
        return f"{error.message}: {error.remedy}"
    # The driver's own words: those around them repeat the statement with its values.
    told = getattr(error, "orig", None) or error
    words = next((line.strip() for line in str(told).splitlines() if line.strip()), "")
    if database is None:
        return type(error).__name__
    return one_line(f"{database.shown}: {database.mask(words) or type(told).__name__}")

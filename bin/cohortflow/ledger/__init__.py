"""The ledger: a database of runs, units, tasks, files and metrics, derived from the output's files.

The front door calls `try_sync`; nothing else of the package is needed for a run.
"""

from __future__ import annotations

import logging
from pathlib import Path

# Alembic tells of its plugins when it is imported.
logging.getLogger("alembic").setLevel(logging.WARNING)


def try_sync(out: Path, run: str | None = None, final: bool = False) -> str | None:
    """Bring the ledger of an output up to date; never raise, never wait long.

    Parameters
    ----------
    out : Path
        Output folder.
    run : str, optional
        The run that goes on or has just ended.
    final : bool
        The run has ended: all of it is read again.

    Returns
    -------
    str or None
        One line for a warning when it could not be done. The next call makes up for it.
    """
    from cohortflow.ledger.attempt import attempt

    return attempt(out, run, final=final)

"""Run ids and times."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime


def now() -> str:
    """Return the UTC time to the second, ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_id() -> str:
    """Make a run id that sorts by time, for example ``20261121T093300Z-4f2a``."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"

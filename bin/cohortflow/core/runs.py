"""Run ids and times."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime


def now() -> str:
    """Return the UTC time to the second, ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_id() -> str:
    """Make a run id that sorts by time, for example ``20261121T093300.250Z-4f2a``."""
    now = datetime.now(UTC)
    return f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03}Z-{secrets.token_hex(2)}"

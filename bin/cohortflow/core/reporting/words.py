"""Numbers and times as people read them."""

from __future__ import annotations

from cohortflow.core.reporting.judge import EPOCH, when
from cohortflow.core.reporting.state import Value


def number(value: Value) -> str:
    r"""Return four significant digits, thousands set apart; words stay as they are.

    Examples
    --------
    >>> number(0.00071234), number(12345), number(None), number(1234.56)
    ('0.0007123', '12\u202f345', '', '1\u202f235')
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int) or (abs(value) >= 1000 and abs(value) < 1e12):
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """Return a span of time.

    Examples
    --------
    >>> duration(3.21), duration(75), duration(7320), duration(None)
    ('3.2 s', '1 min 15 s', '2 h 2 min', '')
    """
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def between(start: str | None, end: str | None) -> str:
    """Return the time between two moments; empty when one is unknown."""
    if when(start) == EPOCH or when(end) == EPOCH:
        return ""
    return duration(max(0.0, (when(end) - when(start)).total_seconds()))


def moment(text: str | None) -> str:
    """Return a date and time to the minute, in the zone it was written in.

    Examples
    --------
    >>> moment("2026-11-21T10:00:59Z")
    '21 November 2026, 10:00 UTC'
    """
    time = when(text)
    if time == EPOCH:
        return text or ""
    zone = time.tzname() or ""
    return f"{time.day} {MONTHS[time.month - 1]} {time.year}, {time:%H:%M} {zone}"


MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


def size(count: int | None) -> str:
    """Return bytes in powers of 1024.

    Examples
    --------
    >>> size(512), size(3 * 2**20), size(None)
    ('512 B', '3.0 MiB', '')
    """
    if count is None:
        return ""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"

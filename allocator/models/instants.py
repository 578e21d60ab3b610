"""An instant of the server's clock as a datetime."""

from __future__ import annotations

from datetime import UTC, datetime


def instant(ms: int) -> datetime:
    """An instant of the server's clock as an aware datetime in UTC, to the millisecond."""
    return datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)

"""`Clock`: a clock for the scripts and for holds that advances only on request."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["Clock"]

_BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A clock for the scripts that advances only by `advance`.  Threads may share it.

    Leases expire by it, and holds are lost by it.  Waits for a reply, and for the next attempt, do not use it.
    """

    def __init__(self, begins: datetime = _BEGINNING) -> None:
        """Set the clock.

        Args:
            begins: An aware datetime after 2001, as `reconcile` takes smaller instants for seconds.
        """
        self._now_ms = int(begins.timestamp() * 1000)
        self._setting = threading.Lock()

    def __call__(self) -> int:
        """Now, in milliseconds since 1970."""
        return self._now_ms

    def advance(self, by: float | timedelta) -> None:
        """Advance the clock.

        Args:
            by: Seconds, or a timedelta.  Negative: as if the server's clock was set back.
        """
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        with self._setting:
            self._now_ms += round(seconds * 1000)

"""`Connection`: one connection of a browser, which is closed where the other side does not go on.

uvicorn bounds how long a connection is idle between two requests, but not how long it takes to send the first byte, or
the headers, nor how long it does not read.  Without these bounds a thousand silent connections, which need no token,
would be all that a dashboard serves.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from allocator.apps.dashboard import bounds

__all__ = ["Connection"]


class Connection(H11Protocol):
    """Closed when a request's headers have not arrived in time, or what is sent is not read for too long."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect the headers of a first request."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Read on; the time of the headers counts from their first byte."""
        super().data_received(data)
        self._expect_head()

    def pause_writing(self) -> None:
        """The other side does not read what was sent."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(bounds.STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        self._stop_stall_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._stop_head_timer()
        self._stop_stall_timer()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        """Set the time by which the headers are whole, unless a request is being answered."""
        if self.cycle and not self.cycle.response_complete:
            self._stop_head_timer()
        elif self._head is None:
            self._head = self.loop.call_later(bounds.HEADERS_TIMEOUT_S, self.transport.close)

    def _stop_head_timer(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _stop_stall_timer(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

"""What the proxy can do to a request and its reply, and to which ones."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import TypeAlias

Match: TypeAlias = bytes | Callable[[bytes], bool] | None
"""Which requests: those that contain these bytes, those for which the function is true, or (None) any."""


class Fault(enum.StrEnum):
    """What happens to a request and its reply."""

    RESET_BEFORE = "reset_before"
    """The connection is reset (RST); the server never sees the request."""
    RESET_AFTER = "reset_after"
    """The server executes it; instead of its reply, the client gets a reset."""
    SWALLOW = "swallow"
    """The server executes it; the reply is dropped and the connection stays open, so that the client times out."""
    HOLD = "hold"
    """The request is kept and the client gets no reply: `release` delivers it, late."""
    HOLD_RESET = "hold_reset"
    """The request is kept and the client gets a reset at once: `release` delivers it, late."""
    DUPLICATE = "duplicate"
    """Request and reply pass; a copy is kept, which `release` delivers, late."""
    DELAY = "delay"
    """The server executes it; the reply is passed after a while, or when `resume` says so."""


@dataclasses.dataclass(eq=False)
class Armed:
    """A fault that waits for its requests."""

    fault: Fault
    match: Match
    times: int
    delay_s: float | None
    taken: int = 0
    fired: int = 0

    def matches(self, request: bytes) -> bool:
        """Whether this request is one of those."""
        if self.taken >= self.times:
            return False
        if callable(self.match):
            return self.match(request)
        return self.match is None or self.match in request

    @property
    def done(self) -> bool:
        """Whether it has happened as often as it should."""
        return self.fired >= self.times

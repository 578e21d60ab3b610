"""Durability wait: wait until a change has the requested durability, on the connection that made it; no I/O.

WAIT and WAITAOF refer to the writes of their connection, so the driver sends them before it releases the connection of
the call.  The exchange is written once for both drivers: a generator yields commands and is sent each reply or error
reply.
"""

from __future__ import annotations

from typing import Any

from allocator._engine.transport.exchange import Exchange
from allocator._engine.transport.failures import AttemptFailure
from allocator.durability import Durability
from allocator.errors import NotDurable

__all__ = ["durability_not_reached", "patience_ms", "wait_for_durability"]

_SHARE = 0.75
"""The share of the remaining time that the server may wait, so that its reply arrives before the deadline."""


def patience_ms(seconds: float) -> int:
    """Milliseconds that the server may wait, given the seconds that remain."""
    return max(1, int(seconds * _SHARE * 1000))


def wait_for_durability(wanted: Durability, wait_ms: int) -> Exchange[Durability]:
    """The durability that the connection's writes have reached.

    One round trip; up to three on servers without WAITAOF.
    """
    if not wanted.fsynced:
        return Durability(_count((yield ("WAIT", wanted.replicas, wait_ms))), fsynced=False)
    reply = yield ("WAITAOF", 1, wanted.replicas, wait_ms)
    if isinstance(reply, list):
        return Durability(_count(reply[1]), fsynced=_count(reply[0]) > 0)
    # Redis before 7.2 has no WAITAOF.  With `appendfsync always` every write is on disk before its reply.
    settings = yield ("CONFIG", "GET", "append*")
    always = {"appendonly": "yes", "appendfsync": "always"}.items() <= _pairs(settings).items()
    replicas = _count((yield ("WAIT", wanted.replicas, wait_ms))) if wanted.replicas else 0
    return Durability(replicas, fsynced=always)


def durability_not_reached(where: str, wanted: Durability, reached: Durability, *, undo: bool) -> AttemptFailure:
    """The failure of an attempt that was executed without the requested durability.

    With `undo` the call is undone: what it was granted is released.  The change of any other call stays, as an undo
    would end or change a live allocation; nothing is queued.
    """
    what, after = ("grant", "it is undone") if undo else ("change", "it stays")
    text = f"the {what} reached durability {reached}, not {wanted}, in time on {where}; {after}"
    return AttemptFailure(NotDurable(text, reached=str(reached)), ambiguous=undo)


def _count(reply: Any) -> int:
    return reply if isinstance(reply, int) else 0


def _pairs(reply: Any) -> dict[Any, Any]:
    if isinstance(reply, Exception):
        return {}
    return dict(reply.items() if hasattr(reply, "items") else zip(reply[::2], reply[1::2], strict=False))

"""Wait until a change is as safe as was asked for, on the connection that made it; no I/O.

WAIT and WAITAOF speak of the writes of their own connection, so the driver that has just read a script's reply asks
before it lets go of the connection.  The conversation is told here once: a generator yields commands and is sent what
came back, a reply or the server's error.
"""

from __future__ import annotations

from typing import Any

from allocator._engine.transport.exchange import Exchange
from allocator._engine.transport.failures import AttemptFailure
from allocator.durability import Durability
from allocator.errors import NotDurable

__all__ = ["durability_not_reached", "patience_ms", "wait_for_durability"]

_SHARE = 0.75
"""Of the time that is left: the server answers before the caller stops listening."""


def patience_ms(seconds: float) -> int:
    """Milliseconds that the server may wait, of the seconds that are left."""
    return max(1, int(seconds * _SHARE * 1000))


def wait_for_durability(wanted: Durability, wait_ms: int) -> Exchange[Durability]:
    """Ask until it is known what has been reached."""
    if not wanted.fsynced:
        return Durability(_count((yield ("WAIT", wanted.replicas, wait_ms))), fsynced=False)
    reply = yield ("WAITAOF", 1, wanted.replicas, wait_ms)
    if isinstance(reply, list):
        return Durability(_count(reply[1]), fsynced=_count(reply[0]) > 0)
    # Before Redis 7.2 there is no WAITAOF; where every write is on disk before it is answered, there is nothing to ask.
    settings = yield ("CONFIG", "GET", "append*")
    always = {"appendonly": "yes", "appendfsync": "always"}.items() <= _pairs(settings).items()
    replicas = _count((yield ("WAIT", wanted.replicas, wait_ms))) if wanted.replicas else 0
    return Durability(replicas, fsynced=always)


def durability_not_reached(where: str, wanted: Durability, reached: Durability, *, undo: bool) -> AttemptFailure:
    """The fault of an attempt that was executed and not confirmed.

    With `undo` it is withdrawn: what it was granted comes back.  What any other call has changed stays, for taking that
    back would end, or change, what is live; there is nothing to queue.
    """
    after = "what it was granted is given back" if undo else "what it changed stays so"
    text = f"{where} has executed it, and it was not {wanted} in time but {reached}; {after}"
    return AttemptFailure(NotDurable(text, reached=str(reached)), ambiguous=undo)


def _count(reply: Any) -> int:
    return reply if isinstance(reply, int) else 0


def _pairs(reply: Any) -> dict[Any, Any]:
    if isinstance(reply, Exception):
        return {}
    return dict(reply.items() if hasattr(reply, "items") else zip(reply[::2], reply[1::2], strict=False))

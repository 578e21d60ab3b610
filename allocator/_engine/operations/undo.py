"""undo: end calls whose outcome no caller received."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from allocator._engine.operations.replies import raise_refused
from allocator._engine.operations.requests import make_call
from allocator._engine.protocol.flows import Item, Operation, Reply
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import load
from allocator.errors import AllocatorError

_UNDO: Final = load("undo")


NO_RECORD: Final = "-"
"""In place of the allocation id of a call that names none; no id begins with this character."""


def undo(pool: PoolKeys, calls: Sequence[tuple[str, str]]) -> Operation[None]:
    """Undo calls whose outcome no caller received: (call id, allocation id or "") each, at most one batch.

    It is idempotent.  It ends an allocation that no other call has returned, and completes the call, so that a late
    copy has no effect.
    """
    items = [Item(call, (), pool.record(identity or NO_RECORD), identity) for call, identity in calls]

    def decode(replies: Reply) -> None:
        for reply in replies:
            if isinstance(reply, AllocatorError):
                raise reply
            if reply[0] not in ("undone", "left", "absent"):
                raise_refused(pool, reply[0])

    return Operation(make_call(_UNDO, pool, items, epoch=""), decode)

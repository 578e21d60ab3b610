"""release, begin_release: end allocations now, or by a fixed deadline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from allocator._engine.operations.replies import decode_allocation, raise_lost, raise_refused
from allocator._engine.operations.requests import FencedId, known, make_call, new_call
from allocator._engine.protocol.flows import Item, Operation, Reply
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import load
from allocator.errors import AllocatorError, InvalidRequest
from allocator.models.allocations import Allocation, Release

_BEGIN_RELEASE: Final = load("begin_release")


_RELEASE: Final = load("release")


def release(pool: PoolKeys, identities: Sequence[FencedId], reason: str = "released") -> Operation[list[Release]]:
    """Release allocations, item by item.  One round trip per batch."""
    items = [Item(new_call(), (one.fence, *known(one)), pool.record(one.id), one.id) for one in identities]

    def decode(replies: Reply) -> list[Release]:
        return [_release(pool, one.id, reply) for one, reply in zip(identities, replies, strict=True)]

    return Operation(make_call(_RELEASE, pool, items, batch=True, epoch=pool.epoch, reason=reason), decode)


def _release(pool: PoolKeys, identity: str, reply: Reply | AllocatorError) -> Release:
    if isinstance(reply, AllocatorError):
        raise reply
    match reply[0]:
        case "released":
            return Release(identity, "released", reply[1])
        case "unknown" | "fenced" | "missing" as word:
            return Release(identity, word)
        case "wrong_epoch":
            return Release(identity, "unknown")
        case word:
            raise_refused(pool, word)


def begin_release(pool: PoolKeys, one: FencedId, grace_ms: int) -> Operation[Allocation]:
    """Let an allocation end at a deadline that no call can move.

    Raises:
        UnknownAllocation, AllocationLost
        InvalidRequest: The grace is longer than the pool's longest ttl.
    """
    item = Item(new_call(), (one.fence, grace_ms), pool.record(one.id), one.id)

    def decode(replies: Reply) -> Allocation:
        reply = replies[0]
        if reply[0] == "releasing":
            return decode_allocation(pool, one.id, reply[1:])
        if reply[0] == "ttl_too_long":
            text = f"grace: pool {pool.name!r} keeps nothing longer than {reply[1] / 1000:g} s"
            raise InvalidRequest(text, field="grace", code="ttl_too_long")
        raise_lost(pool, one.id, one.fence, reply[0], reply)

    return Operation(make_call(_BEGIN_RELEASE, pool, (item,), epoch=pool.epoch), decode)

"""release, begin_release: end allocations now, or by a fixed deadline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from allocator._engine.operations.defaults import AllocationOrId, Defaults
from allocator._engine.operations.replies import decode_allocation, raise_lost, raise_refused
from allocator._engine.operations.requests import FencedId, known, make_call, new_call
from allocator._engine.protocol.flows import Call, Flow, Item, Operation, Reply
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import load
from allocator.durations import exact
from allocator.errors import AllocatorError, InvalidRequest
from allocator.models.allocations import Allocation, Release
from allocator.validation import grace_ms

_BEGIN_RELEASE: Final = load("begin_release")
_RELEASE: Final = load("release")


def release(defaults: Defaults, allocation: AllocationOrId, fence: int | None = None) -> Operation[Release]:
    """Release one allocation.  One round trip."""
    pool, identity = defaults.identify(allocation, fence)
    return Operation(
        _release_call(pool, (identity,), "released"), lambda replies: _released(pool, identity.id, replies[0])
    )


def release_many(defaults: Defaults, allocations: Iterable[AllocationOrId]) -> Flow[list[Release]]:
    """Release allocations of any pools, item by item.  One round trip per batch."""
    count, groups = defaults.group(allocations)
    answers: dict[int, Release] = {}
    for pool, group in groups.items():
        released = yield from release_each(pool, [identity for _, identity in group])
        answers.update(zip((at for at, _ in group), released, strict=True))
    return [answers[at] for at in range(count)]


def release_each(pool: PoolKeys, identities: Sequence[FencedId], reason: str = "released") -> Operation[list[Release]]:
    """Release allocations of one pool, item by item.  One round trip per batch."""

    def decode(replies: Reply) -> list[Release]:
        return [_released(pool, one.id, reply) for one, reply in zip(identities, replies, strict=True)]

    return Operation(_release_call(pool, identities, reason), decode)


def _release_call(pool: PoolKeys, identities: Sequence[FencedId], reason: str) -> Call:
    items = [Item(new_call(), (one.fence, *known(one)), pool.record(one.id), one.id) for one in identities]
    return make_call(_RELEASE, pool, items, batch=True, epoch=pool.epoch, reason=reason)


def _released(pool: PoolKeys, identity: str, reply: Reply | AllocatorError) -> Release:
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


def begin_release(
    defaults: Defaults, allocation: AllocationOrId, grace: float | timedelta, fence: int | None = None
) -> Operation[Allocation]:
    """Let an allocation end at a deadline that no call can move.

    Raises:
        UnknownAllocation, AllocationLost
        InvalidRequest: The grace is longer than the pool's longest ttl.
    """
    pool, one = defaults.identify(allocation, fence)
    if grace == 0:
        raise InvalidRequest("grace: without one it is a release", field="grace")
    item = Item(new_call(), (one.fence, grace_ms(grace, "grace")), pool.record(one.id), one.id)

    def decode(replies: Reply) -> Allocation:
        reply = replies[0]
        if reply[0] == "releasing":
            return decode_allocation(pool, one.id, reply[1:])
        if reply[0] == "ttl_too_long":
            text = f"grace: pool {pool.name!r} keeps nothing longer than {exact(reply[1])}"
            raise InvalidRequest(text, field="grace", code="ttl_too_long")
        raise_lost(pool, one.id, one.fence, reply[0], reply)

    return Operation(make_call(_BEGIN_RELEASE, pool, (item,), epoch=pool.epoch), decode)

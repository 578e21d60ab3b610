"""move: charge an allocation to another scope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from allocator._engine.operations.defaults import AllocationOrId, Defaults
from allocator._engine.operations.durability_levels import requirement
from allocator._engine.operations.replies import decode_allocation, decode_denial, raise_lost, unknown_scope
from allocator._engine.operations.requests import make_call, new_call
from allocator._engine.protocol.flows import Item, Operation, Reply
from allocator._engine.protocol.scripts import load
from allocator.errors import Insufficient
from allocator.models.allocations import Allocation
from allocator.validation import scope_name

_MOVE: Final = load("move")


def move(
    defaults: Defaults, allocation: AllocationOrId, scope: str | None, fence: int | None = None
) -> Operation[Allocation]:
    """Charge an allocation to another scope; None: to the pool alone.  One round trip.

    Raises:
        Insufficient, UnknownScope, UnknownAllocation, AllocationLost
    """
    pool, one = defaults.identify(allocation, fence)
    name = "" if scope is None else scope_name(scope)
    item = Item(new_call(), (one.fence, name), pool.record(one.id), one.id)

    def decode(replies: Reply) -> Allocation:
        reply: Sequence[Any] = replies[0]
        match reply[0]:
            case "moved":
                return decode_allocation(pool, one.id, reply[1:])
            case "denied":
                raise Insufficient.of(decode_denial(pool, reply[1:]))
            case "unknown_scope":
                raise unknown_scope(pool, reply[1])
            case word:
                raise_lost(pool, one.id, one.fence, word, list(reply))

    level = requirement(defaults.durability)
    return Operation(make_call(_MOVE, pool, (item,), durability=level, epoch=pool.epoch), decode)

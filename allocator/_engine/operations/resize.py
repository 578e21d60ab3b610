"""resize, move: change the amounts of an allocation, or the scope that it is charged to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from allocator import settings
from allocator._engine.operations.defaults import AllocationOrId, Defaults
from allocator._engine.operations.durability_levels import requirement
from allocator._engine.operations.reclaim import reclaim_due
from allocator._engine.operations.replies import (
    decode_allocation,
    decode_denial,
    raise_lost,
    recovering,
    unknown_scope,
)
from allocator._engine.operations.requests import encode_amounts, make_call, new_call
from allocator._engine.protocol import schema
from allocator._engine.protocol.flows import Flow, Item, Operation, Reply
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import load
from allocator.errors import Insufficient, InvalidRequest
from allocator.models.allocations import Allocation, RequestLike
from allocator.quantity import parse_request
from allocator.resources import ALLOCATIONS, Resources, resource_name
from allocator.validation import scope_name

_RESIZE: Final = load("resize")
_MOVE: Final = load("move")


def changes(request: RequestLike) -> dict[str, int]:
    """The request of a resize: as `Resources.request`, but a zero is kept, as it gives up a resource."""
    if not isinstance(request, Mapping) or not 0 < len(request) <= settings.RESOURCES_MAX:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidRequest(f"a resize names 1 to {settings.RESOURCES_MAX} resources", field="request")
    if ALLOCATIONS in request:
        raise InvalidRequest(f"request: {ALLOCATIONS!r} is no resource to ask for", field="request")
    if isinstance(request, Resources):
        return dict(request)
    named = {resource_name(name): quantity for name, quantity in request.items()}
    return {name: parse_request(name, quantity) for name, quantity in named.items()}


def resize(
    defaults: Defaults, allocation: AllocationOrId, request: RequestLike, fence: int | None = None
) -> Flow[Allocation]:
    """Change the amounts of an allocation.  One round trip.

    Raises:
        Insufficient, UnknownAllocation, AllocationLost
    """
    pool, one = defaults.identify(allocation, fence)
    wanted = changes(request)
    args = (one.fence, *encode_amounts(wanted, schema.ALLOCATED))
    item = Item(new_call(), args, pool.record(one.id), one.id)
    operation = Operation(
        make_call(_RESIZE, pool, (item,), durability=requirement(defaults.durability), epoch=pool.epoch),
        lambda replies: _resized(pool, one.id, one.fence, wanted, replies[0]),
    )
    while True:
        answer = yield from operation
        if answer is not None:
            return answer
        yield from reclaim_due(pool)


def _resized(pool: PoolKeys, identity: str, fence: int, wanted: Mapping[str, int], reply: Reply) -> Allocation | None:
    match reply[0]:
        case "resized":
            return decode_allocation(pool, identity, reply[1:])
        case "reclaim_first":
            return None
        case "denied":
            raise Insufficient.of(decode_denial(pool, reply[1:], requested=wanted))
        case "recovering":
            raise recovering(pool, reply)
        case "empty":
            raise InvalidRequest(
                f"allocation {identity!r} would have nothing left: release it instead", field="request"
            )
        case "too_many":
            raise InvalidRequest(
                f"allocation {identity!r} would have more than {settings.RESOURCES_MAX} resources", field="request"
            )
        case word:
            raise_lost(pool, identity, fence, word, reply)


def move(
    defaults: Defaults, allocation: AllocationOrId, scope: str | None, fence: int | None = None
) -> Flow[Allocation]:
    """Charge an allocation to another scope; None: to the pool alone.  One round trip.

    Raises:
        Insufficient, UnknownScope, UnknownAllocation, AllocationLost
    """
    pool, one = defaults.identify(allocation, fence)
    name = "" if scope is None else scope_name(scope)
    item = Item(new_call(), (one.fence, name), pool.record(one.id), one.id)
    operation = Operation(
        make_call(_MOVE, pool, (item,), durability=requirement(defaults.durability), epoch=pool.epoch),
        lambda replies: _moved(pool, one.id, one.fence, replies[0]),
    )
    while True:
        answer = yield from operation
        if answer is not None:
            return answer
        yield from reclaim_due(pool)


def _moved(pool: PoolKeys, identity: str, fence: int, reply: Reply) -> Allocation | None:
    match reply[0]:
        case "moved":
            return decode_allocation(pool, identity, reply[1:])
        case "reclaim_first":
            return None
        case "denied":
            raise Insufficient.of(decode_denial(pool, reply[1:]))
        case "unknown_scope":
            raise unknown_scope(pool, reply[1])
        case "recovering":
            raise recovering(pool, reply)
        case word:
            raise_lost(pool, identity, fence, word, list(reply))

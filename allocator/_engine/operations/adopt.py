"""adopt: holders assert their allocations again after the server has lost data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.durability_levels import requirement
from allocator._engine.operations.replies import decode_allocation, left_until_end, over, raise_refused
from allocator._engine.operations.requests import make_call, new_call
from allocator._engine.protocol import schema
from allocator._engine.protocol.flows import Call, Flow, Item, Reply
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import Argument, load
from allocator.durability import Durability
from allocator.errors import AllocationConflict, AllocationLost, AllocatorError, InvalidRequest
from allocator.models.allocations import Allocation, Ttl
from allocator.resources import Resources
from allocator.validation import (
    allocation_id,
    instant_ms,
    metadata,
    owner_name,
    pool_name,
    priority_number,
    reason_text,
    scope_name,
    ttl_ms,
)
from allocator.validation import fence as valid_fence

_ADOPT: Final = load("adopt")


def adopt(defaults: Defaults, allocation: Allocation, ttl: Ttl = None, force: str | None = None) -> Flow[Allocation]:
    """Assert one allocation again.  One round trip.

    Raises:
        AllocationLost, AllocationConflict, UnknownPool
    """
    held = _validated(allocation)
    reason = "" if force is None else reason_text(force, "force")
    pool = defaults.keys(held.pool)
    outcome, _ = (yield from adopt_each(pool, [(held, ttl_ms(ttl))], defaults.durability, reason))[0]
    if isinstance(outcome, AllocatorError):
        raise outcome
    return outcome


def _validated(one: Allocation) -> Allocation:
    if not isinstance(one, Allocation):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidRequest(
            "allocation: what is adopted is an Allocation, not an id; Allocation.from_dict reads a stored one",
            field="allocation",
        )
    return Allocation(
        allocation_id(one.id),
        pool_name(one.pool),
        owner_name(one.owner),
        Resources.request(one.resources),
        valid_fence(one.fence),
        one.granted_ms,
        one.ttl_ms,
        one.deadline_ms,
        dict(metadata(one.metadata)),
        epoch=one.epoch,
        scope=None if one.scope is None else scope_name(one.scope),
        ends_ms=None if one.ends_ms is None else instant_ms(one.ends_ms, "allocation"),
        priority=priority_number(one.priority),
    )


def adopt_each(
    pool: PoolKeys, held: Sequence[tuple[Allocation, int]], level: Durability, reason: str = ""
) -> Flow[list[tuple[Allocation | AllocatorError, int | None]]]:
    """Assert allocations again, each with a new ttl_ms (0: its present one); an error takes its item's place.

    With each: the milliseconds until its hard end, None if it has none.
    """
    items = [_item(pool, one, lasting_ms) for one, lasting_ms in held]
    call: Call = make_call(
        _ADOPT, pool, items, batch=True, durability=requirement(level), epoch=pool.epoch, reason=reason
    )
    replies: Reply = yield call
    answers: list[tuple[Allocation | AllocatorError, int | None]] = []
    for (one, _), reply in zip(held, replies, strict=True):
        try:
            adopted = _adopted(pool, one, reply)
        except AllocatorError as error:
            answers.append((error, None))
        else:
            answers.append((adopted, None if adopted.ends_ms is None else left_until_end(reply)))
    return answers


def _item(pool: PoolKeys, one: Allocation, lasting_ms: int) -> Item:
    args: list[Argument] = [
        one.epoch, one.owner, one.fence, one.granted_ms, lasting_ms or one.ttl_ms or 0, one.scope or "",
        one.ends_ms or 0, one.priority, len(one.resources), len(one.metadata),
    ]  # fmt: skip
    for name, amount in one.resources.items():
        args += (name + schema.ALLOCATED, amount)
    for key, value in one.metadata.items():
        args += (schema.META + key, value)
    return Item(new_call(), tuple(args), pool.record(one.id), one.id)


def _adopted(pool: PoolKeys, one: Allocation, reply: Reply | AllocatorError) -> Allocation:
    if isinstance(reply, AllocatorError):
        raise reply
    name = f"allocation {one.id!r}"
    match reply[0]:
        case "adopted" | "existing":
            return decode_allocation(pool, one.id, reply[1:])
        case "conflict":
            live = decode_allocation(pool, one.id, reply[1:])
            text = f"{name} is live: owner {live.owner!r} has {live.resources}, not {one.owner!r} {one.resources}"
            raise AllocationConflict(text, id=one.id)
        case "fenced":
            text = f"{name} has fence {reply[1]}, not {one.fence}"
            raise AllocationLost(text, id=one.id, code="fenced")
        case "wrong_epoch":
            raise AllocationLost(f"{name} is of another pool {pool.name!r} (epoch)", id=one.id, code="epoch")
        case "ended":
            raise AllocationLost(f"{name} has ended: it was released or reclaimed", id=one.id, code="ended")
        case "over":
            raise over(one.id, reply[1])
        case "not_recovering":
            text = f"{name} has no record, and pool {pool.name!r} is not recovering: it has ended"
            raise AllocationLost(text, id=one.id, code="not_recovering")
        case "not_counted":
            raise InvalidRequest(f"pool {pool.name!r} does not count {reply[1]!r}", field="allocation")
        case word:
            raise_refused(pool, word)

"""renew: extend leases; one that the server has lost is adopted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from allocator._engine.operations import adopt
from allocator._engine.operations.defaults import AllocationOrId, Defaults
from allocator._engine.operations.durability_levels import PLAIN, reached, requirement
from allocator._engine.operations.replies import over, preempted, raise_lost, raise_refused, too_long
from allocator._engine.operations.requests import FencedId, known, make_call, new_call
from allocator._engine.protocol.flows import Call, Flow, Item, Reply
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import load
from allocator.durability import Durability
from allocator.errors import AllocationConflict, AllocationLost, AllocatorError
from allocator.models.allocations import Allocation, Renewal, Ttl
from allocator.validation import ttl_ms

_RENEW: Final = load("renew")


def renew(
    defaults: Defaults, allocation: AllocationOrId, ttl: Ttl, fence: int | None = None, *, shorten: bool = False
) -> Flow[Renewal]:
    """Extend one lease.  One that the server has lost is adopted if the caller gave the allocation.

    One round trip, and one more for an adoption.

    Raises:
        UnknownAllocation, AllocationLost
    """
    pool, one = defaults.identify(allocation, fence)
    renewed = (yield from _renew(pool, (one,), ttl_ms(ttl), defaults.durability, shorten=shorten))[0]
    if not renewed:
        if renewed.outcome == "over" and renewed.ends_ms is not None:
            raise over(one.id, renewed.ends_ms)
        if renewed.outcome == "preempted" and renewed.deadline_ms is not None:
            raise preempted(one.id, renewed.deadline_ms, renewed.preempted_by or "")
        raise_lost(pool, one.id, one.fence, renewed.outcome, [renewed.outcome, renewed.fence])
    return renewed


def renew_many(defaults: Defaults, allocations: Iterable[AllocationOrId], ttl: Ttl) -> Flow[list[Renewal]]:
    """Extend leases of any pools, item by item; a loss is in its `Renewal`, not raised.

    One round trip per batch, and one more for adoptions.
    """
    count, groups = defaults.group(allocations)
    lasting_ms = ttl_ms(ttl)
    answers: dict[int, Renewal] = {}
    for pool, group in groups.items():
        renewed = yield from _renew(pool, [one for _, one in group], lasting_ms, defaults.durability)
        answers.update(zip((at for at, _ in group), renewed, strict=True))
    return [answers[at] for at in range(count)]


def _renew(
    pool: PoolKeys, identities: Sequence[FencedId], lasting_ms: int, level: Durability, *, shorten: bool = False
) -> Flow[list[Renewal]]:
    items = [_renew_item(pool, one, new_call(), lasting_ms, shorten=shorten) for one in identities]
    replies: Reply = yield _renew_call(pool, items, level)
    answers = yield from _settled(pool, [(one, lasting_ms) for one in identities], replies, level)
    for answer in answers:
        if isinstance(answer, AllocatorError):
            raise answer
    return [answer for answer in answers if isinstance(answer, Renewal)]


def renew_each(pool: PoolKeys, leases: Sequence[tuple[Allocation, int]]) -> Flow[list[Renewal | AllocatorError]]:
    """Extend leases of independent holders, each with its ttl_ms; an error takes its item's place.

    The items have no call ids: a renewal may be repeated, so there is nothing to undo.
    """
    wanted = [(FencedId(one.id, one.fence, one), lasting_ms) for one, lasting_ms in leases]
    items = [_renew_item(pool, one, "", lasting_ms) for one, lasting_ms in wanted]
    replies: Reply = yield _renew_call(pool, items, PLAIN)
    return (yield from _settled(pool, wanted, replies, PLAIN))


def _renew_item(pool: PoolKeys, one: FencedId, call: str, lasting_ms: int, *, shorten: bool = False) -> Item:
    return Item(call, (one.fence, lasting_ms, int(shorten), *known(one)), pool.record(one.id), one.id)


def _renew_call(pool: PoolKeys, items: Sequence[Item], level: Durability) -> Call:
    return make_call(_RENEW, pool, items, batch=True, durability=requirement(level), epoch=pool.epoch)


def _settled(
    pool: PoolKeys, wanted: Sequence[tuple[FencedId, int]], replies: Reply, level: Durability
) -> Flow[list[Renewal | AllocatorError]]:
    """The outcome of each renewal; missing allocations are adopted."""
    answers: list[Renewal | AllocatorError] = []
    missing: list[int] = []
    for at, ((one, _), reply) in enumerate(zip(wanted, replies, strict=True)):
        if one.held is not None and not isinstance(reply, AllocatorError) and reply[0] == "missing":
            missing.append(at)
        try:
            answers.append(_renewal(pool, one.id, reply))
        except AllocatorError as error:
            answers.append(error)
    lost = [(held, wanted[at][1]) for at in missing if (held := wanted[at][0].held) is not None]
    if lost:
        adopted = yield from adopt.adopt_each(pool, lost, level)
        for at, (outcome, left_ms) in zip(missing, adopted, strict=True):
            answers[at] = _after_adoption(wanted[at][0], outcome, left_ms)
    return answers


def _after_adoption(
    one: FencedId, outcome: Allocation | AllocatorError, left_ms: int | None
) -> Renewal | AllocatorError:
    if isinstance(outcome, Allocation):
        known = (outcome.fence, outcome.deadline_ms, outcome.durability, outcome.ends_ms, left_ms)
        return Renewal(one.id, "adopted", *known)
    if isinstance(outcome, AllocationLost | AllocationConflict):
        if outcome.code == "over":
            return Renewal(one.id, "over", ends_ms=None if one.held is None else one.held.ends_ms)
        return Renewal(one.id, "fenced" if outcome.code == "fenced" else "unknown")
    return outcome


def _renewal(pool: PoolKeys, identity: str, reply: Reply | AllocatorError) -> Renewal:
    if isinstance(reply, AllocatorError):
        raise reply
    match reply[0]:
        case "renewed":
            ends_ms, left_ms = reply[4:] if len(reply) > 4 else (None, None)
            return Renewal(identity, "renewed", reply[1], reply[2] or None, reached(reply), ends_ms, left_ms)
        case "over":
            return Renewal(identity, "over", ends_ms=reply[1])
        case "unknown" | "missing":
            return Renewal(identity, "unknown")
        case "preempted":
            _, deadline_ms, left_ms, by = reply
            return Renewal(identity, "preempted", 0, deadline_ms, left_ms=left_ms, preempted_by=by)
        case "releasing" | "wrong_epoch" as word:
            return Renewal(identity, word)
        case "ttl_too_long":
            raise too_long(pool, reply)
        case "fenced":
            return Renewal(identity, "fenced", reply[1])
        case word:
            raise_refused(pool, word)

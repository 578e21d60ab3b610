"""renew, release, withdraw, reclaim: the verbs that decide how long an allocation lasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from allocator import settings
from allocator._engine.operations import adopt
from allocator._engine.operations.durability_levels import PLAIN, confirm, reached
from allocator._engine.operations.lookup import page
from allocator._engine.operations.replies import (
    allocation_of,
    call_of,
    lost,
    new_call,
    reclaim_call,
    refuse,
    too_long,
)
from allocator._engine.protocol.flows import Call, Flow, Item, Operation, Remaining, Reply
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import load
from allocator.durability import Durability
from allocator.errors import AllocationConflict, AllocationLost, AllocatorError, InvalidRequest
from allocator.models import Allocation, Reclaimed, Release, Renewal

_BEGIN_RELEASE: Final = load("begin_release")
_RECLAIM: Final = load("reclaim")
_RELEASE: Final = load("release")
_RENEW: Final = load("renew")
_UNDO: Final = load("undo")

NO_RECORD: Final = "-"
"""Stands for the id of a call that names no allocation; no id begins so."""


class Identity(NamedTuple):
    """An allocation's id, the fence that it must have (0 is any), and what its holder knows of it, if anything."""

    id: str
    fence: int
    held: Allocation | None = None


def renew(
    pool: PoolKeys, identities: Sequence[Identity], ttl_ms: int, level: Durability = PLAIN, *, shorten: bool = False
) -> Flow[list[Renewal]]:
    """Extend leases, item by item; one that the store has lost is adopted, where its holder knows what it was."""
    items = [_renew_item(pool, one, new_call(), ttl_ms, shorten=shorten) for one in identities]
    replies: Reply = yield _renew_call(pool, items, level)
    answers = yield from _settled(pool, [(one, ttl_ms) for one in identities], replies, level)
    for answer in answers:
        if isinstance(answer, AllocatorError):
            raise answer
    return [answer for answer in answers if isinstance(answer, Renewal)]


def renew_each(pool: PoolKeys, leases: Sequence[tuple[Allocation, int]]) -> Flow[list[Renewal | AllocatorError]]:
    """Extend leases whose holders stand for themselves, each with its ttl_ms; an error takes its item's place.

    Without call ids, for there is nothing to withdraw: what extends a lease may be repeated.
    """
    wanted = [(Identity(one.id, one.fence, one), ttl_ms) for one, ttl_ms in leases]
    items = [_renew_item(pool, one, "", ttl_ms) for one, ttl_ms in wanted]
    replies: Reply = yield _renew_call(pool, items, PLAIN)
    return (yield from _settled(pool, wanted, replies, PLAIN))


def _renew_item(pool: PoolKeys, one: Identity, call: str, ttl_ms: int, *, shorten: bool = False) -> Item:
    return Item(call, (one.fence, ttl_ms, int(shorten), *_known(one)), pool.record(one.id), one.id)


def _known(one: Identity) -> tuple[str, int]:
    """What its holder knows of an allocation: the epoch that granted it, and its deadline."""
    return ("", 0) if one.held is None else (one.held.epoch, one.held.deadline_ms or 0)


def _renew_call(pool: PoolKeys, items: Sequence[Item], level: Durability) -> Call:
    return call_of(_RENEW, pool, items, gather=True, confirm=confirm(level), epoch=pool.epoch)


def _settled(
    pool: PoolKeys, wanted: Sequence[tuple[Identity, int]], replies: Reply, level: Durability
) -> Flow[list[Renewal | AllocatorError]]:
    """What became of each renewal, those that are missing having been adopted."""
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
        for at, outcome in zip(missing, adopted, strict=True):
            answers[at] = _after_adoption(wanted[at][0].id, outcome)
    return answers


def _after_adoption(identity: str, outcome: Allocation | AllocatorError) -> Renewal | AllocatorError:
    if isinstance(outcome, Allocation):
        return Renewal(identity, "adopted", outcome.fence, outcome.deadline_ms, outcome.durability)
    if isinstance(outcome, AllocationLost | AllocationConflict):
        return Renewal(identity, "fenced" if outcome.code == "fenced" else "unknown")
    return outcome


def _renewal(pool: PoolKeys, identity: str, reply: Reply | AllocatorError) -> Renewal:
    if isinstance(reply, AllocatorError):
        raise reply
    match reply[0]:
        case "renewed":
            return Renewal(identity, "renewed", reply[1], reply[2] or None, reached(reply))
        case "unknown" | "missing":
            return Renewal(identity, "unknown")
        case "wrong_epoch":
            return Renewal(identity, "foreign")
        case "releasing":
            return Renewal(identity, "releasing")
        case "ttl_too_long":
            raise too_long(pool, reply)
        case "fenced":
            return Renewal(identity, "fenced", reply[1])
        case word:
            refuse(pool, word)


def release(pool: PoolKeys, identities: Sequence[Identity], reason: str = "released") -> Operation[list[Release]]:
    """Give back, item by item."""
    items = [Item(new_call(), (one.fence, *_known(one)), pool.record(one.id), one.id) for one in identities]

    def decode(replies: Reply) -> list[Release]:
        return [_release(pool, one.id, reply) for one, reply in zip(identities, replies, strict=True)]

    return Operation(call_of(_RELEASE, pool, items, gather=True, epoch=pool.epoch, reason=reason), decode)


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
            refuse(pool, word)


def begin_release(pool: PoolKeys, one: Identity, grace_ms: int) -> Operation[Allocation]:
    """Let an allocation end by a deadline that nobody can move.

    Raises:
        UnknownAllocation, AllocationLost
        InvalidRequest: The grace is longer than the pool's longest ttl.
    """
    item = Item(new_call(), (one.fence, grace_ms), pool.record(one.id), one.id)

    def decode(replies: Reply) -> Allocation:
        reply = replies[0]
        if reply[0] == "releasing":
            return allocation_of(pool, one.id, reply[1:])
        if reply[0] == "ttl_too_long":
            text = f"grace: pool {pool.name!r} keeps nothing longer than {reply[1] / 1000:g} s"
            raise InvalidRequest(text, field="grace", code="ttl_too_long")
        lost(pool, one.id, one.fence, reply[0], reply)

    return Operation(call_of(_BEGIN_RELEASE, pool, (item,), epoch=pool.epoch), decode)


def withdraw(pool: PoolKeys, calls: Sequence[tuple[str, str]]) -> Operation[None]:
    """Undo calls whose outcome nobody heard: (call id, allocation id or "") each, at most a batch of them.

    Idempotent.  Ends an allocation that no other call was told of, and keeps copies of the call from doing anything.
    """
    items = [Item(call, (), pool.record(identity or NO_RECORD), identity) for call, identity in calls]

    def decode(replies: Reply) -> None:
        for reply in replies:
            if isinstance(reply, AllocatorError):
                raise reply
            if reply[0] not in ("undone", "left", "absent"):
                refuse(pool, reply[0])

    return Operation(call_of(_UNDO, pool, items, epoch=""), decode)


def reclaim(pool: PoolKeys, limit: int | None, age_ms: int | None, *, include_live: bool) -> Flow[Reclaimed]:
    """Take back what is past its deadline and what is older than the age, until `limit` or the call's time."""
    most = settings.MANY_ITEMS_MAX if limit is None else limit
    ids: list[str] = []
    more = True
    while more and len(ids) < most:
        left: float = yield Remaining()
        if left <= 0:
            break
        batch = yield from reclaim_call(pool, _RECLAIM, min(settings.RECLAIM_BATCH_MAX, most - len(ids)), age_ms)
        ids += batch.ids
        more = batch.more
    if include_live and age_ms is not None and not more:
        more = yield from _reclaim_live(pool, most, age_ms, ids)
    return Reclaimed(len(ids), tuple(ids), more=more)


def _reclaim_live(pool: PoolKeys, most: int, age_ms: int, ids: list[str]) -> Flow[bool]:
    """Also leases that are renewed, by age; each is released by its fence, so that a newer grant of the id stays."""
    cursor = "0"
    while True:
        found = yield from page(pool, "deadlines", cursor)
        old = [Identity(one.id, one.fence) for one in found.allocations if one.granted_ms <= found.read_ms - age_ms]
        for at in range(0, len(old), settings.BATCH_ITEMS_MAX):
            room = most - len(ids)
            left: float = yield Remaining()
            if room <= 0 or left <= 0:
                return True
            part = old[at : at + min(settings.BATCH_ITEMS_MAX, room)]
            ended = yield from release(pool, part, reason="age")
            ids += [one.id for one in ended if one]
        cursor = found.cursor
        if cursor == "0":
            return False

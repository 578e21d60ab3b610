"""renew, release, withdraw, reclaim: the verbs that decide how long an allocation lasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from allocator import settings
from allocator._engine.keys import PoolKeys
from allocator._engine.operations.reading import page
from allocator._engine.operations.wire import call_of, new_call, reclaim_call, refuse
from allocator._engine.scripts import load
from allocator._engine.steps import Flow, Item, Operation, Remaining, Reply
from allocator.errors import AllocatorError
from allocator.models import Reclaimed, Release, Renewal

_RECLAIM: Final = load("reclaim")
_RELEASE: Final = load("release")
_RENEW: Final = load("renew")
_WITHDRAW: Final = load("withdraw")

NO_RECORD: Final = "-"
"""Stands for the id of a call that names no allocation; no id begins so."""

Identity = tuple[str, int]
"""An allocation's id, and the fence that it must have; 0 is any."""


def renew(
    pool: PoolKeys, identities: Sequence[Identity], ttl_ms: int, *, shorten: bool = False
) -> Operation[list[Renewal]]:
    """Extend leases, item by item."""
    items = [
        Item(new_call(), (fence, ttl_ms, int(shorten)), pool.record(identity), identity)
        for identity, fence in identities
    ]

    def decode(replies: Reply) -> list[Renewal]:
        return [_renewal(pool, identity, reply) for (identity, _), reply in zip(identities, replies, strict=True)]

    return Operation(call_of(_RENEW, pool, items, gather=True, epoch=pool.epoch), decode)


def renew_each(pool: PoolKeys, leases: Sequence[tuple[str, int, int]]) -> Operation[list[Renewal | AllocatorError]]:
    """Extend leases whose holders stand for themselves: id, fence and ttl_ms each; an error takes its item's place.

    Without call ids, for there is nothing to withdraw: what extends a lease may be repeated.
    """
    items = [Item("", (fence, ttl_ms, 0), pool.record(identity), identity) for identity, fence, ttl_ms in leases]

    def decode(replies: Reply) -> list[Renewal | AllocatorError]:
        answers: list[Renewal | AllocatorError] = []
        for (identity, _, _), reply in zip(leases, replies, strict=True):
            try:
                answers.append(_renewal(pool, identity, reply))
            except AllocatorError as error:
                answers.append(error)
        return answers

    return Operation(call_of(_RENEW, pool, items, gather=True, epoch=pool.epoch), decode)


def _renewal(pool: PoolKeys, identity: str, reply: Reply | AllocatorError) -> Renewal:
    if isinstance(reply, AllocatorError):
        raise reply
    match reply[0]:
        case "renewed":
            return Renewal(identity, "renewed", reply[1], reply[2] or None)
        case "unknown":
            return Renewal(identity, "unknown")
        case "fenced":
            return Renewal(identity, "fenced", reply[1])
        case word:
            refuse(pool, word)


def release(pool: PoolKeys, identities: Sequence[Identity], reason: str = "released") -> Operation[list[Release]]:
    """Give back, item by item."""
    items = [Item(new_call(), (fence,), pool.record(identity), identity) for identity, fence in identities]

    def decode(replies: Reply) -> list[Release]:
        return [_release(pool, identity, reply) for (identity, _), reply in zip(identities, replies, strict=True)]

    return Operation(call_of(_RELEASE, pool, items, gather=True, epoch=pool.epoch, reason=reason), decode)


def _release(pool: PoolKeys, identity: str, reply: Reply | AllocatorError) -> Release:
    if isinstance(reply, AllocatorError):
        raise reply
    match reply[0]:
        case "released":
            return Release(identity, "released", reply[1])
        case "unknown" | "fenced" as word:
            return Release(identity, word)
        case word:
            refuse(pool, word)


def withdraw(pool: PoolKeys, calls: Sequence[tuple[str, str]]) -> Operation[None]:
    """Undo calls whose outcome nobody heard: (call id, allocation id or "") each, at most a batch of them.

    Idempotent.  Releases only a record that carries the very call, and keeps copies of it from doing anything.
    """
    items = [Item(call, (), pool.record(identity or NO_RECORD), identity) for call, identity in calls]

    def decode(replies: Reply) -> None:
        for reply in replies:
            if isinstance(reply, AllocatorError):
                raise reply
            if reply[0] not in ("withdrawn", "absent"):
                refuse(pool, reply[0])

    return Operation(call_of(_WITHDRAW, pool, items), decode)


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
        old = [(one.id, one.fence) for one in found.allocations if one.granted_ms <= found.read_ms - age_ms]
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

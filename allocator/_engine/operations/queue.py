"""list, withdraw: the requests that wait in line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from allocator import settings
from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.replies import decode_denial, decode_fields, parse_amount, raise_refused
from allocator._engine.operations.requests import make_call, new_call
from allocator._engine.protocol import schema
from allocator._engine.protocol.flows import Call, Flow, Item, Operation, Reply
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import load
from allocator.denials import Denial
from allocator.models.queue import GangMember, Waiter
from allocator.models.read_only import NO_ENTRIES
from allocator.resources import Resources
from allocator.validation import allocation_id, count

_LIST: Final = load("list_waiters")
_WITHDRAW: Final = load("withdraw")

_ENTRY: Final = 6
"""Words of a waiter in a page: id, place, fields, refusal, start, the member that is refused."""


def withdraw(defaults: Defaults, identity: str) -> Operation[bool]:
    """Take the request for an id out of the line.  One round trip."""
    pool, name = defaults.pool, allocation_id(identity)

    def decode(replies: Reply) -> bool:
        word = replies[0][0]
        if word not in ("withdrawn", "absent"):
            raise_refused(pool, word)
        return bool(word == "withdrawn")

    item = Item(new_call(), (), pool.record(name), name)
    return Operation(make_call(_WITHDRAW, pool, (item,), epoch=pool.epoch), decode)


def list_waiters(defaults: Defaults, limit: int = settings.PAGE_WAITERS_MAX) -> Flow[list[Waiter]]:
    """The first waiters, in order.  One round trip for each `PAGE_WAITERS_MAX`."""
    pool, most = defaults.pool, count(limit, "limit", settings.QUEUE_MAX)
    found: list[Waiter] = []
    while len(found) < most:
        size = min(settings.PAGE_WAITERS_MAX, most - len(found))
        first = len(found) + 1
        reply: Reply = yield _page(pool, first, size)
        if reply[0] != "line":
            raise_refused(pool, reply[0])
        page = reply[3:]
        found += [_waiter(pool, first + at // _ENTRY, page[at : at + _ENTRY]) for at in range(0, len(page), _ENTRY)]
        if len(page) < size * _ENTRY:
            break
    return found


def _page(pool: PoolKeys, first: int, size: int) -> Call:
    args = _LIST.bind(epoch=pool.epoch, actor=pool.actor, first=first, count=size, starts=int(first == 1))
    return Call(_LIST, pool, _LIST.bind_keys(pool), args)


def _waiter(pool: PoolKeys, position: int, entry: Sequence[Any]) -> Waiter:
    identity, _place, flat, refusal, start_ms, item = entry
    fields, where = decode_fields(flat), f"the entry of waiter {identity!r}"
    live = fields.get("live", "").split()
    members = tuple(_member(fields, f"member.{at}.", where, live) for at in range(1, int(fields.get("gang", "0")) + 1))
    first = members[0] if members else _member(fields, "", where, (), identity)
    return Waiter(
        id=identity,
        pool=pool.name,
        position=position,
        owner=first.owner,
        priority=int(fields["priority"]),
        resources=sum((one.resources for one in members[1:]), first.resources),
        since_ms=parse_amount(fields, "since_ms", where),
        until_ms=parse_amount(fields, "until_ms", where),
        ttl_ms=first.ttl_ms,
        scope=first.scope if all(one.scope == first.scope for one in members) else None,
        denial=_denial(pool, refusal, item),
        start_ms=start_ms or None,
        metadata=first.metadata,
        members=members,
        share_of=fields.get("share_of") or None,
    )


def _member(
    fields: Mapping[str, str], prefix: str, where: str, live: Sequence[str], identity: str | None = None
) -> GangMember:
    """What one request asks for, whose fields begin so; `identity` that of a single one."""
    own = {field.removeprefix(prefix): text for field, text in fields.items() if field.startswith(prefix)}
    asked = {
        field.removeprefix(_REQUESTED): parse_amount(own, field, where) for field in own if field.startswith(_REQUESTED)
    }
    meta = {field.removeprefix(schema.META): text for field, text in own.items() if field.startswith(schema.META)}
    name = own["id"] if identity is None else identity
    return GangMember(
        id=name,
        owner=own["owner"],
        resources=Resources.of(asked),
        ttl_ms=parse_amount(own, "ttl_ms", where) or None,
        scope=own.get("scope"),
        metadata=meta or NO_ENTRIES,
        live=name in live,
    )


def _denial(pool: PoolKeys, refusal: Sequence[Any], item: int) -> Denial | None:
    """What it is short of; None where its scope is unknown."""
    return decode_denial(pool, refusal[1:], item - 1) if refusal[0] == "denied" else None


_REQUESTED: Final = "requested."
"""The beginning of the fields with amounts, in an entry."""

"""list, withdraw: the requests that wait in line."""

from __future__ import annotations

from collections.abc import Sequence
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
from allocator.models.queue import Waiter
from allocator.models.read_only import NO_ENTRIES
from allocator.resources import Resources
from allocator.validation import allocation_id, count

_LIST: Final = load("list_waiters")
_WITHDRAW: Final = load("withdraw")

_ENTRY: Final = 5
"""Words of a waiter in a page: id, place, fields, refusal, start."""


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
    args = _LIST.bind(epoch=pool.epoch, first=first, count=size, starts=int(first == 1))
    return Call(_LIST, pool, _LIST.bind_keys(pool), args)


def _waiter(pool: PoolKeys, position: int, entry: Sequence[Any]) -> Waiter:
    identity, _place, flat, refusal, start_ms = entry
    fields, where = decode_fields(flat), f"the entry of waiter {identity!r}"
    asked = {
        field.removeprefix(_REQUESTED): parse_amount(fields, field, where)
        for field in fields
        if field.startswith(_REQUESTED)
    }
    meta = {field.removeprefix(schema.META): text for field, text in fields.items() if field.startswith(schema.META)}
    return Waiter(
        id=identity,
        pool=pool.name,
        position=position,
        owner=fields["owner"],
        priority=int(fields["priority"]),
        resources=Resources.of(asked),
        since_ms=parse_amount(fields, "since_ms", where),
        until_ms=parse_amount(fields, "until_ms", where),
        ttl_ms=parse_amount(fields, "ttl_ms", where) or None,
        scope=fields.get("scope"),
        denial=_denial(pool, refusal),
        start_ms=start_ms or None,
        metadata=meta or NO_ENTRIES,
        share_of=fields.get("share_of") or None,
    )


def _denial(pool: PoolKeys, refusal: Sequence[Any]) -> Denial | None:
    """What it is short of; None where its scope is unknown."""
    return decode_denial(pool, refusal[1:]) if refusal[0] == "denied" else None


_REQUESTED: Final = "requested."
"""The beginning of the fields with amounts, in an entry."""

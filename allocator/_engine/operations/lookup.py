"""get, usage, pages, events: the verbs that only look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from allocator import settings
from allocator._engine.operations.replies import allocation_of, amounts_of, call_of, exact, fields_of, refuse
from allocator._engine.protocol import schema
from allocator._engine.protocol.flows import Call, Operation, Reply
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import load
from allocator.durability import MEMORY
from allocator.models import Allocation, Event, Pool, ResourceUsage, Usage

_EVENTS: Final = load("read_events")
_GET: Final = load("get_allocation")
_PAGE: Final = load("list_allocations")
_USAGE: Final = load("read_pool")

_PHASES: Final = ("pinned", "deadlines", "pinned")
"""Indexes in the order in which a listing walks them: whatever moves from one to the other meanwhile is met in one."""


def pool_of(name: str, fields: dict[str, str], *, created: bool = False, read_ms: int = 0) -> Pool:
    """A pool's account as a model; a repair that died holds back nothing after its time."""
    where = f"pool {name!r}"
    state = fields.get("state", "active")
    if state == "offline" and "offline_until_ms" in fields and read_ms >= exact(fields, "offline_until_ms", where):
        state = "active"
    options = dict(word.split("=", 1) for word in fields.get("options", "").split())
    until_ms = exact(fields, "recovering_until_ms", where) if "recovering_until_ms" in fields else 0
    if state == "active" and until_ms > read_ms > 0:
        state = "recovering"
    return Pool(
        name=name,
        epoch=fields.get("epoch", ""),
        generation=exact(fields, "generation", where),
        revision=exact(fields, "revision", where),
        schema=exact(fields, "schema", where),
        created_ms=exact(fields, "created_ms", where),
        state=state,
        capacity=amounts_of(fields, where, schema.CAPACITY),
        allocated=amounts_of(fields, where),
        whole_units=tuple(fields.get("whole_units", "").split()),
        created=created,
        recovery_grace_ms=exact(options, "recovery_grace_ms", where) if "recovery_grace_ms" in options else 0,
        max_ttl_ms=exact(options, "max_ttl_ms", where) if "max_ttl_ms" in options else 0,
        durability=options.get("durability", MEMORY),
        recovering_until_ms=until_ms,
        recovering_why=fields.get("recovering_why", ""),
        clock_offset_ms=exact(fields, "clock_offset_ms", where) if "clock_offset_ms" in fields else 0,
    )


def usage(pool: PoolKeys) -> Operation[Usage]:
    """One atomic reading of a pool."""

    def decode(reply: Reply) -> Usage:
        if reply[0] != "usage":
            refuse(pool, reply[0])
        _, read_ms, leased, pinned, due, *flat = reply
        described = pool_of(pool.name, fields_of(flat), read_ms=read_ms)
        resources = {
            name: ResourceUsage(capacity, described.allocated.get(name, 0))
            for name, capacity in described.capacity.items()
        }
        return Usage(described, MappingProxyType(resources), leased + pinned, pinned, due, read_ms)

    return Operation(call_of(_USAGE, pool, epoch=pool.epoch), decode)


def get(pool: PoolKeys, identity: str) -> Operation[Allocation | None]:
    """One record as it stands."""
    keys = (*_GET.bind_keys(pool, "record"), pool.record(identity))

    def decode(reply: Reply) -> Allocation | None:
        if reply[0] == "unknown":
            return None
        if reply[0] != "record":
            refuse(pool, reply[0])
        return allocation_of(pool, identity, reply[1:])

    return Operation(Call(_GET, pool, keys, _GET.bind(epoch=pool.epoch)), decode)


@dataclass(frozen=True, slots=True)
class Page:
    """Some records, when they were read, and where to go on; "0" is the end."""

    allocations: list[Allocation]
    read_ms: int
    cursor: str


def page(pool: PoolKeys, index: str, cursor: str) -> Operation[Page]:
    """One page of an index."""

    def decode(reply: Reply) -> Page:
        if reply[0] != "page":
            refuse(pool, reply[0])
        _, following, read_ms, epoch, *pairs = reply
        found = [allocation_of(pool, pairs[at], ["epoch", epoch, *pairs[at + 1]]) for at in range(0, len(pairs), 2)]
        return Page(found, read_ms, following)

    return Operation(
        call_of(_PAGE, pool, epoch=pool.epoch, index=index, cursor=cursor, count=settings.PAGE_RECORDS_MAX), decode
    )


class Listing:
    """A walk over all allocations, page by page, for whoever performs the calls.

    `for call in listing: page = run(call); yield from listing.take(page)`.  Duplicates are removed by id.
    """

    def __init__(self, pool: PoolKeys, owner: str | None, age_ms: int | None) -> None:
        self._pool = pool
        self._owner = owner
        self._age_ms = age_ms
        self._seen: set[str] = set()
        self._cursor = "0"

    def __iter__(self) -> Iterator[Operation[Page]]:
        for index in _PHASES:
            self._cursor = "0"
            yield page(self._pool, index, self._cursor)
            while self._cursor != "0":
                yield page(self._pool, index, self._cursor)

    def take(self, found: Page) -> list[Allocation]:
        """What of a page is new and asked for."""
        self._cursor = found.cursor
        taken: list[Allocation] = []
        for one in found.allocations:
            if one.id in self._seen:
                continue
            self._seen.add(one.id)
            if self._owner is not None and one.owner != self._owner:
                continue
            if self._age_ms is not None and one.granted_ms > found.read_ms - self._age_ms:
                continue
            taken.append(one)
        return taken


def events(pool: PoolKeys, limit: int) -> Operation[list[Event]]:
    """The latest events, newest first."""
    keys = _EVENTS.bind_keys(pool)

    def decode(reply: Reply) -> list[Event]:
        if reply[0] != "events":
            refuse(pool, reply[0])
        found: list[Event] = []
        for at in range(1, len(reply), 2):
            fields = fields_of(reply[at + 1])
            kind = fields.pop("kind", "")
            found.append(Event(reply[at], kind, MappingProxyType(fields)))
        return found

    return Operation(Call(_EVENTS, pool, keys, _EVENTS.bind(epoch=pool.epoch, count=limit)), decode)

"""get and list: read allocations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from allocator import settings
from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.replies import decode_allocation, raise_refused
from allocator._engine.operations.requests import make_call
from allocator._engine.protocol.flows import Call, Operation, Reply
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import load
from allocator.models.allocations import Allocation, Ttl
from allocator.validation import age_ms, allocation_id, owner_name

_GET: Final = load("get_allocation")
_PAGE: Final = load("list_allocations")

_PHASES: Final = ("pinned", "deadlines", "pinned")
"""The order in which a scan walks the indexes: an allocation that moves between them meanwhile is still found."""


def get(defaults: Defaults, id: str) -> Operation[Allocation | None]:
    """One record; None if there is none.  One round trip."""
    pool, identity = defaults.pool, allocation_id(id)
    keys = (*_GET.bind_keys(pool, "record"), pool.record(identity))

    def decode(reply: Reply) -> Allocation | None:
        if reply[0] == "unknown":
            return None
        if reply[0] != "record":
            raise_refused(pool, reply[0])
        return decode_allocation(pool, identity, reply[1:])

    return Operation(Call(_GET, pool, keys, _GET.bind(epoch=pool.epoch, actor=pool.actor)), decode)


@dataclass(frozen=True, slots=True)
class Page:
    """Some records, the instant of reading, and the next cursor; "0" is the end."""

    allocations: list[Allocation]
    read_ms: int
    cursor: str


def page(pool: PoolKeys, index: str, cursor: str) -> Operation[Page]:
    """One page of an index."""

    def decode(reply: Reply) -> Page:
        if reply[0] != "page":
            raise_refused(pool, reply[0])
        _, following, read_ms, epoch, *pairs = reply
        found = [decode_allocation(pool, pairs[at], ["epoch", epoch, *pairs[at + 1]]) for at in range(0, len(pairs), 2)]
        return Page(found, read_ms, following)

    return Operation(
        make_call(_PAGE, pool, epoch=pool.epoch, index=index, cursor=cursor, count=settings.PAGE_RECORDS_MAX), decode
    )


class AllocationScan:
    """A scan of all allocations, page by page; the client performs the calls.

    `for call in scan: page = run(call); yield from scan.new_in(page)`.  Duplicates are removed by id.
    """

    def __init__(self, pool: PoolKeys, owner: str | None = None, age: int | None = None) -> None:
        self._pool = pool
        self._owner = owner
        self._age_ms = age
        self._seen: set[str] = set()
        self._cursor = "0"

    def __iter__(self) -> Iterator[Operation[Page]]:
        for index in _PHASES:
            self._cursor = "0"
            yield page(self._pool, index, self._cursor)
            while self._cursor != "0":
                yield page(self._pool, index, self._cursor)

    def new_in(self, found: Page) -> list[Allocation]:
        """The allocations of a page that match the filters and were not in an earlier page."""
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


def scan(defaults: Defaults, owner: str | None = None, older_than: Ttl = None) -> AllocationScan:
    """A scan of the allocations of the default pool; None: of any owner, of any age."""
    age = None if older_than is None else age_ms(older_than, "older_than")
    return AllocationScan(defaults.pool, None if owner is None else owner_name(owner), age)

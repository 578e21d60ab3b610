"""`Readings`: what is read of a pool, once for all pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from allocator import Allocation, AsyncAllocator, Event, Quota, UnknownPool, Usage, UsageHistory, Waiter
from allocator.apps.dashboard import bounds
from allocator.apps.dashboard.cache import Cache
from allocator.apps.dashboard.pools import Pools
from allocator.settings import EVENTS_MAX, PAGE_RECORDS_MAX

__all__ = ["Allocations", "Readings", "Scopes", "Waiting"]

_LARGE: Final[Mapping[str, Any]] = {
    "pause_s": bounds.USAGE_S,
    "keep_s": bounds.READING_S,
    "share": bounds.READING_SHARE,
}


@dataclass(frozen=True)
class Allocations:
    """The allocations of a pool, oldest first, at most 10,000 of `total`; and documents that were made of them."""

    items: tuple[Allocation, ...]
    total: int
    read_ms: int
    _derived: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def left_out(self) -> int:
        """How many were not read."""
        return max(0, self.total - len(self.items))

    def derive(self, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The document of this key, made once."""
        if key not in self._derived:
            if len(self._derived) >= bounds.DERIVED_KEPT:
                self._derived.clear()
            self._derived[key] = make()
        found: dict[str, Any] = self._derived[key]
        return found


@dataclass(frozen=True)
class Waiting:
    """The first of those who wait, of so many in all."""

    items: tuple[Waiter, ...]
    total: int


@dataclass(frozen=True)
class Scopes:
    """The first scopes of a pool by name, of so many in all."""

    items: tuple[Quota, ...]
    total: int


class Readings:
    """Reads pools for all pages: each kind of reading of a pool at most once at a time, with a pause between two."""

    def __init__(self, pools: Pools) -> None:
        """Read these pools."""
        self.pools = pools
        self._cache = Cache()

    def changed(self, pool: str) -> None:
        """The pool has changed: what was read before counts no more."""
        self._cache.invalidate(pool)

    async def close(self) -> None:
        """End the readings that are in progress."""
        await self._cache.close()

    async def usage(self, pool: str) -> Usage:
        """The pool's counters."""
        client = self.pools.client(pool)
        try:
            return await self._cache.get(
                pool, "usage", client.pools.usage, pause_s=bounds.USAGE_S, keep_s=bounds.USAGE_S
            )
        except UnknownPool:
            self.pools.look()
            raise

    async def allocations(self, pool: str) -> Allocations:
        """The pool's allocations, 500 a round trip."""
        client = self.pools.client(pool)
        return await self._cache.get(pool, "allocations", lambda: _read_allocations(client), **_LARGE)

    async def line(self, pool: str) -> Waiting:
        """Who waits."""
        client = self.pools.client(pool)
        return await self._cache.get(pool, "line", lambda: _read_line(client), **_LARGE)

    async def scopes(self, pool: str) -> Scopes:
        """The scopes."""
        client = self.pools.client(pool)
        return await self._cache.get(pool, "scopes", lambda: _read_scopes(client), **_LARGE)

    async def history(self, pool: str, since_s: int, resolution_s: int | None) -> UsageHistory:
        """What the pool had over time, from so many seconds ago."""
        pools = self.pools.client(pool).pools

        async def read() -> UsageHistory:
            return await pools.usage_history(since=since_s, resolution=resolution_s)

        return await self._cache.get(pool, f"history {since_s} {resolution_s}", read, **_LARGE)

    async def story(self, pool: str, id: str) -> tuple[Allocation | None, int, list[Event]]:
        """An allocation, the server's time, and its latest stored events, oldest first."""
        client = self.pools.client(pool)
        return await self._cache.get(pool, f"story {id}", lambda: _read_story(client, id), **_LARGE)

    async def health(self) -> None:
        """Call the server, for one pool that is served; one that does not exist is an answer, too.

        Raises:
            AllocatorError: It does not do its work.
        """
        names = self.pools.names
        with suppress(UnknownPool):
            await self.usage(names[0] if names else "default")


async def _read_allocations(client: AsyncAllocator) -> Allocations:
    usage = await client.pools.usage()
    found: list[Allocation] = []
    async for one in client.list():
        found.append(one)
        if len(found) >= bounds.RECORDS_MAX:
            break
    found.sort(key=lambda one: (one.granted_ms, one.fence))
    return Allocations(tuple(found), max(usage.allocations, len(found)), usage.read_ms)


async def _read_line(client: AsyncAllocator) -> Waiting:
    found = await client.queue.list(limit=bounds.WAITERS_MAX)
    total = len(found)
    if total >= bounds.WAITERS_MAX:
        total = max(total, (await client.pools.usage()).waiting)
    return Waiting(tuple(found), total)


async def _read_scopes(client: AsyncAllocator) -> Scopes:
    found = await client.quotas.list(limit=bounds.QUOTAS_MAX)
    total = len(found)
    if total >= bounds.QUOTAS_MAX:
        total = max(total, (await client.pools.usage()).scopes)
    return Scopes(tuple(found), total)


async def _read_story(client: AsyncAllocator, id: str) -> tuple[Allocation | None, int, list[Event]]:
    item = await client.get(id)
    usage = await client.pools.usage()
    if item is None:
        return None, usage.read_ms, []
    found: list[Event] = []
    since: str | int = max(0, item.granted_ms - bounds.STORY_BEFORE_MS)
    for _ in range(EVENTS_MAX // PAGE_RECORDS_MAX + 1):
        page = await client.events.since(since)
        found += (event for event in page if event.fields.get("id") == id)
        del found[: -bounds.STORY_EVENTS]
        if len(page) < PAGE_RECORDS_MAX:
            break
        since = page[-1].id
    return item, usage.read_ms, found

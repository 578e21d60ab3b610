"""`SharedPool`: the pool of a `ResourceAllocator`: its two clients, its totals as last read, its epoch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Final

from allocator import environment
from allocator._async.client import AsyncAllocator
from allocator._engine.operations.defaults import Defaults
from allocator._engine.transport.urls import resolve_target
from allocator._sync.client import Allocator
from allocator.compat import conversions
from allocator.errors import InvalidRequest, PoolConflict, UnknownPool
from allocator.models.allocations import Ttl
from allocator.models.pools import Pool, Usage
from allocator.resources import Resources

__all__ = ["SharedPool"]

log = logging.getLogger("allocator")

_PRIVATE_URL: Final = "memory://"
"""The URL of an object where neither the program nor the environment gives one."""

_GETTER_DEADLINE_S: Final = 1.0
"""Seconds that a plain getter's script call may take: it blocks the event loop that it is called in."""


class SharedPool:
    """A pool that the first of its users creates, by its totals.  Threads and event loops may share it."""

    def __init__(
        self,
        url: str | None,
        pool: str,
        totals: Resources,
        grace: Ttl,
        *,
        prefix: str,
        owner: str | None,
        timeout: float,
        allow_eviction: bool,
        clock: Callable[[], int] | None,
    ) -> None:
        """Prepare; nothing is connected."""
        self.name = pool
        self.totals = totals
        self._grace = grace
        self._lock = threading.Lock()
        self._seen: Pool | None = None
        defaults = Defaults(pool, prefix, owner, timeout)
        quick_defaults = defaults.replaced(None, None, None, min(defaults.timeout_s, _GETTER_DEADLINE_S), None)
        location = _chosen(url)
        target = quick = resolve_target(location, allow_eviction=allow_eviction)
        if location.lower() != _PRIVATE_URL:  # a private in-process server is one object, which both clients must share
            quick = resolve_target(location, attempt_timeout_s=_GETTER_DEADLINE_S, allow_eviction=allow_eviction)
        self.awaited = AsyncAllocator._on(target, defaults, clock)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self.blocking = Allocator._on(quick, quick_defaults, clock)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    async def open(self) -> AsyncAllocator:
        """The asyncio client, after the pool was created or read."""
        if self._seen is None:
            self._saw(await self.awaited.pools.create(self.name, self.totals, recovery_grace=self._grace))
        return self.awaited

    def open_blocking(self) -> Allocator:
        """The blocking client of the getters, after the pool was created or read."""
        if self._seen is None:
            self._saw(self.blocking.pools.create(self.name, self.totals, recovery_grace=self._grace))
        return self.blocking

    def read(self, usage: Usage) -> dict[str, float]:
        """The usage as the original's dict; the totals are those of this reading from now on."""
        with self._lock:
            self._remember(usage.pool)
        return conversions.usage_dict(usage)

    def set_totals(self, capacity: Mapping[str, int]) -> None:
        """Set totals of the pool, by the generation that this object has read.

        Raises:
            PoolConflict: `code="generation"`: the pool was changed since.  Nothing was changed; the totals are read
                again.
        """
        known = self._seen
        if known is None:
            before, self.totals = self.totals, Resources.of({**self.totals, **capacity})
            try:
                found = self.blocking.pools.create(self.name, self.totals, recovery_grace=self._grace)
            except BaseException:
                self.totals = before
                raise
            self._saw(found)
            known = found
        if all(known.capacity.get(name, 0) == amount for name, amount in capacity.items()):
            return
        try:
            changed = self.blocking.pools.update(None, Resources.of(capacity), generation=known.generation)
        except PoolConflict:
            self.read(self.blocking.pools.usage())
            raise
        with self._lock:
            self._remember(changed)

    def _remember(self, pool: Pool) -> None:
        self._seen, self.totals = pool, conversions.totals_of(pool)

    def _saw(self, pool: Pool) -> None:
        """Record the pool's epoch at the first reading; from then on both clients accept no other."""
        with self._lock:
            if self._seen is None:
                self.awaited = self.awaited.options(epoch=pool.epoch)
                self.blocking = self.blocking.options(epoch=pool.epoch)
                self._remember(pool)
            elif self._seen.epoch != pool.epoch:
                raise UnknownPool(f"pool {pool.name} was deleted and made anew", pool=pool.name, code="epoch")


def _chosen(url: str | None) -> str:
    """The given URL, the environment's, or the private in-process server's."""
    if url is None:
        url = environment.url_from_environment()
    if url is not None:
        return url
    unset = f"no URL was given and neither {' nor '.join(environment.URL_VARIABLES)} is set"
    if environment.url_is_required():
        raise InvalidRequest(
            f"url: {unset}, and {environment.REQUIRE_URL_VARIABLE} says that one is required", field="url"
        )
    log.warning(
        "%s: allocations are kept in this object alone (memory://), where other processes do not see them; "
        "%s=1 makes this an error",
        unset,
        environment.REQUIRE_URL_VARIABLE,
    )
    return _PRIVATE_URL

"""`ResourceAllocator`: the original in-memory API, kept by a store that all replicas of a controller share.

Every method, signature, dict key and example of the original document works as written.  What differs, because several
processes now share the numbers:

- Quantities are Kubernetes's: `2G` is 2,000,000,000 bytes (the sample read 2 GiB), a bare memory number is bytes (it
  read MiB) and below 1 MiB is refused, `100m` and `1.5Gi` are taken.  `total_memory_gb` stays 1024 MiB each.
- Only what is named is charged (the sample charged one CPU and 1 GiB where nothing was said), `{}` is refused, and any
  other resource, such as `nvidia.com/gpu`, is charged like the two.
- The totals belong to the pool in the store.  The first object to use a pool creates it with its own totals; for all
  others the stored ones count.
- A store that does not answer raises `BackendError`.  It is never reported as full, as empty or as released.
- The dicts have two more keys, `fence` and `pool`.  With them a dict can lie in a resource's status as JSON, and
  whichever replica reads it can renew or release that allocation, and no later one of the same id.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from types import EllipsisType, TracebackType
from typing import Final, Self

from allocator import settings
from allocator._async.client import AsyncAllocator
from allocator._engine.operations.defaults import Defaults
from allocator._engine.transport.urls import resolve_target
from allocator._sync.client import Allocator
from allocator.compat import conversions
from allocator.errors import AllocationLost, Insufficient, InvalidRequest, UnknownAllocation, UnknownPool
from allocator.models.allocations import RequestLike, Ttl
from allocator.models.pools import Pool, Usage
from allocator.resources import Resources
from allocator.validation import ttl_ms

__all__ = ["ResourceAllocator"]

log = logging.getLogger("allocator")

_PRIVATE_URL: Final = "memory://"
"""The store of an object that was told of none, as the original was."""

_GETTER_DEADLINE_S: Final = 1.0
"""Seconds that a plain getter's script call may take: it blocks the event loop that it is called in."""


class ResourceAllocator:
    """CPU, memory and whatever else is counted, for lab instances: check, allocate, release, across processes.

    An object may be used from several threads and event loops at once.  Nothing is sent before its first use, which
    creates the pool if there is none.  Every call that needs the store raises `BackendError` where it does not answer,
    and `UnknownPool` where the pool that this object has seen is gone or was made anew.

    Between `check_availability` and `allocate_resources` another replica may take what was there.
    """

    def __init__(
        self,
        total_cpu: float = 32.0,
        total_memory_gb: int = 128,
        *,
        url: str | None = None,
        pool: str = "default",
        ttl: Ttl = None,
        recovery_grace: Ttl = None,
        owner: str | None = None,
        prefix: str = settings.PREFIX_DEFAULT,
        timeout: float = settings.DEADLINE_S,
        allow_eviction: bool = False,
        _clock: Callable[[], int] | None = None,
    ) -> None:
        """Describe it; no connection is made yet.

        Args:
            total_cpu: CPU cores of the pool, if this object is the one that creates it.
            total_memory_gb: Its memory in units of 1024 MiB.
            url: Where the store is: `redis://`, `rediss://`, `unix://`, `redis+sentinel://`, `redis+cluster://`,
                `embedded://`, `memory://NAME` (shared within the process) or `memory://` (this object's own).  None:
                `ALLOCATOR_REDIS_URL`, then `REDIS_URL`, then `memory://` with a warning, or an error where
                `ALLOCATOR_REQUIRE_URL=1`.
            pool: The name of the pool.
            ttl: Seconds (or a timedelta) that allocations live unless renewed.  None pins them, as the original did.
            recovery_grace: Seconds for which the pool grants nothing when this object has created it, and when its
                store may have lost data; at least 5 s more than the `ttl`, which it wants.
            owner: Who holds the allocations, for people; the same on every replica.
            prefix: The prefix of all keys.
            timeout: Seconds that one awaited call may take in all, retries included; at most 60.
            allow_eviction: Use a store whose `maxmemory-policy` may evict our keys, at the reader's risk.

        Raises:
            InvalidRequest: `field` names the argument that is wrong.
        """
        cpu = conversions.parse_total("total_cpu", "cpu", total_cpu, "cores")
        memory = conversions.parse_total("total_memory_gb", "memory", total_memory_gb, "GiB (1024 MiB)", suffix="Gi")
        self._totals = Resources.of({"cpu": cpu, "memory": memory})
        ttl_ms(ttl)
        if recovery_grace is not None and ttl is None:
            raise InvalidRequest(
                "recovery_grace wants a ttl: what is pinned outlives any grace", field="recovery_grace"
            )
        self._ttl, self._grace = ttl, recovery_grace
        self._pool = pool
        self._lock = threading.Lock()
        self._epoch: str | None = None
        defaults = Defaults(pool, prefix, owner, timeout)
        quick_defaults = defaults.replaced(None, None, None, min(defaults.timeout_s, _GETTER_DEADLINE_S), None)
        location = _chosen(url)
        target = quick = resolve_target(location, allow_eviction=allow_eviction)
        if location != _PRIVATE_URL:  # a private store is one object, which both sides must hold
            quick = resolve_target(location, attempt_timeout_s=_GETTER_DEADLINE_S, allow_eviction=allow_eviction)
        self._async = AsyncAllocator._on(target, defaults, _clock)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self._sync = Allocator._on(quick, quick_defaults, _clock)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    # -- the totals ----------------------------------------------------------------------------------------------------

    @property
    def total_cpu(self) -> float:
        """CPU cores of the pool as last read from the store; before the first use, what the constructor was given."""
        return conversions.cores(self._totals["cpu"])

    @property
    def total_memory_mb(self) -> float:
        """Memory of the pool in MiB, an int where whole; read like `total_cpu`."""
        return conversions.mebibytes(self._totals["memory"])

    # -- the original's core methods -----------------------------------------------------------------------------------

    async def check_availability(self, resource_limits: RequestLike) -> bool:
        """Whether the request would be granted now.  Reserves nothing.

        Args:
            resource_limits: Resource names and quantities, such as `{"cpu": "2", "memory": "4Gi"}`.

        Returns:
            False also for limits that are invalid; the log says why.
        """
        try:
            request = conversions.parse_limits(resource_limits)
        except InvalidRequest as error:
            log.warning("check_availability: invalid limits, so they are not available: %s", error)
            return False
        check = await (await self._client()).check(request)
        if check.denial is not None:
            log.debug("check_availability: %s", check.denial)
        return check.fits

    async def allocate_resources(
        self,
        resource_limits: RequestLike,
        *,
        allocation_id: str | None = None,
        owner: str | None = None,
        ttl: Ttl | EllipsisType = ...,
    ) -> dict[str, str]:
        """Reserve all that is named, or nothing.

        Give the id (`namespace/name/uid`) and a reconcile loop is crash-safe: whoever repeats the call, after whatever
        crash, gets the same allocation with the same fence, and nothing is charged twice.

        Args:
            resource_limits: Resource names and quantities, such as `{"cpu": "2", "memory": "4Gi"}`.
            allocation_id: The id; None draws one.
            owner: Who holds it; None is the object's owner.
            ttl: Seconds (or a timedelta) to live unless renewed; None pins; `...` is the object's.

        Returns:
            A dict of strings that can be stored as JSON and released by any replica: `allocation_id`, `cpu` in cores
            (`"0.5"`), `memory` (`"4096Mi"` where whole), each other resource under its name, `allocated_at` (RFC 3339,
            the store's clock), `fence`, `pool`.  `cpu` and `memory` are there even where nothing of them is held
            (`"0"`, `"0Mi"`).

        Raises:
            InvalidRequest: The limits (or another argument) are invalid: a ValueError.
            Insufficient: They do not fit: a ValueError with the numbers, and the `denial`.
            AllocationConflict: The id is live with another owner or other amounts.
        """
        request = conversions.parse_limits(resource_limits)
        lifetime = self._ttl if isinstance(ttl, EllipsisType) else ttl
        conversions.check_identity(allocation_id, owner, lifetime)
        client = await self._client()
        try:
            allocation = await client.allocate(request, ttl=lifetime, id=allocation_id, owner=owner)
        except Insufficient as error:
            error.args = (conversions.refusal(request, error.denial),)  # the same refusal in the words of the original
            log.info("allocate_resources: %s", error)
            raise
        log.info("allocated %s to %s", allocation.resources, allocation.id)
        return conversions.allocation_dict(allocation)

    async def release_resources(self, allocation_data: Mapping[str, str]) -> None:
        """Give back what `allocate_resources` returned.

        Quiet, with a line in the log, where there is nothing to do: released before, reclaimed, granted to somebody
        else since (another fence), of another pool, or no allocation at all.

        Args:
            allocation_data: The dict, or what JSON made of it.
        """
        handle = self._handle(allocation_data, "release_resources")
        if handle is None:
            return
        held, fence = handle
        release = await (await self._client()).release(held, fence=fence)
        if release:
            log.info("released %s", held)
        elif release.outcome == "fenced":
            log.warning("release_resources: %s was granted anew, fence %s is stale: nothing done", held, fence)
        else:
            log.warning("release_resources: %s is not held: released before, or past its deadline", held)

    async def renew_resources(self, allocation_data: Mapping[str, str]) -> bool:
        """Keep an allocation with a time to live alive for another one: call it from the reconcile loop.

        Returns:
            True while it is held (a pinned one is, too); False, with the reason in the log, where it is lost or the
            dict is none of this pool's: whatever runs on it should stop.
        """
        handle = self._handle(allocation_data, "renew_resources")
        if handle is None:
            return False
        held, fence = handle
        try:
            return bool(await (await self._client()).renew(held, fence=fence))
        except (UnknownAllocation, AllocationLost) as error:
            log.warning("renew_resources: %s", error)
            return False

    async def cleanup_expired_allocations(self, max_age_hours: float = 24) -> int:
        """Take back what is past its deadline, and what has none and is older than the age.

        What a living holder keeps renewing is never taken, however old it is.

        Args:
            max_age_hours: The age in hours for pinned allocations; 0 takes all of them.

        Returns:
            How many allocations were taken back.

        Raises:
            InvalidRequest: `max_age_hours` is no number of hours.
        """
        age = conversions.parse_age(max_age_hours)
        client = await self._client()
        if age == conversions.AGE_MIN:
            await asyncio.sleep(2 * age.total_seconds())  # so that what was granted just now is that old, too
        count, more = 0, True
        while more:
            reclaimed = await client.maintenance.reclaim(older_than=age)
            count, more = count + reclaimed.count, reclaimed.more
        if count:
            log.info("cleaned up %d expired allocations of pool %s", count, self._pool)
        return count

    # -- the getters, plain and awaited --------------------------------------------------------------------------------

    def get_resource_usage(self) -> dict[str, float]:
        """The pool's numbers in one atomic reading; the awaited twin is `usage()`.

        Plain, and callable inside a running event loop, which it blocks: each of its script calls has one second in
        all, whatever the object's deadline.  In a coroutine prefer `usage()`.

        Returns:
            `total_cpu`, `allocated_cpu`, `available_cpu` in cores; `total_memory_mb`, `allocated_memory_mb`,
            `available_memory_mb` in MiB, ints where whole; `cpu_utilization`, `memory_utilization` in per cent;
            `active_allocations`.
        """
        return self._read(self._plain_client().pools.usage())

    async def usage(self) -> dict[str, float]:
        """What `get_resource_usage` returns, awaited, with the object's own deadline."""
        return self._read(await (await self._client()).pools.usage())

    def get_active_allocations(self) -> dict[str, dict[str, str]]:
        """Every allocation in the pool by its id, each as the dict that `allocate_resources` returned.

        Plain, like `get_resource_usage`; the awaited twin is `active_allocations()`.  Read in pages: what is held
        throughout is listed, what comes or goes meanwhile may be.
        """
        return {each.id: conversions.allocation_dict(each) for each in self._plain_client().list()}

    async def active_allocations(self) -> dict[str, dict[str, str]]:
        """What `get_active_allocations` returns, awaited, with the object's own deadline."""
        return {each.id: conversions.allocation_dict(each) async for each in (await self._client()).list()}

    # -- life ----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connections, outside of an event loop.  What is allocated stays allocated.  Repeating is harmless.

        Raises:
            RuntimeError: An event loop is running: `await aclose()` there.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(self.aclose())
        else:
            raise RuntimeError("close() was called inside of an event loop: use `await aclose()` there")

    async def aclose(self) -> None:
        """Close the connections.  What is allocated stays allocated.  Repeating is harmless."""
        try:
            await self._async.close()
        finally:
            self._sync.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<ResourceAllocator pool={self._pool} cpu={self.total_cpu:g} memory={self.total_memory_mb:g}Mi>"

    # -- the pool ------------------------------------------------------------------------------------------------------

    async def _client(self) -> AsyncAllocator:
        """The awaited client, the pool being there and known."""
        if self._epoch is None:
            self._saw(await self._async.pools.create(self._pool, self._totals, recovery_grace=self._grace))
        return self._async

    def _plain_client(self) -> Allocator:
        """The plain client of the getters, the pool being there and known."""
        if self._epoch is None:
            self._saw(self._sync.pools.create(self._pool, self._totals, recovery_grace=self._grace))
        return self._sync

    def _saw(self, pool: Pool) -> None:
        """Remember which pool it is; the first reading wins, and from then on both clients accept no other."""
        with self._lock:
            if self._epoch is None:
                stored = conversions.totals_of(pool)
                if stored != self._totals:
                    self._warn_of_other_totals(stored)
                self._totals = stored
                self._async = self._async.options(epoch=pool.epoch)
                self._sync = self._sync.options(epoch=pool.epoch)
                self._epoch = pool.epoch
            elif self._epoch != pool.epoch:
                raise UnknownPool(f"pool {pool.name} was deleted and made anew", pool=pool.name, code="epoch")

    def _warn_of_other_totals(self, stored: Resources) -> None:
        log.warning(
            "pool %s is there with %s; that counts, and not the %s of this object. To change it: "
            "resource-allocator pool set %s %s",
            self._pool,
            stored,
            self._totals,
            self._pool,
            str(self._totals).replace(",", " "),
        )

    def _read(self, usage: Usage) -> dict[str, float]:
        self._totals = conversions.totals_of(usage.pool)
        return conversions.usage_dict(usage)

    def _handle(self, data: object, method: str) -> tuple[str, int | None] | None:
        """Id and fence of a dict; None, with the reason in the log, where it is no allocation of this pool's."""
        try:
            return conversions.parse_handle(data, self._pool)
        except InvalidRequest as error:
            log.warning("%s: nothing done: %s", method, error)
            return None


def _chosen(url: str | None) -> str:
    """The URL given, or of the environment, or the store of this process alone."""
    if url is None:
        url = settings.url_from_environment()
    if url is not None:
        return url
    unset = f"no URL was given and neither {' nor '.join(settings.URL_VARIABLES)} is set"
    if settings.url_is_required():
        raise InvalidRequest(
            f"url: {unset}, and {settings.REQUIRE_URL_VARIABLE} says that one is required", field="url"
        )
    log.warning(
        "%s: allocations are kept in this object alone (memory://), where other processes do not see them; "
        "%s=1 makes this an error",
        unset,
        settings.REQUIRE_URL_VARIABLE,
    )
    return _PRIVATE_URL

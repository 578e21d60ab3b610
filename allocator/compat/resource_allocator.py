"""`ResourceAllocator`: the original in-memory API, on a server that all replicas of a controller share.

Every method, signature, dict key and example of the original document works as written.  The differences, because
several processes now share the numbers:

- Quantities are Kubernetes's: `2G` is 2,000,000,000 bytes (the sample read 2 GiB), a memory number without a unit is in
  bytes (it read MiB) and below 1 MiB is refused, `100m` and `1.5Gi` are valid.  `total_memory_gb` stays 1024 MiB each.
- Only named resources are charged (the sample charged one CPU and 1 GiB by default), `{}` is refused, and any
  other resource, such as `nvidia.com/gpu`, is charged like the two.
- The totals belong to the pool on the server.  The first object to use a pool creates it with its totals; for all
  others the stored ones count.
- A server that does not reply raises `BackendError`.  It is never reported as full, as empty or as released.
- The dicts have two more keys, `fence` and `pool`.  With them a dict can be stored in a resource's status as JSON, and
  any replica that reads it can renew or release that allocation, and no later one of the same id.
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
"""The URL of an object where neither the program nor the environment gives one."""

_GETTER_DEADLINE_S: Final = 1.0
"""Seconds that a plain getter's script call may take: it blocks the event loop that it is called in."""


class ResourceAllocator:
    """CPU, memory and other resources for lab instances: check, allocate, release, across processes.

    An object may be used from several threads and event loops at once.  Nothing is sent before its first use, which
    creates the pool if there is none.  Every call raises `BackendError` if the server does not reply, and `UnknownPool`
    if the pool that this object has used was deleted or created again.

    Between `check_availability` and `allocate_resources` another replica may allocate the same capacity.
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
        """Prepare; nothing is connected.

        Args:
            total_cpu: CPU cores of the pool, if this object creates it.
            total_memory_gb: Its memory in units of 1024 MiB.
            url: The server: `redis://`, `rediss://`, `unix://`, `redis+sentinel://`, `redis+cluster://`,
                `embedded://`, `memory://NAME` (shared within the process) or `memory://` (private to this object).
                None: `ALLOCATOR_REDIS_URL`, then `REDIS_URL`, then `memory://` with a warning, or an error with
                `ALLOCATOR_REQUIRE_URL=1`.
            pool: The name of the pool.
            ttl: Seconds (or a timedelta) that allocations live unless renewed.  None pins them, as the original did.
            recovery_grace: Seconds for which the pool grants nothing when this object has created it, and when its
                server may have lost data; at least 5 s more than the `ttl`, which it requires.
            owner: The holder's name; the same on every replica.
            prefix: The prefix of all keys.
            timeout: Seconds that one awaited call may take in all, retries included; at most 60.
            allow_eviction: Accept a server whose `maxmemory-policy` may evict the allocator's keys, at the caller's
                risk.

        Raises:
            InvalidRequest: `field` names the argument that is wrong.
        """
        cpu = conversions.parse_total("total_cpu", "cpu", total_cpu, "cores")
        memory = conversions.parse_total("total_memory_gb", "memory", total_memory_gb, "GiB (1024 MiB)", suffix="Gi")
        self._totals = Resources.of({"cpu": cpu, "memory": memory})
        ttl_ms(ttl)
        if recovery_grace is not None and ttl is None:
            raise InvalidRequest(
                "recovery_grace needs a ttl: a pinned allocation outlives any grace", field="recovery_grace"
            )
        self._ttl, self._grace = ttl, recovery_grace
        self._pool = pool
        self._lock = threading.Lock()
        self._epoch: str | None = None
        defaults = Defaults(pool, prefix, owner, timeout)
        quick_defaults = defaults.replaced(None, None, None, min(defaults.timeout_s, _GETTER_DEADLINE_S), None)
        location = _chosen(url)
        target = quick = resolve_target(location, allow_eviction=allow_eviction)
        if location.lower() != _PRIVATE_URL:  # a private in-process server is one object, which both clients must share
            quick = resolve_target(location, attempt_timeout_s=_GETTER_DEADLINE_S, allow_eviction=allow_eviction)
        self._async = AsyncAllocator._on(target, defaults, _clock)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self._sync = Allocator._on(quick, quick_defaults, _clock)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    # -- the totals ----------------------------------------------------------------------------------------------------

    @property
    def total_cpu(self) -> float:
        """CPU cores of the pool as last read from the server; before the first use, the constructor's."""
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
        """Allocate all named resources, or nothing.

        With an id (`namespace/name/uid`) a reconcile loop is crash-safe: a repeated call, by any replica and after any
        crash, returns the same allocation with the same fence, and nothing is charged twice.

        Args:
            resource_limits: Resource names and quantities, such as `{"cpu": "2", "memory": "4Gi"}`.
            allocation_id: The id; None draws one.
            owner: The holder's name; None is the object's owner.
            ttl: Seconds (or a timedelta) to live unless renewed; None pins; `...` is the object's.

        Returns:
            A dict of strings that can be stored as JSON and released by any replica: `allocation_id`, `cpu` in cores
            (`"0.5"`), `memory` (`"4096Mi"` where whole), each other resource under its name, `allocated_at` (RFC 3339,
            the server's clock), `fence`, `pool`.  `cpu` and `memory` are present even if nothing of them is allocated
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
            error.args = (conversions.refusal(request, error.denial),)  # the same denial as the original's message
            log.info("allocate_resources: %s", error)
            raise
        log.info("allocated %s to %s", allocation.resources, allocation.id)
        return conversions.allocation_dict(allocation)

    async def release_resources(self, allocation_data: Mapping[str, str]) -> None:
        """Release what `allocate_resources` returned.

        It raises nothing, and logs a line, if there is nothing to do: released before, reclaimed, granted anew since
        (another fence), of another pool, or not an allocation.

        Args:
            allocation_data: The dict, or the dict restored from JSON.
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
        """Renew an allocation for another time to live: call it from the reconcile loop.

        Returns:
            True while it is held (as a pinned one is); False, with the reason in the log, if it is lost or the
            dict is not of this pool: then stop the workload that uses it.
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
        """Reclaim allocations past their deadline, and pinned ones that are older than the age.

        A lease that its holder renews is never reclaimed, however old it is.

        Args:
            max_age_hours: The age in hours for pinned allocations; 0 reclaims all of them.

        Returns:
            The number of reclaimed allocations.

        Raises:
            InvalidRequest: `max_age_hours` is not a number of hours.
        """
        age = conversions.parse_age(max_age_hours)
        client = await self._client()
        if age == conversions.AGE_MIN:
            await asyncio.sleep(2 * age.total_seconds())  # so that an allocation granted just now has this age, too
        count, more = 0, True
        while more:
            reclaimed = await client.maintenance.reclaim(older_than=age)
            count, more = count + reclaimed.count, reclaimed.more
        if count:
            log.info("cleaned up %d expired allocations of pool %s", count, self._pool)
        return count

    # -- the getters, plain and awaited --------------------------------------------------------------------------------

    def get_resource_usage(self) -> dict[str, float]:
        """The pool's numbers, read atomically; the awaited version is `usage()`.

        It is blocking, and may be called inside a running event loop, which it blocks: each of its script calls has one
        second in all, whatever the object's timeout.  In a coroutine prefer `usage()`.

        Returns:
            `total_cpu`, `allocated_cpu`, `available_cpu` in cores; `total_memory_mb`, `allocated_memory_mb`,
            `available_memory_mb` in MiB, ints where whole; `cpu_utilization`, `memory_utilization` in per cent;
            `active_allocations`.
        """
        return self._read(self._plain_client().pools.usage())

    async def usage(self) -> dict[str, float]:
        """The awaited version of `get_resource_usage`, with the object's timeout."""
        return self._read(await (await self._client()).pools.usage())

    def get_active_allocations(self) -> dict[str, dict[str, str]]:
        """Every allocation in the pool by its id, each as the dict that `allocate_resources` returned.

        Blocking, like `get_resource_usage`; the awaited version is `active_allocations()`.  It is read in pages: an
        allocation that is held throughout is listed, one that begins or ends meanwhile may be.
        """
        return {each.id: conversions.allocation_dict(each) for each in self._plain_client().list()}

    async def active_allocations(self) -> dict[str, dict[str, str]]:
        """The awaited version of `get_active_allocations`, with the object's timeout."""
        return {each.id: conversions.allocation_dict(each) async for each in (await self._client()).list()}

    # -- life ----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connections, outside of an event loop.  Allocations stay.  It may be called again.

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
        """Close the connections.  Allocations stay.  It may be called again."""
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
        """The asyncio client, after the pool was created or read."""
        if self._epoch is None:
            self._saw(await self._async.pools.create(self._pool, self._totals, recovery_grace=self._grace))
        return self._async

    def _plain_client(self) -> Allocator:
        """The blocking client of the getters, after the pool was created or read."""
        if self._epoch is None:
            self._saw(self._sync.pools.create(self._pool, self._totals, recovery_grace=self._grace))
        return self._sync

    def _saw(self, pool: Pool) -> None:
        """Record the pool's epoch at the first reading; from then on both clients accept no other."""
        with self._lock:
            if self._epoch is None:
                self._totals = conversions.totals_of(pool)
                self._async = self._async.options(epoch=pool.epoch)
                self._sync = self._sync.options(epoch=pool.epoch)
                self._epoch = pool.epoch
            elif self._epoch != pool.epoch:
                raise UnknownPool(f"pool {pool.name} was deleted and made anew", pool=pool.name, code="epoch")

    def _read(self, usage: Usage) -> dict[str, float]:
        self._totals = conversions.totals_of(usage.pool)
        return conversions.usage_dict(usage)

    def _handle(self, data: object, method: str) -> tuple[str, int | None] | None:
        """Id and fence of a dict; None, with the reason in the log, if it is not an allocation of this pool."""
        try:
            return conversions.parse_handle(data, self._pool)
        except InvalidRequest as error:
            log.warning("%s: nothing done: %s", method, error)
            return None


def _chosen(url: str | None) -> str:
    """The given URL, the environment's, or the private in-process server's."""
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

"""`ResourceAllocator`: the original in-memory API, on a server that all replicas of a controller share.

Every method, signature, dict key and example of the original document works as written.  The differences, because
several processes now share the numbers:

- Quantities are Kubernetes's: `2G` is 2,000,000,000 bytes (the sample read 2 GiB), a memory number without a unit is in
  bytes (it read MiB) and below 1 MiB is refused, `100m` and `1.5Gi` are valid.  `total_memory_gb` stays 1024 MiB each.
- Memory is counted in whole MiB, rounded up.
- Only named resources are charged (the sample charged one CPU and 1 GiB by default), `{}` is refused, and any
  other resource, such as `nvidia.com/gpu`, is charged like the two.
- The totals belong to the pool on the server.  The first object to use a pool creates it with its totals; for all
  others the stored ones count.  Setting `total_cpu` or `total_memory_mb` configures the pool.
- A server that does not reply raises `BackendError`.  It is never reported as full or as empty.  Only
  `release_resources` and `cleanup_expired_allocations` raise nothing then: the releases are sent again in the
  background, and the log says so.
- The dicts have two more keys, `fence` and `pool`.  With them a dict can be stored in a resource's status as JSON, and
  any replica that reads it can renew or release that allocation, and no later one of the same id.

`ResourceAllocation` reads such a dict.  docs/original-api.md says how a program gets this class without a change.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from types import EllipsisType, TracebackType
from typing import Self

from allocator import settings
from allocator.compat import conversions
from allocator.compat.grants import Grants, current_asker, location_of
from allocator.compat.releases import Releases
from allocator.compat.shared_pool import SharedPool
from allocator.denials import Denial
from allocator.errors import (
    AllocationLost,
    AllocatorError,
    BackendError,
    Insufficient,
    InvalidRequest,
    UnknownAllocation,
    UnknownPool,
)
from allocator.models.allocations import Release, Request, RequestLike, Ttl
from allocator.resources import Resources
from allocator.validation import ttl_ms

__all__ = ["ResourceAllocator"]

log = logging.getLogger("allocator")


class ResourceAllocator:
    """CPU, memory and other resources for lab instances: check, allocate, release, across processes.

    An object may be used from several threads and event loops at once.  Nothing is sent before its first use, which
    creates the pool if there is none.  Every call raises `BackendError` if the server does not reply, and `UnknownPool`
    if the pool that this object has used was deleted or created again.

    Between `check_availability` and `allocate_resources` another task or replica may allocate the same capacity, unless
    `reserve_on_check` is given.
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
        reserve_on_check: Ttl = None,
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
            reserve_on_check: Seconds, 1 to 3600, for which `check_availability` keeps what it found for the task that
                asked.  The next `allocate_resources` of the same limits by this task takes it over.  It is given back
                when the task ends, and lapses after these seconds.  None keeps nothing.
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
        self._ttl_ms = ttl_ms(ttl)
        if recovery_grace is not None and ttl is None:
            raise InvalidRequest(
                "recovery_grace needs a ttl: a pinned allocation outlives any grace", field="recovery_grace"
            )
        self._ttl = ttl
        self._releases = Releases()
        self._grants = Grants(self._releases, conversions.keep_s(reserve_on_check))
        self._shared = SharedPool(
            url,
            pool,
            Resources.of({"cpu": cpu, "memory": memory}),
            recovery_grace,
            prefix=prefix,
            owner=owner,
            timeout=timeout,
            allow_eviction=allow_eviction,
            clock=_clock,
        )

    # -- the totals ----------------------------------------------------------------------------------------------------

    @property
    def total_cpu(self) -> float:
        """CPU cores of the pool as last read from the server; before the first use, the constructor's.

        Setting it creates the pool with it, or changes the pool by the generation that this object has last read, for
        all of its users.  It blocks, like `get_resource_usage`.

        Raises:
            PoolConflict: The pool was changed since it was read.  Nothing was changed, and it is read again.
        """
        return conversions.cores(self._shared.totals["cpu"])

    @total_cpu.setter
    def total_cpu(self, cores: float) -> None:
        self._shared.set_totals({"cpu": conversions.parse_total("total_cpu", "cpu", cores, "cores")})

    @property
    def total_memory_mb(self) -> float:
        """Memory of the pool in MiB, an int where whole; read and set like `total_cpu`."""
        return conversions.mebibytes(self._shared.totals["memory"])

    @total_memory_mb.setter
    def total_memory_mb(self, mebibytes: float) -> None:
        amount = conversions.parse_total("total_memory_mb", "memory", mebibytes, "MiB", suffix="Mi")
        self._shared.set_totals({"memory": amount})

    # -- the original's core methods -----------------------------------------------------------------------------------

    async def check_availability(self, resource_limits: RequestLike) -> bool:
        """Whether the request would be granted now, also with the object's time to live.

        Without `reserve_on_check` it reserves nothing.  With it, the same task's next `allocate_resources` of these
        limits is granted if it comes in time.

        Args:
            resource_limits: Resource names and quantities, such as `{"cpu": "2", "memory": "4Gi"}`.

        Returns:
            False also for limits that are invalid; the log says why.
        """
        asker = current_asker(ResourceAllocator.check_availability)
        try:
            request = conversions.parse_limits(resource_limits)
            denial = await self._grants.check(await self._shared.open(), request, self._ttl_ms, asker)
        except InvalidRequest as error:
            log.warning("check_availability: not available, for this would be refused: %s", error)
            return False
        if denial is not None:
            _log_denial("check_availability", conversions.refusal(request, denial), denial)
        return denial is None

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
        asker = current_asker(ResourceAllocator.allocate_resources)
        resources = conversions.parse_limits(resource_limits)
        lifetime = self._ttl if isinstance(ttl, EllipsisType) else ttl
        conversions.check_identity(allocation_id, owner, lifetime)
        written = conversions.limits_metadata(resource_limits)
        request = Request(resources, lifetime, allocation_id, owner, written)
        client = await self._shared.open()
        outcome = await self._grants.allocate(client, request, resources, asker, [threading.current_thread()])
        if isinstance(outcome, Denial):
            error = Insufficient(outcome)
            error.args = (conversions.refusal(resources, outcome),)  # the same denial as the original's message
            _log_denial("allocate_resources", error, outcome)
            raise error
        log.info("allocated %s to %s", outcome.resources, outcome.id)
        return conversions.allocation_dict(outcome)

    async def release_resources(self, allocation_data: Mapping[str, str]) -> None:
        """Release what `allocate_resources` returned.

        It raises nothing.  It logs a line if there is nothing to do: released before, reclaimed, granted anew since
        (another fence), of another pool or one that was deleted, or not an allocation.  If the server cannot take the
        release, it is kept and sent again in the background, for a day; the log says so, and when it was taken.

        Args:
            allocation_data: The dict, or the dict restored from JSON.
        """
        handle = self._handle(allocation_data, "release_resources")
        if handle is None:
            return
        held, fence = handle
        try:
            release = await (await self._shared.open()).release(held, fence=fence)
        except UnknownPool as error:
            log.warning("release_resources: %s is not held: %s", held, error)
        except BaseException as error:
            why = error if str(error) else type(error).__name__
            self._releases.later(location_of(self._shared.awaited), held, fence, why)
            if not isinstance(error, AllocatorError):
                raise  # cancelled
        else:
            _log_release(held, fence, release)

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
            return bool(await (await self._shared.open()).renew(held, fence=fence))
        except (UnknownAllocation, AllocationLost) as error:
            log.warning("renew_resources: %s", error)
            return False

    async def cleanup_expired_allocations(self, max_age_hours: float = 24) -> int:
        """Reclaim allocations past their deadline, and pinned ones that are older than the age.

        A lease that its holder renews is never reclaimed, however old it is.

        Args:
            max_age_hours: The age in hours for pinned allocations; 0 reclaims all of them.

        Returns:
            The number of reclaimed allocations: those until the server could take no more, of which the log has a line.

        Raises:
            InvalidRequest: `max_age_hours` is not a number of hours.
        """
        age = conversions.parse_age(max_age_hours)
        count, more = 0, True
        try:
            client = await self._shared.open()
            if age == conversions.AGE_MIN:
                await asyncio.sleep(2 * age.total_seconds())  # so that an allocation granted just now has this age, too
            while more:
                reclaimed = await client.maintenance.reclaim(older_than=age)
                count, more = count + reclaimed.count, reclaimed.more
        except (BackendError, UnknownPool) as error:
            log.warning("cleanup_expired_allocations: stopped after %d: %s", count, error)
        if count:
            log.info("cleaned up %d expired allocations of pool %s", count, self._shared.name)
        return count

    # -- the getters, plain and awaited --------------------------------------------------------------------------------

    def get_resource_usage(self) -> dict[str, float]:
        """The pool's numbers, read atomically; the awaited version is `usage()`.

        It is blocking, and may be called inside a running event loop, which it blocks: each of its script calls has one
        second in all, whatever the object's timeout.  In a coroutine prefer `usage()`.

        Returns:
            `total_cpu`, `allocated_cpu`, `available_cpu` in cores; `total_memory_mb`, `allocated_memory_mb`,
            `available_memory_mb` in MiB, ints where whole; `cpu_utilization`, `memory_utilization` in per cent;
            `active_allocations`.  What checks keep (`reserve_on_check`) counts as allocated.
        """
        return self._shared.read(self._shared.open_blocking().pools.usage())

    async def usage(self) -> dict[str, float]:
        """The awaited version of `get_resource_usage`, with the object's timeout."""
        return self._shared.read(await (await self._shared.open()).pools.usage())

    def get_active_allocations(self) -> dict[str, dict[str, str]]:
        """Every allocation in the pool by its id, oldest first, each as the dict that `allocate_resources` returned.

        What checks keep (`reserve_on_check`) is left out.

        Blocking, like `get_resource_usage`; the awaited version is `active_allocations()`.  It is read in pages: an
        allocation that is held throughout is listed, one that begins or ends meanwhile may be.
        """
        return conversions.oldest_first(self._shared.open_blocking().list())

    async def active_allocations(self) -> dict[str, dict[str, str]]:
        """The awaited version of `get_active_allocations`, with the object's timeout."""
        return conversions.oldest_first([each async for each in (await self._shared.open()).list()])

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
        """Give back what checks keep, for at most two seconds, and close the connections.

        Allocations stay.  Releases that the server could not take go on in the background.  It may be called again.
        """
        try:
            await self._grants.close(self._shared.awaited)
            await self._shared.awaited.close()
        finally:
            self._shared.blocking.close()

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
        return f"<ResourceAllocator pool={self._shared.name} cpu={self.total_cpu:g} memory={self.total_memory_mb:g}Mi>"

    def _handle(self, data: object, method: str) -> tuple[str, int | None] | None:
        """Id and fence of a dict; None, with the reason in the log, if it is not an allocation of this pool."""
        try:
            return conversions.parse_handle(data, self._shared.name)
        except InvalidRequest as error:
            log.warning("%s: nothing done: %s", method, error)
            return None


def _log_denial(method: str, message: object, denial: Denial) -> None:
    """What will never fit is a mistake of somebody; what does not fit now is daily business."""
    level = logging.WARNING if denial.never else logging.INFO if method == "allocate_resources" else logging.DEBUG
    log.log(level, "%s: %s", method, message)


def _log_release(held: str, fence: int | None, release: Release) -> None:
    if release:
        log.info("released %s", held)
    elif release.outcome == "fenced":
        log.warning("release_resources: %s was granted anew, fence %s is stale: nothing done", held, fence)
    else:
        log.warning("release_resources: %s is not held: released before, or past its deadline", held)

"""Grants of a `ResourceAllocator`: check and allocate, with what a check keeps for the allocate that follows.

What a task keeps is never in its own way: a request of its that does not fit is decided once more without the other
leases that its checks keep.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

from allocator import settings
from allocator._async.client import AsyncAllocator
from allocator._engine.leases.registry import LeaseLocation
from allocator._engine.operations import allocate, check
from allocator.compat import conversions, limits
from allocator.compat.check_leases import Asker, CheckLease, CheckLeases, current_asker, may_use, remember_asker
from allocator.compat.releases import Releases
from allocator.denials import Denial
from allocator.errors import AllocatorError, InvalidRequest
from allocator.models.allocations import Allocation, Request
from allocator.resources import Resources

__all__ = ["Grants", "current_asker", "location_of"]

log = logging.getLogger("allocator")

_KEPT: Final = {conversions.KEPT_BY_KEY: conversions.KEPT_BY_CHECK}


class Grants:
    """Checks and allocations of one object; with `keep_s` a check keeps what it found, for so many seconds."""

    def __init__(self, releases: Releases, keep_s: float | None) -> None:
        self._keep_s = keep_s
        self._release_kept = releases.release_kept
        self.leases = CheckLeases(releases.release_kept)

    async def check(self, client: AsyncAllocator, request: Resources, ttl_ms: int, asker: Asker) -> Denial | None:
        """None if the request fits, and `asker` keeps it then; else the denial.

        Raises:
            InvalidRequest: `code="ttl_too_long"`: the pool does not grant this time to live.
        """
        if self._keep_s is None:
            return await _fits(client, request, ttl_ms)
        remember_asker(asker)
        denial = await self._keep(client, request, ttl_ms, asker, self._keep_s)
        if denial is not None and not denial.never and await self._make_way(client, [asker]):
            denial = await self._keep(client, request, ttl_ms, asker, self._keep_s)
        return denial

    async def allocate(
        self, client: AsyncAllocator, request: Request, resources: Resources, asker: Asker, others: Iterable[Asker] = ()
    ) -> Allocation | Denial:
        """Grant a request; a lease that is kept for the same amounts ends in the same decision.

        Args:
            client, request, resources: What is asked for, and of whom.
            asker: Whose leases it takes over first.
            others: Whose leases it takes over if `asker` and the task that started it keep none.
        """
        if self._keep_s is None:
            return await _grant(client, request, None)
        askers = may_use(asker)
        kept = self.leases.take([*askers, *others], resources)
        try:
            outcome = await _grant(client, request, None if kept is None else kept[1].allocation)
        except BaseException:
            # Not granted, or undone: the lease may still be there.
            if kept is not None:
                self.leases.put_back(*kept)
            raise
        if isinstance(outcome, Denial) and not outcome.never and await self._make_way(client, askers):
            outcome = await _grant(client, request, None)
        return outcome

    async def close(self, client: AsyncAllocator) -> None:
        """Give back all that is kept, now or in the background; it raises nothing."""
        left = self.leases.take_all()
        if left:
            try:
                await self._release(client.options(timeout=settings.CLOSE_FLUSH_S), left)
            except AllocatorError as error:
                log.warning("what checks keep is released in the background: %s", error)

    async def _keep(
        self, client: AsyncAllocator, request: Resources, ttl_ms: int, asker: Asker, keep_s: float
    ) -> Denial | None:
        """Check, and then allocate a lease; one that is kept already is extended.  A full pool is only read."""
        kept = self.leases.find(asker, request)
        if kept is None:
            denial = await _fits(client, request, ttl_ms)
            if denial is not None:
                return denial
            if not self.leases.make_room():
                log.warning("check_availability: %d leases are kept, and no more", limits.CHECK_LEASES_MAX)
                return None
        wanted = Request(request, keep_s, None if kept is None else kept.allocation.id, None, _KEPT)
        location = location_of(client)
        sent = location.now()
        try:
            outcome = await _grant(client, wanted, None)
        except InvalidRequest as error:
            longest_s = (await client.pools.get()).max_ttl_ms / 1000 if error.code == "ttl_too_long" else 0
            if not 0 < longest_s < keep_s:
                raise
            return await self._keep(client, request, ttl_ms, asker, longest_s)
        if isinstance(outcome, Denial):
            if kept is not None:
                self.leases.drop(asker, kept)  # it has lapsed, and its room was granted to another
            return outcome
        self.leases.keep(asker, CheckLease(request, outcome, location, sent + keep_s, asyncio.get_running_loop()))
        return None

    async def _make_way(self, client: AsyncAllocator, askers: Iterable[Asker]) -> bool:
        """Give back what these and ended askers keep; returns whether there was anything.

        What a thread keeps for a loop that still runs may belong to another of its tasks, and stays.
        """
        left = [*self.leases.take_ended(), *self.leases.take_unused(askers)]
        if left:
            await self._release(client, left)
        return bool(left)

    async def _release(self, client: AsyncAllocator, left: list[CheckLease]) -> None:
        """Release leases at once; in the background where that fails."""
        try:
            await client.release_many([lease.allocation for lease in left])
        except BaseException:
            self._release_kept(left)
            raise


def location_of(client: AsyncAllocator) -> LeaseLocation:
    """Where a client's leases are released in the background."""
    return client._hold_spec(Request({}, None)).location  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


async def _fits(client: AsyncAllocator, request: Resources, ttl_ms: int) -> Denial | None:
    flow = check.check(client._defaults, request, ttl_ms=ttl_ms)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return (await client._run(flow, "allocate")).denial  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


async def _grant(client: AsyncAllocator, request: Request, replaces: Allocation | None) -> Allocation | Denial:
    flow = allocate.allocate(client._defaults, request, replaces=replaces)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return await client._run(flow, "allocate")  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

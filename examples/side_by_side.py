"""An in-memory allocator and a shared one, side by side: what `examples.move_to_redis` plays with.

`SideBySide` has the original API's methods, and takes the place of the controller's allocator.  It has three stages,
and changes from one to the next while labs run:

    memory   the in-memory allocator decides, as before
    both     it still decides; `keep`, called in each pass, records in Redis what runs, under the ids that it has
    redis    Redis decides, and `keep` renews; more replicas may be started

Where Redis does not reply in stage `both`, a pass waits for the timeout and goes on.  From `redis` there is a way back,
as long as there is one replica.  docs/adopting.md explains each step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from allocator import (
    Allocation,
    AllocatorError,
    AsyncAllocator,
    Quantity,
    ResourceAllocation,
    ResourceAllocator,
    Resources,
)

POOL: Final = "labs"
OWNER: Final = "lab-controller"
TTL_S: Final = 60.0
"""Seconds; several passes.  None for a controller that never renews: docs/adopting.md."""

Data = Mapping[str, str]


class InMemoryAllocator:
    """Stands for the allocator that the controller has today: cores and MiB in a dict of this process."""

    def __init__(self, total_cpu: float, total_memory_mb: int) -> None:
        self.total = (total_cpu, total_memory_mb)
        self.held: dict[str, Data] = {}

    def used(self) -> tuple[float, int]:
        """Cores and MiB."""
        each = [ResourceAllocation.from_dict(data) for data in self.held.values()]
        return sum(one.cpu for one in each), sum(one.memory_mb for one in each)

    async def allocate_resources(self, limits: Data, *, allocation_id: str) -> Data:
        """The dict for the lab's status."""
        now = datetime.now(UTC).isoformat()
        data = {"allocation_id": allocation_id, "cpu": limits["cpu"], "memory": limits["memory"], "allocated_at": now}
        self.held[allocation_id] = data
        if any(used > total for used, total in zip(self.used(), self.total, strict=True)):
            del self.held[allocation_id]
            raise ValueError("Insufficient resources available")
        return data

    async def release_resources(self, data: Data) -> None:
        """Give it back."""
        self.held.pop(data["allocation_id"], None)


class Stage(StrEnum):
    """Who decides."""

    MEMORY = "memory"
    BOTH = "both"
    REDIS = "redis"


class SideBySide:
    """The in-memory allocator and the shared one, behind the methods of both."""

    def __init__(self, memory: InMemoryAllocator, url: str, *, timeout: float = 2.0) -> None:
        """The pool gets the totals of the in-memory allocator; a call waits for Redis at most `timeout` seconds."""
        cpu, mebibytes = memory.total
        self.stage = Stage.MEMORY
        self.memory = memory
        self.capacity: dict[str, Quantity] = {"cpu": cpu, "memory": f"{mebibytes}Mi"}
        self.shared = ResourceAllocator(
            cpu, mebibytes // 1024, url=url, pool=POOL, owner=OWNER, ttl=TTL_S, timeout=timeout
        )
        self.native = AsyncAllocator.from_url(url, pool=POOL, owner=OWNER, timeout=timeout)
        self._step = asyncio.Lock()

    async def allocate_resources(self, limits: Data, *, allocation_id: str) -> Data:
        """By the store that decides."""
        async with self._step:
            decides = self.shared if self.stage is Stage.REDIS else self.memory
            return await decides.allocate_resources(limits, allocation_id=allocation_id)

    async def release_resources(self, data: Data) -> None:
        """In the store that decides; in stage `both`, `keep` follows."""
        async with self._step:
            decides = self.shared if self.stage is Stage.REDIS else self.memory
            await decides.release_resources(data)

    async def keep(self, running: Mapping[str, Data]) -> list[str]:
        """Call it in each pass of the controller, with the dicts of the labs that run: record them, or renew them.

        Returns:
            The labs whose lease was lost, which must stop.
        """
        async with self._step:
            try:
                if self.stage is Stage.BOTH:
                    await self._record()
                elif self.stage is Stage.REDIS:
                    return [name for name, data in running.items() if not await self.shared.renew_resources(data)]
            except AllocatorError as error:
                print(f"  the next pass tries again: {error}")
            return []

    async def _record(self) -> None:
        """Make the pool what the memory is.  It may be repeated, and be broken off anywhere."""
        await self.native.pools.create(POOL, self.capacity)
        before = await self.native.pools.usage()
        for data in self.memory.held.values():
            await self.native.adopt(imported(data), ttl=TTL_S, force="it runs under the in-memory allocator")
        await self.native.maintenance.reconcile(
            list(self.memory.held), before.read_ms, owner=OWNER, max_released=before.allocations
        )

    async def cut_over(self) -> dict[str, dict[str, str]]:
        """Let Redis decide from now on.  Returns the dicts for the statuses: they have a fence now."""
        async with self._step:
            await self._record()
            found = (await self.native.pools.usage()).resources
            cores, mebibytes = self.memory.used()
            if (found["cpu"].allocated, found["memory"].allocated) != (round(1000 * cores), mebibytes * 2**20):
                raise RuntimeError(f"the stores differ: {found}, {cores} cores and {mebibytes} MiB in memory")
            self.stage = Stage.REDIS
            return await self.shared.active_allocations()

    async def way_back(self) -> None:
        """Let the memory of this process decide again.  It must be the only replica."""
        async with self._step:
            self.memory.held = dict(await self.shared.active_allocations())
            self.stage = Stage.BOTH

    async def close(self) -> None:
        """Close both clients."""
        await self.native.close()
        await self.shared.aclose()


def imported(data: Data) -> Allocation:
    """What the in-memory allocator gave, as an `Allocation`, under the id that it has."""
    found = ResourceAllocation.from_dict(data)
    amounts = Resources.request({"cpu": data["cpu"], "memory": f"{found.memory_mb}Mi"})
    granted_ms = int(found.allocated_at.timestamp() * 1000)
    return Allocation(found.allocation_id, POOL, OWNER, amounts, 1, granted_ms, None, None)  # adopt draws the fence

"""Set up the allocator of a controller: `python -m examples.controller_setup`.

One object for the process, made from the environment, given to whoever needs it, closed at the end.  The totals are
those of the pool if this process is the first to use it; of an existing pool the stored totals count, and
`resource-allocator pool set` changes them.

    ALLOCATOR_REDIS_URL   where the pool is (then REDIS_URL); without it, in this object alone
    ALLOCATOR_REQUIRE_URL 1: refuse to start without a URL, which is what a deployment wants
    TOTAL_CPU_CORES       32
    TOTAL_MEMORY_GB       128
    ALLOCATION_TTL        seconds that an allocation lives unless renewed; unset: until it is released
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping

from allocator import ResourceAllocator


def development() -> ResourceAllocator:
    """A small pool that lives in this object: nothing to install, nothing to clean up."""
    return ResourceAllocator(total_cpu=4.0, total_memory_gb=8, url="memory://")


def production(url: str) -> ResourceAllocator:
    """A large pool that all replicas share; what a dead replica held comes back after five minutes."""
    return ResourceAllocator(total_cpu=64.0, total_memory_gb=256, url=url, pool="labs", ttl=300)


def from_environment(environment: Mapping[str, str] = os.environ) -> ResourceAllocator:
    """What a container image does: everything is set from outside, and the library itself looks for the URL."""
    ttl = environment.get("ALLOCATION_TTL")
    return ResourceAllocator(
        total_cpu=float(environment.get("TOTAL_CPU_CORES", "32")),
        total_memory_gb=int(environment.get("TOTAL_MEMORY_GB", "128")),
        ttl=float(ttl) if ttl else None,
    )


class Services:
    """What the controllers of one process share."""

    def __init__(self, resource_allocator: ResourceAllocator) -> None:
        self.resource_allocator = resource_allocator

    async def start(self) -> None:
        """Touch the pool once, so that a wrong URL or a store that is down shows at the start."""
        usage = await self.resource_allocator.usage()
        print(
            f"  pool of {usage['total_cpu']:g} CPU and {usage['total_memory_mb']} MiB, "
            f"{usage['active_allocations']} active allocations"
        )

    async def every_hour(self) -> None:
        """Take back what nobody renewed, and what was pinned and forgotten for a day."""
        cleaned_up = await self.resource_allocator.cleanup_expired_allocations(max_age_hours=24)
        if cleaned_up > 0:
            print(f"  cleaned up {cleaned_up} expired allocations")

    async def stop(self) -> None:
        """Close the connections; what is allocated stays allocated, for the next process to go on with."""
        await self.resource_allocator.aclose()


async def serve(title: str, allocator: ResourceAllocator) -> None:
    """The life of a process: start, work, stop."""
    print(title)
    services = Services(allocator)
    await services.start()
    try:
        lab = await allocator.allocate_resources({"cpu": "2", "memory": "4Gi"}, owner="example")
        print(f"  allocated {lab['cpu']} CPU and {lab['memory']} as {lab['allocation_id']} (fence {lab['fence']})")
        await services.every_hour()
        await allocator.release_resources(lab)
    finally:
        await services.stop()


async def main() -> None:
    """Set up three times; the second stands for production with a store that only this process has."""
    await serve("development", development())
    await serve("production", production("memory://production"))
    await serve("from the environment", from_environment())


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="  log: %(message)s")
    asyncio.run(main())

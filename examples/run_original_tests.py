"""What the original's test script checked, on this library: `python -m examples.run_original_tests [URL]`.

Each check is a coroutine that is given a way to make allocators; each begins on an empty pool of its own.  With a URL
they run on that store, and the pools are deleted at the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
import uuid
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from allocator import Allocator, ResourceAllocator

Make = Callable[..., ResourceAllocator]
Check = Callable[[Make], Coroutine[Any, Any, None]]


async def check_the_initial_state(make: Make) -> None:
    """A new pool has the constructor's totals, and all of them are available."""
    async with make(total_cpu=8.0, total_memory_gb=16) as allocator:
        usage = allocator.get_resource_usage()
        assert (usage["total_cpu"], usage["available_cpu"], usage["allocated_cpu"]) == (8.0, 8.0, 0.0)
        assert (usage["total_memory_mb"], usage["available_memory_mb"]) == (16384, 16384)
        assert usage["active_allocations"] == 0


async def check_availability(make: Make) -> None:
    """What fits is available; what does not is not; nothing is reserved by asking."""
    async with make(total_cpu=4.0, total_memory_gb=8) as allocator:
        assert await allocator.check_availability({"cpu": "2", "memory": "4Gi"})
        assert await allocator.check_availability({"cpu": "4", "memory": "8Gi"})
        assert not await allocator.check_availability({"cpu": "5", "memory": "4Gi"})
        assert not await allocator.check_availability({"cpu": "2", "memory": "9Gi"})
        assert allocator.get_resource_usage()["active_allocations"] == 0


async def check_allocation_and_release(make: Make) -> None:
    """What is allocated is charged, and what is released is available again."""
    async with make(total_cpu=8.0, total_memory_gb=16) as allocator:
        first = await allocator.allocate_resources({"cpu": "2", "memory": "4Gi"})
        second = await allocator.allocate_resources({"cpu": "1", "memory": "2Gi"})
        assert first["allocation_id"] != second["allocation_id"]
        usage = allocator.get_resource_usage()
        assert (usage["allocated_cpu"], usage["allocated_memory_mb"], usage["active_allocations"]) == (3.0, 6144, 2)
        assert usage["cpu_utilization"] == usage["memory_utilization"] == 37.5
        assert set(allocator.get_active_allocations()) == {first["allocation_id"], second["allocation_id"]}
        await allocator.release_resources(first)
        await allocator.release_resources(second)
        assert allocator.get_resource_usage()["available_cpu"] == 8.0


async def check_refusals(make: Make) -> None:
    """Too much, nonsense and nothing at all are refused as ValueErrors, and change nothing."""
    async with make(total_cpu=2.0, total_memory_gb=4) as allocator:
        for limits in ({"cpu": "3", "memory": "1Gi"}, {"cpu": "two", "memory": "1Gi"}, {"cpu": "-1"}, {}):
            try:
                await allocator.allocate_resources(limits)
            except ValueError as error:
                print(f"    refused: {error}")
            else:
                raise AssertionError(f"{limits} was granted")
        assert not await allocator.check_availability({"cpu": "two"})
        assert allocator.get_resource_usage()["active_allocations"] == 0


async def check_formats(make: Make) -> None:
    """Every format that the document names is taken."""
    async with make(total_cpu=32.0, total_memory_gb=64) as allocator:
        for limits, cpu, memory in (
            ({"cpu": "1", "memory": "2Gi"}, "1", "2048Mi"),
            ({"cpu": "0.5", "memory": "512Mi"}, "0.5", "512Mi"),
            ({"cpu": "2.5", "memory": "4Gi"}, "2.5", "4096Mi"),
            ({"cpu": "1", "memory": "1024Mi"}, "1", "1024Mi"),
            ({"cpu": "100m", "memory": "2G"}, "0.1", "1908Mi"),
        ):
            allocation = await allocator.allocate_resources(limits)
            assert (allocation["cpu"], allocation["memory"]) == (cpu, memory), allocation


async def check_that_repeating_a_release_is_quiet(make: Make) -> None:
    """Releasing twice, or what was never allocated, changes nothing and raises nothing."""
    async with make(total_cpu=2.0, total_memory_gb=4) as allocator:
        allocation = await allocator.allocate_resources({"cpu": "1", "memory": "1Gi"})
        await allocator.release_resources(allocation)
        await allocator.release_resources(allocation)
        await allocator.release_resources({"allocation_id": "never-existed"})
        await allocator.release_resources({})
        assert allocator.get_resource_usage()["available_cpu"] == 2.0


async def check_that_concurrent_requests_never_get_more_than_there_is(make: Make) -> None:
    """Of thirty that want one CPU of ten at the same time, ten get it."""
    async with make(total_cpu=10.0, total_memory_gb=100) as allocator:
        answers = await asyncio.gather(
            *(allocator.allocate_resources({"cpu": "1", "memory": "1Gi"}) for _ in range(30)), return_exceptions=True
        )
        assert sum(isinstance(answer, dict) for answer in answers) == 10
        assert sum(isinstance(answer, ValueError) for answer in answers) == 20
        assert allocator.get_resource_usage()["cpu_utilization"] == 100.0


async def check_that_a_status_survives_as_json(make: Make) -> None:
    """The dict may lie in a database as JSON and be released from there."""
    async with make(total_cpu=2.0, total_memory_gb=4) as allocator:
        status = json.dumps(await allocator.allocate_resources({"cpu": "1", "memory": "1Gi"}))
        await allocator.release_resources(json.loads(status))
        assert not allocator.get_active_allocations()


async def check_cleanup(make: Make) -> None:
    """Cleaning up takes what is old, and only that."""
    async with make(total_cpu=2.0, total_memory_gb=4) as allocator:
        await allocator.allocate_resources({"cpu": "1", "memory": "1Gi"})
        assert await allocator.cleanup_expired_allocations(max_age_hours=24) == 0
        assert allocator.get_resource_usage()["active_allocations"] == 1
        assert await allocator.cleanup_expired_allocations(max_age_hours=0) == 1
        assert allocator.get_resource_usage()["active_allocations"] == 0


CHECKS: tuple[Check, ...] = (
    check_the_initial_state,
    check_availability,
    check_allocation_and_release,
    check_refusals,
    check_formats,
    check_that_repeating_a_release_is_quiet,
    check_that_concurrent_requests_never_get_more_than_there_is,
    check_that_a_status_survives_as_json,
    check_cleanup,
)


def run(check: Check, url: str) -> bool:
    """One check, on a loop and a pool of its own."""
    title = getattr(check, "__name__", "check").removeprefix("check_").replace("_", " ")
    pool = f"check-{uuid.uuid4().hex}"

    def make(total_cpu: float, total_memory_gb: int) -> ResourceAllocator:
        return ResourceAllocator(total_cpu, total_memory_gb, url=url, pool=pool)

    try:
        asyncio.run(check(make))
    except Exception:  # noqa: BLE001 - one check that fails, however it fails, must not end the others
        print(f"FAILED  {title}\n{traceback.format_exc()}")
        return False
    finally:
        if url != "memory://":
            with Allocator.from_url(url) as allocator:
                allocator.pools.delete(pool, force=True)
    print(f"passed  {title}")
    return True


def main(url: str) -> int:
    """Run all checks, also after one has failed."""
    passed = [run(check, url) for check in CHECKS]
    print(f"{sum(passed)} of {len(passed)} checks passed")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "memory://"))

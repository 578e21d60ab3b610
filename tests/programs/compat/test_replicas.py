"""One pool, many users: loops, threads, processes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from allocator import ResourceAllocator
from tests.programs.compat.conftest import Make, warnings_of

ROOT = Path(__file__).resolve().parents[3]


async def test_replicas_that_ask_at_once_never_get_more_than_there_is(make: Make) -> None:
    """Ten objects, sixty requests for one CPU of eight."""
    replicas = [make(8.0, 64) for _ in range(10)]
    answers = await asyncio.gather(
        *(replica.allocate_resources({"cpu": "1", "memory": "1Gi"}) for replica in replicas for _ in range(6)),
        return_exceptions=True,
    )
    granted = [answer for answer in answers if isinstance(answer, dict)]
    assert len(granted) == 8
    assert all(isinstance(answer, (dict, ValueError)) for answer in answers)
    assert len({allocation["fence"] for allocation in granted}) == 8


def test_one_object_works_over_several_event_loops(store: str) -> None:
    """Made outside of any, as module-level objects are; each `asyncio.run` is another loop."""
    allocator = ResourceAllocator(4.0, 8, url=store)
    held = asyncio.run(allocator.allocate_resources({"cpu": "1"}))
    assert allocator.get_resource_usage()["allocated_cpu"] == 1.0
    assert asyncio.run(allocator.check_availability({"cpu": "3"})) is True
    asyncio.run(allocator.release_resources(held))
    assert asyncio.run(allocator.usage())["active_allocations"] == 0
    allocator.close()


async def test_a_plain_getter_works_inside_a_running_loop(make: Make) -> None:
    """As the original's did, also while awaited calls are under way."""
    allocator = make(8.0, 16)
    calls = [asyncio.ensure_future(allocator.allocate_resources({"cpu": "1"})) for _ in range(4)]
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert 1 <= allocator.get_resource_usage()["active_allocations"] <= 4
    await asyncio.gather(*calls)
    assert len(allocator.get_active_allocations()) == 4


def test_several_threads_with_loops_of_their_own_share_one_object(store: str) -> None:
    """Each of them allocates, looks and releases; their first uses race for creating the pool."""
    allocator = ResourceAllocator(100.0, 100, url=store)
    together = threading.Barrier(6)

    def work(_: int) -> float:
        async def rounds() -> None:
            for _ in range(10):
                held = await allocator.allocate_resources({"cpu": "1", "memory": "1Gi"})
                assert held["allocation_id"] in allocator.get_active_allocations()
                await allocator.release_resources(held)

        together.wait(60)
        asyncio.run(rounds())
        return allocator.get_resource_usage()["total_cpu"]

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(work, range(6))) == [100.0] * 6
    assert allocator.get_resource_usage()["active_allocations"] == 0
    allocator.close()


def test_first_uses_from_many_threads_warn_once_of_other_totals(store: str, log: pytest.LogCaptureFixture) -> None:
    """One warning, also where the first use is a race."""
    with ResourceAllocator(1.0, 1, url=store) as first:
        first.get_resource_usage()
    with ResourceAllocator(2.0, 2, url=store) as allocator, ThreadPoolExecutor(6) as threads:
        usages = list(threads.map(lambda _: allocator.get_resource_usage(), range(12)))
    assert {usage["total_cpu"] for usage in usages} == {1.0}
    assert len(warnings_of(log)) == 1


def test_a_private_store_is_one_store_for_the_plain_and_the_awaited_side() -> None:
    """`memory://` belongs to the object, both halves of it."""
    with ResourceAllocator(4.0, 8, url="memory://") as allocator, ResourceAllocator(4.0, 8, url="memory://") as other:
        held = asyncio.run(allocator.allocate_resources({"cpu": "1"}))
        assert allocator.get_active_allocations() == {held["allocation_id"]: held}
        assert other.get_active_allocations() == {}


async def test_closing_keeps_what_is_allocated_and_may_be_repeated(make: Make) -> None:
    """A restart is no release."""
    first = make()
    held = await first.allocate_resources({"cpu": "1"})
    await first.aclose()
    await first.aclose()
    assert make().get_active_allocations() == {held["allocation_id"]: held}


async def test_closing_with_the_plain_method_inside_a_loop_says_what_to_do(make: Make) -> None:
    """It would have to block the loop whose connections it closes."""
    allocator = make()
    await allocator.usage()
    with pytest.raises(RuntimeError, match="aclose"):
        allocator.close()
    with pytest.raises(RuntimeError, match="aclose"), make():
        pass


def run(program: str, url: str) -> Any:
    """Run a program as another replica would: a process of its own, which finds the store in its environment."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        cwd=ROOT,
        env={**os.environ, "ALLOCATOR_REDIS_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.loads(done.stdout)


ALLOCATE = """
import asyncio, json
from allocator import ResourceAllocator

allocator = ResourceAllocator(total_cpu=4.0, total_memory_gb=8)
granted = []
try:
    while True:
        granted.append(asyncio.run(allocator.allocate_resources({"cpu": "1", "memory": "1Gi"})))
except ValueError:
    print(json.dumps(granted))
"""


def test_two_processes_share_one_pool_and_the_second_releases_what_the_first_held(server_url: str) -> None:
    """The status went from one to the other as JSON; the first is gone, without having closed anything."""
    statuses = run(ALLOCATE, server_url)
    assert len(statuses) == 4
    assert run(ALLOCATE, server_url) == []
    release = f"""
        import asyncio, json
        from allocator import ResourceAllocator

        async def main():
            async with ResourceAllocator(total_cpu=4.0, total_memory_gb=8) as allocator:
                for status in json.loads({json.dumps(statuses[:3])!r}):
                    await allocator.release_resources(status)
                return await allocator.usage()

        print(json.dumps(asyncio.run(main())))
    """
    usage = run(release, server_url)
    assert (usage["active_allocations"], usage["available_cpu"]) == (1, 3.0)


def test_an_object_that_nobody_closes_ends_without_a_warning(server_url: str) -> None:
    """The original had no `close`; a drop-in must not litter the log of a program that knows of none."""
    program = """
        import asyncio, json
        from allocator import ResourceAllocator

        def use():
            allocator = ResourceAllocator(total_cpu=4.0, total_memory_gb=8)
            allocator.get_resource_usage()
            for _ in range(3):
                asyncio.run(allocator.check_availability({"cpu": "1"}))

        use()
        kept = ResourceAllocator(total_cpu=4.0, total_memory_gb=8)
        print(json.dumps(asyncio.run(kept.usage())))
    """
    assert run(program, server_url)["total_cpu"] == 4.0

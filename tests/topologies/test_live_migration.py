"""Slots that move while clients work: nobody notices but by the time that it takes."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from allocator import Allocator, AsyncAllocator
from tests.clients.stores import cluster_url
from tests.support.cluster import Cluster
from tests.support.waiting import wait_until

POOLS = ("lab", "course")
WORKERS = 4
CYCLES_BETWEEN_MOVES = 20


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Allocator]:
    """A client that looks at the pools; they are clean and empty in the end."""
    with Allocator.from_url(cluster_url(cluster)) as client:
        for pool in POOLS:
            client.pools.create(pool, {"cpu": 2 * WORKERS})
        yield client
        for pool in POOLS:
            assert client.options(pool=pool).maintenance.audit()
            assert client.pools.usage(pool).allocations == 0


def is_done(cycles: list[str], enough: int) -> bool:
    return len(cycles) >= enough


def move_the_pools(cluster: Cluster, cycles: list[str]) -> None:
    """From each master to the next, three times, as soon as enough was done in between."""
    for _ in range(3):
        for pool in POOLS:
            enough = len(cycles) + CYCLES_BETWEEN_MOVES
            wait_until(functools.partial(is_done, cycles, enough), message="work goes on")
            slot = cluster.slot_of(f"allocator:{{{pool}}}:pool")
            owner = cluster.owner_of(slot)
            cluster.migrate(slot, cluster.masters[(cluster.masters.index(owner) + 1) % len(cluster.masters)])


def test_threads_ride_through_a_migration(cluster: Cluster, client: Allocator) -> None:
    """Every call succeeds; each allocation is granted, renewed and released exactly once."""
    over, cycles = threading.Event(), list[str]()

    def work(number: int) -> None:
        with Allocator.from_url(cluster_url(cluster), pool=POOLS[number % 2]) as mine:
            while not over.is_set():
                held = mine.allocate({"cpu": 1}, ttl=60)
                assert mine.renew(held)
                assert mine.release(held)
                cycles.append(held.id)

    with ThreadPoolExecutor(WORKERS) as threads:
        working = [threads.submit(work, number) for number in range(WORKERS)]
        try:
            move_the_pools(cluster, cycles)
        finally:
            over.set()
    for one in working:
        one.result()
    assert len(set(cycles)) == len(cycles)


async def test_tasks_ride_through_a_migration(cluster: Cluster, client: Allocator) -> None:
    """The same on an event loop, where concurrent calls share their round trips."""
    over, cycles = threading.Event(), list[str]()

    async def work(mine: AsyncAllocator, pool: str) -> None:
        while not over.is_set():
            held = await mine.options(pool=pool).allocate({"cpu": 1}, ttl=60)
            assert await mine.renew(held)
            assert await mine.release(held)
            cycles.append(held.id)

    async with AsyncAllocator.from_url(cluster_url(cluster)) as mine:
        working = [asyncio.create_task(work(mine, POOLS[number % 2])) for number in range(WORKERS)]
        try:
            await asyncio.to_thread(move_the_pools, cluster, cycles)
        finally:
            over.set()
        await asyncio.gather(*working)
    assert len(set(cycles)) == len(cycles)

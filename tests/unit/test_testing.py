"""What users are given to test their controllers with."""

from __future__ import annotations

import gc
from datetime import UTC, datetime, timedelta

import pytest

from allocator import AllocationLost, Allocator, AsyncAllocator, InvalidRequest, ResourceAllocator, ResourceUnits
from allocator._engine.transport.in_process import InProcessServer
from allocator.testing import (
    Clock,
    Faults,
    MemoryStore,
    PrivateServer,
    faults,
    memory_allocator,
    memory_async_allocator,
    memory_resource_allocator,
)


def test_a_lease_lapses_when_the_clock_is_turned() -> None:
    """The example in the module: nobody has to wait for a lease."""
    clock = Clock()
    with memory_allocator({"cpu": 4, "memory": "8Gi"}, clock=clock) as allocator:
        held = allocator.allocate({"cpu": 4}, ttl=30)
        assert not allocator.try_allocate({"cpu": 1}, ttl=30)
        clock.advance(31)
        assert allocator.try_allocate({"cpu": 1}, ttl=30)
        assert not allocator.release(held)
        assert allocator.maintenance.audit()


def test_a_clock_begins_where_it_is_set_and_goes_both_ways() -> None:
    """Seconds or a timedelta; milliseconds since 1970 come out."""
    clock = Clock(datetime(2030, 1, 1, tzinfo=UTC))
    assert clock() == 1_893_456_000_000
    clock.advance(timedelta(minutes=1))
    clock.advance(-0.5)
    assert clock() == 1_893_456_059_500


async def test_both_kinds_of_client_share_a_named_store_and_its_clock() -> None:
    """A controller that is asynchronous is looked at by a test that is not."""
    clock = Clock()
    async with memory_async_allocator({"cpu": 4}, store="test-testing", clock=clock) as awaited:
        with memory_allocator({"cpu": 99}, store="test-testing", clock=clock) as plain:
            held = await awaited.allocate({"cpu": 3}, ttl=10)
            assert held.granted_ms == clock()
            assert plain.pools.usage().resources["cpu"].capacity == 4000
            assert plain.pools.usage().resources["cpu"].allocated == 3000
            clock.advance(11)
            assert plain.pools.usage().due == 1
            assert (await awaited.maintenance.reclaim()).ids == (held.id,)
            assert plain.maintenance.audit()


def test_stores_without_a_name_are_apart() -> None:
    """Tests do not meet in one."""
    with memory_allocator({"cpu": 1}) as one, memory_allocator({"cpu": 1}) as other:
        one.allocate({"cpu": 1}, ttl=None)
        assert other.pools.usage().allocations == 0
        assert one.maintenance.audit()
        assert other.maintenance.audit()


def test_a_private_server_serves_while_it_is_open() -> None:
    """A real server, for tests with several processes."""
    with PrivateServer() as server, Allocator.from_url(server.url) as allocator:
        allocator.pools.create("default", {"cpu": 1})
        assert allocator.allocate({"cpu": 1}, ttl=5)
        assert allocator.maintenance.audit()


def test_a_private_server_is_emptied() -> None:
    """As the fixture `redis_server` does before each test."""
    with PrivateServer() as server, Allocator.from_url(server.url) as allocator:
        allocator.pools.create("default", {"cpu": 1})
        server.flush()
        assert allocator.pools.list() == []


async def test_the_three_kinds_of_client_share_a_store_its_pool_and_its_clock() -> None:
    """Nobody has to give the clock to each of them."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    original = memory_resource_allocator(4, 8, capacity={"nvidia.com/gpu": 2}, store=store, ttl=10)
    with memory_allocator({"cpu": 99}, store=store) as plain:
        async with memory_async_allocator({"cpu": 99}, store=store) as awaited, original:
            first = await original.allocate_resources({"cpu": 1, "nvidia.com/gpu": 1})
            second = await awaited.allocate({"cpu": 1}, ttl=10)
            assert (first["allocated_at"], second.granted_ms) == ("2026-01-01T00:00:00.000Z", clock())
            assert plain.pools.usage().resources["cpu"].capacity == 4000
            assert {one.id for one in plain.list()} == {first["allocation_id"], second.id}
            clock.advance(11)
            assert await original.cleanup_expired_allocations() == 2
    with store.client() as client:
        assert client.maintenance.audit()


async def test_a_client_made_from_the_url_uses_the_clock_of_the_store() -> None:
    """A program under test makes its client by itself."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    with (
        memory_allocator({"cpu": 4, "memory": "1Gi"}, store=store),
        Allocator.from_url(store.url, pool="test") as found,
    ):
        assert found.allocate({"cpu": 1}, ttl=5).granted_ms == clock()
        async with AsyncAllocator.from_url(store.url, pool="test") as awaited:
            assert (await awaited.allocate({"cpu": 1}, ttl=5)).granted_ms == clock()
        async with ResourceAllocator(4, 1, url=store.url, pool="test") as original:
            assert (await original.allocate_resources({"cpu": 1}))["allocated_at"].startswith("2026-01-01")
        with pytest.raises(AllocationLost), found.hold({"cpu": 1}, ttl=5) as held:
            clock.advance(6)
            assert held.lost


@pytest.mark.parametrize("make", [memory_allocator, memory_async_allocator, memory_resource_allocator])
def test_each_takes_all_that_a_pool_has(make: object) -> None:
    """And of the client: owner, prefix, timeout."""
    store = MemoryStore()
    options = {
        "pool": "labs",
        "store": store,
        "whole_units": ["nvidia.com/gpu"],
        "units": {"cpu": ResourceUnits(reserved=1, max_unit=2)},
        "recovery_grace": 60,
        "max_ttl": 40,
        "durability": "memory",
        "owner": "me",
        "prefix": "mine",
        "timeout": 3.0,
    }
    if make is memory_resource_allocator:
        memory_resource_allocator(4, 8, capacity={"nvidia.com/gpu": 2}, ttl=40, **options)  # type: ignore[arg-type]
    else:
        make({"cpu": 4, "memory": "8Gi", "nvidia.com/gpu": 2}, **options)  # type: ignore[operator]
    with store.client(pool="labs", prefix="mine") as client:
        pool = client.pools.get()
        assert dict(pool.capacity) == {"cpu": 4000, "memory": 8 * 2**30, "nvidia.com/gpu": 2000}
        assert (pool.whole_units, pool.recovery_grace_ms, pool.max_ttl_ms) == (("nvidia.com/gpu",), 60_000, 40_000)
        assert (pool.state, pool.durability) == ("active", "memory")
        assert (pool.units, pool.limit["cpu"]) == ({"cpu": ResourceUnits("1", max_unit="2")}, 3000)
        assert client.allocate({"cpu": 1}, ttl=40)


def test_the_owner_is_that_of_the_client() -> None:
    """As the constructor has it."""
    with memory_allocator({"cpu": 4}, owner="me") as allocator:
        assert allocator.allocate({"cpu": 1}, ttl=5).owner == "me"


def test_a_store_has_one_clock() -> None:
    """Two would expire each other's leases."""
    store = MemoryStore(clock=Clock())
    with pytest.raises(InvalidRequest, match="another clock") as caught:
        memory_allocator({"cpu": 1}, store=store, clock=Clock())
    assert caught.value.field == "clock"
    with pytest.raises(InvalidRequest, match="another clock"):
        MemoryStore(store.name, clock=Clock())
    assert MemoryStore(store.name).clock is store.clock
    assert repr(store) == f"<MemoryStore {store.url}>"


def test_a_store_without_a_name_ends_with_its_last_client() -> None:
    """A suite of thousands of tests keeps none of them."""
    allocator = memory_allocator({"cpu": 1})
    name = repr(allocator).split("memory://")[1].split()[0]
    assert name in InProcessServer._of_tests
    allocator.close()
    del allocator
    gc.collect()
    assert name not in InProcessServer._of_tests


@pytest.mark.parametrize("url", ["memory://", "memory://of-production", "redis://localhost:1/0"])
def test_only_stores_of_the_test_tools_have_faults(url: str) -> None:
    """No program turns them on by accident."""
    with Allocator.from_url(url) as allocator, pytest.raises(InvalidRequest, match=r"not made by allocator\.testing"):
        faults(allocator)
    if url.endswith("production"):
        with pytest.raises(InvalidRequest, match="make it before") as caught:
            Faults(MemoryStore("of-production"), allocator._defaults)
        assert caught.value.field == "store"

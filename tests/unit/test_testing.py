"""What users are given to test their controllers with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from allocator import Allocator
from allocator.testing import Clock, PrivateServer, memory_allocator, memory_async_allocator


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

"""Holding, on every store: what differs is who makes the connections of the thread that renews."""

from __future__ import annotations

import pytest

from allocator import AllocationLost, AsyncAllocator, BackendUnavailable
from allocator.testing import Clock, faults, memory_allocator, memory_async_allocator
from tests.clients.stores import EVERY
from tests.support.waiting import wait_until

STORES = EVERY


async def test_what_is_held_outlives_its_time_to_live_and_is_released(timed: AsyncAllocator, clock: Clock) -> None:
    """Renewed from a thread, while this one does not let the event loop run."""
    async with timed.hold({"cpu": 4}, ttl=30, id="labs/os-101") as hold:
        for _ in range(4):
            before = hold.deadline
            clock.advance(10)
            wait_until(lambda before=before: hold.deadline != before, message="a renewal")
        assert not hold.lost
        assert not await timed.try_allocate({"cpu": 1}, ttl=30)
    assert await timed.get("labs/os-101") is None


async def test_what_could_not_be_renewed_is_lost_to_whoever_asks_for_it(timed: AsyncAllocator, clock: Clock) -> None:
    """This process did not run for longer than the lease."""
    with pytest.raises(AllocationLost):
        async with timed.hold({"cpu": 4}, ttl=30) as hold:
            clock.advance(30)
            assert hold.lost
            other = await timed.allocate({"cpu": 4}, ttl=30)
    wait_until(lambda: hold._renewer is None or not len(hold._renewer._schedule))
    assert await timed.get(other.id) is not None


async def test_an_error_of_the_store_says_how_long_the_first_call_of_a_short_hold_has() -> None:
    """The client's timeout is longer, so without the note a caller would look for the cause there."""
    async with memory_async_allocator({"cpu": 4}) as awaited:
        with faults(awaited).down(), pytest.raises(BackendUnavailable) as error:
            await awaited.hold({"cpu": 1}, ttl=3).__aenter__()
    assert error.value.__notes__ == ["the first call of a hold has half of its ttl: 1.5 s"]
    with memory_allocator({"cpu": 4}) as blocking, faults(blocking).down():
        with pytest.raises(BackendUnavailable) as error:
            blocking.hold({"cpu": 1}, ttl=3).__enter__()
        assert error.value.__notes__ == ["the first call of a hold has half of its ttl: 1.5 s"]
        with pytest.raises(BackendUnavailable) as error:
            blocking.hold({"cpu": 1}, ttl=60).__enter__()
        assert not hasattr(error.value, "__notes__"), "it has the client's timeout"

"""What a hold is to its block: both clients, on a real server."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio

from allocator import (
    AllocationConflict,
    AllocationLost,
    Allocator,
    AsyncAllocator,
    Insufficient,
    InvalidRequest,
    Request,
)
from tests.clients.holds.conftest import charged, in_care
from tests.support.proxy import FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until, wait_until_async

# -- the block ---------------------------------------------------------------------------------------------------------


async def test_a_hold_allocates_at_the_beginning_and_releases_at_the_end(
    holder: AsyncAllocator, onlooker: Allocator
) -> None:
    """It tells what it holds, and that it is good for most of its time to live."""
    async with holder.hold({"cpu": 1}, ttl=60, id="labs/os-101", owner="me", metadata={"lab": "os"}) as hold:
        recorded = onlooker.get("labs/os-101")
        assert recorded is not None
        assert (hold.id, hold.fence, hold.resources) == (recorded.id, recorded.fence, recorded.resources)
        assert (hold.deadline, hold.allocation.metadata) == (recorded.deadline, recorded.metadata)
        assert 50 < hold.remaining <= 54
        assert not hold.lost
        hold.check()
        assert charged(onlooker) == "1"
    assert charged(onlooker) == "0"
    assert not hold.lost, "it was not, to the end"


async def test_a_hold_releases_when_the_block_raises(holder: AsyncAllocator, onlooker: Allocator) -> None:
    """And the block's error goes on."""
    with pytest.raises(ZeroDivisionError):
        async with holder.hold({"cpu": 1}, ttl=60):
            raise ZeroDivisionError
    assert charged(onlooker) == "0"


async def test_what_does_not_fit_is_not_held(holder: AsyncAllocator, onlooker: Allocator) -> None:
    """The refusal is the one of `allocate`; the hold may be tried again."""
    hold = holder.hold({"cpu": 3}, ttl=60)
    async with holder.hold({"cpu": 2}, ttl=60):
        with pytest.raises(Insufficient):
            async with hold:
                pytest.fail("it was entered")
    async with hold:
        assert charged(onlooker) == "3"


@pytest.mark.parametrize("ttl", [None, 0.5, "soon"])
async def test_a_hold_has_a_time_to_live(holder: AsyncAllocator, ttl: Any) -> None:
    """What is pinned would outlive its holder; nothing is sent."""
    with pytest.raises(InvalidRequest) as refused:
        holder.hold({"cpu": 1}, ttl=ttl)
    assert refused.value.field == "ttl"


async def test_an_awaited_hold_names_its_own_statement(one_server: Server) -> None:
    """`with` would be a second error."""
    async with AsyncAllocator.from_url(one_server.url, pool="lab") as client:
        with pytest.raises(RuntimeError, match="has not begun: use it in an async with statement"):
            client.hold({"cpu": 1}, ttl=60).check()


async def test_a_hold_is_for_one_block_and_knows_nothing_before(one_server: Server, onlooker: Allocator) -> None:
    """A second block would be another allocation."""
    with Allocator.from_url(one_server.url, pool="lab") as client:
        hold = client.hold({"cpu": 1}, ttl=60)
        with pytest.raises(RuntimeError, match="has not begun: use it in a with statement"):
            assert hold.id
        assert repr(hold) == "<Hold not begun>"
        with hold:
            assert hold.id in repr(hold)
        with pytest.raises(RuntimeError, match="one block"), hold:
            pytest.fail("it was entered")


async def test_who_comes_back_after_a_crash_holds_what_it_held(holder: AsyncAllocator, onlooker: Allocator) -> None:
    """By an id of its own, with the same fence."""
    before = await holder.allocate({"cpu": 1}, ttl=60, id="labs/os-101")
    async with holder.hold({"cpu": 1}, ttl=60, id="labs/os-101") as hold:
        assert hold.fence == before.fence
        assert not hold.allocation.created
    assert charged(onlooker) == "0"


async def test_an_exclusive_hold_shares_nothing(holder: AsyncAllocator, onlooker: Allocator) -> None:
    """Two deliveries of one job: the second is refused, and the first one's lease stays as it is."""
    async with holder.hold({"cpu": 1}, ttl=60, id="job-7", exclusive=True) as first:
        before = onlooker.get("job-7")
        with pytest.raises(AllocationConflict, match="exclusive=True does not share it"):
            async with holder.hold({"cpu": 1}, ttl=600, id="job-7", exclusive=True):
                pytest.fail("it was entered")
        with pytest.raises(AllocationConflict):
            await holder.allocate({"cpu": 1}, ttl=600, id="job-7", exclusive=True)
        (again,) = await holder.allocate_many([Request({"cpu": 1}, ttl=600, id="job-7", exclusive=True)])
        assert isinstance(again, AllocationConflict)
        assert onlooker.get("job-7") == before
        assert first.allocation.created
        assert not first.lost
    async with holder.hold({"cpu": 1}, ttl=60, id="job-7", exclusive=True) as second:
        assert second.fence > first.fence
    assert charged(onlooker) == "0"


async def test_an_exclusive_hold_whose_reply_was_lost_knows_its_own_grant(
    disturbed: AsyncAllocator, onlooker: Allocator, proxy: FaultProxy
) -> None:
    """The retry is the same call."""
    await disturbed.check({"cpu": 1})
    proxy.reset_after(match=b"EVALSHA")
    async with disturbed.hold({"cpu": 1}, ttl=60, id="job-7", exclusive=True) as hold:
        assert hold.allocation.created
        assert charged(onlooker) == "1"
    assert charged(onlooker) == "0"


# -- renewing ----------------------------------------------------------------------------------------------------------


async def test_a_hold_outlives_its_time_to_live_while_the_block_runs(
    holder: AsyncAllocator, onlooker: Allocator
) -> None:
    """The block keeps this thread, and with it the event loop, all the while: the lease is renewed from elsewhere."""
    async with holder.hold({"cpu": 4}, ttl=1) as hold:
        granted_ms = hold.allocation.granted_ms
        wait_until(lambda: onlooker.pools.usage().read_ms > granted_ms + 2100)
        assert not onlooker.try_allocate({"cpu": 1}, ttl=1), "it was never free"
        hold.check()
        assert hold.allocation.deadline_ms is not None
        assert hold.allocation.deadline_ms > granted_ms + 2000
        assert hold.deadline == hold.allocation.deadline


async def test_a_hold_renews_by_its_own_time_to_live(holder: AsyncAllocator, onlooker: Allocator) -> None:
    """Whatever the record had from whoever allocated it."""
    await holder.allocate({"cpu": 1}, ttl=3600, id="labs/os-101")
    async with holder.hold({"cpu": 1}, ttl=1, id="labs/os-101") as hold:
        granted = hold._held.confirmed_at
        wait_until(lambda: hold._held.confirmed_at > granted, message="a renewal")
        assert hold.remaining <= 1


@pytest.mark.parametrize("ready", [False, True], ids=["url", "ready client"])
async def test_a_ready_client_holds_as_well(
    kind: str, connect: Callable[..., AsyncAllocator], one_server: Server, onlooker: Allocator, ready: bool
) -> None:
    """Of an asyncio client no blocking connection can be made: the thread runs an event loop of its own."""
    if not ready:
        client = connect(f"{one_server.tcp_url}")
    else:
        cls: Any = redis.Redis if kind == "sync" else redis.asyncio.Redis
        given = cls.from_url(one_server.tcp_url)
        client = connect(given)
    async with client.hold({"cpu": 1}, ttl=1) as hold:
        granted = hold.allocation.deadline_ms
        wait_until(lambda: hold.allocation.deadline_ms != granted, message="a renewal")
    if ready and kind == "async":
        await given.aclose()
    wait_until(lambda: not in_care())


# -- losing ------------------------------------------------------------------------------------------------------------


async def test_the_holder_is_told_that_it_lost_the_allocation(holder: AsyncAllocator, onlooker: Allocator) -> None:
    """By its function once, by the properties from then on, and at the end unless the block raises itself."""
    told: list[object] = []
    with pytest.raises(AllocationLost) as at_the_end:
        async with holder.hold({"cpu": 1}, ttl=1, on_lost=told.append) as hold:
            onlooker.release(hold.id)
            await wait_until_async(lambda: told)
            assert told == [hold]
            assert hold.lost
            assert hold.remaining == 0
            with pytest.raises(AllocationLost) as checked:
                hold.check()
            assert hold.loss is not None
            assert (hold.loss.code, checked.value.id) == ("gone", hold.id)
    assert at_the_end.value.code == "gone"
    with pytest.raises(ZeroDivisionError):
        async with holder.hold({"cpu": 1}, ttl=1) as hold:
            onlooker.release(hold.id)
            await wait_until_async(lambda: hold.lost)
            raise ZeroDivisionError


async def test_a_loss_that_comes_to_light_at_the_release_is_told(holder: AsyncAllocator, onlooker: Allocator) -> None:
    """The block ended before the next renewal."""
    with pytest.raises(AllocationLost) as at_the_end:
        async with holder.hold({"cpu": 1}, ttl=3600) as hold:
            onlooker.release(hold.id)
    assert at_the_end.value.code == "gone"


async def test_another_grant_of_the_same_id_is_left_alone(holder: AsyncAllocator, onlooker: Allocator) -> None:
    """The fence tells them apart, both in renewing and in releasing."""
    with pytest.raises(AllocationLost) as at_the_end:
        async with holder.hold({"cpu": 1}, ttl=1, id="labs/os-101") as hold:
            onlooker.release(hold.id)
            other = onlooker.allocate({"cpu": 1}, ttl=60, id="labs/os-101")
            await wait_until_async(lambda: hold.lost)
    assert at_the_end.value.code == "fenced"
    kept = onlooker.get("labs/os-101")
    assert kept is not None
    assert kept.fence == other.fence


async def test_a_pool_that_is_gone_is_a_loss(holder: AsyncAllocator, onlooker: Allocator) -> None:
    """What was held in it is held no more."""
    with pytest.raises(AllocationLost):
        async with holder.hold({"cpu": 1}, ttl=1) as hold:
            onlooker.pools.delete("lab", force=True)
            await wait_until_async(lambda: hold.lost)
    with pytest.raises(AllocationLost):
        onlooker.pools.create("lab", {"cpu": 4})
        async with holder.hold({"cpu": 1}, ttl=3600):
            onlooker.pools.delete("lab", force=True)


async def test_a_function_that_fails_keeps_nobody_from_being_told(
    one_server: Server, onlooker: Allocator, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged."""
    told: list[object] = []

    def fails(hold: object) -> None:
        raise ZeroDivisionError

    with (
        Allocator.from_url(one_server.url, pool="lab") as client,
        pytest.raises(AllocationLost),
        client.hold({"cpu": 1}, ttl=1, on_lost=fails) as first,
        pytest.raises(AllocationLost),
        client.hold({"cpu": 1}, ttl=1, on_lost=told.append) as second,
    ):
        onlooker.release_many([first.id, second.id])
        wait_until(lambda: told)
        wait_until(lambda: "on_lost failed" in caplog.text)


async def test_a_slow_function_keeps_no_lease_from_being_renewed(one_server: Server, onlooker: Allocator) -> None:
    """Losses are told by a thread of their own."""
    end = threading.Event()
    with (
        Allocator.from_url(one_server.url, pool="lab") as client,
        client.hold({"cpu": 1}, ttl=1) as kept,
        pytest.raises(AllocationLost),
        client.hold({"cpu": 1}, ttl=1, on_lost=lambda _: end.wait(20)) as lost,
    ):
        onlooker.release(lost.id)
        wait_until(lambda: lost.lost)
        granted_ms = kept.allocation.granted_ms
        wait_until(lambda: onlooker.pools.usage().read_ms > granted_ms + 2000)
        kept.check()
        end.set()


async def test_a_function_to_be_awaited_is_refused(one_server: Server) -> None:
    """It would be called and never run; a plain one may start a task."""

    async def forgotten(hold: object) -> None:
        pytest.fail("it was awaited")

    async with AsyncAllocator.from_url(one_server.url, pool="lab") as client:
        with pytest.raises(InvalidRequest) as refused:
            client.hold({"cpu": 1}, ttl=60, on_lost=forgotten)
        assert refused.value.field == "on_lost"


async def test_the_function_sees_the_context_of_the_block(one_server: Server, onlooker: Allocator) -> None:
    """It is called on the block's loop, and log records know of which request."""
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request")
    request.set("r-1")
    seen: list[tuple[str, object]] = []
    async with AsyncAllocator.from_url(one_server.url, pool="lab") as client:
        with pytest.raises(AllocationLost):
            async with client.hold(
                {"cpu": 1}, ttl=1, on_lost=lambda _: seen.append((request.get(), asyncio.get_running_loop()))
            ) as hold:
                onlooker.release(hold.id)
                await wait_until_async(lambda: seen)
    assert seen == [("r-1", asyncio.get_running_loop())]

"""Holds that waited, many waiters of one process, and the order in which they are served."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from allocator import AllocationLost, Allocator, AsyncAllocator, Insufficient, WaitTimeout, settings
from tests.support import clients
from tests.support.servers import Server
from tests.support.waiting import wait_until, wait_until_async
from tests.support.wakes import channels, is_quiet

LONG_S = 60.0
WAITERS = 200


@pytest.fixture(autouse=True)
def _rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks again unasked."""
    monkeypatch.setattr(settings, "HEARTBEAT_S", LONG_S)


@pytest.fixture(params=clients.KINDS)
def client(request: pytest.FixtureRequest, one_server: Server) -> AsyncAllocator:
    """A client of either kind, whose pool of one unit is full."""
    client = clients.connect(request.param, one_server.url)
    with Allocator.from_url(one_server.url, pool="lab") as other:
        other.pools.create("lab", {"cpu": 1})
        other.allocate({"cpu": 1}, ttl=None, id="full")
    return client


def later(server: Server, act: Callable[[Allocator], object], *, waiters: int = 1) -> threading.Thread:
    """Do something once so many listen."""

    def run() -> None:
        wait_until(lambda: len(channels(server)) == waiters, message="they listen")
        with Allocator.from_url(server.url, pool="lab") as other:
            act(other)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


async def test_a_hold_that_waited_is_counted_from_its_claim(client: AsyncAllocator, one_server: Server) -> None:
    """Longer than its ttl it waited; all of its ttl is left, and it is renewed, lost and released as any other."""
    began = time.monotonic()
    thread = later(one_server, lambda other: (until(began + 1.2), other.release("full")))
    async with client.hold({"cpu": 1}, ttl=1.0, wait=LONG_S, id="held") as hold:
        assert time.monotonic() - began > 1.1
        assert hold.remaining > 0.5
        assert not hold.lost
        fence = hold.fence
        await wait_until_async(lambda: time.monotonic() - began > 2.6)
        assert not hold.lost
    thread.join()
    with Allocator.from_url(one_server.url, pool="lab") as other:
        assert other.get("held") is None
        assert other.pools.usage().allocations == 0
    assert fence > 0
    await client.close()


def until(instant: float) -> None:
    wait_until(lambda: time.monotonic() >= instant)


async def test_a_hold_that_waited_is_told_of_its_loss(client: AsyncAllocator, one_server: Server) -> None:
    """By its callback and at the block's end."""
    told: list[str] = []
    thread = later(one_server, lambda other: other.release("full"))
    with pytest.raises(AllocationLost):
        async with client.hold({"cpu": 1}, ttl=1.0, wait=LONG_S, id="held", on_lost=lambda one: told.append(one.id)):
            thread.join()
            with Allocator.from_url(one_server.url, pool="lab") as other:
                assert other.release("held")
            await wait_until_async(lambda: told)
    assert told == ["held"]
    await client.close()


async def test_a_hold_that_waited_in_vain_leaves_nothing(client: AsyncAllocator, one_server: Server) -> None:
    """Nor does one whose block is never entered."""
    with pytest.raises(WaitTimeout):
        async with client.hold({"cpu": 1}, ttl=5, wait=0.2):
            raise AssertionError("it is full")
    await client.close()
    await wait_until_async(lambda: is_quiet(one_server))
    with Allocator.from_url(one_server.url, pool="lab") as other:
        assert other.queue.list() == []
        assert [one.id for one in other.list()] == ["full"]


async def test_waits_within_waits_of_one_process(client: AsyncAllocator, one_server: Server) -> None:
    """A holder waits for more than it has, while others wait for what it has; both are granted."""
    with Allocator.from_url(one_server.url, pool="lab") as other:
        other.pools.update(None, {"cpu": 2})
    thread = later(one_server, lambda other: other.release("full"))
    async with (
        client.hold({"cpu": 1}, ttl=30, wait=LONG_S, id="outer"),
        client.hold({"cpu": 1}, ttl=30, wait=LONG_S, id="inner") as inner,
    ):
        thread.join()
        assert not inner.lost
    with Allocator.from_url(one_server.url, pool="lab") as other:
        assert other.pools.usage().allocations == 0
    await client.close()


async def test_one_freed_place_grants_and_wakes_one_of_two_hundred(one_server: Server) -> None:
    """By the server's count of messages; the other 199 are not disturbed, and all are served in their order."""
    order: list[int] = []
    raw: Any = redis.Redis.from_url(one_server.url, decode_responses=True)
    async with AsyncAllocator.from_url(one_server.url, pool="lab") as client:
        await client.pools.create("lab", {"cpu": 1})
        full = await client.allocate({"cpu": 1}, ttl=None)

        async def one(number: int) -> None:
            held = await client.allocate({"cpu": 1}, ttl=60, wait=LONG_S, id=f"w{number}")
            order.append(number)
            await client.release(held)

        tasks = []
        for number in range(WAITERS):
            tasks.append(asyncio.create_task(one(number)))
            await wait_until_async(lambda number=number: raw.zcard("allocator:{lab}:waiting") == number + 1)
        await wait_until_async(lambda: len(channels(one_server)) == WAITERS)
        await wait_until_async(lambda: calls(raw, "ssubscribe") >= WAITERS)
        scripts, sent = calls(raw, "evalsha"), calls(raw, "spublish")
        held = await client.try_allocate({"cpu": 1}, ttl=60)
        assert not held, "nobody passes those that wait"
        await client.release(full)
        await asyncio.gather(*tasks)
        assert order == list(range(WAITERS))
        assert calls(raw, "spublish") - sent == WAITERS, "one message for each grant"
        # Each is asked for once, and released: in script calls that may have both.
        assert calls(raw, "evalsha") - scripts <= 2 * WAITERS + 3
        assert await client.maintenance.audit()
    raw.close()
    await wait_until_async(lambda: is_quiet(one_server))


def calls(client: Any, command: str) -> int:
    """How often the server has executed a command."""
    return int(client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


async def test_the_higher_priority_is_served_first(client: AsyncAllocator, one_server: Server) -> None:
    """Then the earlier arrival: observed by threads with clients of their own."""
    order: list[str] = []
    lock = threading.Lock()

    def work(name: str, priority: int) -> None:
        with Allocator.from_url(one_server.url, pool="lab") as mine:
            held = mine.allocate({"cpu": 1}, ttl=60, wait=LONG_S, id=name, priority=priority)
            with lock:
                order.append(name)
            mine.release(held)

    with Allocator.from_url(one_server.url, pool="lab") as other:
        threads = []
        for name, priority in (("a", 0), ("b", 5), ("c", -3), ("d", 5), ("e", 0)):
            threads.append(threading.Thread(target=work, args=(name, priority)))
            threads[-1].start()
            wait_until(lambda: len(other.queue.list()) == len(threads))
        wait_until(lambda: len(channels(one_server)) == len(threads))
        assert [one.id for one in other.queue.list()] == ["b", "d", "a", "e", "c"]
        other.release("full")
        for thread in threads:
            thread.join(60)
    assert order == ["b", "d", "a", "e", "c"]
    await client.close()


async def test_a_hold_that_is_refused_says_when_it_could_start(client: AsyncAllocator) -> None:
    """Where it asks for it."""
    with pytest.raises(Insufficient) as told:
        async with client.hold({"cpu": 1}, ttl=60, estimate=True):
            pass
    assert (told.value.denial.position, told.value.denial.start_ms) == (1, None)

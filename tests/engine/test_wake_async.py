"""Waiting for messages on an event loop: one connection for all, and cancellation at every await."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from allocator import settings
from allocator._engine.execution.driver_async import AsyncDriver
from allocator._engine.protocol.flows import Flow, Wake
from allocator._engine.transport.urls import resolve_target
from allocator.errors import BackendUnavailable
from tests.support.drivers import POOL
from tests.support.servers import Server
from tests.support.waiting import wait_until, wait_until_async
from tests.support.wakes import LONG_S, SOON_S, channels, is_quiet, listeners, listens, publish, until_woken

WAITERS = 200


@pytest.fixture
async def waker(one_server: Server) -> AsyncIterator[AsyncDriver]:
    """A driver; when the test ends nobody listens, and no task is left."""
    before = asyncio.all_tasks()
    driver = AsyncDriver(resolve_target(one_server.url, attempt_timeout_s=1.0))
    yield driver
    await wait_until_async(lambda: is_quiet(one_server))
    await wait_until_async(lambda: asyncio.all_tasks() <= before | {asyncio.current_task()})
    await driver.close()


async def test_all_that_wait_share_one_connection(waker: AsyncDriver, one_server: Server) -> None:
    """And each hears its own message."""
    heard: list[list[bool]] = [[] for _ in range(WAITERS)]
    tasks = [
        asyncio.create_task(waker.run(until_woken(f"c{number}", heard[number], ask=False))) for number in range(WAITERS)
    ]
    await wait_until_async(lambda: all(heard))
    assert len(listeners(one_server)) == 1
    began = time.monotonic()
    for number in range(0, WAITERS, 2):
        assert publish(one_server, f"c{number}") == 1
    await asyncio.gather(*tasks[::2])
    assert time.monotonic() - began < SOON_S
    assert not any(task.done() for task in tasks[1::2])
    await wait_until_async(lambda: not listens(one_server, "c0"))
    assert listens(one_server, "c1")
    for task in tasks[1::2]:
        task.cancel()
    assert all(isinstance(end, asyncio.CancelledError) for end in await _ends(tasks[1::2]))


async def _turn(times: int) -> None:
    """Let the event loop turn."""
    for _ in range(times):
        turned: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turned.set_result, None)
        await turned


async def _ends(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_flow_that_is_cancelled_anywhere_leaves_nothing(waker: AsyncDriver, one_server: Server) -> None:
    """After each number of turns of the loop, from before the connection to the wait."""
    for turns in range(120):
        heard: list[bool] = []
        task = asyncio.create_task(waker.run(until_woken("a", heard, ask=False)))
        await _turn(turns)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await wait_until_async(lambda: is_quiet(one_server))


async def test_a_cancelled_flow_does_not_disturb_the_others(waker: AsyncDriver, one_server: Server) -> None:
    """Those that share its connection."""
    heard: list[bool] = []
    stays = asyncio.create_task(waker.run(until_woken("stays", heard, ask=False)))
    await wait_until_async(lambda: heard)
    for turns in range(60):
        task = asyncio.create_task(waker.run(until_woken(f"c{turns}", [], ask=False)))
        await _turn(turns % 20)
        task.cancel()
        await _ends([task])
    await wait_until_async(lambda: len(channels(one_server)) == 1)
    assert publish(one_server, "stays") == 1
    await stays
    assert heard == [False, True]


async def test_two_flows_may_wait_for_one_call(waker: AsyncDriver, one_server: Server) -> None:
    """Both are woken; one that joins later is subscribed at once."""
    heard: list[list[bool]] = [[], []]
    tasks = [asyncio.create_task(waker.run(until_woken("a", heard[0], ask=False)))]
    await wait_until_async(lambda: heard[0])
    tasks.append(asyncio.create_task(waker.run(until_woken("a", heard[1], ask=False))))
    await wait_until_async(lambda: heard[1])
    publish(one_server, "a")
    await asyncio.gather(*tasks)
    assert heard == [[False, True]] * 2


async def test_a_lost_connection_is_replaced_once_for_all(
    waker: AsyncDriver, one_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not once for each that waits."""
    monkeypatch.setattr(settings, "WAKE_POLL_S", 0.02)
    heard: list[list[bool]] = [[] for _ in range(20)]
    tasks = [asyncio.create_task(waker.run(until_woken(f"c{at}", heard[at], ask=False))) for at in range(len(heard))]
    await wait_until_async(lambda: all(heard))
    one_server.ask("CLIENT", "KILL", "TYPE", "pubsub")
    await wait_until_async(lambda: all(len(one) >= 3 for one in heard))
    assert len(listeners(one_server)) == 1
    for at in range(len(heard)):
        assert publish(one_server, f"c{at}") == 1
    await asyncio.gather(*tasks)


async def test_one_that_is_refused_does_not_disturb_the_others(one_server: Server) -> None:
    """A user may have the channels of one pool only."""
    one_server.ask("ACL", "SETUSER", "half", "on", ">secret", "~*", "+@all", "resetchannels", f"&{POOL.base}wake:a*")
    driver = AsyncDriver(resolve_target(one_server.url.replace("unix://", "unix://half:secret@")))
    heard: list[bool] = []
    try:
        stays = asyncio.create_task(driver.run(until_woken("a", heard, ask=False)))
        await wait_until_async(lambda: heard)

        def refused() -> Flow[bool]:
            woken: bool = yield Wake(POOL, "b", 0.02)
            return woken

        assert not await driver.run(refused())
        publish(one_server, "a")
        await stays
    finally:
        await driver.close()
        one_server.ask("ACL", "DELUSER", "half")


async def test_a_closed_client_ends_the_waits(one_server: Server) -> None:
    """At once; each flow learns why."""
    driver = AsyncDriver(resolve_target(one_server.url))
    heard: list[list[bool]] = [[], []]
    tasks = [asyncio.create_task(driver.run(until_woken(f"c{at}", heard[at], ask=False))) for at in range(2)]
    await wait_until_async(lambda: all(heard))
    began = time.monotonic()
    await driver.close()
    ends = await _ends(tasks)
    assert [(type(end), end.code) for end in ends] == [(BackendUnavailable, "closed")] * 2
    assert time.monotonic() - began < SOON_S
    await wait_until_async(lambda: is_quiet(one_server))


def test_a_loop_that_ends_takes_its_listener_with_it(one_server: Server) -> None:
    """Also one whose flows nobody has awaited."""

    async def leave() -> None:
        heard: list[bool] = []
        task = asyncio.create_task(driver.run(until_woken("a", heard, seconds=LONG_S, ask=False)))
        await wait_until_async(lambda: heard)
        assert not task.done()

    driver = AsyncDriver(resolve_target(one_server.url))
    for _ in range(2):
        asyncio.run(leave())
        wait_until(lambda: is_quiet(one_server))

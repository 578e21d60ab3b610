"""What the asyncio driver does alone: cancellation, event loops."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from allocator import settings
from allocator._engine.execution.batching import Batcher
from allocator._engine.execution.driver_async import AsyncDriver
from allocator._engine.protocol.flows import Call, Item
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.transport.urls import resolve_target
from allocator.errors import BackendUnavailable, OutcomeUnknown
from tests.support.drivers import (
    all_of,
    busy,
    call_of,
    count,
    count_all,
    executed,
    is_undone,
    new_item,
    read,
    requests_of,
)
from tests.support.proxy import Fault, FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until_async

# -- cancellation ------------------------------------------------------------------------------------------------------


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_call_is_undone_and_its_batch_goes_on(
    driver: AsyncDriver, proxy: FaultProxy, one_server: Server
) -> None:
    """The batch is not its caller's alone: the others get their replies, and what he was granted is undone."""
    proxy.delay(match=b"slow")
    gone, stays = new_item("slow"), new_item("slow")
    before = requests_of(proxy)
    leaver = asyncio.create_task(driver.run(count(gone)))
    stayer = asyncio.create_task(driver.run(count(stays)))
    await wait_until_async(lambda: requests_of(proxy) - before == 1)
    await cancelled(leaver)
    proxy.resume()
    assert (await stayer)[:3] == [stays.call, 0, 1]
    await wait_until_async(lambda: is_undone(one_server, gone))
    assert not is_undone(one_server, stays)


async def test_a_call_cancelled_in_the_queue_is_never_sent(
    driver: AsyncDriver, proxy: FaultProxy, one_server: Server
) -> None:
    """It waits for the call before it to come back; nothing has been handed over, so nothing is undone."""
    first = await busy(driver, proxy)
    queued, last = new_item(), new_item()
    leaver = asyncio.create_task(driver.run(count(queued)))
    stayer = asyncio.create_task(driver.run(count(last)))
    await asyncio.wait((leaver, stayer), timeout=0.01)
    await cancelled(leaver)
    proxy.resume()
    await all_of(*first, stayer)
    assert executed(one_server, last) == 1
    assert executed(one_server, queued) == 0
    assert not is_undone(one_server, queued)


async def test_a_cancelled_call_is_left_out_of_the_repeat(
    driver: AsyncDriver, proxy: FaultProxy, one_server: Server
) -> None:
    """Its batch was lost; only those who still wait are sent again."""
    proxy.swallow(match=b"adrift")
    gone, stays = new_item("adrift"), new_item("lost")
    leaver = asyncio.create_task(driver.run(count(gone)))
    stayer = asyncio.create_task(driver.run(count(stays)))
    await asyncio.to_thread(proxy.wait_fired)
    await cancelled(leaver)
    assert (await stayer)[:3] == [stays.call, 1, 2]
    assert executed(one_server, gone) == 1
    await wait_until_async(lambda: is_undone(one_server, gone))


async def test_a_cancelled_direct_call_is_undone(driver: AsyncDriver, proxy: FaultProxy, one_server: Server) -> None:
    """`gather=False`: its connection is not used again, for a reply is still under way on it."""
    proxy.delay(match=b"slow")
    item = new_item("slow")
    before = requests_of(proxy)
    task = asyncio.create_task(driver.run(count_all(item, gather=False)))
    await wait_until_async(lambda: requests_of(proxy) - before == 1)
    await cancelled(task)
    proxy.resume()
    other = new_item()
    assert (await driver.run(count_all(other, gather=False)))[0][:3] == [other.call, 0, 1]
    await wait_until_async(lambda: is_undone(one_server, item))


class CancellingSender:
    """Answers at once, and cancels the caller before it can see the answer."""

    def __init__(self) -> None:
        self.caller: asyncio.Task[Any] | None = None
        self.undone: list[Item] = []

    async def send(
        self, call: Call, encode: Callable[[], list[Any]], until: float, elsewhere: Any, undo_logs: Any
    ) -> list[Any]:
        assert self.caller is not None
        encode()
        asyncio.get_running_loop().call_soon(self.caller.cancel)
        return [["granted"]]

    async def on_failure(self, pool: PoolKeys, failure: Any) -> None:
        """Never asked."""

    def undo(self, pool: PoolKeys, items: Sequence[Item]) -> None:
        self.undone += items

    def envelope(self, call: Call) -> tuple[int, ...]:
        return (0,)


async def test_a_reply_that_comes_with_the_cancellation_is_undone_too() -> None:
    """Both happen in one turn of the loop, and the caller sees only the cancellation."""
    sender = CancellingSender()
    gatherer = Batcher(sender, asyncio.get_running_loop())
    item = new_item()
    sender.caller = asyncio.create_task(gatherer.call(call_of(item), time.monotonic() + 1.0))
    with pytest.raises(asyncio.CancelledError):
        await sender.caller
    assert sender.undone == [item]


class ConnectingSender(CancellingSender):
    """Has no connection until it is told, and notes what it sends then."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.connected = asyncio.Event(), asyncio.Event()
        self.sent: list[list[Any]] = []

    async def send(
        self, call: Call, encode: Callable[[], list[Any]], until: float, elsewhere: Any, undo_logs: Any
    ) -> list[Any]:
        self.asked.set()
        await self.connected.wait()
        self.sent.append(encode())
        return [["granted"] for word in self.sent[-1] if word == "last-argument"]


async def test_what_waits_for_a_connection_is_not_sent_after_its_deadline() -> None:
    """So its caller is told that nothing was executed, and that is so; others of its batch are sent."""
    sender = ConnectingSender()
    gatherer = Batcher(sender, asyncio.get_running_loop())
    late, other = (replace(new_item(), args=("last-argument",)) for _ in range(2))
    now = time.monotonic()
    calls = [
        asyncio.create_task(gatherer.call(call_of(one), now + left)) for one, left in ((late, 0.03), (other, 30.0))
    ]
    with pytest.raises(BackendUnavailable):
        await calls[0]
    sender.connected.set()
    assert await calls[1] == [["granted"]]
    (words,) = sender.sent
    assert (late.call in words, other.call in words, sender.undone) == (False, True, [])


async def test_a_batch_that_nobody_waits_for_is_not_sent() -> None:
    """Its callers were cancelled while it waited for a connection."""
    sender = ConnectingSender()
    gatherer = Batcher(sender, asyncio.get_running_loop())
    task = asyncio.create_task(gatherer.call(call_of(new_item()), time.monotonic() + 30.0))
    await sender.asked.wait()
    await cancelled(task)
    sender.connected.set()
    await gatherer.close(5.0)
    assert (sender.sent, sender.undone) == ([], [])


async def test_a_timeout_of_the_caller_is_a_cancellation(
    driver: AsyncDriver, proxy: FaultProxy, one_server: Server
) -> None:
    """As `asyncio.timeout` and `wait_for` do it."""
    proxy.swallow(match=b"slow")
    item = new_item("slow")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await driver.run(count(item))
    await wait_until_async(lambda: is_undone(one_server, item))


# -- event loops -------------------------------------------------------------------------------------------------------


def test_one_driver_serves_one_loop_after_another(one_server: Server) -> None:
    """As with several `asyncio.run` in a program: each ends with its own connections closed, without a warning."""
    driver = AsyncDriver(resolve_target(one_server.url))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            assert asyncio.run(driver.run(count()))[1] == 0
        gc.collect()
    assert one_server.info("clients")["connected_clients"] == "1"


def test_one_driver_serves_several_loops_at_once(one_server: Server) -> None:
    """From several threads; no connection is shared."""
    driver = AsyncDriver(resolve_target(one_server.url))
    items = [[new_item() for _ in range(20)] for _ in range(4)]
    started = threading.Barrier(4)

    async def work(number: int) -> None:
        started.wait()
        await asyncio.gather(*(driver.run(count(item)) for item in items[number]))

    threads = [threading.Thread(target=lambda n=n: asyncio.run(work(n))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [executed(one_server, item) for group in items for item in group] == [1] * 80


def test_undos_are_sent_when_the_loop_ends(one_server: Server, proxy: FaultProxy) -> None:
    """A program that is interrupted leaves nothing behind if that can be helped."""
    driver = AsyncDriver(resolve_target(proxy.url, attempt_timeout_s=5.0))
    item = new_item()
    proxy.swallow(match=item.call.encode())

    async def interrupted() -> None:
        task = asyncio.create_task(driver.run(count(item)))
        await asyncio.to_thread(proxy.wait_fired)
        assert not task.done()

    asyncio.run(interrupted())
    assert is_undone(one_server, item)


async def test_closing_tells_those_who_wait(proxy: FaultProxy, one_server: Server, monkeypatch: Any) -> None:
    """A call under way gets a while to finish; then its caller is told, and the call is undone."""
    monkeypatch.setattr("allocator.settings.CLOSE_FLUSH_S", 0.2)
    driver = AsyncDriver(resolve_target(proxy.url, attempt_timeout_s=5.0))
    await driver.run(count())
    item = new_item()
    proxy.swallow(match=item.call.encode())
    task = asyncio.create_task(driver.run(count(item)))
    await asyncio.to_thread(proxy.wait_fired)
    await driver.close()
    with pytest.raises(OutcomeUnknown):
        await task
    assert is_undone(one_server, item)
    with pytest.raises(BackendUnavailable, match="closed"):
        await driver.run(count())


async def test_closing_ends_what_waits_to_be_sent_again(
    driver: AsyncDriver, proxy: FaultProxy, one_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reply was lost and it is in its pause: nobody would undo it once the client has gone."""
    monkeypatch.setattr(settings, "BACKOFF_BASE_S", 30.0)
    monkeypatch.setattr(settings, "BACKOFF_CAP_S", 30.0)
    item = new_item()
    proxy.reset_after(match=item.call.encode())
    task = asyncio.create_task(driver.run(count(item), deadline_s=60.0))
    await asyncio.to_thread(proxy.wait_fired)
    await driver.close()
    with pytest.raises(OutcomeUnknown):
        await task
    assert is_undone(one_server, item)


@pytest.mark.parametrize("goes_on", [True, False])
def test_closing_goes_on_where_nobody_waits_for_it(
    proxy: FaultProxy, one_server: Server, monkeypatch: pytest.MonkeyPatch, goes_on: bool
) -> None:
    """`wait_for(client.close(), ...)` is a time-out of the caller's; the loop may even end before it is done."""
    monkeypatch.setattr(settings, "CLOSE_FLUSH_S", 0.2 if goes_on else 5.0)
    driver = AsyncDriver(resolve_target(proxy.url, attempt_timeout_s=5.0))
    item = new_item()
    proxy.swallow(match=item.call.encode())

    async def story() -> None:
        task = asyncio.create_task(driver.run(count(item)))
        await asyncio.to_thread(proxy.wait_fired)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(driver.close(), 0.02)
        if goes_on:
            with pytest.raises(OutcomeUnknown):
                await task
            await wait_until_async(lambda: is_undone(one_server, item))

    asyncio.run(story())
    assert is_undone(one_server, item)


async def test_many_readings_share_a_bounded_number_of_connections(one_server: Server) -> None:
    """A thousand tasks do not make a thousand connections."""
    driver = AsyncDriver(resolve_target(f"{one_server.url}?max_connections=5"))
    await driver.run(count())
    assert await all_of(*(driver.run(read()) for _ in range(200))) == [1] * 200
    assert int(one_server.info("clients")["connected_clients"]) <= 6
    await driver.close()


async def test_a_caller_waits_for_a_connection_no_longer_than_its_deadline(proxy: FaultProxy) -> None:
    """All are in use: nothing was sent."""
    driver = AsyncDriver(resolve_target(f"{proxy.url}?max_connections=1", attempt_timeout_s=5.0))
    await driver.run(read())
    proxy.delay(match=b"slow")
    before = requests_of(proxy)
    slow = asyncio.create_task(driver.run(count_all(new_item("slow"), gather=False)))
    await wait_until_async(lambda: requests_of(proxy) - before == 1)
    with pytest.raises(BackendUnavailable) as caught:
        await driver.run(read(), deadline_s=0.05)
    assert caught.value.code == "no_connection"
    proxy.resume()
    await slow
    assert await driver.run(read(), deadline_s=1.0) == 1
    await driver.close()


async def test_a_flow_that_is_cancelled_runs_its_finally(driver: AsyncDriver, proxy: FaultProxy) -> None:
    """And its call is undone like any other."""
    closed: list[str] = []

    def story() -> Any:
        try:
            yield call_of(new_item("slow"))
        finally:
            closed.append("yes")

    proxy.arm(Fault.SWALLOW, match=b"slow")
    task = asyncio.create_task(driver.run(story()))
    await asyncio.to_thread(proxy.wait_fired)
    await cancelled(task)
    assert closed == ["yes"]

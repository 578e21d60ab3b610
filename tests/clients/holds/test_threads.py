"""Blocks that are cancelled, and the threads behind them."""

from __future__ import annotations

import asyncio
import logging
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from allocator import AllocationLost, Allocator, AsyncAllocator, settings
from allocator._engine.leases import renewer
from allocator._engine.leases.registry import RENEWERS
from tests.clients.holds.conftest import charged, in_care
from tests.support import clients
from tests.support.servers import Server
from tests.support.waiting import wait_until, wait_until_async


def threads(name: str) -> list[str]:
    """The renewers' threads whose names begin so."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(f"allocator-{name}")]


# -- cancelling the block ----------------------------------------------------------------------------------------------


@pytest.fixture
async def awaited(one_server: Server, onlooker: Allocator) -> Any:
    """An awaited client."""
    async with AsyncAllocator.from_url(one_server.url, pool="lab") as client:
        yield client


def current() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def test_a_block_may_be_cancelled_when_the_allocation_is_lost(
    awaited: AsyncAllocator, onlooker: Allocator
) -> None:
    """As a time-out does it: the task itself goes on, with `AllocationLost`."""
    told: list[object] = []
    with pytest.raises(AllocationLost) as lost:
        async with awaited.hold({"cpu": 1}, ttl=3, on_lost=told.append, cancel=True) as hold:
            onlooker.release(hold.id)
            await asyncio.Event().wait()
    assert isinstance(lost.value.__cause__, asyncio.CancelledError)
    assert told == [hold]
    assert current().cancelling() == 0


async def test_a_block_is_not_cancelled_unless_that_was_asked_for(awaited: AsyncAllocator, onlooker: Allocator) -> None:
    """It may have to clean up."""
    with pytest.raises(AllocationLost):
        async with awaited.hold({"cpu": 1}, ttl=3) as hold:
            onlooker.release(hold.id)
            await wait_until_async(lambda: hold.lost)
            await asyncio.wait([asyncio.create_task(asyncio.Event().wait())], timeout=0.01)


async def test_somebody_elses_cancellation_goes_on(awaited: AsyncAllocator, onlooker: Allocator) -> None:
    """Also when the allocation was lost in the same moment; what is held is released."""

    async def work(lose: bool) -> None:
        async with awaited.hold({"cpu": 1}, ttl=60, cancel=True) as hold:
            if lose:
                hold._hear()
            current().cancel()
            await asyncio.Event().wait()

    for lose in (False, True):
        task = asyncio.create_task(work(lose))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert charged(onlooker) == "0"


async def test_a_block_that_swallows_the_cancellation_is_told_at_its_end(
    awaited: AsyncAllocator, onlooker: Allocator
) -> None:
    """And no cancellation is left behind."""
    with pytest.raises(AllocationLost):
        async with awaited.hold({"cpu": 1}, ttl=3, cancel=True) as hold:
            onlooker.release(hold.id)
            with pytest.raises(asyncio.CancelledError):
                await asyncio.Event().wait()
    assert current().cancelling() == 0


async def test_a_hold_whose_beginning_is_cancelled_holds_nothing(awaited: AsyncAllocator, onlooker: Allocator) -> None:
    """Sent or not, it is undone."""

    async def work() -> None:
        async with awaited.hold({"cpu": 1}, ttl=60):
            pytest.fail("it was entered")

    task = asyncio.create_task(work())
    await asyncio.wait([task], timeout=0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await awaited.close()
    assert charged(onlooker) == "0"


# -- the threads -------------------------------------------------------------------------------------------------------


async def test_all_holds_of_a_pool_share_their_threads(one_server: Server, onlooker: Allocator) -> None:
    """Of clients of both kinds that were made alike; another pool has its own, so that it cannot hold them up."""
    onlooker.pools.create("shop", {"cpu": 1})
    onlooker.pools.create("library", {"cpu": 4})
    one, two = Allocator.from_url(one_server.url, pool="library"), Allocator.from_url(one_server.url)
    async with AsyncAllocator.from_url(one_server.url, pool="library") as awaited, awaited.hold({"cpu": 1}, ttl=60):
        with one, two, one.hold({"cpu": 1}, ttl=60), two.options(pool="library").hold({"cpu": 1}, ttl=60):
            assert len(threads("renew-library")) == 1
            with two.options(pool="shop").hold({"cpu": 1}, ttl=60):
                assert len(threads("renew-shop")) == 1


def test_the_threads_end_soon_after_the_last_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """And begin anew with the next."""
    monkeypatch.setattr(settings, "HOLD_IDLE_S", 0.02)
    with Allocator.from_url("memory://", pool="idle") as client:
        client.pools.create("idle", {"cpu": 4})
        for _ in range(2):
            with client.hold({"cpu": 1}, ttl=60):
                assert threads("renew-idle")
            wait_until(lambda: not threads("renew-idle") and not threads("losses-idle"))
    assert not [key for key in RENEWERS._renewers if "idle" in str(key)]


@pytest.mark.parametrize("started", [0, 1])
async def test_a_hold_for_which_there_is_no_thread_leaves_nothing_charged(
    kind: str, one_server: Server, onlooker: Allocator, monkeypatch: pytest.MonkeyPatch, started: int
) -> None:
    """Cleaning up does not need what has just failed; the next hold works, with one thread of each kind."""
    pool = f"bare-{kind}-{started}"
    onlooker.pools.create(pool, {"cpu": 4})
    left = [started]

    class Scarce(threading.Thread):
        def start(self) -> None:
            if not left[0]:
                raise RuntimeError("can't start new thread")
            left[0] -= 1
            super().start()

    client = clients.connect(kind, one_server.url, pool=pool)
    with monkeypatch.context() as scarce:
        names = {"Thread": Scarce, "Lock": threading.Lock, "Condition": threading.Condition}
        scarce.setattr(renewer, "threading", SimpleNamespace(**names))
        with pytest.raises(RuntimeError, match="can't start new thread"):
            async with client.hold({"cpu": 4}, ttl=3600):
                pytest.fail("nobody keeps it")
    assert onlooker.pools.usage(pool).allocations == 0
    async with client.hold({"cpu": 4}, ttl=3600):
        assert (len(threads(f"losses-{pool}")), len(threads(f"renew-{pool}"))) == (1, 1)
    await client.close()


async def test_a_client_may_be_closed_within_the_block(kind: str, one_server: Server, onlooker: Allocator) -> None:
    """What it holds is renewed all the same, and released in the background."""
    client = clients.connect(kind, one_server.url)
    async with client.hold({"cpu": 1}, ttl=3) as hold:
        await client.close()
        granted = hold.allocation.deadline_ms
        wait_until(lambda: hold.allocation.deadline_ms != granted, message="a renewal")
    wait_until(lambda: charged(onlooker) == "0")
    wait_until(lambda: not in_care())


async def test_an_interrupted_release_goes_on_in_the_background(
    one_server: Server, onlooker: Allocator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ctrl-C at the wrong moment must not leave the allocation to its deadline."""

    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    client = Allocator.from_url(one_server.url, pool="lab")
    with client, pytest.raises(KeyboardInterrupt), client.hold({"cpu": 1}, ttl=3600):
        monkeypatch.setattr(client._driver, "run", interrupted)
    wait_until(lambda: charged(onlooker) == "0")
    wait_until(lambda: not in_care())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

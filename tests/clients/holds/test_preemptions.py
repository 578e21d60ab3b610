"""Holds that are preempted: both clients, on a real server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from allocator import AllocationLost, Allocator, AsyncAllocator, InvalidRequest, PreemptionPolicy
from tests.support.waiting import wait_until_async

TTL = 1.5


@pytest.fixture
async def rival(onlooker: Allocator) -> AsyncIterator[Callable[..., threading.Thread]]:
    """Somebody of priority 1 who waits for CPUs, and preempts; its request ends with the test."""
    started: list[threading.Thread] = []

    def preempt(cpu: int, wait: float = 30) -> threading.Thread:
        def run() -> None:
            granted.append(onlooker.allocate({"cpu": cpu}, ttl=60, id="rival", wait=wait, priority=1, preempt=True))

        granted: list[object] = []
        started.append(threading.Thread(target=run))
        started[-1].granted = granted  # type: ignore[attr-defined]
        started[-1].start()
        return started[-1]

    yield preempt
    for thread in started:
        await asyncio.to_thread(thread.join)


def permit(onlooker: Allocator, grace: float) -> None:
    """Permit preemption in the pool."""
    onlooker.pools.update("lab", preemption=PreemptionPolicy(True, grace=grace))


async def test_a_hold_hears_of_it_once_and_its_end_frees_the_room(
    holder: AsyncAllocator, onlooker: Allocator, rival: Callable[..., Any]
) -> None:
    """It stays held within the grace, is renewed no more, and the waiter is granted at the end of the block."""
    permit(onlooker, 60)
    heard: list[Any] = []
    async with holder.hold({"cpu": 4}, ttl=TTL, id="a", on_preempt=heard.append) as hold:
        assert hold.preempted is None
        thread = rival(2)
        await wait_until_async(lambda: bool(heard))
        assert heard == [hold]
        assert hold.preempted is not None
        assert hold.preempted.by == "rival"
        assert hold.deadline == hold.preempted.deadline
        assert not hold.lost
        assert 40 < hold.remaining < 60
        record = onlooker.get("a")
        assert record is not None
        assert record.deadline_ms == hold.preempted.deadline_ms
        assert onlooker.get("rival") is None
    await asyncio.to_thread(thread.join)
    assert len(thread.granted) == 1
    assert heard == [hold]


async def test_after_the_grace_less_the_margin_it_is_lost(
    holder: AsyncAllocator, onlooker: Allocator, rival: Callable[..., Any]
) -> None:
    """By its own clock, before the store gives the room away; the block says so at its end."""
    permit(onlooker, 1)
    told: list[Any] = []
    with pytest.raises(AllocationLost, match="preempted by 'rival'") as lost:
        async with holder.hold({"cpu": 4}, ttl=TTL, on_lost=told.append) as hold:
            rival(2)
            await wait_until_async(lambda: bool(told))
            assert hold.lost
            assert hold.remaining == 0.0
    assert lost.value.code == "preempted"


async def test_without_a_grace_it_is_gone(
    holder: AsyncAllocator, onlooker: Allocator, rival: Callable[..., Any]
) -> None:
    """The next renewal says so."""
    permit(onlooker, 0)
    with pytest.raises(AllocationLost) as lost:
        async with holder.hold({"cpu": 4}, ttl=TTL) as hold:
            rival(2)
            await wait_until_async(lambda: hold.lost)
    assert lost.value.code == "gone"


async def test_an_error_in_on_preempt_does_not_harm_the_hold(
    holder: AsyncAllocator, onlooker: Allocator, rival: Callable[..., Any], kind: str
) -> None:
    """It is logged, or goes to the loop's handler; the hold stays held."""
    permit(onlooker, 60)
    heard: list[Any] = []
    if kind != "blocking":
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)

    def fail(hold: Any) -> None:
        heard.append(hold)
        raise ZeroDivisionError

    async with holder.hold({"cpu": 4}, ttl=TTL, on_preempt=fail) as hold:
        rival(2)
        await wait_until_async(lambda: bool(heard))
        assert not hold.lost


async def test_what_cannot_be_called_is_refused(holder: AsyncAllocator) -> None:
    """By the name of the argument."""

    async def awaited(_hold: object) -> None: ...

    with pytest.raises(InvalidRequest) as refused:
        holder.hold({"cpu": 1}, ttl=60, on_preempt="x")  # type: ignore[arg-type]
    assert refused.value.field == "on_preempt"
    del awaited

"""`Cache`: one reading for all who wait, none older than the last event, and a pause between two."""

from __future__ import annotations

import asyncio

import pytest

from allocator.apps.dashboard.bounds import READINGS_KEPT
from allocator.apps.dashboard.cache import Cache


class Source:
    """What is read, and how often it was."""

    def __init__(self) -> None:
        self.reads = 0
        self.value = 0
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def read(self) -> int:
        """The value as it is when the reading begins."""
        self.reads += 1
        self.begun.set()
        found = self.value
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return found


async def turn() -> None:
    """Let the loop turn once."""
    loop = asyncio.get_running_loop()
    turned: asyncio.Future[None] = loop.create_future()
    loop.call_soon(turned.set_result, None)
    await turned


async def test_all_who_ask_at_once_share_a_reading() -> None:
    """One that is cancelled does not take it from the others."""
    cache, source = Cache(), Source()
    source.gate.clear()
    tasks = [asyncio.create_task(cache.get("lab", "x", source.read, pause_s=0, keep_s=60)) for _ in range(5)]
    await source.begun.wait()
    tasks[0].cancel()
    source.gate.set()
    assert [await task for task in tasks[1:]] == [0] * 4
    assert source.reads == 1


async def test_an_event_puts_out_of_date_what_began_before_it() -> None:
    """Also a reading that is still in progress: who asks after the event gets a later one."""
    cache, source = Cache(), Source()
    source.gate.clear()
    early = asyncio.create_task(cache.get("lab", "x", source.read, pause_s=0, keep_s=60))
    await source.begun.wait()
    source.value = 1
    cache.invalidate("lab")
    late = [asyncio.create_task(cache.get("lab", "x", source.read, pause_s=0, keep_s=60)) for _ in range(3)]
    source.gate.set()
    assert (await early, [await task for task in late]) == (0, [1, 1, 1])
    assert source.reads == 2
    cache.invalidate("other")
    assert await cache.get("lab", "x", source.read, pause_s=0, keep_s=60) == 1
    assert source.reads == 2


async def test_events_cannot_make_readings_faster_than_their_pause() -> None:
    """Ten events, each followed by a question: two readings, a pause apart."""
    cache, source = Cache(), Source()
    loop = asyncio.get_running_loop()
    await cache.get("lab", "x", source.read, pause_s=0, keep_s=60)
    began = loop.time()
    tasks = []
    for _ in range(10):
        cache.invalidate("lab")
        tasks.append(asyncio.create_task(cache.get("lab", "x", source.read, pause_s=0.05, keep_s=60)))
        await turn()
    for task in tasks:
        await task
    assert source.reads == 2
    assert loop.time() - began >= 0.04


async def test_an_error_is_that_of_all_who_wait_and_is_not_kept() -> None:
    """The next one who asks tries again."""
    cache, source = Cache(), Source()
    source.error = OSError("away")
    with pytest.raises(OSError, match="away"):
        await cache.get("lab", "x", source.read, pause_s=0, keep_s=60)
    source.error = None
    assert await cache.get("lab", "x", source.read, pause_s=0, keep_s=60) == 0


async def test_what_is_kept_is_bounded() -> None:
    """Of more kinds, the oldest is forgotten."""
    cache, source = Cache(), Source()
    for number in range(READINGS_KEPT + 5):
        await cache.get("lab", str(number), source.read, pause_s=0, keep_s=60)
    assert len(cache._readings) == READINGS_KEPT
    await cache.close()

"""Workers on one pool while its servers change their roles: what they believe to hold is never more than there is."""

from __future__ import annotations

import asyncio
import threading
import time
from types import TracebackType
from typing import Final, Self

from allocator import AllocationLost, AsyncAllocator, BackendError, Denial, Recovering
from tests.support import clients
from tests.support.waiting import wait_until

__all__ = ["CAPACITY", "GRACE_S", "TTL_S", "Crowd", "connect", "live_a_life"]

CAPACITY: Final = 3
WORKERS: Final = 5
TTL_S: Final = 2.0
GRACE_S: Final = TTL_S + 2.0
"""A time to live, and what docs/reliability.md says to add where a primary may live on that has been replaced."""

ALLOWED: Final = (BackendError, Recovering, AllocationLost)
"""What a caller may be told while the servers change: *down*, *not now*, *yours is gone*.  Nothing else."""


def connect(kind: str, url: str, pool: str) -> AsyncAllocator:
    """A client that gives up an attempt soon."""
    return clients.connect(kind, url, pool=pool, attempt_timeout=0.5, timeout=4.0)


async def live_a_life(client: AsyncAllocator) -> None:
    """Everything that a holder does, and an audit."""
    await client.pools.create("lab", {"cpu": 4})
    one = await client.allocate({"cpu": 1}, ttl=60)
    assert await client.renew(one)
    assert (await client.resize(one, {"cpu": 2})).resources["cpu"] == 2000
    async with client.hold({"cpu": 1}, ttl=60) as hold:
        assert not hold.lost
        assert (await client.pools.usage()).resources["cpu"].available == 1000
    assert await client.release(one)
    assert await client.maintenance.audit()
    await client.close()


class Crowd:
    """More workers than fit; each takes one unit, renews it, gives it back, and begins again."""

    def __init__(self, kind: str, url: str, pool: str) -> None:
        """`with` sets them to work, each in a thread of its own, with a client of this kind."""
        self._kind, self._url, self._pool = kind, url, pool
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._beliefs: dict[int, float] = {}
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(WORKERS)]
        self.cycles = 0
        self.most = 0
        self.told: set[str] = set()
        self.wrong: list[BaseException] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        try:
            self.wait_for_more()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()
        if error is None:
            assert not self.wrong, self.wrong
            assert self.most <= CAPACITY, f"{self.most} workers believed to hold one of {CAPACITY}"

    def _end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, seconds: float = 15.0) -> float:
        """Wait until every place has been given out some times from now on; returns the seconds that it took."""
        began, enough = time.monotonic(), self.cycles + 10 * CAPACITY
        wait_until(lambda: self.cycles >= enough or self.wrong, timeout_s=seconds, message="work goes on")
        return time.monotonic() - began

    def wait_for_recovery(self) -> None:
        """Wait until a worker was told that the pool recovers, as it does on another server, and all work again."""
        wait_until(lambda: "Recovering" in self.told, message="another server is noticed")
        self.wait_for_more()

    # -- a worker ----------------------------------------------------------------------------------------------------

    def _run(self, number: int) -> None:
        try:
            asyncio.run(self._work(number))
        except BaseException as error:  # noqa: BLE001 - it is told by the thread that waits
            self.wrong.append(error)

    async def _work(self, number: int) -> None:
        client = connect(self._kind, self._url, self._pool)
        while not self._over.is_set():
            try:
                await self._cycle(client, number)
            except ALLOWED as error:
                self.told.add(type(error).__name__)
                self._believe(number, 0.0)
        await client.close()

    async def _cycle(self, client: AsyncAllocator, number: int) -> None:
        asked = time.monotonic()
        held = await client.try_allocate({"cpu": 1}, ttl=TTL_S)
        if isinstance(held, Denial):
            return
        self._believe(number, asked + TTL_S)
        asked = time.monotonic()
        if await client.renew(held):
            self._believe(number, asked + TTL_S)
        self._believe(number, 0.0)
        await client.release(held)
        with self._lock:
            self.cycles += 1

    def _believe(self, number: int, until: float) -> None:
        """From now on this worker believes to hold one until then; count who does."""
        with self._lock:
            self._beliefs[number] = until
            now = time.monotonic()
            self.most = max(self.most, sum(until > now for until in self._beliefs.values()))

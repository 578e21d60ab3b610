"""`Cache`: readings that all requests share, each made by one of them at a time, and no more often than need be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from allocator.apps.dashboard.bounds import READINGS_KEPT

__all__ = ["Cache"]

T = TypeVar("T")

_NOT_BEGUN: Final = -1


class _Reading:
    """One reading: in progress, or made.  `version` is that of the pool when it began."""

    def __init__(self) -> None:
        self.version = _NOT_BEGUN
        self.began_s = 0.0
        self.took_s = 0.0
        self.task: asyncio.Task[Any]


class Cache:
    """Readings by pool and kind.  An event puts those out of date that began before it.

    A reading is never older than the last event of its pool that was known when it was asked for.  However many ask and
    however fast events come, two readings of one kind begin at least a pause apart.
    """

    def __init__(self) -> None:
        self._readings: dict[tuple[str, str], _Reading] = {}
        self._versions: dict[str, int] = {}

    def invalidate(self, pool: str) -> None:
        """The pool has changed: what began before counts no more."""
        self._versions[pool] = self._versions.get(pool, 0) + 1

    async def get(
        self,
        pool: str,
        kind: str,
        make: Callable[[], Awaitable[T]],
        *,
        pause_s: float,
        keep_s: float,
        share: int = 0,
    ) -> T:
        """The reading of this kind, made if there is none that counts.  Its error is that of all who wait for it.

        Args:
            pool: The pool.
            kind: The kind of the reading, with its arguments.
            make: Makes one.
            pause_s: Seconds between the beginnings of two of them.
            keep_s: Seconds for which one counts while nothing happens.
            share: Both are at least so many times the time that the last one took.
        """
        key = (pool, kind)
        found = self._readings.get(key)
        if found is None or not self._counts(pool, found, max(keep_s, share * found.took_s)):
            found = self._begin(key, make, pause_s, share, found)
        return await asyncio.shield(found.task)

    def _counts(self, pool: str, reading: _Reading, keep_s: float) -> bool:
        if reading.version == _NOT_BEGUN:
            return not reading.task.done()
        if reading.version != self._versions.get(pool, 0):
            return False
        if not reading.task.done():
            return True
        failed = reading.task.cancelled() or reading.task.exception() is not None
        return not failed and asyncio.get_running_loop().time() - reading.began_s < keep_s

    def _begin(
        self,
        key: tuple[str, str],
        make: Callable[[], Awaitable[T]],
        pause_s: float,
        share: int,
        before: _Reading | None,
    ) -> _Reading:
        reading = _Reading()
        loop = asyncio.get_running_loop()

        async def read() -> T:
            if before is not None:
                await asyncio.wait([before.task])
                since_s = loop.time() - before.began_s
                await asyncio.sleep(max(0.0, max(pause_s, share * before.took_s) - since_s))
            reading.version, reading.began_s = self._versions.get(key[0], 0), loop.time()
            try:
                return await make()
            finally:
                reading.took_s = loop.time() - reading.began_s

        reading.task = loop.create_task(read())
        reading.task.add_done_callback(_retrieve)
        self._readings.pop(key, None)
        self._readings[key] = reading
        self._forget()
        return reading

    def _forget(self) -> None:
        """Drop the oldest readings beyond the bound."""
        while len(self._readings) > READINGS_KEPT:
            del self._readings[next(iter(self._readings))]

    async def close(self) -> None:
        """End the readings that are in progress."""
        tasks = [one.task for one in self._readings.values() if not one.task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Look at the error of a reading for which nobody waits any more."""
    if not task.cancelled():
        task.exception()

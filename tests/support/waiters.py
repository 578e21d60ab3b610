"""Calls that wait in line, begun beside a test: in a thread, or as a task of its loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

from allocator import Allocator, AsyncAllocator
from tests.support.clients import Awaited
from tests.support.waiting import wait_until, wait_until_async

WAIT_S: Final = 60.0
"""Seconds that a call waits which a test expects to be granted: beyond what any test takes."""


@contextmanager
def begun(client: Allocator, *request: Any, **options: Any) -> Iterator[Future[Any]]:
    """`allocate` in a thread, in line by now; it is taken out of the line at the end."""
    before = client.pools.usage().waiting
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: client.allocate(*request, **{"ttl": 60, "wait": WAIT_S, **options}))
        try:
            wait_until(lambda: waiting.done() or client.pools.usage().waiting > before, message="a place in line")
            yield waiting
        finally:
            for one in client.queue.list() if not waiting.done() else ():
                client.queue.withdraw(one.id)


class Line:
    """Calls of a client of either kind that wait at the same time."""

    def __init__(self, client: AsyncAllocator) -> None:
        self._client = client
        self._begun: list[asyncio.Future[Any]] = []

    def start(self, call: Callable[[AsyncAllocator], Awaitable[Any]]) -> asyncio.Future[Any]:
        """Begin a call; a blocking one in a thread with a loop of its own."""
        client = self._client
        if isinstance(client, Awaited):
            made: Any = asyncio.to_thread(lambda: asyncio.run(_as_coroutine(call(client))))
        else:
            made = _as_coroutine(call(client))
        future: asyncio.Future[Any] = asyncio.ensure_future(made)
        self._begun.append(future)
        return future

    async def join(self, identity: str, request: Any = None, **options: Any) -> asyncio.Future[Any]:
        """Begin an `allocate` of this id, and return once it is in line."""
        wanted = {"ttl": 60, "wait": WAIT_S, **options}
        begun = self.start(lambda client: client.allocate(request or {"cpu": 1}, id=identity, **wanted))
        await self.has(identity, begun)
        return begun

    async def has(self, identity: str, begun: asyncio.Future[Any] | None = None) -> None:
        """Wait until it is in line, or ended."""

        async def is_there() -> bool:
            return (begun is not None and begun.done()) or identity in await self.ids()

        await wait_until_async(is_there, message=f"{identity} in line")

    async def ids(self) -> list[str]:
        """Who waits, in order."""
        return [one.id for one in await self._client.queue.list()]

    async def close(self) -> None:
        """End what still waits."""
        for one in self._begun:
            if not one.done():
                one.cancel()
        for identity in await self.ids():
            await self._client.queue.withdraw(identity)
        await asyncio.gather(*self._begun, return_exceptions=True)


async def _as_coroutine(made: Awaitable[Any]) -> Any:
    return await made

"""Watches of a pool in the background, by one client of either kind."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from types import TracebackType
from typing import Any, Self

from allocator import Allocator, AllocatorError, AsyncAllocator, Event
from allocator.errors import BackendUnavailable
from tests.support.waiting import wait_until


class Watchers:
    """Several watches, each in a thread or a task; `seen` has the events of each.  The block ends with all of them."""

    def __init__(self, kind: str, url: str, count: int = 1, *, since: str | None = None, **options: Any) -> None:
        self.seen: list[list[Event]] = [[] for _ in range(count)]
        self.errors: list[AllocatorError] = []
        self._since = since
        self._connect: dict[str, Any] = {"pool": "lab", "allow_eviction": True, **options}
        self._url = url
        self._client: Allocator | None = None
        self._stop = threading.Event()
        if kind == "sync":
            client = self._client = Allocator.from_url(url, **self._connect)
            self._threads = [threading.Thread(target=self._watch, args=(client, seen)) for seen in self.seen]
        else:
            self._threads = [threading.Thread(target=lambda: asyncio.run(self._watch_all()))]

    def ids(self) -> list[list[str]]:
        """What each has seen: the ids of the allocations."""
        return [[event.fields.get("id", event.kind) for event in seen] for seen in list(self.seen)]

    def wait_for(self, ids: list[str]) -> None:
        """Wait until each has seen these, and nothing else."""
        wait_until(lambda: all(len(seen) >= len(ids) for seen in self.seen), message=f"all have seen {len(ids)} events")
        assert self.ids() == [ids] * len(self.seen)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        if self._client is not None:
            self._client.close()
        for thread in self._threads:
            thread.join()

    def _watch(self, client: Allocator, seen: list[Event]) -> None:
        try:
            for event in client.events.watch(since=self._since):
                seen.append(event)  # noqa: PERF402 - one by one, as the test looks at them
        except AllocatorError as error:
            self.errors.append(error)

    async def _watch_all(self) -> None:
        client = AsyncAllocator.from_url(self._url, **self._connect)
        tasks = [asyncio.ensure_future(self._watch_async(client, seen)) for seen in self.seen]
        await asyncio.to_thread(self._stop.wait)
        await client.close()
        with contextlib.suppress(BackendUnavailable):
            await asyncio.gather(*tasks)

    async def _watch_async(self, client: AsyncAllocator, seen: list[Event]) -> None:
        try:
            async for event in client.events.watch(since=self._since):
                seen.append(event)  # noqa: PERF401
        except AllocatorError as error:
            self.errors.append(error)

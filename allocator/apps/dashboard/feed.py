"""`Feeds`: the events and the usage of pools, followed once for all the streams that show them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, Final

from allocator import AllocatorError, Event, Usage
from allocator.apps.dashboard import bounds
from allocator.apps.dashboard.documents import same
from allocator.apps.dashboard.problems import encoded
from allocator.apps.dashboard.readings import Readings
from allocator.models.events import MISSED

__all__ = ["ALIVE", "Feed", "Feeds", "Reader", "frame", "of_event", "of_fault"]

_log: Final = logging.getLogger("allocator.dashboard")


def frame(event: str, document: Any, id: str = "") -> bytes:
    """One event of a stream; JSON in ASCII has no line breaks."""
    head = f"id: {id}\nevent: {event}\n" if id else f"event: {event}\n"
    return head.encode("ascii") + b"data: " + encoded(document) + b"\n\n"


ALIVE: Final = frame("alive", {})


def of_event(event: Event) -> bytes:
    """The frame of a change; of one that says that others are missing, too."""
    return frame("missed" if event.kind == MISSED else "change", event.to_dict(), event.id)


def of_fault(pool: str, error: AllocatorError) -> bytes:
    """The frame that says why nothing is known now."""
    return frame("error", {"pool": pool, "code": error.code, "message": str(error)})


class Reader:
    """One stream: the frames that it has not sent yet.  Of the pool's state it keeps the latest only."""

    def __init__(self) -> None:
        self._changes: deque[tuple[str, bytes]] = deque()
        self._state: bytes | None = None
        self._ready = asyncio.Event()
        self.ended = asyncio.Event()
        """Set once it is too far behind, or the server stops."""

    def put_change(self, id: str, frame: bytes) -> None:
        """Add a change; a reader that is too far behind is ended, and holds nothing any more."""
        if self.ended.is_set():
            return
        if len(self._changes) >= bounds.STREAM_FRAMES_MAX:
            self.end()
            return
        self._changes.append((id, frame))
        self._ready.set()

    def put_state(self, frame: bytes) -> None:
        """Replace the state that is still to be sent."""
        self._state = frame
        self._ready.set()

    def take_state(self) -> bytes:
        """The state that is still to be sent, which the caller sends; b"" if there is none."""
        found, self._state = self._state, None
        return found or b""

    def end(self) -> None:
        """End the stream."""
        self._changes.clear()
        self._state = None
        self.ended.set()
        self._ready.set()

    async def frames(self, skip: str = "") -> AsyncGenerator[bytes]:
        """Frames, several joined, until it is ended; with a sign of life where nothing happens.

        Args:
            skip: The first changes up to this event have been sent already.
        """
        while not self.ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(bounds.ALIVE_S):
                    await self._ready.wait()
            self._ready.clear()
            parts: list[bytes] = []
            while self._changes:
                cursor, part = self._changes.popleft()
                if skip and _order(cursor) <= _order(skip):
                    continue
                skip = ""
                parts.append(part)
            if self._state is not None:
                parts.append(self._state)
                self._state = None
            yield b"".join(parts) or ALIVE


def _order(id: str) -> tuple[int, int]:
    ms, _, number = id.partition("-")
    return int(ms), int(number or 0)


class Feed:
    """Follows one pool: one watch of its events, and one reading of its usage at a time, however many streams."""

    def __init__(self, pool: str, readings: Readings) -> None:
        """Prepare; nothing is read."""
        self.pool = pool
        self._readings = readings
        self._readers: set[Reader] = set()
        self._usage: Usage | None = None
        self._fault: AllocatorError | None = None
        self._cursor = ""
        self._changed = asyncio.Event()
        self._begun = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def users(self) -> int:
        """How many streams there are."""
        return len(self._readers)

    def add(self, reader: Reader) -> None:
        """Send a stream what happens from now on, and the state as it is known."""
        self._readers.add(reader)
        if self._fault is not None:
            reader.put_state(of_fault(self.pool, self._fault))
        elif self._usage is not None:
            reader.put_state(frame("usage", self._usage.to_dict()))
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._refresh())]

    def remove(self, reader: Reader) -> None:
        """Forget a stream."""
        self._readers.discard(reader)

    async def begun(self) -> None:
        """Wait until the watch has a beginning: what is stored by then can be read, what comes later is sent."""
        await self._begun.wait()

    async def close(self) -> None:
        """End the watch, and all streams."""
        for reader in self._readers:
            reader.end()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _follow(self) -> None:
        """Send each event to all streams, for ever: also after the pool was away, or was created again."""
        client = self._readings.pools.client(self.pool)
        while True:
            try:
                if not self._cursor:
                    newest = await client.events.list(limit=1)
                    self._cursor = newest[0].id if newest else "0"
                    self._begun.set()
                async with aclosing(client.events.watch(since=self._cursor)) as events:
                    async for event in events:
                        self._take(event)
            except AllocatorError as error:
                self._report(error)
            except Exception as error:  # noqa: BLE001 - a bug must not end what all pages follow
                _log.error("the watch of pool %s failed: %s", self.pool, error, exc_info=error)
            await asyncio.sleep(bounds.AWAY_S)

    def _take(self, event: Event) -> None:
        self._cursor = event.id
        self._readings.changed(self.pool)
        self._changed.set()
        sent = of_event(event)
        for reader in tuple(self._readers):
            reader.put_change(event.id, sent)

    async def _refresh(self) -> None:
        """Read the usage after each change, a few times a second at most; and now and then, as deadlines pass.

        The first time after the watch has begun: no change after it is left out.
        """
        await self._begun.wait()
        while True:
            self._changed.clear()
            pause_s = bounds.IDLE_S
            try:
                self._show(await self._readings.usage(self.pool))
            except AllocatorError as error:
                self._report(error)
                pause_s = bounds.AWAY_S
            except Exception as error:  # noqa: BLE001 - likewise
                _log.error("pool %s is not shown: %s", self.pool, error, exc_info=error)
            await asyncio.sleep(bounds.USAGE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s - bounds.USAGE_S):
                    await self._changed.wait()

    def _show(self, usage: Usage) -> None:
        """Send the usage where it is another than before, or the pool could not be read before."""
        news = self._fault is not None or self._usage is None or not same(usage, self._usage)
        self._usage, self._fault = usage, None
        if news:
            sent = frame("usage", usage.to_dict())
            for reader in tuple(self._readers):
                reader.put_state(sent)

    def _report(self, error: AllocatorError) -> None:
        """Send the error once, until it is another."""
        news = self._fault is None or self._fault.code != error.code
        self._fault = error
        if news:
            sent = of_fault(self.pool, error)
            for reader in tuple(self._readers):
                reader.put_state(sent)


class Feeds:
    """The feeds of the pools that somebody looks at."""

    def __init__(self, readings: Readings) -> None:
        """Prepare; nothing is read."""
        self._readings = readings
        self._feeds: dict[str, Feed] = {}
        self._open = 0
        self.closed = asyncio.Event()

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return self._open

    @contextlib.asynccontextmanager
    async def reader(self, pool: str) -> AsyncGenerator[tuple[Feed, Reader]]:
        """A stream of this pool; the last one ends its feed."""
        feed = self._feeds.get(pool)
        if feed is None:
            feed = self._feeds[pool] = Feed(pool, self._readings)
        reader = Reader()
        feed.add(reader)
        self._open += 1
        try:
            yield feed, reader
        finally:
            self._open -= 1
            feed.remove(reader)
            if not feed.users and self._feeds.get(pool) is feed:
                del self._feeds[pool]
                await feed.close()

    async def close(self) -> None:
        """End all streams at once."""
        self.closed.set()
        for feed in list(self._feeds.values()):
            await feed.close()

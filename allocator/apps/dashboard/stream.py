"""`Stream`: the answer to `/api/v1/stream`: Server-Sent Events for as long as its page is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from http import HTTPStatus

from starlette.types import Message, Receive, Scope, Send

from allocator import AllocatorError
from allocator.apps.dashboard import bounds
from allocator.apps.dashboard.feed import Feed, Feeds, Reader, of_event, of_fault
from allocator.apps.dashboard.problems import Problem
from allocator.apps.dashboard.readings import Readings
from allocator.settings import PAGE_RECORDS_MAX

__all__ = ["Stream"]

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would keep events back
]


class Stream:
    """The state of a pool and its changes, from a cursor on, without an end."""

    def __init__(self, feeds: Feeds, readings: Readings, pool: str, since: str = "") -> None:
        """Prepare.

        Args:
            feeds: The pools that are followed.
            readings: What is read of pools.
            pool: Its name; it is there, or its server is away.
            since: The cursor after which it goes on; "": what happens from now on.
        """
        self._feeds = feeds
        self._client = readings.pools.client(pool)
        self._pool = pool
        self._since = since

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the page is closed, is too far behind, or the server stops."""
        if self._feeds.streams >= bounds.STREAMS_MAX or self._feeds.closed.is_set():
            refused = Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "too_many_streams",
                f"{bounds.STREAMS_MAX} streams are open",
                headers={"Retry-After": str(bounds.STREAMS_RETRY_S)},
            )
            await refused.response()(scope, receive, send)
            return
        async with self._feeds.reader(self._pool) as (feed, reader):
            sender = asyncio.create_task(self._send(feed, reader, send))
            others = [asyncio.create_task(_disconnected(receive)), asyncio.create_task(reader.ended.wait())]
            try:
                await asyncio.wait([sender, *others], return_when=asyncio.FIRST_COMPLETED)
                if reader.ended.is_set():  # a page that still reads is told that this is the end
                    await asyncio.wait([sender], timeout=bounds.USAGE_S)
            finally:
                for task in (sender, *others):
                    task.cancel()
                await asyncio.wait([sender, *others])
            if not sender.cancelled() and (error := sender.exception()) is not None and not isinstance(error, OSError):
                raise error

    async def _send(self, feed: Feed, reader: Reader, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        async with aclosing(self._frames(feed, reader)) as frames:
            async for part in frames:
                if not part:
                    continue
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _frames(self, feed: Feed, reader: Reader) -> AsyncGenerator[bytes]:
        yield b": open\n\n"
        if self._since:
            async with aclosing(self._backlog(feed, reader)) as stored:
                async for part in stored:
                    yield part
        async with aclosing(reader.frames(skip=self._since)) as parts:
            async for part in parts:
                yield part

    async def _backlog(self, feed: Feed, reader: Reader) -> AsyncGenerator[bytes]:
        """What is stored after the cursor, which moves on."""
        sent = 0
        while not reader.ended.is_set() and sent < bounds.BACKLOG_MAX:
            try:
                async with asyncio.timeout(bounds.AWAY_S):
                    await feed.begun()
                found = await self._client.events.since(self._since)
            except TimeoutError:
                yield reader.take_state()
                continue
            except AllocatorError as error:
                yield of_fault(self._pool, error)
                await asyncio.sleep(bounds.AWAY_S)
                continue
            self._since = found[-1].id if found else self._since
            sent += len(found)
            yield b"".join(map(of_event, found))
            if len(found) < PAGE_RECORDS_MAX:
                return


async def _disconnected(receive: Receive) -> None:
    with suppress(OSError):
        while True:
            message: Message = await receive()
            if message["type"] == "http.disconnect":
                return

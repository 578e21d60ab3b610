"""Connections whose other side does not go on: each is closed, so that they cannot use up what is served."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator
from typing import Final

import pytest

from allocator import Allocator, AsyncAllocator
from allocator.apps.dashboard import bounds
from allocator.apps.dashboard.security import Rules
from allocator.apps.dashboard.server import Dashboard, listen, serve
from tests.programs.dashboard.serving import TOKEN
from tests.support.servers import Server

REQUEST: Final = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextlib.asynccontextmanager
async def served(url: str) -> AsyncGenerator[int]:
    """The port of a dashboard on a socket."""
    with Allocator.from_url(url) as scraped:
        dashboard = Dashboard(AsyncAllocator.from_url(url), scraped, Rules(TOKEN), (), "allocator")
        with listen("127.0.0.1", 0) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)  # little is sent that nobody reads
            serving = asyncio.create_task(serve(dashboard, listening))
            try:
                yield listening.getsockname()[1]
            finally:
                serving.cancel()
                await asyncio.wait([serving], timeout=30)


async def until_closed(reader: asyncio.StreamReader) -> None:
    """Read until the other side closes."""
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionError):
            while await reader.read(65_536):
                pass


async def test_headers_that_do_not_arrive_close_the_connection(
    one_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether nothing has come or a part, and also after a first request."""
    monkeypatch.setattr(bounds, "HEADERS_TIMEOUT_S", 0.2)
    async with served(one_server.url) as port:
        for first, sent in ((b"", b""), (b"", b"GET"), (b"", b"GET / HTTP/1.1\r\nHost: local"), (REQUEST, b"GET")):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(writer):
                if first:
                    writer.write(first)
                    await reader.readuntil(b"}")
                writer.write(sent)
                await until_closed(reader)


async def test_headers_byte_by_byte_do_not_hold_a_connection(
    one_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their time counts from the first byte, not from the last."""
    monkeypatch.setattr(bounds, "HEADERS_TIMEOUT_S", 0.2)
    async with served(one_server.url) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            ended = asyncio.create_task(until_closed(reader))
            writer.write(b"GET / HTTP/1.1\r\n")
            while not ended.done():
                writer.write(b"x: y\r\n")
                await asyncio.wait([ended], timeout=0.05)
            await ended


async def test_a_request_that_takes_longer_than_its_headers_may_is_answered(
    one_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream stays open, and says that it is alive."""
    monkeypatch.setattr(bounds, "HEADERS_TIMEOUT_S", 0.1)
    monkeypatch.setattr(bounds, "ALIVE_S", 0.3)
    with Allocator.from_url(one_server.url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 4})
    async with served(one_server.url) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            asked = f"GET /api/v1/stream?pool=lab HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
            writer.write(asked.encode())
            async with asyncio.timeout(30):
                for _ in range(3):
                    await reader.readuntil(b"event: alive")


async def test_a_connection_that_does_not_read_is_closed(one_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much it has asked for: what cannot be sent is kept for a bounded time."""
    monkeypatch.setattr(bounds, "STALLED_S", 0.2)
    async with served(one_server.url) as port:
        with socket.create_connection(("127.0.0.1", port)) as asking:
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            asking.setblocking(False)
            many = b"GET /static/base.css HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1_000
            with pytest.raises(ConnectionError):
                async with asyncio.timeout(30):
                    while True:
                        await asyncio.get_running_loop().sock_sendall(asking, many)

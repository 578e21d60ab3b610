"""A proxy between a client and a real server that loses, delays or repeats exactly the messages that a test names.

It reads whole requests and whole replies, so a fault happens at a known point of the story: before the server has seen
the request, after it has executed it, or both.  What a connection says to introduce itself (HELLO, AUTH, SELECT, CLIENT
and the like) always passes.  It runs on an event loop in a thread of its own, so that any kind of client may use it.

    with FaultProxy(server.socket) as proxy:
        proxy.reset_after(match=b"EVALSHA")     # executed, but the reply is lost
        ...                                     # use a client of proxy.url
        proxy.wait_fired()
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import dataclasses
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Final, Self, TypeVar

from allocator._engine.servers.process import Address
from tests.support.faults import Armed, Fault, Match
from tests.support.resp import HANDSHAKE, LINE_MAX, REPLAYED, command_of, read_frame

__all__ = ["Armed", "Fault", "FaultProxy"]

T = TypeVar("T")

TIMEOUT_S: Final = 60.0
"""Seconds before waiting for a fault, a late reply or the thread gives up."""


@dataclasses.dataclass(frozen=True)
class _Kept:
    """A request that is delivered later, on a connection that introduces itself in the same way."""

    introduction: tuple[bytes, ...]
    request: bytes


class FaultProxy:
    """Listens on a port of 127.0.0.1 and passes on to one server, except where a fault is armed."""

    def __init__(self, upstream: Address) -> None:
        """Describe it; `start` or `with` starts it.

        Args:
            upstream: The server's unix socket, or host and port.
        """
        self.upstream = upstream
        self.port = 0
        self._changed = threading.Condition()
        self._armed: list[Armed] = []
        self._kept: list[_Kept] = []
        self._counts: collections.Counter[str] = collections.Counter()
        self._refusing = False
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._resumed = asyncio.Event()
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen."""
        listening: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listening)), name="fault-proxy", daemon=True
        )
        self._thread.start()
        listening.result(TIMEOUT_S)
        return self

    async def _serve(self, listening: concurrent.futures.Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=LINE_MAX)
        self.port = server.sockets[0].getsockname()[1]
        listening.set_result(None)
        await self._stop.wait()
        server.close()
        for _ in range(3):  # what was being accepted becomes a task
            turn = self._loop.create_future()
            self._loop.call_soon(turn.set_result, None)
            await turn
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection; a task that is cancelled before its first step closes it, too."""
        connection = _Connection(self, reader, writer)
        task = asyncio.create_task(self._serve_one(connection))
        self._tasks.add(task)
        self._connections.add(connection)

        def ended(task: asyncio.Task[None]) -> None:
            connection.reset()
            self._connections.discard(connection)
            self._tasks.discard(task)

        task.add_done_callback(ended)

    async def _serve_one(self, connection: _Connection) -> None:
        if not self._refusing:
            self.count("connections")
            with contextlib.suppress(asyncio.CancelledError):  # by `close`, and by nobody else
                await connection.run()

    def close(self) -> None:
        """Reset every connection and stop listening.  Repeating is harmless."""
        if self._thread is not None and self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(TIMEOUT_S)
            assert not self._thread.is_alive(), "the proxy's thread did not end"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port for a client."""
        return "127.0.0.1", self.port

    @property
    def url(self) -> str:
        """The URL for a client."""
        return f"redis://127.0.0.1:{self.port}/0"

    # -- faults --------------------------------------------------------------------------------------------------------

    def arm(self, fault: Fault, *, match: Match = None, times: int = 1, delay_s: float | None = None) -> Armed:
        """Let the fault happen to the next requests that match; those armed first are asked first.

        Args:
            fault: What happens.
            match: To which requests.
            times: To how many of them.
            delay_s: For `DELAY`: seconds, or None for "until `resume`".
        """
        armed = Armed(fault, match, times, delay_s)
        with self._changed:
            self._armed.append(armed)
        return armed

    def reset_before(self, *, match: Match = None, times: int = 1) -> Armed:
        """Reset the connection before the server has seen the request."""
        return self.arm(Fault.RESET_BEFORE, match=match, times=times)

    def reset_after(self, *, match: Match = None, times: int = 1) -> Armed:
        """Reset the connection after the server has executed the request."""
        return self.arm(Fault.RESET_AFTER, match=match, times=times)

    def swallow(self, *, match: Match = None, times: int = 1) -> Armed:
        """Let the server execute the request and drop its reply; the client times out."""
        return self.arm(Fault.SWALLOW, match=match, times=times)

    def hold(self, *, match: Match = None, times: int = 1, reset: bool = False) -> Armed:
        """Keep the request for `release`; the client times out, or with `reset` sees its connection end at once."""
        return self.arm(Fault.HOLD_RESET if reset else Fault.HOLD, match=match, times=times)

    def duplicate(self, *, match: Match = None, times: int = 1) -> Armed:
        """Pass request and reply, and keep a copy of the request for `release`."""
        return self.arm(Fault.DUPLICATE, match=match, times=times)

    def delay(self, delay_s: float | None = None, *, match: Match = None, times: int = 1) -> Armed:
        """Let the server execute the request and keep its reply for some seconds, or until `resume`."""
        return self.arm(Fault.DELAY, match=match, times=times, delay_s=delay_s)

    def clear(self) -> None:
        """Disarm everything and forget what is kept."""
        with self._changed:
            self._armed.clear()
            self._kept.clear()

    def down(self) -> None:
        """Reset every connection, and each new one at once, until `up`."""
        self._refusing = True
        self.drop_connections()

    def up(self) -> None:
        """Serve new connections again."""
        self._refusing = False

    def drop_connections(self) -> None:
        """Reset every connection there is."""
        self._do(self._reset_all())

    async def _reset_all(self) -> None:
        for connection in list(self._connections):
            connection.reset()

    def resume(self) -> None:
        """Pass the replies that are being delayed without a time."""

        async def wake() -> None:
            self._resumed.set()
            self._resumed = asyncio.Event()

        self._do(wake())

    def release(self) -> list[bytes]:
        """Deliver what is kept, in order, each on a connection of its own, and return the server's raw replies."""
        with self._changed:
            kept, self._kept = self._kept, []
        return [self._do(self._deliver(one)) for one in kept]

    async def _deliver(self, kept: _Kept) -> bytes:
        reader, writer = await self.connect_upstream()
        try:
            reply = b""
            for request in (*kept.introduction, kept.request):
                writer.write(request)
                while (reply := await read_frame(reader))[:1] == b">":
                    pass
            return reply
        finally:
            writer.transport.abort()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the proxy's loop, from another thread."""
        assert self._loop is not None, "not started"
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT_S)

    # -- what happened -------------------------------------------------------------------------------------------------

    @property
    def counts(self) -> dict[str, int]:
        """How many connections, requests (without introductions) and faults of each kind there were."""
        with self._changed:
            return dict(self._counts)

    @property
    def fired(self) -> bool:
        """Whether every fault that was armed has happened as often as it should."""
        with self._changed:
            return all(armed.done for armed in self._armed)

    def wait_fired(self, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until every fault that was armed has happened as often as it should.

        Raises:
            AssertionError: One had not after `timeout_s` seconds.
        """
        with self._changed:
            done = self._changed.wait_for(lambda: all(armed.done for armed in self._armed), timeout_s)
            assert done, f"not all happened within {timeout_s:g} s: {self._armed}"

    # -- for the connections -------------------------------------------------------------------------------------------

    async def connect_upstream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the server."""
        if isinstance(self.upstream, str):
            return await asyncio.open_unix_connection(self.upstream, limit=LINE_MAX)
        return await asyncio.open_connection(*self.upstream, limit=LINE_MAX)

    def take(self, request: bytes) -> Armed | None:
        """The fault that is to happen to this request, if any."""
        with self._changed:
            self._counts["requests"] += 1
            for armed in self._armed:
                if armed.matches(request):
                    armed.taken += 1
                    return armed
        return None

    def keep(self, introduction: list[bytes], request: bytes) -> None:
        """Keep a request for `release`."""
        with self._changed:
            self._kept.append(_Kept(tuple(introduction), request))

    def count(self, what: str) -> None:
        """Count one more of these."""
        with self._changed:
            self._counts[what] += 1

    def fire(self, armed: Armed) -> None:
        """Note that the fault has happened once more."""
        with self._changed:
            armed.fired += 1
            self._counts[armed.fault] += 1
            self._changed.notify_all()

    async def pass_time(self, delay_s: float | None) -> None:
        """Wait for some seconds, or for `resume`."""
        resumed = self._resumed
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(resumed.wait() if delay_s is None else asyncio.Event().wait(), delay_s)


class _Connection:
    """One client's connection and the one to the server that belongs to it."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self._introduction: list[bytes] = []
        self._awaited: collections.deque[Armed | None] = collections.deque()

    async def run(self) -> None:
        """Pass requests and replies until either side ends, or a fault does."""
        try:
            reader, writer = await self._proxy.connect_upstream()
        except OSError:
            return
        pumps = [asyncio.create_task(self._pass_requests(writer)), asyncio.create_task(self._pass_replies(reader))]
        for pump in pumps:
            pump.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # an end is no news
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            writer.transport.abort()  # without awaiting: `close` may cancel us at any moment
            for pump in pumps:
                pump.cancel()

    def reset(self) -> None:
        """End the client's connection with a RST, whatever is still unsent."""
        with contextlib.suppress(OSError):
            plain: socket.socket = self._writer.get_extra_info("socket")
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def _pass_requests(self, upstream: asyncio.StreamWriter) -> None:
        while True:
            request = await read_frame(self._reader)
            command = command_of(request)
            armed = None if command in HANDSHAKE else self._proxy.take(request)
            if command in REPLAYED:
                self._introduction.append(request)
            fault = armed.fault if armed else None
            if fault in (Fault.HOLD, Fault.HOLD_RESET, Fault.DUPLICATE):
                self._proxy.keep(self._introduction, request)
            if armed and fault in (Fault.RESET_BEFORE, Fault.HOLD, Fault.HOLD_RESET):
                self._proxy.fire(armed)  # noted before the client can see it
                if fault is not Fault.HOLD:
                    self.reset()
                continue
            self._awaited.append(armed)
            upstream.write(request)
            await upstream.drain()

    async def _pass_replies(self, upstream: asyncio.StreamReader) -> None:
        while True:
            reply = await read_frame(upstream)
            unasked = reply[:1] == b">" or not self._awaited
            armed = None if unasked else self._awaited.popleft()
            fault = armed.fault if armed else None
            if armed:
                self._proxy.fire(armed)
            if armed and fault is Fault.DELAY:
                await self._proxy.pass_time(armed.delay_s)
            if fault is Fault.RESET_AFTER:
                self.reset()
            elif fault is not Fault.SWALLOW:
                self._writer.write(reply)
                await self._writer.drain()

"""Connections of our own to one server, awaited: the twin of `connections`, for one event loop.

The connections have no time-outs of their own: whoever awaits something here sets one, for a whole exchange at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import select
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from redis.exceptions import ResponseError

from allocator import settings
from allocator._engine.protocol.resp import pack_command
from allocator._engine.protocol.scripts import Argument
from allocator._engine.transport import failures
from allocator._engine.transport.access_check import Checked
from allocator._engine.transport.connections import Connection, superseded
from allocator._engine.transport.eviction_check import EvictionCheck
from allocator._engine.transport.failures import AttemptFailure
from allocator.errors import BackendUnavailable

__all__ = [
    "AsyncConnection",
    "AsyncConnectionPool",
    "InProcessConnection",
    "RedisConnection",
    "send_once_async",
    "server_check_async",
]


class AsyncConnection(Protocol):
    """A connection."""

    async def connect(self) -> None: ...
    async def exchange(self, packed: bytes) -> Any: ...
    async def is_silent(self) -> bool: ...
    async def close(self) -> None: ...


class RedisConnection:
    """A connection of redis-py's asyncio side."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._can_read = getattr(connection, "can_read", None) or connection.can_read_destructive  # before 8.0

    async def connect(self) -> None:
        await self._connection.connect()

    async def exchange(self, packed: bytes) -> Any:
        connection = self._connection
        await connection.send_packed_command((packed,), False)
        return await connection.read_response()

    async def is_silent(self) -> bool:
        # Not all of it is known to the stream: a reset is no end of file there, and what came in since the loop last
        # looked at its sockets has not been read.  redis-py has no method that tells.
        writer = self._connection._writer  # noqa: SLF001
        if writer is None or writer.is_closing() or await self._can_read():
            return False
        return not _has_news(writer.get_extra_info("socket"))

    async def close(self) -> None:
        await self._connection.disconnect(nowait=True)


class InProcessConnection:
    """A connection to the in-process store: nothing is awaited there, so the blocking one serves as it is."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def connect(self) -> None:
        self._connection.connect()

    async def exchange(self, packed: bytes) -> Any:
        self._connection.send_packed_command((packed,), False)
        return self._connection.read_response()

    async def is_silent(self) -> bool:
        return not self._connection.can_read()

    async def close(self) -> None:
        self._connection.disconnect()


class AsyncConnectionPool:
    """The connections of one event loop to one server."""

    def __init__(
        self,
        make: Callable[[], Awaitable[AsyncConnection]],
        *,
        address: str,
        max_connections: int = settings.CONNECTIONS_MAX,
        attempt_timeout_s: float,
        check_server: Callable[[AsyncConnection], Awaitable[None]] | None = None,
        on_connect: Callable[[AsyncConnection], Awaitable[None]] | None = None,
    ) -> None:
        """Describe them; none is made yet.

        Args:
            make: Makes a connection, not yet connected.
            where: The server, for messages; without a password.
            most: Connections at a time.
            attempt_timeout_s: Seconds that connecting may take, the handshake included.
            admit: Looks at the first connection once, and raises if this server must not be used.
            greet: Looks at each new connection, and raises if it leads to the wrong server.
        """
        self.address = address
        self.confirmed = math.inf
        """The last instant of `time.monotonic` at which somebody said that this is the primary; nobody has to here."""
        self._make = make
        self._max_connections = max_connections
        self._attempt_timeout_s = attempt_timeout_s
        self._check_server = check_server
        self._server_checked = check_server is None
        self._on_connect = on_connect
        self.checked = Checked()
        self._idle: list[AsyncConnection] = []
        self._made = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False
        self._superseded = False

    async def acquire(self, until: float) -> AsyncConnection:
        """Borrow a connection that is connected and silent.

        Args:
            until: Wait no longer than this instant of `time.monotonic`.

        Raises:
            Fault: There is none to be had; nothing was sent.
        """
        while True:
            self._check_superseded()
            if self._idle:
                connection = self._idle.pop()
                try:
                    silent = await _is_silent(connection)
                except BaseException:  # cancelled: its place must not be lost, and what was half read is of no use
                    await self.discard(connection)
                    raise
                if silent:
                    return connection
                await self.discard(connection)
                await self.close_idle()  # what ended one connection has, as a rule, ended the others
            elif self._made < self._max_connections:
                self._made += 1
                return await self._open(until)
            else:
                await self._turn(until)

    async def release(self, connection: AsyncConnection) -> None:
        """Return a connection whose last reply has been read whole."""
        self._idle.append(connection)
        if self._waiting:
            self._wake()
        if self._closed:
            await self.close_idle()

    async def discard(self, connection: AsyncConnection) -> None:
        """Return a connection that is of no more use: a reply may still be under way on it."""
        self.checked.forget(connection)
        self._made -= 1
        self._wake()
        with contextlib.suppress(Exception):
            await connection.close()

    async def close_idle(self) -> None:
        """Close the idle connections; the next call makes a new one."""
        while self._idle:
            await self.discard(self._idle.pop())

    async def close(self) -> None:
        """Close the idle connections, and each one in use when it comes back."""
        self._closed = True
        await self.close_idle()

    async def supersede(self) -> None:
        """Another server has taken this one's place: close, and have whoever waits for a connection go there."""
        self._superseded = True
        while self._waiting:
            self._wake()
        await self.close()

    def _check_superseded(self) -> None:
        if self._superseded:
            raise superseded(self.address)

    async def _open(self, until: float) -> AsyncConnection:
        connection: AsyncConnection | None = None
        try:
            connection = await self._make()
            async with asyncio.timeout(min(self._attempt_timeout_s, max(until - time.monotonic(), 0.0))):
                await connection.connect()
                if self._on_connect is not None:
                    await self._on_connect(connection)
                if not self._server_checked and self._check_server is not None:
                    await self._check_server(connection)
                    self._server_checked = True
            self._check_superseded()  # connecting takes its time
        except BaseException as error:
            if connection is not None:
                await self.discard(connection)
            else:
                self._made -= 1
                self._wake()
            if isinstance(error, Exception):
                raise failures.connection_failure(self.address, error) from error
            raise
        return connection

    async def _turn(self, until: float) -> None:
        """Wait until a connection comes back."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(max(until - time.monotonic(), 0.0)):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._wake()  # it was this one's turn, which goes to the next
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                text = f"all {self._max_connections} connections to {self.address} are in use"
                raise AttemptFailure(BackendUnavailable(text, code="no_connection")) from error
            raise

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return


def _has_news(socket: Any) -> bool:
    """Whether the system has something for an idle socket: data, its end, or an error."""
    if socket is None or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(socket.fileno(), select.POLLIN)
    return bool(poll.poll(0))


async def _is_silent(connection: AsyncConnection) -> bool:
    """Whether an idle connection is still open and nothing waits to be read on it."""
    try:
        return await connection.is_silent()
    except Exception:  # noqa: BLE001 - whatever is wrong with it, another will do
        return False


async def send_once_async(
    connections: AsyncConnectionPool, words: tuple[Argument, ...], until: float, seconds: float
) -> Any:
    """Send one command that changes nothing, once, and return its reply; wait no longer than so many seconds.

    Raises:
        Fault: There was none; what it means is the same whether it was sent or not.
    """
    connection = await connections.acquire(until)
    try:
        async with asyncio.timeout(seconds):
            reply = await connection.exchange(pack_command(words))
    except BaseException as error:
        if isinstance(error, ResponseError):
            await connections.release(connection)
        else:
            await connections.discard(connection)
        if isinstance(error, Exception):
            raise failures.connection_failure(connections.address, error) from error
        raise
    await connections.release(connection)
    return reply


def server_check_async(
    eviction_check: EvictionCheck, where: str
) -> Callable[[AsyncConnection], Awaitable[None]] | None:
    """What looks at a server's first connection, if there is anything to look at."""

    async def check_server(connection: AsyncConnection) -> None:
        reply: object
        try:
            reply = await connection.exchange(pack_command(eviction_check.COMMAND))
        except ResponseError as error:
            reply = error
        eviction_check.check(where, reply)

    return check_server if eviction_check.needed else None

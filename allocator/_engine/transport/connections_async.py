"""Connection pool for one server, asyncio: the counterpart of `connections`, for one event loop.

The connections have no timeouts: the caller sets one for each whole exchange.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import ResponseError

from allocator import settings
from allocator._engine.protocol.resp import pack_command
from allocator._engine.protocol.scripts import Argument
from allocator._engine.transport import failures
from allocator._engine.transport.access_check import Checked
from allocator._engine.transport.connection import AsyncConnection, RedisConnection
from allocator._engine.transport.failures import AttemptFailure
from allocator._engine.transport.protocol_probe import is_worth_probing, probe
from allocator._engine.transport.target import EvictionCheck
from allocator.errors import BackendUnavailable

__all__ = ["AsyncConnectionPool", "send_once_async", "server_check_async"]


class AsyncConnectionPool:
    """The connections of one event loop to one server."""

    def __init__(
        self,
        make: Callable[..., Awaitable[AsyncConnection]],
        *,
        address: str,
        max_connections: int = settings.CONNECTIONS_MAX,
        attempt_timeout_s: float,
        check_server: Callable[[AsyncConnection], Awaitable[None]] | None = None,
        on_connect: Callable[[AsyncConnection], Awaitable[None]] | None = None,
    ) -> None:
        """Prepare; no connection is made.

        Args:
            make: Makes a connection, not yet connected; its arguments override options.
            address: The server, for messages; without a password.
            max_connections: The maximum number of connections, in use and idle.
            attempt_timeout_s: Seconds that connecting may take, the handshake included.
            check_server: Checks the first connection once, and raises if this server must not be used.
            on_connect: Checks each new connection, and raises if it leads to the wrong server.
        """
        self.address = address
        self.confirmed = math.inf
        """The last instant of `time.monotonic` at which a Sentinel named this primary; infinity without Sentinels."""
        self._make = make
        self._max_connections = max_connections
        self._attempt_timeout_s = attempt_timeout_s
        self._check_server = check_server
        self._server_checked = check_server is None
        self._on_connect = on_connect
        self._probes_left = settings.PROBES_MAX
        """0 after a connection: then the server speaks the protocol that is spoken to it."""
        self.checked = Checked()
        self._idle: list[AsyncConnection] = []
        self._made = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False
        self._superseded = False

    async def acquire(self, until: float) -> AsyncConnection:
        """Take a connection that is open and has no unread data.

        Args:
            until: Wait no longer than this instant of `time.monotonic`.

        Raises:
            AttemptFailure: No connection is available; nothing was sent.
        """
        while True:
            self._check_superseded()
            if self._idle:
                connection = self._idle.pop()
                try:
                    silent = await _is_silent(connection)
                except BaseException:  # cancelled: its slot is freed, and the connection may be half read
                    await self.discard(connection)
                    raise
                if silent:
                    return connection
                await self.discard(connection)
                await self.close_idle()  # the cause has probably closed the other connections as well
            elif self._made < self._max_connections:
                self._made += 1
                return await self._open(until)
            else:
                await self._turn(until)

    async def connect_apart(self) -> RedisConnection:
        """Make a connection that listens: it speaks RESP2, is not of this pool, and the caller closes it.

        It is beyond `max_connections`: those that wait must not take the connections from those that release.

        Raises:
            AttemptFailure: It cannot be made, or leads to the wrong server.
        """
        connection: AsyncConnection | None = None
        try:
            self._check_superseded()
            connection = await self._make(protocol=2)
            assert isinstance(connection, RedisConnection)
            async with asyncio.timeout(self._attempt_timeout_s):
                await connection.connect()
                if self._on_connect is not None:
                    await self._on_connect(connection)
            self._check_superseded()  # it may have changed while connecting
        except BaseException as error:
            if connection is not None:
                with contextlib.suppress(Exception):
                    await connection.close()
            if isinstance(error, Exception):
                raise failures.connection_failure(self.address, error) from error
            raise
        return connection

    async def release(self, connection: AsyncConnection) -> None:
        """Return a connection whose last reply has been read completely."""
        self._idle.append(connection)
        if self._waiting:
            self._wake()
        if self._closed:
            await self.close_idle()

    async def discard(self, connection: AsyncConnection) -> None:
        """Close a connection that cannot be reused because a reply may still arrive on it."""
        self.checked.forget(connection)
        self._made -= 1
        self._wake()
        with contextlib.suppress(Exception):
            await connection.close()

    async def close_idle(self) -> None:
        """Close the idle connections; the next call makes a new one."""
        while self._idle:
            await self.discard(self._idle.pop())

    @property
    def counts(self) -> tuple[int, int]:
        """How many connections are open, and how many of them are in use."""
        return self._made, max(0, self._made - len(self._idle))

    async def close(self) -> None:
        """Close the idle connections, and each one in use when it is returned."""
        self._closed = True
        await self.close_idle()

    async def supersede(self) -> None:
        """Close the pool because another server is the primary; waiting calls fail and are routed there."""
        self._superseded = True
        while self._waiting:
            self._wake()
        await self.close()

    def _check_superseded(self) -> None:
        if self._superseded:
            raise failures.superseded(self.address)

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
            self._check_superseded()  # it may have changed while connecting
        except BaseException as error:
            if connection is not None:
                await self.discard(connection)
            else:
                self._made -= 1
                self._wake()
            if isinstance(error, Exception):
                raise await self._failure(error, connection) from error
            raise
        self._probes_left = 0
        return connection

    async def _failure(self, error: Exception, connection: AsyncConnection | None) -> AttemptFailure:
        failure = failures.connection_failure(self.address, error)
        if not self._probes_left or not isinstance(connection, RedisConnection) or not is_worth_probing(failure, error):
            return failure
        self._probes_left -= 1
        try:
            return await asyncio.to_thread(probe, connection.connection, self.address) or failure
        except RuntimeError:  # no thread can be started
            return failure

    async def _turn(self, until: float) -> None:
        """Wait until a connection is returned or may be made."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(max(until - time.monotonic(), 0.0)):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._wake()  # this waiter was woken but does not use its turn: wake the next
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


async def _is_silent(connection: AsyncConnection) -> bool:
    """Whether an idle connection is open and has no unread data."""
    try:
        return await connection.is_silent()
    except Exception:  # noqa: BLE001 - the connection is replaced whatever the error
        return False


async def send_once_async(
    connections: AsyncConnectionPool, words: tuple[Argument, ...], until: float, seconds: float
) -> Any:
    """Send one read-only command once, and return its reply; wait at most `seconds` for it.

    Raises:
        AttemptFailure: There was no reply.  It is never ambiguous, as the command changes nothing.
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
    """The check of a server's first connection; None if there is nothing to check."""

    async def check_server(connection: AsyncConnection) -> None:
        reply: object
        try:
            reply = await connection.exchange(pack_command(eviction_check.COMMAND))
        except ResponseError as error:
            reply = error
        eviction_check.check(where, reply)

    return check_server if eviction_check.needed else None

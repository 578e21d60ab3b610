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
from allocator._engine.protocol.resp import pack
from allocator._engine.protocol.scripts import Argument
from allocator._engine.transport import failures
from allocator._engine.transport.access_check import Checked
from allocator._engine.transport.connections import Line, superseded
from allocator._engine.transport.eviction_check import Admission
from allocator._engine.transport.failures import Fault
from allocator.errors import BackendUnavailable

__all__ = ["AsyncLine", "AsyncLines", "InlineLine", "RedisLine", "async_admitter", "async_ask"]


class AsyncLine(Protocol):
    """A connection."""

    async def connect(self) -> None: ...
    async def exchange(self, packed: bytes) -> Any: ...
    async def is_silent(self) -> bool: ...
    async def close(self) -> None: ...


class RedisLine:
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


class InlineLine:
    """A connection to the in-process store: nothing is awaited there, so the blocking one serves as it is."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def connect(self) -> None:
        self._line.connect()

    async def exchange(self, packed: bytes) -> Any:
        self._line.send_packed_command((packed,), False)
        return self._line.read_response()

    async def is_silent(self) -> bool:
        return not self._line.can_read()

    async def close(self) -> None:
        self._line.disconnect()


class AsyncLines:
    """The connections of one event loop to one server."""

    def __init__(
        self,
        make: Callable[[], Awaitable[AsyncLine]],
        *,
        where: str,
        most: int = settings.CONNECTIONS_MAX,
        attempt_timeout_s: float,
        admit: Callable[[AsyncLine], Awaitable[None]] | None = None,
        greet: Callable[[AsyncLine], Awaitable[None]] | None = None,
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
        self.where = where
        self.vouched = math.inf
        """The last instant of `time.monotonic` at which somebody said that this is the primary; nobody has to here."""
        self._make = make
        self._most = most
        self._attempt_timeout_s = attempt_timeout_s
        self._admit = admit
        self._admitted = admit is None
        self._greet = greet
        self.checked = Checked()
        self._idle: list[AsyncLine] = []
        self._made = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False
        self._left = False

    async def take(self, until: float) -> AsyncLine:
        """Borrow a connection that is connected and silent.

        Args:
            until: Wait no longer than this instant of `time.monotonic`.

        Raises:
            Fault: There is none to be had; nothing was sent.
        """
        while True:
            self._check_left()
            if self._idle:
                line = self._idle.pop()
                try:
                    silent = await _is_silent(line)
                except BaseException:  # cancelled: its place must not be lost, and what was half read is of no use
                    await self.discard(line)
                    raise
                if silent:
                    return line
                await self.discard(line)
                await self.drop()  # what ended one connection has, as a rule, ended the others
            elif self._made < self._most:
                self._made += 1
                return await self._open(until)
            else:
                await self._turn(until)

    async def give(self, line: AsyncLine) -> None:
        """Return a connection whose last reply has been read whole."""
        self._idle.append(line)
        if self._waiting:
            self._wake()
        if self._closed:
            await self.drop()

    async def discard(self, line: AsyncLine) -> None:
        """Return a connection that is of no more use: a reply may still be under way on it."""
        self.checked.forget(line)
        self._made -= 1
        self._wake()
        with contextlib.suppress(Exception):
            await line.close()

    async def drop(self) -> None:
        """Close the idle connections; the next call makes a new one."""
        while self._idle:
            await self.discard(self._idle.pop())

    async def close(self) -> None:
        """Close the idle connections, and each one in use when it comes back."""
        self._closed = True
        await self.drop()

    async def leave(self) -> None:
        """Another server has taken this one's place: close, and have whoever waits for a connection go there."""
        self._left = True
        while self._waiting:
            self._wake()
        await self.close()

    def _check_left(self) -> None:
        if self._left:
            raise superseded(self.where)

    async def _open(self, until: float) -> AsyncLine:
        line: AsyncLine | None = None
        try:
            line = await self._make()
            async with asyncio.timeout(min(self._attempt_timeout_s, max(until - time.monotonic(), 0.0))):
                await line.connect()
                if self._greet is not None:
                    await self._greet(line)
                if not self._admitted and self._admit is not None:
                    await self._admit(line)
                    self._admitted = True
            self._check_left()  # connecting takes its time
        except BaseException as error:
            if line is not None:
                await self.discard(line)
            else:
                self._made -= 1
                self._wake()
            if isinstance(error, Exception):
                raise failures.before_sending(self.where, error) from error
            raise
        return line

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
                text = f"all {self._most} connections to {self.where} are in use"
                raise Fault(BackendUnavailable(text, code="no_connection")) from error
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


async def _is_silent(line: AsyncLine) -> bool:
    """Whether an idle connection is still open and nothing waits to be read on it."""
    try:
        return await line.is_silent()
    except Exception:  # noqa: BLE001 - whatever is wrong with it, another will do
        return False


async def async_ask(lines: AsyncLines, words: tuple[Argument, ...], until: float, seconds: float) -> Any:
    """Send one command that changes nothing, once, and return its reply; wait no longer than so many seconds.

    Raises:
        Fault: There was none; what it means is the same whether it was sent or not.
    """
    line = await lines.take(until)
    try:
        async with asyncio.timeout(seconds):
            reply = await line.exchange(pack(words))
    except BaseException as error:
        if isinstance(error, ResponseError):
            await lines.give(line)
        else:
            await lines.discard(line)
        if isinstance(error, Exception):
            raise failures.before_sending(lines.where, error) from error
        raise
    await lines.give(line)
    return reply


def async_admitter(admission: Admission, where: str) -> Callable[[AsyncLine], Awaitable[None]] | None:
    """What looks at a server's first connection, if there is anything to look at."""

    async def admit(line: AsyncLine) -> None:
        reply: object
        try:
            reply = await line.exchange(pack(admission.COMMAND))
        except ResponseError as error:
            reply = error
        admission.judge(where, reply)

    return admit if admission.asks else None

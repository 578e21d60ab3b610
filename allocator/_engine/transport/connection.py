"""One connection, blocking or asyncio, as the connection pools use it; nothing is connected here.

Both kinds stand in one file, as a target can make either.  The pools are in `connections` and `connections_async`; a
program loads the one that its client uses.
"""

from __future__ import annotations

import select
from collections.abc import Iterable
from typing import Any, Protocol

__all__ = ["AsyncConnection", "Connection", "InProcessConnection", "RedisConnection"]


class Connection(Protocol):
    """The methods of a redis-py connection that are used here."""

    def connect(self) -> None: ...
    def can_read(self, timeout: float = 0) -> bool: ...
    def send_packed_command(self, command: Iterable[bytes], check_health: bool = True) -> None: ...
    def read_response(self) -> Any: ...
    def disconnect(self) -> None: ...


class AsyncConnection(Protocol):
    """A connection that sends one packed command at a time and returns its reply."""

    async def connect(self) -> None: ...
    async def exchange(self, packed: bytes) -> Any: ...
    async def is_silent(self) -> bool: ...
    async def close(self) -> None: ...


class RedisConnection:
    """A connection that uses redis-py's asyncio connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._can_read = getattr(connection, "can_read", None) or connection.can_read_destructive  # before 8.0

    async def connect(self) -> None:
        await self.connection.connect()

    async def exchange(self, packed: bytes) -> Any:
        connection = self.connection
        await connection.send_packed_command((packed,), False)
        return await connection.read_response()

    async def send(self, packed: bytes) -> None:
        await self.connection.send_packed_command((packed,), False)

    async def receive(self) -> Any:
        return await self.connection.read_response()

    async def is_silent(self) -> bool:
        # The stream's state is not enough: it does not report a reset as the end of file, and it has not read what
        # arrived since the loop last polled its sockets.  redis-py has no method for either.
        writer = self.connection._writer  # noqa: SLF001
        if writer is None or writer.is_closing() or await self._can_read():
            return False
        return not _has_news(writer.get_extra_info("socket"))

    async def close(self) -> None:
        await self.connection.disconnect(nowait=True)


class InProcessConnection:
    """A connection to the in-process server.  It uses the blocking connection, which never waits."""

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


def _has_news(socket: Any) -> bool:
    """Whether the operating system reports data, the end of file or an error for an idle socket."""
    if socket is None or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(socket.fileno(), select.POLLIN)
    return bool(poll.poll(0))

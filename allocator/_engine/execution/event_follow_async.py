"""Following the event stream of a pool, asyncio: the counterpart of `event_follow`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from allocator import settings
from allocator._engine.execution.event_tail import Entries, EventTail, entries_of, read_stream
from allocator._engine.operations.events import Following
from allocator._engine.protocol.flows import Flow
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.transport.connection import RedisConnection
from allocator._engine.transport.connections_async import AsyncConnectionPool
from allocator._engine.transport.failures import AttemptFailure, connection_failure
from allocator._engine.transport.router_async import AsyncRouter
from allocator.errors import BackendUnavailable
from allocator.models.events import Event

__all__ = ["AsyncEventFollow", "AsyncEventFollows", "watch"]

R = TypeVar("R")
_log = logging.getLogger("allocator")


class AsyncEventFollow:
    """The event stream of one pool on one event loop.  It has at most one connection, until `close`.

    One of the tasks that wait reads, for all.
    """

    def __init__(
        self, router: AsyncRouter, pool: PoolKeys, attempt_timeout_s: float, is_closed: Callable[[], bool]
    ) -> None:
        """Prepare; nothing is connected.

        Args:
            router: Finds the server of the pool.
            pool: The pool.
            attempt_timeout_s: Seconds that finding the server may take, and that a reply may be late.
            is_closed: Whether the client was closed meanwhile, which ends a wait.
        """
        self.users = 0
        self._router = router
        self._pool = pool
        self._attempt_timeout_s = attempt_timeout_s
        self._is_closed = is_closed
        self._refused = False
        """Whether the server has refused the read for a reason that does not pass: then the store is asked."""
        self._tail = EventTail()
        self._is_read = False
        """Whether a task reads at this moment."""
        self._changed = asyncio.Event()
        self._connections: AsyncConnectionPool | None = None
        self._connection: RedisConnection | None = None

    async def entries(self, after: str) -> Entries | None:
        """The entries after this one, which the caller has had: once there are some, or `HEARTBEAT_S` are over.

        Returns:
            None: read them from the store, as some may be missing here.

        Raises:
            BackendUnavailable: The client was closed.
        """
        self._check_closed()
        if self._router.in_process or self._refused:
            await asyncio.sleep(settings.WAKE_IN_PROCESS_S if self._router.in_process else settings.WAKE_POLL_S)
            return None
        until = time.monotonic() + settings.HEARTBEAT_S
        while True:
            found = self._tail.after(after)
            if found or (self._is_read and found is None):
                return found
            if not self._is_read:
                break
            if time.monotonic() >= until:
                return []
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), max(until - time.monotonic(), 0.0))
            self._check_closed()
        self._is_read = True
        if found is None:
            self._tail.start(after)
        return await self._read_for_all(after, until)

    async def close(self) -> None:
        """End the connection, and the read that waits on it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.close()

    async def _read_for_all(self, after: str, until: float) -> Entries | None:
        """Read once.  If nothing came the result is None: then one watch asks whether the pool is still there."""
        read: Entries | None = None
        try:
            read = await self._read(until)
        except AttemptFailure as failure:
            self._check_closed()
            await self._router.on_failure(self._pool, failure)
            self._refused = not failure.transient
        finally:
            self._is_read = False
            if read is None:
                self._tail.forget()
            else:
                self._tail.add(read)
            self._changed.set()
            self._changed = asyncio.Event()
            if read is None:
                await self.close()
        return self._tail.after(after) if read else None

    async def _read(self, until: float) -> Entries:
        """Read what comes next.  A new connection reads nothing: the caller asks the store what came until then."""
        connections = await self._router.route(self._pool, time.monotonic() + self._attempt_timeout_s)
        if self._connection is None or connections is not self._connections:
            await self.close()
            self._connection, self._connections = await connections.connect_apart(), connections
            return []
        try:
            seconds = max(until - time.monotonic(), settings.WAIT_MIN_S)
            async with asyncio.timeout(seconds + self._attempt_timeout_s):
                return entries_of(await self._connection.exchange(read_stream(self._pool, self._tail.last, seconds)))
        except Exception as error:
            raise connection_failure(connections.address, error) from error

    def _check_closed(self) -> None:
        if self._is_closed():
            raise BackendUnavailable("this client is closed", code="closed")


class AsyncEventFollows:
    """The streams that the watches on one event loop follow, one for each pool."""

    def __init__(self, make: Callable[[PoolKeys], AsyncEventFollow]) -> None:
        """Prepare; `make` makes that of a pool."""
        self._make = make
        self._follows: dict[str, AsyncEventFollow] = {}

    @contextlib.asynccontextmanager
    async def follow(self, pool: PoolKeys) -> AsyncGenerator[AsyncEventFollow]:
        """The stream of a pool, for one watch; the last one closes it."""
        found = self._follows.get(pool.base)
        if found is None:
            found = self._follows[pool.base] = self._make(pool)
        found.users += 1
        try:
            yield found
        finally:
            found.users -= 1
            if not found.users:
                del self._follows[pool.base]
                await found.close()

    async def close(self) -> None:
        """End all connections: the reads that wait fail, and their watches hear that the client is closed."""
        for follow in list(self._follows.values()):
            await follow.close()


class FollowingAsyncDriver(Protocol):
    """What a watch needs of a driver."""

    async def run(self, work: Flow[R], *, deadline_s: float | None = None) -> R: ...
    def follow(self, pool: PoolKeys) -> AbstractAsyncContextManager[AsyncEventFollow]: ...


async def watch(driver: FollowingAsyncDriver, following: Following) -> AsyncGenerator[Event]:
    """Yield events for ever.  A store that is away later is logged once an outage, and asked again."""
    defaults = following.defaults
    async with driver.follow(defaults.pool) as follow:
        while True:
            try:
                if following.is_behind:
                    found = await driver.run(following.read(), deadline_s=defaults.timeout_s)
                else:
                    found = following.take(await follow.entries(following.position))
            except BackendUnavailable as error:
                if await driver.run(following.pause(error)):
                    _log.warning("the watch of pool %r waits: %s", defaults.pool.name, error)
                continue
            for event in found:
                yield event

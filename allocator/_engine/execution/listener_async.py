"""Listening for waiting calls, asyncio: one connection for all tasks of an event loop that wait for the same server.

A listener lives from its first subscription to its last.  A task of its own sends and another receives, so that a
waiting task which is cancelled leaves no command half sent.  Whoever wants to listen later gets a new listener.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from redis.exceptions import ResponseError

from allocator._engine.protocol.wake_messages import News, read_news, subscribe, unsubscribe
from allocator._engine.transport.connection import RedisConnection
from allocator._engine.transport.connections_async import AsyncConnectionPool
from allocator._engine.transport.failures import AttemptFailure, connection_failure

__all__ = ["AsyncListeners", "AsyncSubscription"]

_CLOSED: Final = "the listening connection is closed"


class AsyncSubscription:
    """What one task hears on one channel.  `connections` are those of the server that was asked."""

    def __init__(self, listener: _Listener, channel: str) -> None:
        self.connections = listener.connections
        self.channel = channel
        self.confirmed = False
        self.woken = False
        """Whether a message has arrived that no `wait` has returned yet."""
        self.failure: AttemptFailure | None = None
        self._listener = listener
        self._changed = asyncio.Event()

    async def confirm(self) -> None:
        """Wait until the server has confirmed it; raises `AttemptFailure`."""
        await self._wait(lambda: self.confirmed, self._listener.patience_s)
        if not self.confirmed and self.failure is None:
            self._listener.end(TimeoutError())
        self._check()

    async def wait(self, seconds: float) -> bool:
        """Wait for a message, at most so many seconds; returns whether there was one.

        Raises:
            AttemptFailure: The subscription is lost.
        """
        self._listener.probe(self.channel)
        await self._wait(lambda: self.woken, seconds)
        if self.woken:
            self.woken = False
            return True
        self._listener.check_patience()
        self._check()
        return False

    def close(self) -> None:
        """Stop listening.  It waits for nothing."""
        self._listener.leave(self)

    def tell(self) -> None:
        """Let the task look again at what has changed."""
        self._changed.set()

    async def _wait(self, condition: Callable[[], bool], seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0.0)):
                while not condition() and self.failure is None:
                    self._changed.clear()
                    await self._changed.wait()

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure


class _Listener:
    """One connection, and what is subscribed on it."""

    def __init__(
        self,
        connections: AsyncConnectionPool,
        patience_s: float,
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        ended: Callable[[], object],
    ) -> None:
        """Begin to connect.

        Args:
            connections: Those of the server.
            patience_s: Seconds after which a server that does not reply is taken for lost.
            start: Starts a task.
            ended: Called at once when nobody may join this listener any more.
        """
        self.connections = connections
        self.patience_s = patience_s
        self._start = start
        self._ended: Callable[[], object] | None = ended
        self._subscriptions: dict[str, list[AsyncSubscription]] = {}
        self._unsent: list[tuple[str, bytes]] = []
        self._unanswered: deque[tuple[str, float]] = deque()
        """The channel of each command that has no reply yet, and when it was sent; replies come in this order."""
        self._wanted = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._writer = start(self._run())

    # -- of the tasks that wait ----------------------------------------------------------------------------------------

    def join(self, channel: str) -> AsyncSubscription:
        """Listen on a channel, too."""
        subscription = AsyncSubscription(self, channel)
        others = self._subscriptions.setdefault(channel, [])
        subscription.confirmed = any(other.confirmed for other in others)
        others.append(subscription)
        if len(others) == 1:
            self._send(channel, subscribe(channel))
        return subscription

    def leave(self, subscription: AsyncSubscription) -> None:
        """Listen no more; the last one ends the listener."""
        others = self._subscriptions.get(subscription.channel, [])
        if subscription in others:
            others.remove(subscription)
            if not others:
                del self._subscriptions[subscription.channel]
                self._send(subscription.channel, unsubscribe(subscription.channel))
            self._end_if_unused()

    def probe(self, channel: str) -> None:
        """Subscribe again, which changes nothing: the reply tells that the server is still there."""
        if not self._unanswered and not self._unsent:
            self._send(channel, subscribe(channel))

    def check_patience(self) -> None:
        """End the listener if the server has not replied for too long."""
        if self._unanswered and time.monotonic() - self._unanswered[0][1] > self.patience_s:
            self.end(TimeoutError())

    def end(self, error: Exception) -> None:
        """Close the connection, and let each subscription fail."""
        if self._ended is None:
            return
        self._ended()
        self._ended = None
        for channel in list(self._subscriptions):
            self._lose(channel, error)
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            for task in (self._writer, self._reader):
                if task is not None and task is not asyncio.current_task():
                    task.cancel()

    def _lose(self, channel: str, error: Exception) -> None:
        """Let the subscriptions to one channel fail; those to others stay."""
        for subscription in self._subscriptions.pop(channel, ()):
            subscription.failure = connection_failure(self.connections.address, error)
            subscription.tell()

    def _send(self, channel: str, packed: bytes) -> None:
        self._unsent.append((channel, packed))
        self._wanted.set()

    # -- of the connection ---------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        connection: RedisConnection | None = None
        try:
            connection = await self.connections.connect_apart()
            self._reader = self._start(self._read(connection))
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                commands, self._unsent = self._unsent, []
                now = time.monotonic()
                self._unanswered.extend((channel, now) for channel, _ in commands)
                await connection.send(b"".join([packed for _, packed in commands]))
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody hears anything any more
            self.end(error)
        finally:
            self.end(ConnectionResetError(_CLOSED))
            if connection is not None:
                await connection.close()

    async def _read(self, connection: RedisConnection) -> None:
        try:
            while True:
                try:
                    news, channel = read_news(await connection.receive())
                except ResponseError as error:
                    channel, _ = self._unanswered.popleft()
                    self._lose(channel, error)
                    self._end_if_unused()
                else:
                    self._take(news, channel)
        except Exception as error:  # noqa: BLE001 - as above
            self.end(error)

    def _take(self, news: News, channel: str) -> None:
        if news in (News.CONFIRMED, News.ENDED) and self._unanswered and self._unanswered[0][0] == channel:
            self._unanswered.popleft()
        if news is News.ENDED:
            self._lose(channel, ConnectionResetError("the server has ended the subscription"))
            self._end_if_unused()
        for subscription in self._subscriptions.get(channel, ()):
            subscription.confirmed |= news is News.CONFIRMED
            subscription.woken |= news is News.WOKEN
            subscription.tell()

    def _end_if_unused(self) -> None:
        if not self._subscriptions:
            self.end(ConnectionResetError(_CLOSED))


class AsyncListeners:
    """The listeners of one event loop."""

    def __init__(self, patience_s: float) -> None:
        """Prepare; nothing is connected.

        Args:
            patience_s: Seconds after which a server that does not reply is taken for lost.
        """
        self._patience_s = patience_s
        self._listeners: dict[AsyncConnectionPool, _Listener] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def subscribe(self, connections: AsyncConnectionPool, channel: str) -> AsyncSubscription:
        """Begin to listen on a channel of this server."""
        listener = self._listeners.get(connections)
        if listener is None:
            listener = self._listeners[connections] = _Listener(
                connections, self._patience_s, self._start, lambda: self._listeners.pop(connections)
            )
        return listener.join(channel)

    async def close(self) -> None:
        """End all listeners; the subscriptions fail."""
        for listener in list(self._listeners.values()):
            listener.end(ConnectionResetError(_CLOSED))
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name="allocator-listener")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

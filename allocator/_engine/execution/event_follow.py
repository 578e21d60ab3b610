"""Following the event stream of a pool, blocking: one blocked read, whoever and however many watch.

One of the threads that wait reads, for all; when it has something or gives up, another one takes its place.  So there
is no thread of our own, and a watch that is not waiting delays nobody.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from allocator import settings
from allocator._engine.execution.event_tail import Entries, EventTail, entries_of, read_stream
from allocator._engine.fork_safety import reset_after_fork
from allocator._engine.operations.events import Following
from allocator._engine.protocol.flows import Flow
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.transport.connection import Connection
from allocator._engine.transport.connections import ConnectionPool
from allocator._engine.transport.failures import AttemptFailure, connection_failure
from allocator._engine.transport.router import Router
from allocator.errors import BackendUnavailable
from allocator.models.events import Event

__all__ = ["EventFollow", "EventFollows", "watch"]

R = TypeVar("R")
_log = logging.getLogger("allocator")


class EventFollow:
    """The event stream of one pool.  It has at most one connection, until `close`."""

    def __init__(self, router: Router, pool: PoolKeys, attempt_timeout_s: float, is_closed: Callable[[], bool]) -> None:
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
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Begin anew without closing the connection, as a forked child must."""
        self._tail = EventTail()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._is_read = False
        """Whether a thread reads at this moment."""
        self._connections: ConnectionPool | None = None
        self._connection: Connection | None = None

    def entries(self, after: str) -> Entries | None:
        """The entries after this one, which the caller has had: once there are some, or `HEARTBEAT_S` are over.

        Returns:
            None: read them from the store, as some may be missing here.

        Raises:
            BackendUnavailable: The client was closed.
        """
        self._check_closed()
        if self._router.in_process or self._refused:
            time.sleep(settings.WAKE_IN_PROCESS_S if self._router.in_process else settings.WAKE_POLL_S)
            return None
        until = time.monotonic() + settings.HEARTBEAT_S
        with self._lock:
            while True:
                found = self._tail.after(after)
                if found or (self._is_read and found is None):
                    return found
                if not self._is_read:
                    break
                if time.monotonic() >= until:
                    return []
                self._changed.wait(min(max(until - time.monotonic(), 0.0), settings.WAKE_POLL_S))
                self._check_closed()
            self._is_read = True
            if found is None:
                self._tail.start(after)
        return self._read_for_all(after, until)

    def close(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.disconnect()

    def _read_for_all(self, after: str, until: float) -> Entries | None:
        """Read once.  If nothing came the result is None: then one watch asks whether the pool is still there."""
        read: Entries | None = None
        try:
            read = self._read(until)
        except AttemptFailure as failure:
            self._check_closed()
            self._router.on_failure(self._pool, failure)
            self._refused = not failure.transient
        finally:
            if read is None:
                self.close()
            with self._lock:
                self._is_read = False
                if read is None:
                    self._tail.forget()
                else:
                    self._tail.add(read)
                self._changed.notify_all()
        return self._tail.after(after) if read else None

    def _read(self, until: float) -> Entries:
        """Read what comes next.  A new connection reads nothing: the caller asks the store what came until then."""
        connections = self._router.route(self._pool, time.monotonic() + self._attempt_timeout_s)
        if self._connection is None or connections is not self._connections:
            self.close()
            self._connection, self._connections = connections.connect_apart(), connections
            return []
        try:
            seconds = max(until - time.monotonic(), settings.WAIT_MIN_S)
            self._connection.send_packed_command((read_stream(self._pool, self._tail.last, seconds),), False)
            self._await_reply(self._connection, time.monotonic() + seconds + self._attempt_timeout_s)
            return entries_of(self._connection.read_response())
        except BackendUnavailable:
            raise
        except Exception as error:
            raise connection_failure(connections.address, error) from error

    def _await_reply(self, connection: Connection, until: float) -> None:
        while not connection.can_read(min(max(until - time.monotonic(), 0.0), settings.WAKE_POLL_S)):
            self._check_closed()
            if time.monotonic() >= until:
                raise TimeoutError

    def _check_closed(self) -> None:
        if self._is_closed():
            raise BackendUnavailable("this client is closed", code="closed")


class EventFollows:
    """The streams that the watches of a client follow, one for each pool."""

    def __init__(self, make: Callable[[PoolKeys], EventFollow]) -> None:
        """Prepare; `make` makes that of a pool."""
        self._make = make
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Begin anew, as a forked child must."""
        self._follows: dict[str, EventFollow] = {}
        self._lock = threading.RLock()

    @contextlib.contextmanager
    def follow(self, pool: PoolKeys) -> Generator[EventFollow]:
        """The stream of a pool, for one watch; the last one closes it."""
        with self._lock:
            found = self._follows.get(pool.base)
            if found is None:
                found = self._follows[pool.base] = self._make(pool)
            found.users += 1
        try:
            yield found
        finally:
            with self._lock:
                found.users -= 1
                is_last = not found.users and self._follows.get(pool.base) is found
                if is_last:
                    del self._follows[pool.base]
            if is_last:
                found.close()


class FollowingDriver(Protocol):
    """What a watch needs of a driver."""

    def run(self, work: Flow[R], *, deadline_s: float | None = None) -> R: ...
    def follow(self, pool: PoolKeys) -> AbstractContextManager[EventFollow]: ...


def watch(driver: FollowingDriver, following: Following) -> Generator[Event]:
    """Yield events for ever.  A store that is away later is logged once an outage, and asked again."""
    defaults = following.defaults
    with driver.follow(defaults.pool) as follow:
        while True:
            try:
                if following.is_behind:
                    found = driver.run(following.read(), deadline_s=defaults.timeout_s)
                else:
                    found = following.take(follow.entries(following.position))
            except BackendUnavailable as error:
                if driver.run(following.pause(error)):
                    _log.warning("the watch of pool %r waits: %s", defaults.pool.name, error)
                continue
            yield from found

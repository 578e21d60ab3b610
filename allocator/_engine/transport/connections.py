"""Connection pool for one server, blocking: connections are made on demand, reused, and used by one call at a time.

redis-py's pool is not used: it retries by itself, and its locks and metrics cost a large part of a call.  Here a
connection is acquired by a `list.pop` and one check of the socket.  The check finds a connection that the server has
closed before anything is sent, so that this failure is not ambiguous.

Threads may share a pool.  After a fork the child starts without connections.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import ResponseError

from allocator import settings
from allocator._engine.fork_safety import reset_after_fork
from allocator._engine.protocol.resp import pack_command
from allocator._engine.protocol.scripts import Argument
from allocator._engine.transport import failures
from allocator._engine.transport.access_check import Checked
from allocator._engine.transport.connection import Connection
from allocator._engine.transport.failures import AttemptFailure
from allocator._engine.transport.protocol_probe import is_worth_probing, probe
from allocator._engine.transport.target import EvictionCheck
from allocator.errors import BackendUnavailable

__all__ = ["ConnectionPool", "send_once", "server_check"]


class ConnectionPool:
    """The connections to one server; each is used by one call at a time."""

    def __init__(
        self,
        make: Callable[..., Connection],
        *,
        address: str,
        max_connections: int = settings.CONNECTIONS_MAX,
        check_server: Callable[[Connection], None] | None = None,
        on_connect: Callable[[Connection], None] | None = None,
    ) -> None:
        """Prepare; no connection is made.

        Args:
            make: Makes a connection object, not yet connected; its arguments override options.
            address: The server, for messages; without a password.
            max_connections: The maximum number of connections, in use and idle.
            check_server: Checks the first connection once, and raises if this server must not be used.
            on_connect: Checks each new connection, and raises if it leads to the wrong server.
        """
        self.address = address
        self.confirmed = math.inf
        """The last instant of `time.monotonic` at which a Sentinel named this primary; infinity without Sentinels."""
        self._make = make
        self._max_connections = max_connections
        self._check_server = check_server
        self._server_checked = check_server is None
        self._on_connect = on_connect
        self._probes_left = settings.PROBES_MAX
        """0 after a connection: then the server speaks the protocol that is spoken to it."""
        self._closed = False
        self._superseded = False
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Drop all connections without closing them, as a forked child must."""
        self.checked = Checked()
        self._idle: list[Connection] = []
        self._made = 0
        self._waiting = 0
        # A signal between the two steps of a Condition's `__enter__` would leave it locked; a lock has one step.
        self._lock = threading.RLock()
        self._vacancy = threading.Condition(self._lock)

    def acquire(self, until: float) -> Connection:
        """Take a connection that is open and has no unread data.

        Args:
            until: Wait no longer than this instant of `time.monotonic` for one that is in use.

        Raises:
            AttemptFailure: No connection is available; nothing was sent.
        """
        try:
            connection: Connection | None = self._idle.pop()
        except IndexError:
            connection = self._claim(until)
        if connection is not None:
            try:
                silent = _is_silent(connection)
            except BaseException:  # interrupted: its slot in the pool is freed
                self.discard(connection)
                raise
            if silent:
                return connection
            self.discard(connection)
            self.close_idle()  # the cause has probably closed the other connections as well
            connection = self._claim(until)
        return connection or self._open()

    def connect_apart(self) -> Connection:
        """Make a connection that listens: it speaks RESP2, is not of this pool, and the caller closes it.

        It is beyond `max_connections`: those that wait must not take the connections from those that release.

        Raises:
            AttemptFailure: It cannot be made, or leads to the wrong server.
        """
        connection: Connection | None = None
        try:
            self._check_superseded()
            connection = self._make(protocol=2)
            connection.connect()
            if self._on_connect is not None:
                self._on_connect(connection)
            self._check_superseded()  # it may have changed while connecting
        except BaseException as error:
            if connection is not None:
                with contextlib.suppress(Exception):
                    connection.disconnect()
            raise self._failure(error) from error
        return connection

    def release(self, connection: Connection) -> None:
        """Return a connection whose last reply has been read completely."""
        self._idle.append(connection)
        if self._waiting:
            with self._lock:
                self._vacancy.notify()
        if self._closed:
            self.close_idle()

    def discard(self, connection: Connection) -> None:
        """Close a connection that cannot be reused because a reply may still arrive on it."""
        self.checked.forget(connection)
        self._unclaim()
        with contextlib.suppress(Exception):
            connection.disconnect()

    def close_idle(self) -> None:
        """Close the idle connections; the next call makes a new one."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return
            self.discard(connection)

    @property
    def counts(self) -> tuple[int, int]:
        """How many connections are open, and how many of them are in use."""
        return self._made, max(0, self._made - len(self._idle))

    def close(self) -> None:
        """Close the idle connections, and each one in use when it is returned."""
        self._closed = True
        self.close_idle()

    def supersede(self) -> None:
        """Close the pool because another server is the primary; waiting calls fail and are routed there."""
        self._superseded = True
        self.close()
        with self._lock:
            self._vacancy.notify_all()

    def _open(self) -> Connection:
        try:
            self._check_superseded()
            connection = self._make()
        except BaseException as error:
            self._unclaim()
            raise self._failure(error) from error
        try:
            connection.connect()
            if self._on_connect is not None:
                self._on_connect(connection)
            if not self._server_checked and self._check_server is not None:
                self._check_server(connection)
                self._server_checked = True
            self._check_superseded()  # it may have changed while connecting
        except BaseException as error:
            self.discard(connection)
            raise self._failure(error, connection) from error
        self._probes_left = 0
        return connection

    def _failure(self, error: BaseException, connection: Connection | None = None) -> BaseException:
        if not isinstance(error, Exception):
            return error
        failure = failures.connection_failure(self.address, error)
        if not self._probes_left or connection is None or not is_worth_probing(failure, error):
            return failure
        self._probes_left -= 1
        return probe(connection, self.address) or failure

    def _claim(self, until: float) -> Connection | None:
        """None, which permits the caller to make one more connection, or a connection that was returned meanwhile."""
        with self._lock:
            self._waiting += 1
            try:
                while not self._idle:
                    self._check_superseded()
                    if self._made < self._max_connections:
                        self._made += 1
                        return None
                    if not self._vacancy.wait(until - time.monotonic()):
                        text = f"all {self._max_connections} connections to {self.address} are in use"
                        raise AttemptFailure(BackendUnavailable(text, code="no_connection"))
                return self._idle.pop()
            finally:
                self._waiting -= 1

    def _check_superseded(self) -> None:
        if self._superseded:
            raise failures.superseded(self.address)

    def _unclaim(self) -> None:
        with self._lock:
            self._made -= 1
            self._vacancy.notify()


def _is_silent(connection: Connection) -> bool:
    """Whether an idle connection is open and has no unread data."""
    try:
        return not connection.can_read()
    except Exception:  # noqa: BLE001 - the connection is replaced whatever the error
        return False


def send_once(connections: ConnectionPool, words: tuple[Argument, ...], until: float) -> Any:
    """Send one read-only command once, and return its reply.

    Raises:
        AttemptFailure: There was no reply.  It is never ambiguous, as the command changes nothing.
    """
    connection = connections.acquire(until)
    try:
        connection.send_packed_command((pack_command(words),), False)
        reply = connection.read_response()
    except BaseException as error:
        if isinstance(error, ResponseError):
            connections.release(connection)
        else:
            connections.discard(connection)
        if isinstance(error, Exception):
            raise failures.connection_failure(connections.address, error) from error
        raise
    connections.release(connection)
    return reply


def server_check(eviction_check: EvictionCheck, where: str) -> Callable[[Connection], None] | None:
    """The check of a server's first connection; None if there is nothing to check."""

    def check_server(connection: Connection) -> None:
        connection.send_packed_command((pack_command(eviction_check.COMMAND),), False)
        reply: object
        try:
            reply = connection.read_response()
        except ResponseError as error:
            reply = error
        eviction_check.check(where, reply)

    return check_server if eviction_check.needed else None

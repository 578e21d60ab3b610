"""Connections of our own to one server, blocking: made when wanted, kept for the next call, never shared by two calls.

A pool of redis-py's would do, but it decides about retries, and its locks and metrics cost much of what a call costs.
Here a loan is a `list.pop` and one look at the socket: a connection that the server has closed meanwhile is noticed
before anything is sent, so that no needless doubt arises.

Threads may share it.  After a fork the child starts without connections.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from redis.exceptions import ResponseError

from allocator import settings
from allocator._engine.fork_safety import reset_after_fork
from allocator._engine.protocol.resp import pack_command
from allocator._engine.protocol.scripts import Argument
from allocator._engine.transport import failures
from allocator._engine.transport.access_check import Checked
from allocator._engine.transport.eviction_check import EvictionCheck
from allocator._engine.transport.failures import AttemptFailure
from allocator.errors import BackendUnavailable

__all__ = ["Connection", "ConnectionPool", "send_once", "server_check", "superseded"]


class Connection(Protocol):
    """What is used of a redis-py connection."""

    def connect(self) -> None: ...
    def can_read(self, timeout: float = 0) -> bool: ...
    def send_packed_command(self, command: Iterable[bytes], check_health: bool = True) -> None: ...
    def read_response(self) -> Any: ...
    def disconnect(self) -> None: ...


class ConnectionPool:
    """The connections to one server."""

    def __init__(
        self,
        make: Callable[[], Connection],
        *,
        address: str,
        max_connections: int = settings.CONNECTIONS_MAX,
        check_server: Callable[[Connection], None] | None = None,
        on_connect: Callable[[Connection], None] | None = None,
    ) -> None:
        """Describe them; none is made yet.

        Args:
            make: Makes a connection object, not yet connected.
            where: The server, for messages; without a password.
            most: Connections at a time.
            admit: Looks at the first connection once, and raises if this server must not be used.
            greet: Looks at each new connection, and raises if it leads to the wrong server.
        """
        self.address = address
        self.confirmed = math.inf
        """The last instant of `time.monotonic` at which somebody said that this is the primary; nobody has to here."""
        self._make = make
        self._max_connections = max_connections
        self._check_server = check_server
        self._server_checked = check_server is None
        self._on_connect = on_connect
        self._closed = False
        self._superseded = False
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Forget all connections without touching them."""
        self.checked = Checked()
        self._idle: list[Connection] = []
        self._made = 0
        self._waiting = 0
        self._vacancy = threading.Condition()

    def acquire(self, until: float) -> Connection:
        """Borrow a connection that is connected and silent.

        Args:
            until: Wait no longer than this instant of `time.monotonic` for one that is in use.

        Raises:
            Fault: There is none to be had; nothing was sent.
        """
        try:
            connection: Connection | None = self._idle.pop()
        except IndexError:
            connection = self._claim(until)
        if connection is not None:
            try:
                silent = _is_silent(connection)
            except BaseException:  # interrupted: its place must not be lost
                self.discard(connection)
                raise
            if silent:
                return connection
            self.discard(connection)
            self.close_idle()  # what ended one connection has, as a rule, ended the others
            connection = self._claim(until)
        return connection or self._open()

    def release(self, connection: Connection) -> None:
        """Return a connection whose last reply has been read whole."""
        self._idle.append(connection)
        if self._waiting:
            with self._vacancy:
                self._vacancy.notify()
        if self._closed:
            self.close_idle()

    def discard(self, connection: Connection) -> None:
        """Return a connection that is of no more use: a reply may still be under way on it."""
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

    def close(self) -> None:
        """Close the idle connections, and each one in use when it comes back."""
        self._closed = True
        self.close_idle()

    def supersede(self) -> None:
        """Another server has taken this one's place: close, and have whoever waits for a connection go there."""
        self._superseded = True
        self.close()
        with self._vacancy:
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
            self._check_superseded()  # connecting takes its time
        except BaseException as error:
            self.discard(connection)
            raise self._failure(error) from error
        return connection

    def _failure(self, error: BaseException) -> BaseException:
        return failures.connection_failure(self.address, error) if isinstance(error, Exception) else error

    def _claim(self, until: float) -> Connection | None:
        """The right to make one more connection (None), or one that came back meanwhile."""
        with self._vacancy:
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
            raise superseded(self.address)

    def _unclaim(self) -> None:
        with self._vacancy:
            self._made -= 1
            self._vacancy.notify()


def superseded(where: str) -> AttemptFailure:
    """The fault of an attempt at a server that was given up meanwhile; nothing was sent."""
    return AttemptFailure(BackendUnavailable(f"{where} is not the primary any more", code="demoted"), passes=True)


def _is_silent(connection: Connection) -> bool:
    """Whether an idle connection is still open and nothing waits to be read on it."""
    try:
        return not connection.can_read()
    except Exception:  # noqa: BLE001 - whatever is wrong with it, another will do
        return False


def send_once(connections: ConnectionPool, words: tuple[Argument, ...], until: float) -> Any:
    """Send one command that changes nothing, once, and return its reply.

    Raises:
        Fault: There was none; what it means is the same whether it was sent or not.
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
    """What looks at a server's first connection, if there is anything to look at."""

    def check_server(connection: Connection) -> None:
        connection.send_packed_command((pack_command(eviction_check.COMMAND),), False)
        reply: object
        try:
            reply = connection.read_response()
        except ResponseError as error:
            reply = error
        eviction_check.check(where, reply)

    return check_server if eviction_check.needed else None

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
from allocator._engine.fork_safety import renew_after_fork
from allocator._engine.protocol.resp import pack
from allocator._engine.protocol.scripts import Argument
from allocator._engine.transport import failures
from allocator._engine.transport.access_check import Checked
from allocator._engine.transport.eviction_check import Admission
from allocator._engine.transport.failures import Fault
from allocator.errors import BackendUnavailable

__all__ = ["Line", "Lines", "admitter", "ask", "superseded"]


class Line(Protocol):
    """What is used of a redis-py connection."""

    def connect(self) -> None: ...
    def can_read(self, timeout: float = 0) -> bool: ...
    def send_packed_command(self, command: Iterable[bytes], check_health: bool = True) -> None: ...
    def read_response(self) -> Any: ...
    def disconnect(self) -> None: ...


class Lines:
    """The connections to one server."""

    def __init__(
        self,
        make: Callable[[], Line],
        *,
        where: str,
        most: int = settings.CONNECTIONS_MAX,
        admit: Callable[[Line], None] | None = None,
        greet: Callable[[Line], None] | None = None,
    ) -> None:
        """Describe them; none is made yet.

        Args:
            make: Makes a connection object, not yet connected.
            where: The server, for messages; without a password.
            most: Connections at a time.
            admit: Looks at the first connection once, and raises if this server must not be used.
            greet: Looks at each new connection, and raises if it leads to the wrong server.
        """
        self.where = where
        self.vouched = math.inf
        """The last instant of `time.monotonic` at which somebody said that this is the primary; nobody has to here."""
        self._make = make
        self._most = most
        self._admit = admit
        self._admitted = admit is None
        self._greet = greet
        self._closed = False
        self._left = False
        self.start_anew()
        renew_after_fork(self)

    def start_anew(self) -> None:
        """Forget all connections without touching them."""
        self.checked = Checked()
        self._idle: list[Line] = []
        self._made = 0
        self._waiting = 0
        self._vacancy = threading.Condition()

    def take(self, until: float) -> Line:
        """Borrow a connection that is connected and silent.

        Args:
            until: Wait no longer than this instant of `time.monotonic` for one that is in use.

        Raises:
            Fault: There is none to be had; nothing was sent.
        """
        try:
            line: Line | None = self._idle.pop()
        except IndexError:
            line = self._claim(until)
        if line is not None:
            try:
                silent = _is_silent(line)
            except BaseException:  # interrupted: its place must not be lost
                self.discard(line)
                raise
            if silent:
                return line
            self.discard(line)
            self.drop()  # what ended one connection has, as a rule, ended the others
            line = self._claim(until)
        return line or self._open()

    def give(self, line: Line) -> None:
        """Return a connection whose last reply has been read whole."""
        self._idle.append(line)
        if self._waiting:
            with self._vacancy:
                self._vacancy.notify()
        if self._closed:
            self.drop()

    def discard(self, line: Line) -> None:
        """Return a connection that is of no more use: a reply may still be under way on it."""
        self.checked.forget(line)
        self._unclaim()
        with contextlib.suppress(Exception):
            line.disconnect()

    def drop(self) -> None:
        """Close the idle connections; the next call makes a new one."""
        while True:
            try:
                line = self._idle.pop()
            except IndexError:
                return
            self.discard(line)

    def close(self) -> None:
        """Close the idle connections, and each one in use when it comes back."""
        self._closed = True
        self.drop()

    def leave(self) -> None:
        """Another server has taken this one's place: close, and have whoever waits for a connection go there."""
        self._left = True
        self.close()
        with self._vacancy:
            self._vacancy.notify_all()

    def _open(self) -> Line:
        try:
            self._check_left()
            line = self._make()
        except BaseException as error:
            self._unclaim()
            raise self._fault(error) from error
        try:
            line.connect()
            if self._greet is not None:
                self._greet(line)
            if not self._admitted and self._admit is not None:
                self._admit(line)
                self._admitted = True
            self._check_left()  # connecting takes its time
        except BaseException as error:
            self.discard(line)
            raise self._fault(error) from error
        return line

    def _fault(self, error: BaseException) -> BaseException:
        return failures.before_sending(self.where, error) if isinstance(error, Exception) else error

    def _claim(self, until: float) -> Line | None:
        """The right to make one more connection (None), or one that came back meanwhile."""
        with self._vacancy:
            self._waiting += 1
            try:
                while not self._idle:
                    self._check_left()
                    if self._made < self._most:
                        self._made += 1
                        return None
                    if not self._vacancy.wait(until - time.monotonic()):
                        text = f"all {self._most} connections to {self.where} are in use"
                        raise Fault(BackendUnavailable(text, code="no_connection"))
                return self._idle.pop()
            finally:
                self._waiting -= 1

    def _check_left(self) -> None:
        if self._left:
            raise superseded(self.where)

    def _unclaim(self) -> None:
        with self._vacancy:
            self._made -= 1
            self._vacancy.notify()


def superseded(where: str) -> Fault:
    """The fault of an attempt at a server that was given up meanwhile; nothing was sent."""
    return Fault(BackendUnavailable(f"{where} is not the primary any more", code="demoted"), passes=True)


def _is_silent(line: Line) -> bool:
    """Whether an idle connection is still open and nothing waits to be read on it."""
    try:
        return not line.can_read()
    except Exception:  # noqa: BLE001 - whatever is wrong with it, another will do
        return False


def ask(lines: Lines, words: tuple[Argument, ...], until: float) -> Any:
    """Send one command that changes nothing, once, and return its reply.

    Raises:
        Fault: There was none; what it means is the same whether it was sent or not.
    """
    line = lines.take(until)
    try:
        line.send_packed_command((pack(words),), False)
        reply = line.read_response()
    except BaseException as error:
        if isinstance(error, ResponseError):
            lines.give(line)
        else:
            lines.discard(line)
        if isinstance(error, Exception):
            raise failures.before_sending(lines.where, error) from error
        raise
    lines.give(line)
    return reply


def admitter(admission: Admission, where: str) -> Callable[[Line], None] | None:
    """What looks at a server's first connection, if there is anything to look at."""

    def admit(line: Line) -> None:
        line.send_packed_command((pack(admission.COMMAND),), False)
        reply: object
        try:
            reply = line.read_response()
        except ResponseError as error:
            reply = error
        admission.judge(where, reply)

    return admit if admission.asks else None

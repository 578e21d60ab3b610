"""Listening for a waiting call, blocking: one subscription on one connection, which nothing else uses."""

from __future__ import annotations

import contextlib
import time

from allocator._engine.protocol.wake_messages import News, read_news, subscribe
from allocator._engine.transport.connection import Connection
from allocator._engine.transport.connections import ConnectionPool
from allocator._engine.transport.failures import connection_failure

__all__ = ["Subscription"]


class Subscription:
    """The subscription to one channel, from its confirmation to `close`."""

    def __init__(self, connections: ConnectionPool, channel: str, patience_s: float) -> None:
        """Connect and subscribe.

        Args:
            connections: Those of the server that has the channel.
            channel: The channel.
            patience_s: Seconds after which a server that does not reply is taken for lost.

        Raises:
            AttemptFailure: There is no subscription.
        """
        self.connections = connections
        self._command = subscribe(channel)
        self._patience_s = patience_s
        self._asked: float | None = None
        """When a command was sent to which no reply has come; None: it has."""
        self._connection: Connection = connections.connect_apart()
        try:
            self._ask()
            while self._receive() is not News.CONFIRMED:
                pass
        except BaseException as error:
            self.close()
            if isinstance(error, Exception):
                raise connection_failure(connections.address, error) from error
            raise

    def probe(self) -> None:
        """Subscribe again, which changes nothing: the reply tells that the server is still there.

        Raises:
            AttemptFailure: The subscription is lost.
        """
        if self._asked is None:
            try:
                self._ask()
            except Exception as error:
                raise connection_failure(self.connections.address, error) from error

    def wait(self, seconds: float) -> bool:
        """Wait for a message, at most so many seconds; returns whether there was one.

        Raises:
            AttemptFailure: The subscription is lost.
        """
        until = time.monotonic() + seconds
        try:
            while self._connection.can_read(max(until - time.monotonic(), 0.0)):
                if self._receive() is News.WOKEN:
                    return True
            self._check_patience()
        except Exception as error:
            raise connection_failure(self.connections.address, error) from error
        return False

    def close(self) -> None:
        """End the subscription with its connection."""
        with contextlib.suppress(Exception):
            self._connection.disconnect()

    def _ask(self) -> None:
        self._connection.send_packed_command((self._command,), False)
        self._asked = time.monotonic()

    def _receive(self) -> News:
        news, _ = read_news(self._connection.read_response())
        if news is News.ENDED:
            raise ConnectionResetError("the server has ended the subscription")
        if news is News.CONFIRMED:
            self._asked = None
        return news

    def _check_patience(self) -> None:
        if self._asked is not None and time.monotonic() - self._asked > self._patience_s:
            raise TimeoutError

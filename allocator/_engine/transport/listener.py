"""Listening for a waiting call, blocking: one subscription on one connection, which nothing else uses."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from allocator._engine.protocol.wake_messages import News, read_news, subscribe
from allocator._engine.transport.connection import Connection
from allocator._engine.transport.connections import ConnectionPool
from allocator._engine.transport.failures import connection_failure

__all__ = ["Subscription"]


class Subscription:
    """The subscription to one channel, from its confirmation to `close`."""

    def __init__(self, connections: ConnectionPool, channel: str) -> None:
        """Connect and subscribe.

        Raises:
            AttemptFailure: There is no subscription.
        """
        self.connections = connections
        """Those of the server that was asked."""
        self._channel = channel
        self._connection: Connection = connections.connect_apart()
        try:
            self._connection.send_packed_command((subscribe(channel),), False)
            while self._receive()[0] is not News.CONFIRMED:
                pass
        except BaseException as error:
            self.close()
            if isinstance(error, Exception):
                raise connection_failure(connections.address, error) from error
            raise

    def wait(self, seconds: float) -> bool:
        """Wait for a message, at most so many seconds; returns whether there was one.

        Raises:
            AttemptFailure: The subscription is lost.
        """
        until = time.monotonic() + seconds
        try:
            while self._connection.can_read(max(until - time.monotonic(), 0.0)):
                news, _ = self._receive()
                if news is News.WOKEN:
                    return True
                if news is News.ENDED:
                    raise ConnectionResetError("the server has ended the subscription")
        except Exception as error:
            raise connection_failure(self.connections.address, error) from error
        return False

    def close(self) -> None:
        """End the subscription with its connection."""
        with contextlib.suppress(Exception):
            self._connection.disconnect()

    def _receive(self) -> tuple[News, str]:
        received: Any = self._connection.read_response()
        return read_news(received)

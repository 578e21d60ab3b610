"""Routers, blocking: which connections a call uses, of one server or of the cluster node that serves the pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.transport.cluster import ClusterRouter
from allocator._engine.transport.connection import Connection
from allocator._engine.transport.connections import ConnectionPool, server_check
from allocator._engine.transport.failures import AttemptFailure
from allocator._engine.transport.sentinel import SentinelRouter
from allocator._engine.transport.target import ClusterTarget, ConnectionFactory, SentinelTarget, ServerTarget, Target
from allocator.errors import InvalidRequest

__all__ = ["Router", "make_router"]


class Router(Protocol):
    """Routes calls to the servers of one target."""

    in_process: bool
    watched: bool
    """Whether Sentinels name the primary; then `validity` limits how long a deadline from it may be relied on."""

    def route(self, pool: PoolKeys, until: float) -> ConnectionPool:
        """The connections to the server that has this pool; raises `AttemptFailure` if it cannot be found."""
        ...

    def primaries(self, until: float) -> Sequence[ConnectionPool]:
        """The connections to each primary that may hold keys."""
        ...

    def on_failure(self, pool: PoolKeys, failure: AttemptFailure) -> ConnectionPool | None:
        """Update the routing after a failed attempt at a call to this pool.

        Returns:
            The connections that the next attempt must use, once and after ASKING; None: those that `route` returns.
        """
        ...

    def connection_pools(self) -> Sequence[ConnectionPool]:
        """Those made so far to servers of pools; no I/O."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class ServerRouter:
    """Routes all calls to one server."""

    watched = False

    def __init__(self, target: ServerTarget, make: ConnectionFactory) -> None:
        self.in_process = target.in_process
        self._target = target
        self._make = make
        self._connections = ConnectionPool(
            self._connection,
            address=target.address,
            max_connections=target.connector.max_connections,
            check_server=server_check(target.eviction_check, target.address),
        )

    def _connection(self, **options: Any) -> Connection:
        target = self._target
        location: Mapping[str, Any] = target.locate() if target.locate is not None else {}
        return self._make(target.attempt_timeout_s, **location, **options)

    def route(self, pool: PoolKeys, until: float) -> ConnectionPool:
        return self._connections

    def primaries(self, until: float) -> Sequence[ConnectionPool]:
        return (self._connections,)

    def on_failure(self, pool: PoolKeys, failure: AttemptFailure) -> ConnectionPool | None:
        if failure.reconnect:
            self._connections.close_idle()
        return None

    def connection_pools(self) -> Sequence[ConnectionPool]:
        return (self._connections,)

    def close(self) -> None:
        self._connections.close()


def make_router(target: Target) -> Router:
    """The router of a target; nothing is connected."""
    make = target.connector.make
    if make is None:
        raise InvalidRequest("this client is for asyncio: use AsyncAllocator", field="client")
    if isinstance(target, ServerTarget):
        return ServerRouter(target, make)
    if isinstance(target, SentinelTarget):
        return SentinelRouter(target, make)
    assert isinstance(target, ClusterTarget)
    return ClusterRouter(target, make)

"""Routers, asyncio: the counterpart of `router`, for one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.transport.cluster_async import AsyncClusterRouter
from allocator._engine.transport.connection import AsyncConnection
from allocator._engine.transport.connections_async import AsyncConnectionPool, server_check_async
from allocator._engine.transport.failures import AttemptFailure
from allocator._engine.transport.sentinel_async import AsyncSentinelRouter
from allocator._engine.transport.target import (
    AsyncConnectionFactory,
    ClusterTarget,
    SentinelTarget,
    ServerTarget,
    Target,
)
from allocator.errors import InvalidRequest

__all__ = ["AsyncRouter", "check_async", "make_router_async"]


class AsyncRouter(Protocol):
    """Routes calls to the servers of one target."""

    in_process: bool
    watched: bool
    """Whether Sentinels name the primary; then `validity` limits how long a deadline from it may be relied on."""

    async def route(self, pool: PoolKeys, until: float) -> AsyncConnectionPool:
        """The connections to the server that has this pool; raises `AttemptFailure` if it cannot be found."""
        ...

    async def primaries(self, until: float) -> Sequence[AsyncConnectionPool]:
        """The connections to each primary that may hold keys."""
        ...

    async def on_failure(self, pool: PoolKeys, failure: AttemptFailure) -> AsyncConnectionPool | None:
        """Update the routing after a failed attempt at a call to this pool.

        Returns:
            The connections that the next attempt must use, once and after ASKING; None: those that `route` returns.
        """
        ...

    def connection_pools(self) -> Sequence[AsyncConnectionPool]:
        """Those made so far to servers of pools; no I/O."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class AsyncServerRouter:
    """Routes all calls to one server."""

    watched = False

    def __init__(self, target: ServerTarget, make: AsyncConnectionFactory) -> None:
        self.in_process = target.in_process
        self._target = target
        self._make = make
        self._connections = AsyncConnectionPool(
            self._connection,
            address=target.address,
            max_connections=target.connector.max_connections,
            attempt_timeout_s=target.attempt_timeout_s,
            check_server=server_check_async(target.eviction_check, target.address),
        )

    async def _connection(self, **options: Any) -> AsyncConnection:
        find = self._target.locate
        location: Mapping[str, Any] = await asyncio.to_thread(find) if find is not None else {}
        return await self._make(**location, **options)

    async def route(self, pool: PoolKeys, until: float) -> AsyncConnectionPool:
        return self._connections

    async def primaries(self, until: float) -> Sequence[AsyncConnectionPool]:
        return (self._connections,)

    async def on_failure(self, pool: PoolKeys, failure: AttemptFailure) -> AsyncConnectionPool | None:
        if failure.reconnect:
            await self._connections.close_idle()
        return None

    def connection_pools(self) -> Sequence[AsyncConnectionPool]:
        return (self._connections,)

    async def close(self) -> None:
        await self._connections.close()


def check_async(target: Target) -> None:
    """Refuse a target that was resolved from a blocking client."""
    if target.connector.make_async is None:
        raise InvalidRequest("this client is blocking: use Allocator, or give a redis.asyncio client", field="client")


def make_router_async(target: Target) -> AsyncRouter:
    """The router of a target, for the running loop; nothing is connected."""
    make = target.connector.make_async
    assert make is not None, "check_async was not asked"
    if isinstance(target, ServerTarget):
        return AsyncServerRouter(target, make)
    if isinstance(target, SentinelTarget):
        return AsyncSentinelRouter(target, make)
    assert isinstance(target, ClusterTarget)
    return AsyncClusterRouter(target, make)

"""What a store is, before anything is connected: where the data are, and how to make a connection there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import redis.asyncio.retry
import redis.backoff
import redis.retry

from allocator import settings
from allocator._engine.transport.connections import Connection
from allocator._engine.transport.connections_async import AsyncConnection, RedisConnection
from allocator._engine.transport.eviction_check import EvictionCheck

__all__ = [
    "CLIENT_NAME",
    "Address",
    "ClusterTarget",
    "Connector",
    "SentinelTarget",
    "ServerTarget",
    "Target",
    "redis_connector",
]

CLIENT_NAME: Final = "allocator"
"""How our connections are named in CLIENT LIST, unless the URL or the client names them."""

Address = tuple[str, int]
"""Host and port."""

_OURS: Final = (
    "retry",
    "retry_on_error",
    "retry_on_timeout",
    "health_check_interval",
    "timeout",
    "max_connections",
    "socket_timeout",
    "socket_connect_timeout",
    "encoding",
    "encoding_errors",
    "decode_responses",
)
"""Options that a URL or a client may carry and that are decided here."""

_THEIRS: Final = (
    "cache",
    "cache_config",
    "event_dispatcher",
    "himport_registry",
    "maint_notifications_config",
    "maint_notifications_pool_handler",
    "maintenance_state",
    "maintenance_notification_hash",
    "oss_cluster_maint_notifications_handler",
    "orig_host_address",
    "orig_socket_timeout",
    "orig_socket_connect_timeout",
)
"""Options by which a client's pool ties its connections to itself."""


class ConnectionFactory(Protocol):
    """Makes a connection that is not connected yet; `location` goes over the options (`host`, `port`, `path`)."""

    def __call__(self, timeout_s: float, **location: Any) -> Connection: ...


class AsyncConnectionFactory(Protocol):
    """The same for asyncio; without time-outs, which are set there for whole exchanges."""

    def __call__(self, **location: Any) -> Awaitable[AsyncConnection]: ...


@dataclass(frozen=True, repr=False)
class Connector:
    """How to make connections, for either side; None where the caller's client is of the other."""

    make: ConnectionFactory | None
    make_async: AsyncConnectionFactory | None
    max_connections: int = settings.CONNECTIONS_MAX


@dataclass(frozen=True, repr=False)
class Target:
    """Where the data are, and how to get there.  It holds no connection.

    `share_key` is equal in targets that were resolved alike by URL, so that their clients may share what a process
    needs once; None in a target that is like no other.
    """

    address: str
    attempt_timeout_s: float
    connector: Connector
    eviction_check: EvictionCheck
    share_key: tuple[object, ...] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r})"


@dataclass(frozen=True, repr=False)
class ServerTarget(Target):
    """One server.

    `locate`, where there is one, says before each connection where the server is at present, and may take its time.
    """

    in_process: bool = False
    locate: Callable[[], Mapping[str, Any]] | None = None


@dataclass(frozen=True, repr=False)
class ClusterTarget(Target):
    """A cluster, known by some of its nodes; `remap` turns an address that a node tells into one to be used here."""

    seeds: tuple[Address, ...] = ()
    remap: Callable[[Address], Address] | None = None


@dataclass(frozen=True, repr=False)
class SentinelTarget(Target):
    """The primary of a service, known by its Sentinels, which have a door of their own."""

    seeds: tuple[Address, ...] = ()
    service: str = ""
    sentinel_connector: Connector = Connector(None, None)


def redis_connector(
    kind: Callable[..., Any] | None,
    async_kind: Callable[..., Any] | None,
    options: Mapping[str, Any],
    async_options: Mapping[str, Any],
    most: int = settings.CONNECTIONS_MAX,
) -> Connector:
    """A door made of redis-py's connection classes, with each connection attempting everything once.

    Args:
        kind: The blocking class, or None.
        async_kind: The asyncio class, or None.
        options: What the URL or the client says of the blocking one; what is ours to decide is left out.
        async_options: The same of the other.
        most: Connections at a time to one server.
    """
    return Connector(
        make=_maker(kind, _normal(options)) if kind else None,
        make_async=_async_maker(async_kind, _normal(async_options)) if async_kind else None,
        max_connections=most,
    )


def _maker(kind: Callable[..., Any], options: Mapping[str, Any]) -> ConnectionFactory:
    retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)

    def make(timeout_s: float, **location: Any) -> Connection:
        times = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
        connection: Connection = kind(**{**options, **location, **times, "retry": retry})
        return connection

    return make


def _async_maker(kind: Callable[..., Any], options: Mapping[str, Any]) -> AsyncConnectionFactory:
    retry = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)

    async def make(**location: Any) -> AsyncConnection:
        times = {"socket_timeout": None, "socket_connect_timeout": None}
        return RedisConnection(kind(**{**options, **location, **times, "retry": retry}))

    return make


def _normal(options: Mapping[str, Any]) -> dict[str, Any]:
    """A connection's options with our own in place of those that are not the caller's to decide."""
    kept = {name: value for name, value in options.items() if name not in _OURS and name not in _THEIRS}
    if not kept.get("client_name"):
        kept["client_name"] = CLIENT_NAME
    return kept | {"encoding": "utf-8", "encoding_errors": "replace", "decode_responses": True}

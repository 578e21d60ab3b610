"""Targets: where the data are and how to make a connection there.  A target holds no connection."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import redis.asyncio.retry
import redis.backoff
import redis.retry

from allocator import settings
from allocator._engine.transport.connection import AsyncConnection, Connection, RedisConnection
from allocator._engine.transport.fault_switch import FaultSwitch
from allocator.errors import BackendUnavailable

__all__ = [
    "CLIENT_NAME",
    "Address",
    "ClusterTarget",
    "Connector",
    "EvictionCheck",
    "SentinelTarget",
    "ServerTarget",
    "Target",
    "redis_connector",
]

_log = logging.getLogger("allocator")

CLIENT_NAME: Final = "allocator"
"""The name of the allocator's connections in CLIENT LIST, unless the URL or the client sets another."""

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
"""Options of a URL or a client that are replaced by the allocator's."""

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
"""Options that tie a connection to the connection pool of the caller's client; they are left out."""


_FILES: Final = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")
"""Options that name a file."""


class ConnectionFactory(Protocol):
    """Makes a connection that is not connected yet; `location` (`host`, `port`, `path`) overrides the options."""

    def __call__(self, timeout_s: float, **location: Any) -> Connection: ...


class AsyncConnectionFactory(Protocol):
    """The same for asyncio.  The connection has no timeouts: the caller sets one for each exchange."""

    def __call__(self, **location: Any) -> Awaitable[AsyncConnection]: ...


class Connector(NamedTuple):
    """How to make connections, blocking and asyncio; None where the caller's client is of the other kind.

    `clock` and `faults` are those of an in-process server that `allocator.testing` has made; None anywhere else.
    """

    make: ConnectionFactory | None
    make_async: AsyncConnectionFactory | None
    max_connections: int = settings.CONNECTIONS_MAX
    clock: Callable[[], int] | None = None
    faults: FaultSwitch | None = None


NOT_CONNECTABLE: Final = Connector(None, None)
"""In place of a connector that a target does not need."""


class EvictionCheck:
    """Refuses a server that may evict any key: evicted records would leave wrong counters without an error.

    `volatile-*` policies are accepted, as no key of the allocator has a time to live in Redis.
    """

    COMMAND = ("INFO", "memory")

    def __init__(self, *, allow_eviction: bool = False) -> None:
        self._allow_eviction = allow_eviction
        self._warned = False

    @property
    def needed(self) -> bool:
        """Whether the policy must be checked."""
        return not self._allow_eviction

    def check(self, where: str, info: Any) -> None:
        """Check the reply to `COMMAND`.

        Args:
            where: The server, for messages.
            info: The text, or the error reply in its place.

        Raises:
            BackendUnavailable: `code="eviction"`.
        """
        fields = (
            dict(connection.split(":", 1) for connection in info.splitlines() if ":" in connection)
            if isinstance(info, str)
            else {}
        )
        policy = fields.get("maxmemory_policy", "")
        if policy.startswith("allkeys-"):
            raise BackendUnavailable(
                f"{where} has maxmemory-policy {policy} and may evict allocations without a word: "
                f"set noeviction, or pass allow_eviction=True",
                code="eviction",
            )
        if not policy and not self._warned:
            self._warned = True
            _log.warning("%s does not tell its maxmemory-policy; make sure that it is noeviction", where)


@dataclass(frozen=True, repr=False, eq=False)
class Target:
    """Where the data are, and how to connect there.  It holds no connection.

    `share_key` is equal in targets that were resolved from the same URL and options.  Clients of such targets share
    what a process needs once, as the lease renewer.  It is None in a target that nothing shares.
    """

    address: str
    attempt_timeout_s: float
    connector: Connector
    eviction_check: EvictionCheck
    share_key: tuple[object, ...] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r})"


@dataclass(frozen=True, repr=False, eq=False)
class ServerTarget(Target):
    """One server.

    `locate`, where there is one, is called before each connection and returns the server's present location.  It may
    block.
    """

    in_process: bool = False
    locate: Callable[[], Mapping[str, Any]] | None = None


@dataclass(frozen=True, repr=False, eq=False)
class ClusterTarget(Target):
    """A cluster, given by some of its nodes.  `remap` maps an address that a node reports to the one to connect to."""

    seeds: tuple[Address, ...] = ()
    remap: Callable[[Address], Address] | None = None


@dataclass(frozen=True, repr=False, eq=False)
class SentinelTarget(Target):
    """The primary of a service, given by its Sentinels.  `sentinel_connector` makes the connections to them."""

    seeds: tuple[Address, ...] = ()
    service: str = ""
    sentinel_connector: Connector = NOT_CONNECTABLE


def redis_connector(
    kind: Callable[..., Any] | None,
    async_kind: Callable[..., Any] | None,
    options: Mapping[str, Any],
    async_options: Mapping[str, Any],
    most: int = settings.CONNECTIONS_MAX,
) -> Connector:
    """A connector that uses redis-py's connection classes.  Its connections attempt everything once.

    Args:
        kind: The blocking class, or None.
        async_kind: The asyncio class, or None.
        options: The options of the URL or the client for the blocking class; `_OURS` and `_THEIRS` are left out.
        async_options: The same for the asyncio class.
        most: The maximum number of connections to one server.
    """
    return Connector(
        make=_maker(kind, _normal(options)) if kind else None,
        make_async=_async_maker(async_kind, _normal(async_options)) if async_kind else None,
        max_connections=most,
    )


def _maker(kind: Callable[..., Any], options: Mapping[str, Any]) -> ConnectionFactory:
    retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)

    def make(timeout_s: float, **location: Any) -> Connection:
        _check_files(options)
        times = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
        connection: Connection = kind(**{**options, **location, **times, "retry": retry})
        return connection

    return make


def _async_maker(kind: Callable[..., Any], options: Mapping[str, Any]) -> AsyncConnectionFactory:
    retry = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)

    async def make(**location: Any) -> AsyncConnection:
        _check_files(options)
        times = {"socket_timeout": None, "socket_connect_timeout": None}
        return RedisConnection(kind(**{**options, **location, **times, "retry": retry}))

    return make


def _check_files(options: Mapping[str, Any]) -> None:
    """Check the files that the options name: OpenSSL's error would not say which one is missing.

    Raises:
        BackendUnavailable: `code="tls"`.
    """
    for name in _FILES:
        path = options.get(name)
        if path and not os.access(path, os.R_OK):
            why = "cannot be read by this user" if os.path.lexists(path) else "is not there"
            raise BackendUnavailable(f"the file that {name}= names {why}: {os.fspath(path)!r}", code="tls")


def _normal(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a connection, without those that the allocator decides and with its values for them."""
    kept = {name: value for name, value in options.items() if name not in _OURS and name not in _THEIRS}
    if not kept.get("client_name"):
        kept["client_name"] = CLIENT_NAME
    return kept | {"encoding": "utf-8", "encoding_errors": "replace", "decode_responses": True}

"""Targets from clients of valkey-py, which is never imported: its classes are known by their names.

As with redis-py's clients, only the settings are used, for redis-py's connections: valkey-py is a fork of redis-py and
names its options alike.  A setting that has no counterpart is refused by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import redis.asyncio.connection as awaited
import redis.connection as blocking

from allocator import settings
from allocator._engine.transport.target import (
    Address,
    ClusterTarget,
    Connector,
    EvictionCheck,
    SentinelTarget,
    ServerTarget,
    Target,
    redis_connector,
)
from allocator.errors import InvalidRequest

__all__ = ["is_valkey_client", "target_of_valkey_client"]

_SERVERS: Final = {"valkey.client.Valkey", "valkey.asyncio.client.Valkey"}
_CLUSTERS: Final = {"valkey.cluster.ValkeyCluster", "valkey.asyncio.cluster.ValkeyCluster"}

_SENTINEL_PORT: Final = 26379

_KINDS: Final[Mapping[str, Callable[..., Any]]] = {
    "valkey.connection.Connection": blocking.Connection,
    "valkey.connection.SSLConnection": blocking.SSLConnection,
    "valkey.connection.UnixDomainSocketConnection": blocking.UnixDomainSocketConnection,
    "valkey.sentinel.SentinelManagedConnection": blocking.Connection,
    "valkey.sentinel.SentinelManagedSSLConnection": blocking.SSLConnection,
    "valkey.asyncio.connection.Connection": awaited.Connection,
    "valkey.asyncio.connection.SSLConnection": awaited.SSLConnection,
    "valkey.asyncio.connection.UnixDomainSocketConnection": awaited.UnixDomainSocketConnection,
    "valkey.asyncio.sentinel.SentinelManagedConnection": awaited.Connection,
    "valkey.asyncio.sentinel.SentinelManagedSSLConnection": awaited.SSLConnection,
}
"""redis-py's connection class for each of valkey-py's."""

_TAKEN: Final = frozenset({
    "client_name", "credential_provider", "db", "host", "password", "path", "port", "protocol", "socket_keepalive",
    "socket_keepalive_options", "socket_type", "ssl_ca_certs", "ssl_ca_data", "ssl_ca_path", "ssl_cert_reqs",
    "ssl_certfile", "ssl_check_hostname", "ssl_ciphers", "ssl_keyfile", "ssl_min_version", "ssl_password", "username",
})  # fmt: skip
"""Settings of a connection that are used."""

_REFUSED: Final = ("ssl_context", "ssl_validate_ocsp", "ssl_validate_ocsp_stapled", "valkey_connect_func")
"""Settings that would have to be used and cannot be.  All others concern retries, decoding or caches."""


def is_valkey_client(client: object) -> bool:
    """Whether it is a client of valkey-py, of one server or of a cluster."""
    return bool((_SERVERS | _CLUSTERS) & _names(type(client)))


def target_of_valkey_client(client: Any, attempt_timeout_s: float, eviction_check: EvictionCheck) -> Target:
    """The target that a client of valkey-py is connected to.

    Raises:
        InvalidRequest: `field="client"`: it has a setting, or a class of connections, that cannot be used.
    """
    if hasattr(client, "nodes_manager"):
        return _cluster(client, attempt_timeout_s, eviction_check)
    pool = client.connection_pool
    kind, options = _kind(pool.connection_class), _options(pool.connection_kwargs)
    connector = _connector(kind, options, pool.max_connections)
    if hasattr(pool, "sentinel_manager"):
        return _primary(pool, connector, attempt_timeout_s, eviction_check)
    where = f"unix://{options['path']}" if "path" in options else "{host}:{port}".format_map(options)
    return ServerTarget(where, attempt_timeout_s, connector, eviction_check)


def _primary(pool: Any, connector: Connector, attempt_timeout_s: float, eviction_check: EvictionCheck) -> Target:
    manager = pool.sentinel_manager
    if not pool.is_master or not manager.sentinels or getattr(manager, "_force_master_ip", None) is not None:
        raise InvalidRequest("the client must be made by Sentinel.master_for, without force_master_ip", field="client")
    theirs = [sentinel.connection_pool for sentinel in manager.sentinels]
    seeds = [(one.connection_kwargs["host"], one.connection_kwargs.get("port") or _SENTINEL_PORT) for one in theirs]
    options = _options(theirs[0].connection_kwargs)
    return SentinelTarget(
        f"the primary of {pool.service_name}",
        attempt_timeout_s,
        connector,
        eviction_check,
        seeds=_addresses(seeds),
        service=pool.service_name,
        sentinel_connector=_connector(_kind(theirs[0].connection_class), options, settings.CONNECTIONS_MAX),
    )


def _cluster(client: Any, attempt_timeout_s: float, eviction_check: EvictionCheck) -> Target:
    manager = client.nodes_manager
    known = [*client.get_nodes(), *manager.startup_nodes.values()]
    if not known:
        raise InvalidRequest("this cluster client knows no node", field="client")
    # A node of the blocking client has a pool once it was used; one of the asyncio client has the settings itself.
    pools = [one.valkey_connection.connection_pool for one in known if getattr(one, "valkey_connection", None)]
    source = pools[0] if pools else known[0]
    if not hasattr(source, "connection_class"):
        raise InvalidRequest("this cluster client is closed", field="client")
    kept = {name: value for name, value in source.connection_kwargs.items() if name != "valkey_connect_func"}
    options = {name: value for name, value in _options(kept).items() if name not in ("host", "port", "path", "db")}
    return ClusterTarget(
        "the cluster",
        attempt_timeout_s,
        _connector(_kind(source.connection_class), options, source.max_connections),
        eviction_check,
        seeds=_addresses([(one.host, one.port) for one in known]),
        remap=getattr(manager, "address_remap", None),
    )


def _connector(kind: Callable[..., Any], options: Mapping[str, Any], most: int) -> Connector:
    most = max(1, min(int(most), settings.CONNECTIONS_MAX))
    if kind.__module__ == blocking.__name__:
        return redis_connector(kind, None, options, {}, most)
    return redis_connector(None, kind, {}, options, most)


def _kind(theirs: Any) -> Callable[..., Any]:
    kind = _KINDS.get(f"{theirs.__module__}.{theirs.__qualname__}")
    if kind is None:
        raise InvalidRequest(
            f"connections of the class {theirs.__qualname__} cannot be used: give a URL in place of this client",
            field="client",
        )
    return kind


def _options(theirs: Mapping[str, Any]) -> dict[str, Any]:
    for name in _REFUSED:
        if theirs.get(name):
            raise InvalidRequest(f"a client with {name} cannot be used: give a URL in its place", field="client")
    return {name: value for name, value in theirs.items() if name in _TAKEN and value is not None}


def _addresses(found: list[tuple[Any, Any]]) -> tuple[Address, ...]:
    return tuple(dict.fromkeys((str(host), int(port)) for host, port in found))


def _names(kind: type[object]) -> set[str]:
    return {f"{one.__module__}.{one.__qualname__}" for one in kind.__mro__}

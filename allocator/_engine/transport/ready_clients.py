"""Targets from clients that the caller has made.

A given client is never used, changed or closed.  Its settings are used to make other connections, which attempt
everything once.  So the client's retry settings have no effect here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.connection
import redis.asyncio.sentinel
import redis.cluster
import redis.connection
import redis.sentinel

from allocator import settings
from allocator._engine.transport.in_process import InProcessServer
from allocator._engine.transport.target import (
    ClusterTarget,
    EvictionCheck,
    SentinelTarget,
    ServerTarget,
    Target,
    redis_connector,
)
from allocator._engine.transport.valkey_clients import is_valkey_client, target_of_valkey_client
from allocator.errors import InvalidRequest

__all__ = ["SENTINEL_PORT", "target_of_client"]

_OF_THE_CLUSTER: Final = ("redis_connect_func", "host", "port", "path", "db", "response_callbacks")
"""Options of a cluster client's connections that belong to that client or to one node."""


SENTINEL_PORT: Final = 26379

_MANAGED: Final[Mapping[Any, Any]] = {
    redis.sentinel.SentinelManagedConnection: redis.connection.Connection,
    redis.sentinel.SentinelManagedSSLConnection: redis.connection.SSLConnection,
    redis.asyncio.sentinel.SentinelManagedConnection: redis.asyncio.connection.Connection,
    redis.asyncio.sentinel.SentinelManagedSSLConnection: redis.asyncio.connection.SSLConnection,
}
"""The plain connection class for each redis-py connection class that looks up the primary through Sentinels."""


def target_of_client(client: object, attempt_timeout_s: float, eviction_check: EvictionCheck) -> Target:
    """The target that a client is connected to.

    Raises:
        InvalidRequest: `field="client"`: it is no client of redis-py, valkey-py or fakeredis.
    """
    if isinstance(client, redis.cluster.RedisCluster):
        return _cluster(client, attempt_timeout_s, eviction_check)
    if isinstance(client, redis.asyncio.cluster.RedisCluster):
        return _async_cluster(client, attempt_timeout_s, eviction_check)
    if isinstance(client, redis.Redis | redis.asyncio.Redis):
        return _server(client, attempt_timeout_s, eviction_check)
    if is_valkey_client(client):
        return target_of_valkey_client(client, attempt_timeout_s, eviction_check)
    raise InvalidRequest(
        f"expected a URL, or a client of redis-py or valkey-py, got {type(client).__name__}", field="client"
    )


def _server(client: Any, attempt_timeout_s: float, eviction_check: EvictionCheck) -> Target:
    pool = client.connection_pool
    kind: Any = pool.connection_class
    options = dict(pool.connection_kwargs)
    most = _most(pool)
    if kind.__module__.startswith("fakeredis"):
        process = InProcessServer.from_client(options)
        return ServerTarget(
            "memory://", attempt_timeout_s, process.connector, EvictionCheck(allow_eviction=True), in_process=True
        )
    if _is_of_sentinels(pool, kind):
        return _primary(client, attempt_timeout_s, eviction_check)
    where = _location(kind, options)
    if isinstance(pool, redis.sentinel.SentinelConnectionPool | redis.asyncio.sentinel.SentinelConnectionPool):
        where = f"the primary of {cast('Any', pool).service_name}"
        options["connection_pool"] = _discovery(pool, kind)
    if isinstance(client, redis.Redis):
        connector = redis_connector(kind, None, options, {}, most)
    else:
        connector = redis_connector(None, kind, {}, options, most)
    return ServerTarget(where, attempt_timeout_s, connector, eviction_check)


def _is_of_sentinels(pool: Any, kind: Any) -> bool:
    """Whether a client was made by redis-py's `Sentinel.master_for` without classes or overrides of the caller."""
    manager: Any = getattr(pool, "sentinel_manager", None)
    return (
        type(manager) in (redis.sentinel.Sentinel, redis.asyncio.sentinel.Sentinel)
        and kind in _MANAGED
        and pool.is_master
        and getattr(manager, "_force_master_ip", None) is None
        and bool(manager.sentinels)
    )


def _primary(client: Any, attempt_timeout_s: float, eviction_check: EvictionCheck) -> Target:
    """The target for the primary that the client's Sentinels name; the allocator makes its own connections to them."""
    pool = client.connection_pool
    name, most = pool.service_name, _most(pool)
    theirs = [sentinel.connection_pool for sentinel in pool.sentinel_manager.sentinels]
    seeds = tuple(
        (str(one.connection_kwargs["host"]), int(one.connection_kwargs.get("port") or SENTINEL_PORT)) for one in theirs
    )
    kinds = _MANAGED[pool.connection_class], theirs[0].connection_class
    options = [
        {name: value for name, value in one.connection_kwargs.items() if name != "connection_pool"}
        for one in (pool, theirs[0])
    ]
    connector, sentinel_connector = (
        redis_connector(kind, None, kept, {}, most)
        if isinstance(client, redis.Redis)
        else redis_connector(None, kind, {}, kept, most)
        for kind, kept in zip(kinds, options, strict=True)
    )
    where = f"the primary of {name}"
    return SentinelTarget(
        where,
        attempt_timeout_s,
        connector,
        eviction_check,
        seeds=seeds,
        service=name,
        sentinel_connector=sentinel_connector,
    )


def _discovery(pool: Any, kind: Any) -> Any:
    """A redis-py pool that a Sentinel-managed connection asks for the primary's address; it holds no connection.

    The caller's pool is not used for this: it closes its idle connections when the primary changes.
    """
    return type(pool)(
        pool.service_name,
        pool.sentinel_manager,
        connection_class=kind,
        is_master=pool.is_master,
        check_connection=pool.check_connection,
    )


def _cluster(client: redis.cluster.RedisCluster, attempt_timeout_s: float, eviction_check: EvictionCheck) -> Target:
    manager: Any = client.nodes_manager
    pools = [node.redis_connection.connection_pool for node in _nodes(client) if node.redis_connection is not None]
    if not pools:
        raise InvalidRequest("this cluster client is closed", field="client")
    kind, options = pools[0].connection_class, _shared(pools[0].connection_kwargs)
    connector = redis_connector(kind, None, options, {}, _most(pools[0]))
    remap = getattr(manager, "address_remap", None)
    return ClusterTarget(
        "the cluster", attempt_timeout_s, connector, eviction_check, seeds=_addresses(_nodes(client)), remap=remap
    )


def _async_cluster(
    client: redis.asyncio.cluster.RedisCluster, attempt_timeout_s: float, eviction_check: EvictionCheck
) -> Target:
    manager: Any = client.nodes_manager
    router = [*_nodes(client), *manager.startup_nodes.values()]
    kind, options = router[0].connection_class, _shared(router[0].connection_kwargs)
    connector = redis_connector(None, kind, {}, options, router[0].max_connections)
    remap = getattr(manager, "address_remap", None)
    return ClusterTarget(
        "the cluster", attempt_timeout_s, connector, eviction_check, seeds=_addresses(router), remap=remap
    )


def _nodes(client: Any) -> list[Any]:
    return list(client.get_nodes())


def _addresses(router: list[Any]) -> tuple[tuple[str, int], ...]:
    return tuple(dict.fromkeys((cast("str", node.host), int(node.port)) for node in router))


def _shared(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in _OF_THE_CLUSTER}


def _most(pool: Any) -> int:
    """The maximum number of connections: the client's limit or `CONNECTIONS_MAX`, whichever is lower."""
    return max(1, min(int(getattr(pool, "max_connections", settings.CONNECTIONS_MAX)), settings.CONNECTIONS_MAX))


def _location(kind: Any, options: Mapping[str, Any]) -> str:
    if "path" in options:
        return f"unix://{options['path']}"
    tls = issubclass(kind, redis.connection.SSLConnection | redis.asyncio.connection.SSLConnection)
    return f"{'rediss' if tls else 'redis'}://{options.get('host', 'localhost')}:{options.get('port', 6379)}"

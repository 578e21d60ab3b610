"""Ready clients of valkey-py: their settings are used, or refused by name; where it is installed, they work."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import redis.asyncio.connection
import redis.connection

from allocator._engine.transport.target import ClusterTarget, SentinelTarget, ServerTarget
from allocator._engine.transport.urls import resolve_target
from allocator.errors import InvalidRequest
from tests.support.cluster import Cluster
from tests.support.drivers import Open, count
from tests.support.servers import Server


def named(qualified: str) -> type[Any]:
    """A class that has this module and name, as valkey-py's has."""
    module, _, name = qualified.rpartition(".")
    return type(name, (), {"__module__": module, "__qualname__": name, "__init__": _take})


def _take(self: Any, **attributes: Any) -> None:
    vars(self).update(attributes)


def client_of(kind: str, connection: str, options: dict[str, Any], **pool: Any) -> Any:
    """A client with a pool of these settings."""
    pooled = SimpleNamespace(
        connection_class=named(connection), connection_kwargs=options, max_connections=2**31, **pool
    )
    return named(kind)(connection_pool=pooled)


DEFAULTS = {"retry": object(), "valkey_connect_func": None, "decode_responses": False, "cache_enabled": False}


@pytest.mark.parametrize("side", ["", ".asyncio"])
def test_the_settings_of_a_client_are_used(side: str) -> None:
    """By connections of its own kind only, of redis-py."""
    options = {**DEFAULTS, "host": "h", "port": 7, "db": 2, "username": "u", "password": "p", "ssl_ca_certs": None}
    target = resolve_target(client_of(f"valkey{side}.client.Valkey", f"valkey{side}.connection.Connection", options))
    assert isinstance(target, ServerTarget)
    assert target.address == "h:7"
    if side:
        assert target.connector.make is None
        make = target.connector.make_async
        assert make is not None

        async def connection() -> Any:
            return (await make()).connection  # type: ignore[attr-defined]

        made = asyncio.run(connection())
        assert type(made) is redis.asyncio.connection.Connection
    else:
        assert target.connector.make_async is None
        assert target.connector.make is not None
        made = target.connector.make(1.0)
        assert type(made) is redis.connection.Connection
    assert (made.host, made.port, made.db, made.username, made.password) == ("h", 7, 2, "u", "p")


def test_a_subclass_of_a_client_is_one() -> None:
    """As somebody's wrapper."""
    client = client_of("valkey.client.Valkey", "valkey.connection.UnixDomainSocketConnection", {"path": "/x"})
    wrapper = type("Wrapper", (type(client),), {})
    assert resolve_target(wrapper(connection_pool=client.connection_pool)).address == "unix:///x"


@pytest.mark.parametrize("setting", ["valkey_connect_func", "ssl_validate_ocsp", "ssl_context"])
def test_a_setting_that_cannot_be_used_is_refused(setting: str) -> None:
    """Rather than ignored."""
    options = {"host": "h", "port": 1, setting: object()}
    with pytest.raises(InvalidRequest, match=f"a client with {setting} cannot be used"):
        resolve_target(client_of("valkey.client.Valkey", "valkey.connection.Connection", options))


def test_a_connection_class_of_the_caller_is_refused() -> None:
    """By its name."""
    with pytest.raises(InvalidRequest, match="connections of the class Mine cannot be used"):
        resolve_target(client_of("valkey.client.Valkey", "mine.Mine", {"host": "h", "port": 1}))


@pytest.mark.parametrize("is_master", [True, False])
def test_a_client_of_sentinels(is_master: bool) -> None:
    """The allocator asks the Sentinels itself; a client of replicas is refused."""
    pool = SimpleNamespace(
        connection_class=named("valkey.connection.Connection"), connection_kwargs={"host": "s", "port": 3}
    )
    manager = SimpleNamespace(sentinels=[SimpleNamespace(connection_pool=pool)])
    client = client_of(
        "valkey.client.Valkey", "valkey.sentinel.SentinelManagedConnection", {"connection_pool": object()},
        sentinel_manager=manager, is_master=is_master, service_name="ledger",
    )  # fmt: skip
    if not is_master:
        with pytest.raises(InvalidRequest, match=r"Sentinel\.master_for"):
            resolve_target(client)
        return
    target = resolve_target(client)
    assert isinstance(target, SentinelTarget)
    assert (target.seeds, target.service) == ((("s", 3),), "ledger")


def test_a_client_of_a_cluster() -> None:
    """Its nodes are the seeds."""
    node = SimpleNamespace(
        host="n", port=4, connection_class=named("valkey.asyncio.connection.SSLConnection"), max_connections=5,
        connection_kwargs={"host": "n", "port": 4, "password": "p", "parser_class": object()},
    )  # fmt: skip
    client = named("valkey.asyncio.cluster.ValkeyCluster")(
        nodes_manager=SimpleNamespace(startup_nodes={"n:4": node}), get_nodes=list
    )
    target = resolve_target(client)
    assert isinstance(target, ClusterTarget)
    assert target.seeds == (("n", 4),)
    assert target.connector.max_connections == 5


def test_real_clients_work(kind: str, drive: Open, one_server: Server) -> None:
    """Of one server."""
    valkey: Any = pytest.importorskip("valkey")
    pytest.importorskip("valkey.asyncio")
    made: Any = valkey.Valkey if kind == "sync" else valkey.asyncio.Valkey
    assert drive(made(unix_socket_path=one_server.socket, db=1)).run(count())[2] == 1


def test_real_clients_of_a_cluster_work(kind: str, drive: Open) -> None:
    """Of each kind."""
    pytest.importorskip("valkey")
    blocking: Any = pytest.importorskip("valkey.cluster")
    awaited: Any = pytest.importorskip("valkey.asyncio.cluster")
    with Cluster() as cluster:
        place = {"host": "127.0.0.1", "port": cluster.masters[0].port}
        client = (blocking if kind == "sync" else awaited).ValkeyCluster(**place)
        assert drive(client).run(count())[2] == 1

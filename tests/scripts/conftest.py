"""A pool on each engine and in the in-process store, spoken to raw; its invariants are checked after every test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fakeredis
import pytest
import redis

from tests.scripts.invariants import check_pool
from tests.scripts.ledger import Ledger
from tests.support.servers import SessionServers, engines
from tests.support.tools import engine_params

MEMORY = "memory"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker of this folder."""
    config.addinivalue_line("markers", "overcommits: leaves more allocated than there is, for capacity was lowered")


@pytest.fixture(scope="session")
def clients(servers: SessionServers) -> Iterator[dict[str, Any]]:
    """One connection to each store, made when first wanted."""
    made: dict[str, Any] = {}
    yield made
    for client in made.values():
        client.close()


def _open(name: str, clients: dict[str, Any], servers: SessionServers) -> Any:
    if name == MEMORY:
        client: Any = fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(7,)), decode_responses=True)
        return client
    if name not in clients:
        server = servers.get(next(engine for engine in engines() if engine == name))
        clients[name] = redis.Redis(unix_socket_path=server.socket, decode_responses=True)
    clients[name].flushall()
    return clients[name]


def _lend(ledger: Ledger, request: pytest.FixtureRequest) -> Iterator[Ledger]:
    yield ledger
    if not request.node.get_closest_marker("breaks_data"):
        check_pool(ledger.client, ledger.keys, overcommitted=bool(request.node.get_closest_marker("overcommits")))
        ledger.epoch = ""
        if ledger.account:
            assert ledger.audit()[4] == 0, "audit.lua has findings where the independent check has none"
    if ledger.memory:
        ledger.client.close()


@pytest.fixture(params=[*engine_params(), MEMORY], ids=str)
def ledger(request: pytest.FixtureRequest, clients: dict[str, Any], servers: SessionServers) -> Iterator[Ledger]:
    """An empty store of each kind in turn."""
    yield from _lend(Ledger(_open(request.param, clients, servers), memory=request.param == MEMORY), request)


@pytest.fixture(params=engine_params(), ids=str)
def real(request: pytest.FixtureRequest, clients: dict[str, Any], servers: SessionServers) -> Iterator[Ledger]:
    """An empty server of each engine: for what the in-process store does not imitate."""
    yield from _lend(Ledger(_open(request.param, clients, servers)), request)


@pytest.fixture(params=engines()[:1], ids=str)
def newest(request: pytest.FixtureRequest, clients: dict[str, Any], servers: SessionServers) -> Iterator[Ledger]:
    """An empty server of the newest engine: for what depends on no engine and takes long."""
    yield from _lend(Ledger(_open(request.param, clients, servers)), request)


@pytest.fixture
def pool(ledger: Ledger) -> Ledger:
    """A pool of cpu 10, memory 100 on each store."""
    assert ledger.create({"cpu": 10, "memory": 100})[0] == "created"
    return ledger

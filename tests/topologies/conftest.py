"""Each way of reaching a store, for both clients; servers are started here and die with the tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.support import clients
from tests.support.cluster import Cluster
from tests.support.drivers import drive
from tests.support.sentinel import Sentinels
from tests.support.servers import Engine, Server, engines
from tests.support.tools import with_engine

__all__ = ["drive"]


@pytest.fixture(params=clients.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The blocking client and the awaited one."""
    kind: str = request.param
    return kind


@pytest.fixture(params=[with_engine(engine, id=str(engine)) for engine in (Engine.VALKEY9, Engine.REDIS7)])
def sentinels(request: pytest.FixtureRequest) -> Iterator[Sentinels]:
    """A primary, two replicas and three Sentinels, of the newest engine and of the oldest."""
    with Sentinels(request.param) as formed:
        yield formed


@pytest.fixture(params=engines()[-1:], ids=str)
def oldest(request: pytest.FixtureRequest) -> Engine:
    """The oldest one here, which the ids of tests name (`tests.support.running_once`)."""
    engine: Engine = request.param
    return engine


@pytest.fixture
def engine(kind: str, oldest: Engine) -> Engine:
    """The newest one for the blocking client, the oldest one for the awaited one: not everything needs all four."""
    return engines()[0] if kind == "sync" else oldest


@pytest.fixture
def watched(engine: Engine) -> Iterator[Sentinels]:
    """A primary, two replicas and three Sentinels, of one engine for each client."""
    with Sentinels(engine) as formed:
        yield formed


@pytest.fixture(scope="module")
def shards() -> Iterator[Cluster]:
    """Three masters with a replica each."""
    with Cluster(replicas=1, options={"cluster-node-timeout": "1000"}) as formed:
        yield formed


@pytest.fixture
def plain() -> Iterator[Server]:
    """One server, by port and by socket."""
    with contextlib.closing(Server(tcp=True)) as server:
        yield server.start()


@pytest.fixture(scope="module", params=[with_engine(one, id=str(one)) for one in (Engine.REDIS7, Engine.VALKEY9)])
def formed(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Three masters that share the slots."""
    engine: Engine = request.param
    with Cluster(engine) as formed:
        yield formed


@pytest.fixture
def cluster(formed: Cluster) -> Cluster:
    """The same, empty."""
    formed.flush()
    return formed

"""Both clients on every store: a module says `STORES = EVERY` where each engine and protocol matters."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, Protocol

import fakeredis
import pytest
import redis

from allocator import AsyncAllocator
from allocator._engine.transport.in_process import InProcessServer
from allocator.testing import Clock
from tests.clients.stores import SOME, cluster_url
from tests.support import clients
from tests.support.cluster import Cluster
from tests.support.servers import Engine, SessionServers
from tests.support.waiters import Line

CAPACITY: Final = {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "2"}

_numbers: Final = itertools.count()


class Connect(Protocol):
    """Makes a client of the test's kind on the test's store; it is closed when the test ends."""

    def __call__(self, **options: Any) -> AsyncAllocator: ...


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "store" in metafunc.fixturenames:
        metafunc.parametrize("store", getattr(metafunc.module, "STORES", SOME), scope="session")


@pytest.fixture(params=clients.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The blocking client and the awaited one."""
    kind: str = request.param
    return kind


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Three masters that share the slots."""
    with Cluster() as formed:
        yield formed


@pytest.fixture
def url(store: str, request: pytest.FixtureRequest, audit_all: Callable[[str], None]) -> Iterator[str]:
    """The URL of an empty store; its pools are audited after the test."""
    if store == "memory":
        url = f"memory://contract-{next(_numbers)}"
    elif store == "cluster":
        formed: Cluster = request.getfixturevalue("cluster")
        formed.flush()
        url = cluster_url(formed)
    else:
        servers: SessionServers = request.getfixturevalue("servers")
        engine, _, protocol = store.partition("-resp")
        server = servers.get(Engine(engine))
        url = server.url + (f"?protocol={protocol}" if protocol else "")
    yield url
    audit_all(url)


@pytest.fixture
def clock() -> Clock:
    """Time that the test turns."""
    return Clock()


@pytest.fixture
async def connect(kind: str, url: str) -> AsyncIterator[Connect]:
    """Makes clients of the kind on the store."""
    made: list[AsyncAllocator] = []

    def make(**options: Any) -> AsyncAllocator:
        made.append(clients.connect(kind, options.pop("target", url), **options))
        return made[-1]

    yield make
    for client in made:
        await client.close()


@pytest.fixture
async def client(connect: Connect) -> AsyncAllocator:
    """A client whose pool `lab` has 4 CPUs, 8 GiB and 2 whole GPUs; it goes by the server's clock."""
    client = connect(owner="me")
    await client.pools.create("lab", CAPACITY, whole_units=["nvidia.com/gpu"])
    return client


@pytest.fixture
async def timed(connect: Connect, clock: Clock) -> AsyncAllocator:
    """The same, but time passes when `clock` is turned."""
    client = connect(owner="me", clock=clock)
    await client.pools.create("lab", CAPACITY, whole_units=["nvidia.com/gpu"])
    return client


@pytest.fixture
def redis_cli(store: str, url: str, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Sends one command past the library: to look at what is stored, or to break it."""
    if store == "cluster":
        formed: Cluster = request.getfixturevalue("cluster")
        yield lambda *words: formed.node_of(str(words[1])).call(*words)
        return
    client: Any
    if store == "memory":
        server = InProcessServer.named(url.partition("://")[2])._options["server"]
        client = fakeredis.FakeRedis(server=server, decode_responses=True)
    else:
        client = redis.Redis.from_url(url, decode_responses=True)
    yield client.execute_command
    client.close()


@pytest.fixture
async def line(client: AsyncAllocator) -> AsyncIterator[Line]:
    """Calls that wait for the pool `lab`; nothing of them is left in it."""
    begun = Line(client)
    yield begun
    await begun.close()
    assert (await client.pools.usage()).waiting == 0


@pytest.fixture
async def full(client: AsyncAllocator) -> Any:
    """What all four CPUs are allocated to, by the id `full`."""
    return await client.allocate({"cpu": 4}, ttl=None, id="full")

"""Allocators that are closed, stores that are audited: what every test of the facade stands on."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeAlias

import pytest

from allocator import Allocator, ResourceAllocator
from tests.support.servers import Engine, SessionServers, engines, session_servers
from tests.support.tools import engine_params

Make: TypeAlias = Callable[..., ResourceAllocator]

POOL = "default"


@pytest.fixture(autouse=True)
def no_url_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own Redis must neither be found nor touched."""
    for variable in ("ALLOCATOR_REDIS_URL", "REDIS_URL", "ALLOCATOR_REQUIRE_URL"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="session")
def facade_servers() -> Iterator[SessionServers]:
    """Servers that are kept over the tests of this folder."""
    with session_servers() as servers:
        yield servers


@pytest.fixture(params=["memory", *engine_params()])
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty store: in this process, and on each engine.  Its pools are audited afterwards."""
    if request.param == "memory":
        url = f"memory://facade-{uuid.uuid4().hex}"
    else:
        url = request.getfixturevalue("facade_servers").get(Engine(request.param)).url
    yield url
    audit(url)


@pytest.fixture
def server_url(facade_servers: SessionServers) -> Iterator[str]:
    """The URL of one real server, empty, for what the in-process store cannot show."""
    url = facade_servers.get(engines()[0]).url
    yield url
    audit(url)


def audit(url: str) -> None:
    """Every pool of the store is clean."""
    with Allocator.from_url(url) as client:
        for pool in client.pools.list():
            verdict = client.options(pool=pool).maintenance.audit()
            assert verdict, verdict


@pytest.fixture
async def make(store: str) -> AsyncIterator[Make]:
    """Make allocators on the store; they are closed at the end of the test."""
    made: list[ResourceAllocator] = []

    def factory(total_cpu: float = 8.0, total_memory_gb: int = 16, **options: Any) -> ResourceAllocator:
        allocator = ResourceAllocator(total_cpu, total_memory_gb, **{"url": store, **options})
        made.append(allocator)
        return allocator

    yield factory
    for allocator in made:
        await allocator.aclose()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the library logs, from DEBUG up."""
    caplog.set_level(logging.DEBUG, logger="allocator")
    return caplog


def warnings_of(log: pytest.LogCaptureFixture) -> list[str]:
    """The warnings logged so far."""
    return [record.getMessage() for record in log.records if record.levelno == logging.WARNING]

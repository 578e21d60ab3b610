"""Holders of both kinds on a real server, directly or behind a proxy that breaks connections, and an onlooker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import pytest

from allocator import Allocator, AsyncAllocator
from allocator._engine.leases.registry import RENEWERS
from tests.support import clients
from tests.support.proxy import FaultProxy
from tests.support.servers import Server

CAPACITY: Final = {"cpu": "4"}

ATTEMPT_S: Final = 0.2
"""Seconds that an attempt of a disturbed client waits: far more than a server on the same machine takes."""


@pytest.fixture(params=clients.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The blocking client and the awaited one."""
    kind: str = request.param
    return kind


@pytest.fixture
def onlooker(one_server: Server) -> Iterator[Allocator]:
    """Somebody else, undisturbed; pool `lab` has four CPUs."""
    with Allocator.from_url(one_server.url, pool="lab", owner="somebody") as onlooker:
        onlooker.pools.create("lab", CAPACITY)
        yield onlooker


@pytest.fixture
def proxy(one_server: Server) -> Iterator[FaultProxy]:
    """Stands between a disturbed holder and the server."""
    with FaultProxy(one_server.socket) as proxy:
        yield proxy


@pytest.fixture
async def connect(kind: str) -> AsyncIterator[Callable[..., AsyncAllocator]]:
    """Makes clients of the kind; they are closed after the test."""
    made: list[AsyncAllocator] = []

    def make(target: object, **options: Any) -> AsyncAllocator:
        made.append(clients.connect(kind, target, **{"owner": "me", "attempt_timeout": ATTEMPT_S, **options}))
        return made[-1]

    yield make
    for client in made:
        await client.close()


@pytest.fixture
async def holder(
    connect: Callable[..., AsyncAllocator], onlooker: Allocator, one_server: Server
) -> AsyncIterator[AsyncAllocator]:
    """A client on the server; nothing of its holds is left in the process afterwards."""
    yield connect(one_server.url)
    assert not in_care(), "a lease was left in care"


@pytest.fixture
def disturbed(connect: Callable[..., AsyncAllocator], onlooker: Allocator, proxy: FaultProxy) -> AsyncAllocator:
    """A client behind the proxy, which tries for a second."""
    return connect(proxy.url, timeout=1.0)


def in_care() -> int:
    """Leases that any renewer of this process has."""
    return sum(len(renewer._schedule) for renewer in RENEWERS._renewers.values())


def charged(onlooker: Allocator) -> str:
    """The CPUs that the ledger has charged."""
    return str(onlooker.pools.usage().resources["cpu"].allocated // 1000)

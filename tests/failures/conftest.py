"""A server behind a proxy that breaks connections, a disturbed client and an undisturbed one."""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

import pytest
import redis

from allocator import Allocator, AsyncAllocator
from allocator._engine.operations.defaults import Defaults
from allocator._engine.protocol import scripts
from allocator._engine.transport.urls import resolve_target
from allocator.testing import Clock
from tests.failures.operations import OPERATIONS, Operation, Scene
from tests.support import clients
from tests.support.proxy import Fault, FaultProxy
from tests.support.servers import Server

ATTEMPT_S = 0.06
"""Seconds that an attempt waits for a reply that will not come; on a busy machine, also for one that comes late."""

PATIENT_S = 5.0
"""Seconds that an attempt waits where each ends by a reply or a reset, so that none is repeated for want of time."""

TIMES_OUT = (Fault.SWALLOW, Fault.HOLD)
"""Faults that end with the attempt's time."""


class Disturbed(Protocol):
    """Makes a client of the test's kind whose connections go through the proxy."""

    def __call__(self, pool: str, clock: Clock, **options: Any) -> AsyncAllocator: ...


@pytest.fixture(params=clients.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The blocking client and the awaited one."""
    kind: str = request.param
    return kind


@pytest.fixture(params=OPERATIONS, ids=str)
def operation(request: pytest.FixtureRequest) -> Operation:
    """Each operation that changes something."""
    operation: Operation = request.param
    return operation


@pytest.fixture
def loaded(one_server: Server) -> Server:
    """The server, with all scripts in its cache, so that an attempt is one request."""
    with redis.Redis.from_url(one_server.url) as client, client.pipeline(transaction=False) as pipe:
        for name in scripts.names():
            pipe.script_load(scripts.load(name).texts.text)
        pipe.execute()
    return one_server


@pytest.fixture
def proxy(loaded: Server) -> Iterator[FaultProxy]:
    """Stands between the disturbed client and the server."""
    with FaultProxy(loaded.socket) as proxy:
        yield proxy


@pytest.fixture
def scene(loaded: Server) -> Iterator[Callable[[str], Scene]]:
    """Makes a pool's scene: a clock that stands still, and a client that nothing disturbs."""
    made: list[Allocator] = []

    def make(pool: str) -> Scene:
        clock = Clock()
        made.append(Allocator._on(resolve_target(loaded.url), Defaults(pool, "allocator", None), clock=clock))
        return Scene(pool, made[-1], clock)

    yield make
    for client in made:
        client.close()


@pytest.fixture
async def disturbed(kind: str, proxy: FaultProxy) -> AsyncIterator[Disturbed]:
    """Makes clients whose connections go through the proxy, and whose attempts have time."""
    made: list[AsyncAllocator] = []

    def make(pool: str, clock: Clock, **options: Any) -> AsyncAllocator:
        options = {"attempt_timeout": PATIENT_S, **options}
        made.append(clients.connect(kind, proxy.url, pool=pool, clock=clock, **options))
        return made[-1]

    yield make
    proxy.clear()
    for client in made:
        await client.close()


@pytest.fixture
def abandoned_sockets() -> Iterator[None]:
    """Collects them after the test: what is cancelled while it connects is closed by its finalizer, which complains.

    It would complain in the midst of another test.
    """
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def patience(fault: Fault) -> dict[str, Any]:
    """How long the attempts of a client wait that meets this fault."""
    return {"attempt_timeout": ATTEMPT_S} if fault in TIMES_OUT else {}


def attempt_at(operation: Operation) -> bytes:
    """What every attempt at an operation contains: the script's digest."""
    return scripts.load(operation.script).sha.encode()

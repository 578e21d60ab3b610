"""Drivers of both kinds, which are closed whatever a test does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

import pytest

from allocator._engine.execution.driver_async import AsyncDriver
from allocator._engine.transport.urls import resolve_target
from tests.engine.support import Side, count
from tests.support.clients import KINDS
from tests.support.proxy import FaultProxy
from tests.support.servers import Server


class Open(Protocol):
    """Makes a driver of the kind that the test is about."""

    def __call__(self, target: object, **options: Any) -> Side: ...


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each of the two drivers in turn."""
    kind: str = request.param
    return kind


@pytest.fixture
def drive(kind: str) -> Iterator[Open]:
    """Drivers of each kind in turn."""
    sides: list[Side] = []

    def open_side(target: object, **options: Any) -> Side:
        side = Side(kind, target, **options)
        sides.append(side)
        return side

    yield open_side
    for side in sides:
        side.close()


@pytest.fixture
def proxy(one_server: Server) -> Iterator[FaultProxy]:
    """A proxy before a real server."""
    with FaultProxy(one_server.socket) as proxy:
        yield proxy


@pytest.fixture
async def driver(proxy: FaultProxy) -> AsyncIterator[AsyncDriver]:
    """A driver behind the proxy, already connected."""
    driver = AsyncDriver(resolve_target(proxy.url, attempt_timeout_s=0.3))
    await driver.run(count())
    yield driver
    await driver.close()

"""Drivers of both kinds, which are closed whatever a test does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from allocator._engine.execution.driver_async import AsyncDriver
from allocator._engine.transport.urls import resolve_target
from tests.support.clients import KINDS
from tests.support.drivers import count, drive
from tests.support.proxy import FaultProxy
from tests.support.servers import Server

__all__ = ["drive"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each of the two drivers in turn."""
    kind: str = request.param
    return kind


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

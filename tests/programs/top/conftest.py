"""A pool on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from allocator import Allocator, AsyncAllocator
from tests.programs.top.driving import Lab
from tests.support.servers import Server


@pytest.fixture
def lab(one_server: Server) -> Iterator[Lab]:
    """A pool of a real server."""
    with Allocator.from_url(one_server.url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 32, "memory": "128Gi"})
        yield Lab(client, lambda: AsyncAllocator.from_url(one_server.url, pool="lab", timeout=2.0))

"""A store that does not answer is never full and never empty; what is released meanwhile is released later."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from allocator import Allocator, BackendError, BackendUnavailable, ResourceAllocator, UnknownPool
from tests.programs.compat.conftest import POOL, Make, warnings_of
from tests.support.servers import Server

HELD = {"allocation_id": "labs/a/1", "fence": "1", "pool": POOL}

AWAITED: dict[str, Callable[[ResourceAllocator], Coroutine[Any, Any, object]]] = {
    "check_availability": lambda allocator: allocator.check_availability({"cpu": "1"}),
    "allocate_resources": lambda allocator: allocator.allocate_resources({"cpu": "1"}),
    "renew_resources": lambda allocator: allocator.renew_resources(HELD),
    "usage": lambda allocator: allocator.usage(),
    "active_allocations": lambda allocator: allocator.active_allocations(),
}

PLAIN: dict[str, Callable[[ResourceAllocator], object]] = {
    "get_resource_usage": lambda allocator: allocator.get_resource_usage(),
    "get_active_allocations": lambda allocator: allocator.get_active_allocations(),
}


@pytest.mark.parametrize("method", AWAITED)
async def test_an_awaited_method_raises_where_nobody_listens(method: str) -> None:
    """On the first use of the object, when the pool is not known yet."""
    async with ResourceAllocator(url="redis://127.0.0.1:1", timeout=0.1) as allocator:
        with pytest.raises(BackendUnavailable) as caught:
            await AWAITED[method](allocator)
    assert not isinstance(caught.value, ValueError), "a controller that catches ValueError would take it for 'full'"


@pytest.mark.parametrize("method", PLAIN)
async def test_a_getter_raises_within_about_a_second_where_nobody_listens(method: str) -> None:
    """It blocks the loop it is called in; the object's own deadline is not its business."""
    async with ResourceAllocator(url="redis://127.0.0.1:1", timeout=30) as allocator:
        began = time.monotonic()
        with pytest.raises(BackendUnavailable):
            PLAIN[method](allocator)
        assert time.monotonic() - began < 2.5


@pytest.mark.parametrize("method", [*AWAITED, *PLAIN])
async def test_a_server_that_dies_is_reported_by_every_method_and_none_of_them_lies(
    method: str, log: pytest.LogCaptureFixture
) -> None:
    """After the pool was seen; and once the server is back, what it kept is still held."""
    with Server(tcp=True, options={"appendonly": "yes", "appendfsync": "always"}) as server:
        async with ResourceAllocator(4.0, 8, url=server.tcp_url, timeout=0.3) as allocator:
            held = await allocator.allocate_resources({"cpu": "1"}, allocation_id="labs/a/1")
            server.kill()
            with pytest.raises(BackendError):
                if method in PLAIN:
                    PLAIN[method](allocator)
                else:
                    await AWAITED[method](allocator)
            assert not any("labs/a/1 is not held" in line for line in warnings_of(log))
            server.start()
            assert await allocator.active_allocations() == {"labs/a/1": held}
            await allocator.release_resources(held)
            assert (await allocator.usage())["active_allocations"] == 0


async def test_a_server_that_hangs_costs_a_getter_about_a_second() -> None:
    """A stopped process keeps its connections and answers nobody: the worst case for a blocking call."""
    with Server() as server:
        async with ResourceAllocator(4.0, 8, url=server.url, timeout=30) as allocator:
            allocator.get_resource_usage()
            server.stop_process()
            began = time.monotonic()
            with pytest.raises(BackendError):
                allocator.get_resource_usage()
            took = time.monotonic() - began
            server.cont()
            assert 0.5 < took < 2.5


async def test_rubbish_needs_no_store_to_be_refused() -> None:
    """Cleaning up a status without an allocation works while the store is away."""
    async with ResourceAllocator(url="redis://127.0.0.1:1", timeout=0.1) as allocator:
        await allocator.release_resources({})
        assert await allocator.renew_resources({}) is False
        assert await allocator.check_availability({"cpu": "nonsense"}) is False


@pytest.mark.parametrize("method", [*AWAITED, *PLAIN])
@pytest.mark.parametrize("made_anew", [False, True])
async def test_a_pool_that_is_gone_is_unknown_and_never_made_silently(
    method: str, made_anew: bool, make: Make, store: str
) -> None:
    """An empty ledger would hand out what is still in use, and another pool of the name has other holders."""
    allocator = make()
    await allocator.allocate_resources({"cpu": "1"})
    with Allocator.from_url(store) as client:
        assert client.pools.delete(POOL, force=True)
        if made_anew:
            client.pools.create(POOL, {"cpu": 8, "memory": "16Gi"})
        await allocator.release_resources(HELD)
        assert await allocator.cleanup_expired_allocations() == 0
        with pytest.raises(UnknownPool) as caught:
            if method in PLAIN:
                PLAIN[method](allocator)
            else:
                await AWAITED[method](allocator)
        assert caught.value.code == "epoch"
        assert client.pools.list() == ([POOL] if made_anew else [])
    fresh = make()
    assert (await fresh.usage())["active_allocations"] == 0

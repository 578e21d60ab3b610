"""Pytest plugin of redis-resource-allocator: fixtures for tests of programs that use it.

It stands beside the package so that a test run which uses none of them imports nothing of it.  docs/testing.md shows a
suite.

| fixture | is |
|---|---|
| `allocator` | a client of an in-process store in which its pool exists |
| `async_allocator`, `resource_allocator` | the awaited client and the original API, on the same pool |
| `allocator_clock` | the store's clock, which a test advances |
| `allocator_faults` | the store's fault switch |
| `allocator_store` | the store; its `url` is for programs that make their client by themselves |
| `redis_server` | a real server, private to the test run and emptied before each test |

Override `allocator_capacity` or `allocator_options` to have another pool.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from allocator import Allocator, AsyncAllocator, ResourceAllocator
    from allocator.quantity import Quantity
    from allocator.testing import Clock, Faults, MemoryStore, PrivateServer

FAIL_ON_LEAK = "allocator_fail_on_leak"
"""The ini option."""

POOL = "test"
"""The pool of the clients."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini option."""
    text = "a test fails that leaves an allocation in the pool of the fixture `allocator`"
    parser.addini(FAIL_ON_LEAK, text, type="bool", default=False)


@pytest.fixture
def allocator_capacity() -> Mapping[str, Quantity]:
    """The capacity of the pool; override it."""
    return {"cpu": 8, "memory": "32Gi"}


@pytest.fixture
def allocator_options() -> Mapping[str, Any]:
    """Further arguments of `memory_allocator`, such as `whole_units` and `recovery_grace`; override it."""
    return {}


@pytest.fixture
def allocator_clock() -> Clock:
    """The clock of the store.  It stands still until a test advances it."""
    from allocator.testing import Clock

    return Clock()


@pytest.fixture
def allocator_store(
    request: pytest.FixtureRequest, allocator_clock: Clock, allocator_options: Mapping[str, Any]
) -> Iterator[MemoryStore]:
    """A new store.  After the test the books of each of its pools are audited."""
    from allocator.testing import MemoryStore

    store = MemoryStore(clock=allocator_clock)
    yield store
    with store.client(prefix=allocator_options.get("prefix")) as client:
        _audit(request, client)


@pytest.fixture
def allocator(
    allocator_store: MemoryStore, allocator_capacity: Mapping[str, Quantity], allocator_options: Mapping[str, Any]
) -> Iterator[Allocator]:
    """A client of the store, in which the pool `test` exists."""
    from allocator.testing import memory_allocator

    with memory_allocator(allocator_capacity, pool=POOL, store=allocator_store, **allocator_options) as client:
        yield client


@pytest.fixture
def async_allocator(
    allocator_store: MemoryStore, allocator_capacity: Mapping[str, Quantity], allocator_options: Mapping[str, Any]
) -> AsyncAllocator:
    """The awaited client of the same pool.  Its connections end with the event loop."""
    from allocator.testing import memory_async_allocator

    return memory_async_allocator(allocator_capacity, pool=POOL, store=allocator_store, **allocator_options)


@pytest.fixture
def resource_allocator(allocator: Allocator, allocator_store: MemoryStore) -> ResourceAllocator:
    """The original API on the same pool."""
    from allocator import ResourceAllocator

    found = allocator.pools.get().capacity
    cpu, gibibytes = found.get("cpu", 0) / 1000, found.get("memory", 0) // 2**30
    return ResourceAllocator(cpu or 1.0, gibibytes or 1, url=allocator_store.url, pool=POOL)


@pytest.fixture
def allocator_faults(allocator: Allocator) -> Faults:
    """The fault switch of the store, for all of its clients."""
    from allocator.testing import faults

    return faults(allocator)


@pytest.fixture(scope="session")
def _redis_process() -> Iterator[PrivateServer]:
    from allocator import BackendUnavailable
    from allocator.testing import PrivateServer

    try:
        server = PrivateServer()
    except BackendUnavailable as error:
        if error.code != "no_server":
            raise
        pytest.skip(f"redis_server: {error}")
    with server:
        yield server


@pytest.fixture
def redis_server(_redis_process: PrivateServer) -> PrivateServer:
    """A real server, empty.  Its `url` is for clients, also in other processes.  Skips where no program is found."""
    from allocator import BackendUnavailable

    try:
        _redis_process.flush()
    except BackendUnavailable:  # the test before has ended it
        _redis_process.close()
        _redis_process.start()
    return _redis_process


def _audit(request: pytest.FixtureRequest, client: Allocator) -> None:
    """Fail if the books of a pool are wrong, or, with the ini option, if an allocation is left."""
    left: list[str] = []
    for name in client.pools.list():
        pool = client.options(pool=name)
        report = pool.maintenance.audit()
        assert report, f"the books of pool {name} are wrong: {report}"
        left += [f"{one.id} ({one.resources}) in pool {name}, of {one.owner}" for one in pool.list()]
    if not left:
        return
    text = f"{len(left)} allocations are left: {'; '.join(sorted(left)[:10])}"
    if request.config.getini(FAIL_ON_LEAK):
        pytest.fail(text, pytrace=False)
    request.node.add_report_section("teardown", "allocator", text)

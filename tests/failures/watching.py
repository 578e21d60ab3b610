"""What is looked at while processes die, and after."""

from __future__ import annotations

import time

from allocator import Allocator, Usage
from allocator._engine.operations.defaults import Defaults
from allocator._engine.transport.urls import resolve_target

__all__ = ["Watcher", "assert_nothing_leaked"]


class Watcher:
    """Reads the pool's counters again and again; each reading is one instant of the pool."""

    def __init__(self, client: Allocator) -> None:
        self._client = client
        self.readings = 0
        self.fullest = 0.0
        self.over_allocations: list[Usage] = []

    def look(self) -> Usage:
        usage = self._client.pools.usage()
        self.readings += 1
        self.fullest = max(self.fullest, usage.resources["cpu"].utilization)
        if any(one.overcommitted for one in usage.resources.values()):
            self.over_allocations.append(usage)
        return usage


def assert_nothing_leaked(url: str, pool: str) -> None:
    """Once all deadlines have passed (an hour from now they have), nothing is charged to anybody."""
    store = resolve_target(url)
    an_hour_from_now = Allocator._on(
        store, Defaults(pool, "allocator", None), clock=lambda: int(time.time() * 1000) + 3_600_000
    )
    with an_hour_from_now:
        an_hour_from_now.maintenance.reclaim()
        usage = an_hour_from_now.pools.usage()
        assert usage.allocations == 0
        assert not any(usage.pool.allocated.values()), usage.pool.allocated
        assert an_hour_from_now.maintenance.audit()

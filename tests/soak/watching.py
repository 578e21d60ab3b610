"""What a stage with replication looks at from outside: readings, events, and what is left in the end."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import Final

from allocator import Allocator, AllocatorError, BackendError, UnknownPool, Usage
from tests.soak import reality
from tests.soak.holders import UNIT, Crew
from tests.soak.reality import Outage
from tests.support.waiting import wait_until

__all__ = ["Watch"]

FULL: Final = 75.0
"""Percent of the capacity that are allocated when holders are near saturation."""

SEEN_FROM_EVENTS: Final = ("adopted", "recovering", "rolled_back")


class Watch:
    """Looks at pools, whenever it is told to; a store that does not answer is looked at again."""

    def __init__(self, client: Callable[[], Allocator], pools: Sequence[str]) -> None:
        self._client = client
        self._pools = pools
        self._events: set[tuple[str, str]] = set()
        self._usage: dict[str, Usage] = {}
        self.seen: collections.Counter[str] = collections.Counter()
        self.outages: list[Outage] = []

    def look(self) -> None:
        """Read each pool's counters and events once, if it is there."""
        for pool in self._pools:
            try:
                self._look_at(pool)
            except (BackendError, UnknownPool):
                self._usage.pop(pool, None)

    def _look_at(self, pool: str) -> None:
        usage = self._client().pools.usage(pool)
        self._usage[pool] = usage
        if usage.resources[UNIT].overcommitted:
            self.seen["overcommitted"] += 1
        for event in self._client().options(pool=pool).events.list(limit=500):
            if event.kind in SEEN_FROM_EVENTS and (pool, event.id) not in self._events:
                self._events.add((pool, event.id))
                self.seen[event.kind] += 1

    @property
    def recoveries(self) -> int:
        """How many times a pool has begun to recover."""
        return self.seen["recovering"]

    def is_busy(self) -> bool:
        """Whether every pool grants, and is near saturation."""
        self.look()
        return len(self._usage) == len(self._pools) and all(
            one.pool.state == "active" and one.resources[UNIT].utilization >= FULL for one in self._usage.values()
        )

    def wait_until_busy(self, crew: Crew, timeout_s: float, *, recoveries: int = 0) -> None:
        """Wait until so many recoveries were begun, all holders are at work, and none has failed.

        Reading needs no write: before somebody asks for something, a pool on a new server is not recovering.
        """

        def busy() -> bool:
            crew.check()
            return self.is_busy() and self.recoveries >= recoveries

        wait_until(busy, timeout_s=timeout_s, message="every pool is near saturation again")

    def through(self, act: Callable[[], object], timeout_s: float) -> Outage:
        """Do something that stops the store for a while; note from when until when no call could be relied on."""
        since = reality.now()
        act()
        wait_until(self._all_answer, timeout_s=timeout_s, message="every pool can be read again")
        outage = Outage(since, reality.now())
        self.outages.append(outage)
        return outage

    def _all_answer(self) -> bool:
        self.look()
        return len(self._usage) == len(self._pools)

    def what_is_left(self, timeout_s: float) -> list[str]:
        """Once everybody has given back and all deadlines are past: complaints about what should not be there."""
        complaints: list[str] = []
        for pool in self._pools:
            try:
                wait_until(lambda: self._is_empty(pool), timeout_s=timeout_s, message=f"pool {pool} is empty")  # noqa: B023
            except AssertionError as error:
                complaints.append(str(error))
            audit = self._client().options(pool=pool).maintenance.audit()
            if not audit:
                complaints.append(str(audit))
        self.look()
        return complaints

    def _is_empty(self, pool: str) -> bool:
        try:
            self._client().options(pool=pool).maintenance.reclaim()
            usage = self._client().pools.usage(pool)
        except AllocatorError:
            return False
        return usage.allocations == 0 and usage.resources[UNIT].allocated == 0

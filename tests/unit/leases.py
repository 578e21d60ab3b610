"""Leases of an imagined ledger, for the tests that turn a schedule by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Final

from allocator._engine.leases.lease import Answer, Batch, Lease
from allocator._engine.leases.schedule import Schedule
from allocator.models.allocations import Allocation, Release, Renewal
from allocator.resources import Resources

_FENCES: Final = itertools.count(1)

ONE_CPU: Final = Resources.request({"cpu": 1})


def lease(
    *, ttl: float = 60, sent: float = 0, took: float = 0, tell: Callable[[], object] = lambda: None, name: str = "a"
) -> Lease:
    """A lease that was asked for at `sent` and granted `took` seconds later."""
    ttl_ms = round(ttl * 1000)
    granted = Allocation(name, "lab", "me", ONE_CPU, next(_FENCES), 0, ttl_ms, ttl_ms)
    return Lease(granted, ttl_ms, sent, sent + took, tell)


def midway() -> float:
    """Chance, when nothing is left to it."""
    return 0.5


def renewed(batch: Batch, deadline_ms: int = 0) -> list[Answer]:
    """All of them live on."""
    return [Renewal(one.allocation.id, "renewed", one.allocation.fence, deadline_ms) for one in batch.leases]


def unknown(batch: Batch) -> list[Answer]:
    """The ledger has none of them."""
    return [Renewal(one.allocation.id, "unknown") for one in batch.leases]


def released(batch: Batch, outcome: str = "released") -> list[Answer]:
    """All of them were given back."""
    return [Release(one.allocation.id, outcome) for one in batch.leases]


def failed(batch: Batch, error: Exception) -> list[Answer]:
    """There was no answer."""
    return [error] * len(batch.leases)


def taken(schedule: Schedule, now: float) -> Batch:
    """The batch that is due."""
    batch = schedule.next_batch(now)
    assert batch is not None, "nothing is due"
    return batch

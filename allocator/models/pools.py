"""Pools: their configuration and their usage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from allocator.durability import MEMORY
from allocator.models.accounts import ResourceUsage
from allocator.resources import Resources


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool as configured.  `generation` grows with each configuration, `revision` with each change of any kind.

    `epoch` is drawn when the pool is created: a pool that was deleted and created again has another one.
    `state` is `active`, `offline` (a repair refuses new grants), `recovering` (the server has lost data: nothing
    new is granted until `recovering_until_ms`) or `deleting`.  `recovery_grace_ms` is the length of a recovery,
    0 if the pool has none.  `max_ttl_ms` is the longest time to live, 0 if any is granted.  `durability` is the level
    of each grant.  `clock_offset_ms` is how far the pool's time is ahead of the server's, whose clock was set back.
    """

    name: str
    epoch: str
    generation: int
    revision: int
    schema: int
    created_ms: int
    state: str
    capacity: Resources
    allocated: Resources
    whole_units: tuple[str, ...] = ()
    created: bool = False
    recovery_grace_ms: int = 0
    max_ttl_ms: int = 0
    durability: str = MEMORY
    recovering_until_ms: int = 0
    recovering_why: str = ""
    clock_offset_ms: int = 0

    @property
    def overcommitted(self) -> tuple[str, ...]:
        """The resources whose capacity was lowered below what is allocated."""
        return tuple(name for name, amount in self.allocated.items() if amount > self.capacity.get(name, 0))


@dataclass(frozen=True, slots=True)
class Usage:
    """A pool's counters and numbers of allocations, read atomically.

    `allocations` counts all records, `pinned` those without a deadline, `due` those past theirs and not yet
    reclaimed.  `read_ms` is the server's time of the reading.
    """

    pool: Pool
    resources: Mapping[str, ResourceUsage]
    allocations: int
    pinned: int
    due: int
    read_ms: int

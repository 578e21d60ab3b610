"""Pools: their configuration and their usage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from allocator.durability import MEMORY, durability
from allocator.models.accounts import ResourceUsage, usage_fields
from allocator.models.preemption import NO_PREEMPTION, PreemptionPolicy
from allocator.models.queue import DEFAULT_POLICY, QueuePolicy
from allocator.models.read_only import read_only
from allocator.models.resource_units import NO_UNITS, UNITS, ResourceUnits
from allocator.resources import RESOURCES, Resources, resource_name
from allocator.serialization import (
    INSTANT,
    INTEGER,
    OPTIONAL_INSTANT,
    TEXT,
    TRUTH,
    Codec,
    Value,
    checked,
    derived,
    field,
    many,
    numbered,
    optional,
    read_integer,
    read_mapping,
    rfc3339,
    value,
)
from allocator.validation import epoch_text, pool_name, priority_number, scope_name

_NOTHING = Resources()


def _read_rows(found: object, path: str) -> dict[str, ResourceUsage]:
    return {name: ResourceUsage.from_fields(row, f"{path}.{name}") for name, row in read_mapping(found, path).items()}


_ROWS = Codec(lambda rows: {name: usage_fields(name, row) for name, row in rows.items()}, _read_rows)

_COUNTERS = Codec(
    dict,
    lambda found, path: {name: read_integer(one, f"{path}.{name}") for name, one in read_mapping(found, path).items()},
)

NO_COUNTERS: Final[Mapping[str, int]] = read_only({})

_INSTANT_OR_ZERO = Codec(
    lambda ms: rfc3339(ms or None), lambda found, path: 0 if found is None else INSTANT.read(found, path)
)


@dataclass(frozen=True, slots=True)
class Pool(Value):
    """A pool as configured.  `generation` grows with each configuration, `revision` with each change of any kind.

    `epoch` is drawn when the pool is created: a pool that was deleted and created again has another one.
    `state` is `active`, `offline` (a repair refuses new grants), `recovering` (the server has lost data: nothing
    new is granted until `recovering_until_ms`) or `deleting`.  `recovery_grace_ms` is the length of a recovery,
    0 if the pool has none.  `max_ttl_ms` is the longest time to live, 0 if any is granted; `max_lifetime_ms` is the
    longest time from a grant to its hard end, 0 if there is no limit.  `durability` is the level of each grant.
    `clock_offset_ms` is how far the pool's time is ahead of the server's, whose clock was set back.
    `queue` says who may pass those who wait in its line, and how many may wait; `preemption` whether requests may take
    room from lower priorities.
    `kept` is guaranteed to scopes and not used.  `default_scope` is charged by requests without one; `require_scope`:
    without it they are refused.  `units` has the resources of which it gives out more or less than the capacity, or in
    certain amounts only.
    """

    KIND: ClassVar = "Pool"
    FORMAT: ClassVar = (
        field("name", "name", checked(pool_name)),
        field("state", "state", TEXT),
        field("capacity", "capacity", RESOURCES),
        field("allocated", "allocated", RESOURCES),
        derived("overcommitted", lambda pool: list(pool.overcommitted)),
        field("whole_units", "wholeUnits", many(checked(resource_name))),
        field("generation", "generation", INTEGER),
        field("revision", "revision", INTEGER),
        field("schema", "schema", INTEGER),
        field("epoch", "epoch", checked(epoch_text)),
        field("created_ms", "createdAt", INSTANT),
        field("created", "created", TRUTH),
        field("recovery_grace_ms", "recoveryGraceMs", INTEGER),
        field("max_ttl_ms", "maxTtlMs", INTEGER),
        field("durability", "durability", checked(durability)),
        field("recovering_until_ms", "recoveringUntil", _INSTANT_OR_ZERO),
        field("recovering_why", "recoveringWhy", TEXT),
        field("clock_offset_ms", "clockOffsetMs", INTEGER),
        field("kept", "kept", RESOURCES),
        field("default_scope", "defaultScope", optional(checked(scope_name))),
        field("require_scope", "requireScope", TRUTH),
        field("max_lifetime_ms", "maxLifetimeMs", INTEGER),
        field("units", "units", UNITS),
        derived("limit", lambda pool: RESOURCES.write(pool.limit)),
        field("queue", "queue", value(QueuePolicy)),
        field("preemption", "preemption", value(PreemptionPolicy)),
    )

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
    kept: Resources = _NOTHING
    default_scope: str | None = None
    require_scope: bool = False
    max_lifetime_ms: int = 0
    units: Mapping[str, ResourceUnits] = NO_UNITS
    queue: QueuePolicy = DEFAULT_POLICY
    preemption: PreemptionPolicy = NO_PREEMPTION

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", read_only(self.units))

    @property
    def limit(self) -> Resources:
        """What may be given out of each resource: its capacity, unless its units say otherwise."""
        return Resources.of({name: row.limit for name, row in self.rows().items()})

    @property
    def overcommitted(self) -> tuple[str, ...]:
        """The resources whose limit was lowered below what is allocated."""
        limit = self.limit
        return tuple(name for name, amount in self.allocated.items() if amount > limit.get(name, 0))

    def rows(self) -> dict[str, ResourceUsage]:
        """The counters of each resource that the pool counts."""
        return {name: self._row(name, capacity) for name, capacity in self.capacity.items()}

    def _row(self, name: str, capacity: int) -> ResourceUsage:
        units, allocated, kept = self.units.get(name), self.allocated.get(name, 0), self.kept.get(name, 0)
        if units is None:
            return ResourceUsage(capacity, allocated, kept)
        reserved = units.amounts(name)["reserved"]
        return ResourceUsage(capacity, allocated, kept, reserved, units.overcommit_permille or 0)


@dataclass(frozen=True, slots=True)
class WaitingPriority(Value):
    """How many requests of one priority wait; `since_ms` is when the first of them in line took its place."""

    FORMAT: ClassVar = (
        field("priority", "priority", numbered(priority_number)),
        field("waiting", "waiting", INTEGER),
        field("since_ms", "since", OPTIONAL_INSTANT),
    )

    priority: int
    waiting: int
    since_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Usage(Value):
    """A pool's counters and numbers of allocations, read atomically.

    `allocations` counts all records, `pinned` those without a deadline, `due` those past theirs and not yet
    reclaimed.  `waiting` is how many requests wait in line, `line` how many of each priority, the highest first, at
    most 32 priorities.  `deadline_ms` is the earliest deadline, also one that is past; `pinned_ms` is when the oldest
    pinned allocation was granted.  `scopes` counts the quotas.
    `counters` has how many events of each kind the pool has had, such as `granted` or `reclaimed`, and how many
    requests it has denied, by the code of the denial: `denied.capacity_exceeded`, or `denied.quota_exceeded` where a
    quota is short; absent: 0.  `read_ms` is the server's time of the reading.
    """

    KIND: ClassVar = "Usage"
    FORMAT: ClassVar = (
        derived("pool", lambda usage: usage.pool.name),
        derived("readAt", lambda usage: rfc3339(usage.read_ms)),
        field("read_ms", "readMs", INTEGER),
        field("resources", "resources", _ROWS),
        field("allocations", "allocations", INTEGER),
        field("pinned", "pinned", INTEGER),
        field("due", "due", INTEGER),
        field("waiting", "waiting", INTEGER),
        field("deadline_ms", "earliestDeadline", OPTIONAL_INSTANT),
        field("pinned_ms", "oldestPinned", OPTIONAL_INSTANT),
        field("scopes", "scopeCount", INTEGER),
        field("line", "line", many(value(WaitingPriority))),
        field("counters", "counters", _COUNTERS),
        field("pool", "configuration", value(Pool)),
    )

    pool: Pool
    resources: Mapping[str, ResourceUsage]
    allocations: int
    pinned: int
    due: int
    read_ms: int
    waiting: int = 0
    deadline_ms: int | None = None
    pinned_ms: int | None = None
    scopes: int = 0
    line: tuple[WaitingPriority, ...] = ()
    counters: Mapping[str, int] = NO_COUNTERS

    def __post_init__(self) -> None:
        object.__setattr__(self, "resources", read_only(self.resources))
        object.__setattr__(self, "counters", read_only(self.counters))

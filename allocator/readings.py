"""What the clients tell of pools: frozen dataclasses, exact integers, no I/O; `allocator.models` has the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from allocator.durability import MEMORY
from allocator.resources import Resources

__all__ = [
    "Audit",
    "Checkup",
    "Diagnosis",
    "Event",
    "Finding",
    "Pool",
    "Reclaimed",
    "Reconciled",
    "ResourceUsage",
    "Usage",
    "instant",
]


def instant(ms: int) -> datetime:
    """An instant of the server's clock as an aware datetime in UTC, to the millisecond."""
    return datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """One resource of one account, in exact amounts."""

    capacity: int
    allocated: int

    @property
    def available(self) -> int:
        """What is left; 0 where overcommitted."""
        return max(0, self.capacity - self.allocated)

    @property
    def overcommitted(self) -> bool:
        """True where capacity was lowered below what is allocated."""
        return self.allocated > self.capacity

    @property
    def utilization(self) -> float:
        """Allocated in per cent of capacity; 0.0 for an empty capacity with nothing allocated, else 100.0."""
        if self.capacity == 0:
            return 100.0 if self.allocated else 0.0
        return 100.0 * self.allocated / self.capacity


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool as configured.  `generation` grows with each configuration, `revision` with each change of any kind.

    `epoch` is drawn when the pool is created: a pool that was deleted and made again has another one.
    `state` is `active`, `offline` (a repair holds back new grants), `recovering` (the store has lost data: nothing
    new is granted until `recovering_until_ms`) or `deleting`.  `recovery_grace_ms` is how long a recovery takes,
    0 where the pool has none; `max_ttl_ms` the longest time to live, 0 where any is granted; `durability` how safe a
    grant is made.  `clock_offset_ms` says how far the pool's time is ahead of the server's, whose clock was set back.
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
    """One atomic reading of a pool: its counters and how many allocations stand behind them.

    `allocations` counts all that are recorded, `pinned` those without a deadline, `due` those past theirs and not yet
    reclaimed.  `read_ms` is the server's time of the reading.
    """

    pool: Pool
    resources: Mapping[str, ResourceUsage]
    allocations: int
    pinned: int
    due: int
    read_ms: int


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What one `reclaim` took back.  `more` says that it stopped at its limit with work left."""

    count: int
    ids: tuple[str, ...] = ()
    more: bool = False

    def __bool__(self) -> bool:
        return self.count > 0


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a pool's stream of changes: `kind` is a past participle, such as `granted` or `reclaimed`."""

    id: str
    kind: str
    fields: Mapping[str, str]

    @property
    def at(self) -> datetime:
        """When it was written, by the server's clock."""
        return instant(int(self.id.partition("-")[0]))


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation of an invariant: what kind, of which allocation or resource, and the numbers."""

    kind: str
    subject: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Audit:
    """The verdict on a pool; truthy when clean.

    `status` is `clean`, `drift`, `repaired` or `inconclusive` (the pool would not stand still long enough to be read in
    pages; nothing is claimed).  `findings` lists at most 100 of `total` violations; `overcommitted` is no violation.
    """

    pool: str
    status: str
    records: int
    findings: tuple[Finding, ...] = ()
    total: int = 0
    overcommitted: tuple[str, ...] = ()
    revision: int = 0

    def __bool__(self) -> bool:
        return self.status == "clean"


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a `reconcile` did: ids each.

    `released` was given back (or would be, with `dry_run`); `kept` was found and is live by the caller's word;
    `missing` is live by the caller's word and not on the ledger: allocate it, or adopt it while the pool
    recovers.  `more` says that the call's time was over before it was done.
    """

    released: tuple[str, ...]
    kept: tuple[str, ...]
    missing: tuple[str, ...]
    dry_run: bool = False
    more: bool = False

    def __bool__(self) -> bool:
        return bool(self.released)


@dataclass(frozen=True, slots=True)
class Checkup:
    """One finding of a `doctor`: `verdict` is `ok`, `warn`, `bad` or `unknown`; `advice` says what to change."""

    name: str
    verdict: str
    detail: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a `doctor` found; truthy when nothing is bad."""

    checkups: tuple[Checkup, ...]

    def __bool__(self) -> bool:
        return all(one.verdict != "bad" for one in self.checkups)

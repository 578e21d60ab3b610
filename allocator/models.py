"""What the clients take and return: frozen dataclasses, exact integers, no I/O.

Amounts are integers in the resource's unit (`allocator.quantity`); instants are milliseconds of the server's clock
since 1970 (`*_ms`), with properties that give aware `datetime`s; durations are seconds where people write them, and
milliseconds where `_ms` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeAlias

from allocator.errors import AllocationConflict, AllocationLost
from allocator.quantity import Quantity, format_amount
from allocator.resources import Resources

__all__ = [
    "Allocation",
    "Audit",
    "Check",
    "Denial",
    "Event",
    "Finding",
    "Outcome",
    "Pool",
    "Reclaimed",
    "Release",
    "Renewal",
    "Request",
    "RequestLike",
    "ResourceUsage",
    "Shortage",
    "Ttl",
    "Usage",
]

RequestLike: TypeAlias = Mapping[str, Quantity] | Resources
"""What is asked for: resource names with Kubernetes quantities, or a `Resources` vector."""

Ttl: TypeAlias = float | timedelta | None
"""Seconds, a timedelta, or None: pinned, without a deadline."""


def instant(ms: int) -> datetime:
    """An instant of the server's clock as an aware datetime in UTC, to the millisecond."""
    return datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)


@dataclass(frozen=True, slots=True, init=False)
class Request:
    """One item of `allocate_many`.

    `ttl` has no default, as in `allocate`: a time to live in seconds, or None to pin.
    """

    resources: RequestLike
    ttl: Ttl
    id: str | None = None
    owner: str | None = None
    metadata: Mapping[str, str] | None = None

    def __init__(
        self,
        resources: RequestLike,
        ttl: Ttl,
        id: str | None = None,
        owner: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        slots = _REQUEST_SLOTS
        slots[0](self, resources)
        slots[1](self, ttl)
        slots[2](self, id)
        slots[3](self, owner)
        slots[4](self, metadata)


@dataclass(frozen=True, slots=True, init=False)
class Allocation:
    """A granted, recorded request, as the ledger had it when the reply was written.

    `fence` is unique in its pool and grows with each grant: hand it to whatever the allocation protects.
    `created` is False where the call met a live allocation of the same id, owner and amounts (or merely read it).
    """

    id: str
    pool: str
    owner: str
    resources: Resources
    fence: int
    granted_ms: int
    ttl_ms: int | None
    deadline_ms: int | None
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    created: bool = False

    def __init__(
        self,
        id: str,
        pool: str,
        owner: str,
        resources: Resources,
        fence: int,
        granted_ms: int,
        ttl_ms: int | None,
        deadline_ms: int | None,
        metadata: Mapping[str, str] = MappingProxyType({}),
        created: bool = False,
    ) -> None:
        slots = _ALLOCATION_SLOTS
        slots[0](self, id)
        slots[1](self, pool)
        slots[2](self, owner)
        slots[3](self, resources)
        slots[4](self, fence)
        slots[5](self, granted_ms)
        slots[6](self, ttl_ms)
        slots[7](self, deadline_ms)
        slots[8](self, metadata)
        slots[9](self, created)

    @property
    def pinned(self) -> bool:
        """True for an allocation without a deadline: it ends by release, or by age."""
        return self.deadline_ms is None

    @property
    def granted_at(self) -> datetime:
        """When it was granted, by the server's clock."""
        return instant(self.granted_ms)

    @property
    def deadline(self) -> datetime | None:
        """When it ends unless renewed, by the server's clock; None when pinned."""
        return None if self.deadline_ms is None else instant(self.deadline_ms)


def _slots_of(kind: type[Any]) -> tuple[Callable[[Any, object], None], ...]:
    """What fills each slot of a frozen dataclass, in the order of its fields.

    A constructor of our own, which fills them, takes half the time of the generated one, which sets each attribute
    through `object.__setattr__`: for the two classes of which every `allocate` makes one.
    """
    return tuple([getattr(kind, slot.name).__set__ for slot in fields(kind)])


_REQUEST_SLOTS = _slots_of(Request)
_ALLOCATION_SLOTS = _slots_of(Allocation)


@dataclass(frozen=True, slots=True)
class Shortage:
    """One resource that was short at one level, in exact amounts."""

    resource: str
    requested: int
    allocated: int
    capacity: int
    level: str = "pool"
    name: str = ""

    @property
    def available(self) -> int:
        """What is left; 0 where the account is overcommitted."""
        return max(0, self.capacity - self.allocated)

    @property
    def short(self) -> int:
        """How much more would have to be free."""
        return max(0, self.allocated + self.requested - self.capacity)

    def __str__(self) -> str:
        def show(amount: int) -> str:
            return format_amount(self.resource, amount)

        return (
            f"{self.resource} requested={show(self.requested)} available={show(self.available)} "
            f"short={show(self.short)} (allocated={show(self.allocated)} capacity={show(self.capacity)})"
        )


@dataclass(frozen=True, slots=True)
class Denial:
    """A request refused, with the reason in numbers.  Nothing was changed.  Falsy, so that `if outcome:` reads well.

    `code` is the first that applies, in this order: `unknown_resource` (the pool does not count it),
    `constraint_violation` (whole units only), `never_fits` (more than the whole capacity), `capacity_exceeded`.
    """

    code: str
    pool: str
    shortages: tuple[Shortage, ...]
    item: int = 0

    @property
    def never(self) -> bool:
        """True where waiting cannot help: the pool would have to be configured differently."""
        return self.code != "capacity_exceeded"

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        what = {
            "unknown_resource": "unknown resource",
            "constraint_violation": "whole units only",
            "never_fits": "never fits",
            "capacity_exceeded": "capacity exceeded",
        }.get(self.code, self.code)
        return f"{what}: pool {self.pool}: " + "; ".join(str(shortage) for shortage in self.shortages)


Outcome: TypeAlias = Allocation | Denial | AllocationConflict | AllocationLost
"""What becomes of one item of `allocate_many(atomic=False)`; the errors are returned, not raised."""


@dataclass(frozen=True, slots=True)
class Check:
    """Whether a request would be granted now; truthy when so.

    `fits_ms` is filled by `check(explain=True)`: the instant at which known deadlines make the request fit at the
    latest; None where they do not (pinned allocations in the way, more than 256 deadlines ahead, or it never fits).
    """

    fits: bool
    denial: Denial | None = None
    fits_ms: int | None = None

    def __bool__(self) -> bool:
        return self.fits

    @property
    def fits_at(self) -> datetime | None:
        """`fits_ms` as a datetime."""
        return None if self.fits_ms is None else instant(self.fits_ms)


@dataclass(frozen=True, slots=True)
class Renewal:
    """What became of one renewal; truthy when the allocation lives on.

    `outcome` is `renewed`, `unknown` (released, or reclaimed after its deadline) or `fenced` (the id is another
    grant's now).
    """

    id: str
    outcome: str
    fence: int = 0
    deadline_ms: int | None = None

    def __bool__(self) -> bool:
        return self.outcome == "renewed"

    @property
    def deadline(self) -> datetime | None:
        """The new deadline; None when pinned or not renewed."""
        return None if self.deadline_ms is None else instant(self.deadline_ms)


@dataclass(frozen=True, slots=True)
class Release:
    """What became of one release; truthy when this call gave the capacity back.

    `outcome` is `released`, `unknown` (there was nothing of that id) or `fenced` (the id is another grant's; it stays).
    """

    id: str
    outcome: str
    ended_ms: int | None = None

    def __bool__(self) -> bool:
        return self.outcome == "released"


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
    `state` is `active`, `offline` (a repair holds back new grants) or `deleting`.
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

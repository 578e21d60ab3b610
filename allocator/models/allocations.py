"""Requests, allocations, and the outcomes of calls on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeAlias

from allocator.denials import Denial
from allocator.durability import MEMORY
from allocator.errors import AllocationConflict, AllocationLost
from allocator.models.instants import instant
from allocator.models.read_only import NO_ENTRIES, read_only
from allocator.quantity import Quantity
from allocator.resources import RESOURCES, Resources
from allocator.serialization import (
    INSTANT,
    INTEGER,
    OPTIONAL_INSTANT,
    OPTIONAL_INTEGER,
    TEXT,
    TRUTH,
    Codec,
    Value,
    checked,
    field,
    many,
    numbered,
    optional,
    read_mapping,
    read_text,
    value,
    wrong,
)
from allocator.validation import (
    allocation_id,
    epoch_text,
    lifetime_ms,
    metadata,
    owner_name,
    pool_name,
    priority_number,
    scope_name,
    ttl_ms,
)

RequestLike: TypeAlias = Mapping[str, Quantity] | Resources
"""A request: resource names with Kubernetes quantities, or a `Resources` vector."""


Ttl: TypeAlias = float | timedelta | None
"""Seconds, a timedelta, or None: pinned, without a deadline."""


Wait: TypeAlias = float | timedelta
"""Seconds or a timedelta that a request may wait in line; 0: not at all."""


_ID = checked(allocation_id)
_POOL = checked(pool_name)
_OWNER = checked(owner_name)
_SCOPE = checked(scope_name)


def _read_entries(found: object, path: str) -> dict[str, str]:
    return {key: read_text(text, f"{path}.{key}") for key, text in read_mapping(found, path).items()}


_ENTRIES = Codec(dict, _read_entries)


def _read_ttl(found: object, path: str) -> float | None:
    """Seconds of a dict's milliseconds."""
    ms = OPTIONAL_INTEGER.read(found, path)
    return None if ms is None else ms / 1000


def _read_wanted(found: object, path: str) -> Resources:
    """Resources of which there are some."""
    resources: Resources = RESOURCES.read(found, path)
    if not resources:
        raise wrong(path, found, "asks for nothing")
    return resources


_RESOURCES_OF_REQUEST = Codec(lambda given: Resources.request(given).to_dict(), _read_wanted)
_TTL_OF_REQUEST = Codec(lambda ttl: ttl_ms(ttl) or None, _read_ttl)
_LIFETIME_OF_REQUEST = Codec(lambda lifetime: lifetime_ms(lifetime) or None, _read_ttl)
_METADATA_OF_REQUEST = Codec(lambda given: dict(metadata(given)), _read_entries)


_PRIORITY = numbered(priority_number)


@dataclass(frozen=True, slots=True, init=False)
class Request(Value):
    """One item of `allocate_many`.

    `ttl` has no default, as in `allocate`: a time to live in seconds, or None to pin.  In its dict the amounts are
    exact and the time to live is in milliseconds, so what is read back is the same request in `Resources` and seconds;
    `to_dict` raises `InvalidRequest` for what `allocate` refuses.
    With `exclusive` a live allocation of the id is a conflict, also one of the same owner and amounts.
    `max_lifetime` is the time until its hard end, in seconds; None: it has none.
    `priority` is its place among those that wait in line: -1000 to 1000, the higher first.  `preempt` lets a request
    that waits take room from lower priorities, in a pool that permits it.  With `estimate` a denial says when it may be
    over (`Denial.start_ms`); not in an atomic batch.
    """

    KIND: ClassVar = "Request"
    FORMAT: ClassVar = (
        field("resources", "resources", _RESOURCES_OF_REQUEST),
        field("ttl", "ttlMs", _TTL_OF_REQUEST),
        field("id", "id", optional(_ID)),
        field("owner", "owner", optional(_OWNER)),
        field("metadata", "metadata", optional(_METADATA_OF_REQUEST)),
        field("exclusive", "exclusive", TRUTH),
        field("scope", "scope", optional(_SCOPE)),
        field("max_lifetime", "maxLifetimeMs", _LIFETIME_OF_REQUEST),
        field("priority", "priority", _PRIORITY),
        field("preempt", "preempt", TRUTH),
        field("estimate", "estimate", TRUTH),
    )

    resources: RequestLike
    ttl: Ttl
    id: str | None = None
    owner: str | None = None
    metadata: Mapping[str, str] | None = None
    exclusive: bool = False
    scope: str | None = None
    max_lifetime: Ttl = None
    priority: int = 0
    preempt: bool = False
    estimate: bool = False

    def __init__(
        self,
        resources: RequestLike,
        ttl: Ttl,
        id: str | None = None,
        owner: str | None = None,
        metadata: Mapping[str, str] | None = None,
        exclusive: bool = False,
        scope: str | None = None,
        max_lifetime: Ttl = None,
        priority: int = 0,
        preempt: bool = False,
        estimate: bool = False,
    ) -> None:
        slots = _REQUEST_SLOTS
        slots[0](self, resources)
        slots[1](self, ttl)
        slots[2](self, id)
        slots[3](self, owner)
        slots[4](self, metadata)
        slots[5](self, exclusive)
        slots[6](self, scope)
        slots[7](self, max_lifetime)
        slots[8](self, priority)
        slots[9](self, preempt)
        slots[10](self, estimate)


@dataclass(frozen=True, slots=True, init=False)
class Allocation(Value):
    """A granted, recorded request, as of the server's reply.

    `fence` is unique in its pool and grows with each grant: pass it to the systems that the allocation protects.
    `created` is False where the call found a live allocation of the same id, owner and amounts, or only read it.
    `deadline_ms` is until when it may be relied on: earlier than the server's if no Sentinel has named the primary
    lately (docs/topologies.md).  `epoch` is that of the pool which granted it.  `releasing_ms` is when its release
    began (`begin_release`).  `durability` is the level the grant had reached when its call returned: `memory`, or the
    level that was waited for.  `metadata` is read-only.  `scope` is the scope that it is charged to, None
    for the pool alone.  `ends_ms` is its hard end, which no renewal passes; None: it has none.  `priority` is that of
    its request.  `preempted_by` is the id whose request takes its room at `deadline_ms`; None: it is not preempted.

    `to_dict` is for a status or a file; `from_dict` of that is the same allocation, for `renew`, `release` or `adopt`.
    """

    KIND: ClassVar = "Allocation"
    FORMAT: ClassVar = (
        field("id", "id", _ID),
        field("pool", "pool", _POOL),
        field("owner", "owner", _OWNER),
        field("resources", "resources", RESOURCES),
        field("fence", "fence", INTEGER),
        field("granted_ms", "grantedAt", INSTANT),
        field("ttl_ms", "ttlMs", OPTIONAL_INTEGER),
        field("deadline_ms", "deadline", OPTIONAL_INSTANT),
        field("metadata", "metadata", _ENTRIES),
        field("created", "created", TRUTH),
        field("epoch", "epoch", checked(epoch_text)),
        field("releasing_ms", "releasingAt", OPTIONAL_INSTANT),
        field("durability", "durability", TEXT),
        field("scope", "scope", optional(_SCOPE)),
        field("ends_ms", "endsAt", OPTIONAL_INSTANT),
        field("priority", "priority", _PRIORITY),
        field("preempted_by", "preemptedBy", optional(_ID)),
    )

    id: str
    pool: str
    owner: str
    resources: Resources
    fence: int
    granted_ms: int
    ttl_ms: int | None
    deadline_ms: int | None
    metadata: Mapping[str, str] = NO_ENTRIES
    created: bool = False
    epoch: str = ""
    releasing_ms: int | None = None
    durability: str = MEMORY
    scope: str | None = None
    ends_ms: int | None = None
    priority: int = 0
    preempted_by: str | None = None

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
        metadata: Mapping[str, str] = NO_ENTRIES,
        created: bool = False,
        epoch: str = "",
        releasing_ms: int | None = None,
        durability: str = MEMORY,
        scope: str | None = None,
        ends_ms: int | None = None,
        priority: int = 0,
        preempted_by: str | None = None,
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
        slots[8](self, read_only(metadata))
        slots[9](self, created)
        slots[10](self, epoch)
        slots[11](self, releasing_ms)
        slots[12](self, durability)
        slots[13](self, scope)
        slots[14](self, ends_ms)
        slots[15](self, priority)
        slots[16](self, preempted_by)

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

    @property
    def ends_at(self) -> datetime | None:
        """When it ends at the latest, however often it is renewed, by the server's clock; None: it has no hard end."""
        return None if self.ends_ms is None else instant(self.ends_ms)


def _slots_of(kind: type[Any]) -> tuple[Callable[[Any, object], None], ...]:
    """The setters of the slots of a frozen dataclass, in the order of its fields.

    A constructor that uses them takes half the time of the generated one, which sets each attribute through
    `object.__setattr__`.  It is used for the two classes of which every `allocate` makes one.
    """
    return tuple([getattr(kind, slot.name).__set__ for slot in fields(kind)])


_REQUEST_SLOTS = _slots_of(Request)


_ALLOCATION_SLOTS = _slots_of(Allocation)


Outcome: TypeAlias = Allocation | Denial | AllocationConflict | AllocationLost
"""The outcome of one item of `allocate_many(atomic=False)`; errors are returned, not raised."""


@dataclass(frozen=True, slots=True)
class Check(Value):
    """Whether a request would be granted now; truthy if so.

    `fits_ms` is set by `check(explain=True)`: the instant at which known deadlines make the request fit at the latest,
    as if nobody waited; None if they do not (because of pinned allocations, more than 256 deadlines, or it never fits).
    The denial has the place in line that it would take, and the earliest start there.  `victims` is set by
    `check(preempt=True)`: the ids of the allocations that the request would preempt now.
    """

    KIND: ClassVar = "Check"
    FORMAT: ClassVar = (
        field("fits", "fits", TRUTH),
        field("denial", "denial", optional(value(Denial))),
        field("fits_ms", "fitsAt", OPTIONAL_INSTANT),
        field("victims", "victims", many(_ID)),
    )

    fits: bool
    denial: Denial | None = None
    fits_ms: int | None = None
    victims: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.fits

    @property
    def fits_at(self) -> datetime | None:
        """`fits_ms` as a datetime."""
        return None if self.fits_ms is None else instant(self.fits_ms)


@dataclass(frozen=True, slots=True)
class Renewal(Value):
    """The outcome of one renewal; truthy if the allocation is live.

    `outcome` is `renewed`, `adopted` (the server had lost it, and has it again), `unknown` (released, or reclaimed
    after its deadline), `fenced` (the id belongs to another grant now), `wrong_epoch` (of a pool that was created again
    since), `releasing` (its release has begun), `over` (its hard end has been reached) or `preempted` (a request of
    higher priority, `preempted_by`, takes its room at `deadline_ms`, `left_ms` from now).  `deadline_ms` and `ends_ms`
    are as in `Allocation`: at the hard end a deadline is cut.  `left_ms` is how long it was until then, by the server's
    clock, when it was renewed.  `durability` is the level it has reached.
    """

    KIND: ClassVar = "Renewal"
    FORMAT: ClassVar = (
        field("id", "id", _ID),
        field("outcome", "outcome", TEXT),
        field("fence", "fence", INTEGER),
        field("deadline_ms", "deadline", OPTIONAL_INSTANT),
        field("durability", "durability", TEXT),
        field("ends_ms", "endsAt", OPTIONAL_INSTANT),
        field("left_ms", "leftMs", OPTIONAL_INTEGER),
        field("preempted_by", "preemptedBy", optional(_ID)),
    )

    id: str
    outcome: str
    fence: int = 0
    deadline_ms: int | None = None
    durability: str = MEMORY
    ends_ms: int | None = None
    left_ms: int | None = None
    preempted_by: str | None = None

    def __bool__(self) -> bool:
        return self.outcome in ("renewed", "adopted")

    @property
    def deadline(self) -> datetime | None:
        """The new deadline; None when pinned or not renewed."""
        return None if self.deadline_ms is None else instant(self.deadline_ms)

    @property
    def ends_at(self) -> datetime | None:
        """The hard end; None if there is none."""
        return None if self.ends_ms is None else instant(self.ends_ms)


@dataclass(frozen=True, slots=True)
class Release(Value):
    """The outcome of one release; truthy if this call released the capacity.

    `outcome` is `released`, `unknown` (no allocation had that id), `fenced` (the id belongs to another grant, which
    stays) or `missing` (the server had lost it, and the pool recovers: nothing was granted in its place).
    """

    KIND: ClassVar = "Release"
    FORMAT: ClassVar = (
        field("id", "id", _ID),
        field("outcome", "outcome", TEXT),
        field("ended_ms", "endedAt", OPTIONAL_INSTANT),
    )

    id: str
    outcome: str
    ended_ms: int | None = None

    def __bool__(self) -> bool:
        return self.outcome == "released"

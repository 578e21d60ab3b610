"""Waiters: requests that wait in line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Final

from allocator import settings
from allocator.denials import Denial
from allocator.durations import exact
from allocator.errors import InvalidRequest
from allocator.models.instants import instant
from allocator.models.read_only import NO_ENTRIES, read_only
from allocator.resources import RESOURCES, Resources
from allocator.serialization import (
    INSTANT,
    INTEGER,
    OPTIONAL_INSTANT,
    OPTIONAL_INTEGER,
    TRUTH,
    Codec,
    Value,
    checked,
    field,
    many,
    numbered,
    optional,
    read_integer,
    read_mapping,
    read_text,
    value,
)
from allocator.validation import (
    allocation_id,
    count,
    grace_ms,
    half_life_ms,
    owner_name,
    pool_name,
    priority_number,
    queue_policy_name,
    scope_name,
)

__all__ = ["DEFAULT_POLICY", "GangMember", "QueuePolicy", "Waiter"]

_METADATA: Final = Codec(
    dict, lambda found, path: {key: read_text(text, f"{path}.{key}") for key, text in read_mapping(found, path).items()}
)


def _wait_max_ms(value: object) -> int:
    return grace_ms(value, "queue_wait_max", settings.AGE_MAX_S)


_SECONDS: Final = Codec(_wait_max_ms, lambda found, path: read_integer(found, path) / 1000)
_HALF_LIFE: Final = Codec(half_life_ms, lambda found, path: read_integer(found, path) / 1000)


@dataclass(frozen=True, slots=True)
class QueuePolicy(Value):
    """Who may pass those who wait in a pool's line; `docs/policies.md` has examples.

    As an argument, None leaves a value as it is; a pool has all six.

    Attributes:
        policy: `contended`: a request passes unless it competes for what a waiter before it is short of.  `strict`:
            nobody passes.  `best_effort`: whatever fits passes.
        passes_max: So many grants may pass the first waiter; then nobody does.
        wait_max: Seconds, or a timedelta, after which nobody passes the first waiter; at most ten years.
        length_max: So many may wait; 0: nobody.
        backfill: Whether a request that is held back is granted if it is sure to end before the first waiter could
            start: it has a hard end (`max_lifetime`) before that.
        half_life: Seconds, or a timedelta, after which what a scope has used counts half, where scopes have weights:
            one minute to 365 days.
    """

    FORMAT: ClassVar = (
        field("policy", "policy", optional(checked(queue_policy_name))),
        field("passes_max", "passesMax", OPTIONAL_INTEGER),
        field("wait_max", "waitMaxMs", optional(_SECONDS)),
        field("length_max", "lengthMax", OPTIONAL_INTEGER),
        field("backfill", "backfill", optional(TRUTH)),
        field("half_life", "halfLifeMs", optional(_HALF_LIFE)),
    )

    policy: str | None = None
    passes_max: int | None = None
    wait_max: float | timedelta | None = None
    length_max: int | None = None
    backfill: bool | None = None
    half_life: float | timedelta | None = None

    def texts(self) -> dict[str, str]:
        """What is given, by the names that the command line has for it."""
        wait_max = None if self.wait_max is None else exact(_wait_max_ms(self.wait_max))
        given = {"policy": self.policy, "passes_max": self.passes_max, "wait_max": wait_max}
        given["length_max"] = self.length_max
        given["backfill"] = None if self.backfill is None else "on" if self.backfill else "off"
        given["half_life"] = None if self.half_life is None else exact(half_life_ms(self.half_life))
        return {f"queue_{name}": str(one) for name, one in given.items() if one is not None}

    def words(self) -> dict[str, str]:
        """What is given, as a pool's options: name -> value; "" for what is the default.

        Raises:
            InvalidRequest: `field` is `queue_policy`, `queue_passes_max`, `queue_wait_max`, `queue_length_max`,
                `queue_backfill` or `queue_half_life`.
        """
        options: dict[str, str] = {}
        if self.policy is not None:
            options["queue_policy"] = queue_policy_name(self.policy)
        if self.passes_max is not None:
            passes = count(self.passes_max, "queue_passes_max", settings.PASSES_LIMIT, 0)
            options["queue_passes_max"] = str(passes)
        if self.wait_max is not None:
            options["queue_wait_max_ms"] = str(_wait_max_ms(self.wait_max))
        if self.length_max is not None:
            options["queue_length_max"] = str(count(self.length_max, "queue_length_max", settings.QUEUE_MAX, 0))
        if self.backfill is not None:
            if type(self.backfill) is not bool:
                raise InvalidRequest(
                    f"queue_backfill: {self.backfill!r} is neither True nor False", field="queue_backfill"
                )
            options["queue_backfill"] = "1" if self.backfill else ""
        if self.half_life is not None:
            options["queue_half_life_ms"] = str(half_life_ms(self.half_life))
        return {name: "" if _DEFAULTS.get(name) == text else text for name, text in options.items()}


DEFAULT_POLICY: Final = QueuePolicy(
    settings.QUEUE_POLICY,
    settings.PASSES_MAX,
    settings.WAIT_PASSED_MAX_S,
    settings.QUEUE_MAX,
    False,
    settings.HALF_LIFE_S,
)
"""What counts in a pool that says nothing else."""

_DEFAULTS: Final = {
    "queue_policy": settings.QUEUE_POLICY,
    "queue_passes_max": str(settings.PASSES_MAX),
    "queue_wait_max_ms": str(settings.WAIT_PASSED_MAX_MS),
    "queue_length_max": str(settings.QUEUE_MAX),
    "queue_half_life_ms": str(settings.HALF_LIFE_MS),
}


@dataclass(frozen=True, slots=True)
class GangMember(Value):
    """One request of an atomic batch that waits in line.

    `live`: its id is live with the same request, so that it waits for nothing; it counts as granted.
    """

    KIND: ClassVar = "GangMember"
    FORMAT: ClassVar = (
        field("id", "id", checked(allocation_id)),
        field("owner", "owner", checked(owner_name)),
        field("resources", "resources", RESOURCES),
        field("ttl_ms", "ttlMs", OPTIONAL_INTEGER),
        field("scope", "scope", optional(checked(scope_name))),
        field("metadata", "metadata", _METADATA),
        field("live", "live", TRUTH),
    )

    id: str
    owner: str
    resources: Resources
    ttl_ms: int | None = None
    scope: str | None = None
    metadata: Mapping[str, str] = NO_ENTRIES
    live: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "metadata", read_only(self.metadata))


@dataclass(frozen=True, slots=True)
class Waiter(Value):
    """A request that waits in line for room, or an atomic batch, which waits as one.

    `position` counts from 1, by priority and then by arrival.  `denial` is what it is short of now: its code is
    `queued` where it fits, and must not pass those before it.  `until_ms` is when its caller gives up.  `start_ms` is
    when it may start at the earliest that known deadlines allow, without renewals and new requests; None: not foreseen,
    or not among the first 32.  `ttl_ms` is the time to live that it asks for, None pins.  `share_of` is the scope whose
    share decides its place: None without one, or where scopes have no weights.
    `members` are the requests of a batch: then `id`, `owner`, `ttl_ms`, `metadata` and `share_of` are those of the
    first, `resources` is the sum, `scope` that of all, None if they differ, and `denial.item` is the member that is
    refused.
    """

    KIND: ClassVar = "Waiter"
    FORMAT: ClassVar = (
        field("id", "id", checked(allocation_id)),
        field("pool", "pool", checked(pool_name)),
        field("position", "position", INTEGER),
        field("owner", "owner", checked(owner_name)),
        field("priority", "priority", numbered(priority_number)),
        field("resources", "resources", RESOURCES),
        field("since_ms", "since", INSTANT),
        field("until_ms", "until", OPTIONAL_INSTANT),
        field("ttl_ms", "ttlMs", OPTIONAL_INTEGER),
        field("scope", "scope", optional(checked(scope_name))),
        field("denial", "denial", optional(value(Denial))),
        field("start_ms", "startAt", OPTIONAL_INSTANT),
        field("metadata", "metadata", _METADATA),
        field("share_of", "shareOf", optional(checked(scope_name))),
        field("members", "members", many(value(GangMember))),
    )

    id: str
    pool: str
    position: int
    owner: str
    priority: int
    resources: Resources
    since_ms: int
    until_ms: int | None = None
    ttl_ms: int | None = None
    scope: str | None = None
    denial: Denial | None = None
    start_ms: int | None = None
    metadata: Mapping[str, str] = NO_ENTRIES
    share_of: str | None = None
    members: tuple[GangMember, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "metadata", read_only(self.metadata))

    @property
    def since(self) -> datetime:
        """When it took its place, by the server's clock."""
        return instant(self.since_ms)

    @property
    def start(self) -> datetime | None:
        """`start_ms` as a datetime."""
        return None if self.start_ms is None else instant(self.start_ms)

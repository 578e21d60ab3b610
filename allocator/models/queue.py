"""Waiters: requests that wait in line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final

from allocator.denials import Denial
from allocator.models.instants import instant
from allocator.models.read_only import NO_ENTRIES, read_only
from allocator.resources import RESOURCES, Resources
from allocator.serialization import (
    INSTANT,
    INTEGER,
    OPTIONAL_INSTANT,
    OPTIONAL_INTEGER,
    Codec,
    Value,
    checked,
    field,
    optional,
    read_mapping,
    read_text,
    value,
)
from allocator.validation import allocation_id, owner_name, pool_name, priority_number, scope_name

__all__ = ["Waiter"]

_METADATA: Final = Codec(
    dict, lambda found, path: {key: read_text(text, f"{path}.{key}") for key, text in read_mapping(found, path).items()}
)


@dataclass(frozen=True, slots=True)
class Waiter(Value):
    """A request that waits in line for room.

    `position` counts from 1, by priority and then by arrival.  `denial` is what it is short of now: its code is
    `queued` where it fits, and must not pass those before it.  `until_ms` is when its caller gives up.  `start_ms` is
    when it may start at the earliest that known deadlines allow, without renewals and new requests; None: not foreseen,
    or not among the first 32.  `ttl_ms` is the time to live that it asks for, None pins.
    """

    KIND: ClassVar = "Waiter"
    FORMAT: ClassVar = (
        field("id", "id", checked(allocation_id)),
        field("pool", "pool", checked(pool_name)),
        field("position", "position", INTEGER),
        field("owner", "owner", checked(owner_name)),
        field("priority", "priority", Codec(priority_number, INTEGER.read)),
        field("resources", "resources", RESOURCES),
        field("since_ms", "since", INSTANT),
        field("until_ms", "until", OPTIONAL_INSTANT),
        field("ttl_ms", "ttlMs", OPTIONAL_INTEGER),
        field("scope", "scope", optional(checked(scope_name))),
        field("denial", "denial", optional(value(Denial))),
        field("start_ms", "startAt", OPTIONAL_INSTANT),
        field("metadata", "metadata", _METADATA),
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

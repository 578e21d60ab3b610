"""What a pool had over time: a point for each minute of a day, and for each hour of a month."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from allocator.models.instants import instant
from allocator.models.read_only import read_only
from allocator.serialization import (
    INSTANT,
    INTEGER,
    Codec,
    Field,
    Value,
    amount,
    checked,
    field,
    many,
    read_amount,
    read_mapping,
    value,
)
from allocator.validation import pool_name

__all__ = ["UsageAmounts", "UsageHistory", "UsagePoint"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_AT: Final = Codec(
    lambda at: INSTANT.write((at - _EPOCH) // timedelta(milliseconds=1)),
    lambda found, path: instant(INSTANT.read(found, path)),
)


def _plain(attribute: str) -> Callable[[UsageAmounts], dict[str, int]]:
    return lambda one: {"amount": getattr(one, attribute)}


@dataclass(frozen=True, slots=True)
class UsageAmounts(Value):
    """What was allocated of one resource, and what was given out of it at most, in exact amounts.

    Its dict names no resource, so each amount is an integer without a quantity.  Within a `UsagePoint` it has both.
    """

    FORMAT: ClassVar = (
        Field("allocated", _plain("allocated"), "allocated", read_amount),
        Field("capacity", _plain("capacity"), "capacity", read_amount),
    )

    allocated: int
    capacity: int

    @property
    def utilization(self) -> float:
        """Allocated in per cent of the capacity; 0.0 for a capacity of 0 with nothing allocated, else 100.0."""
        if self.capacity == 0:
            return 100.0 if self.allocated else 0.0
        return 100.0 * self.allocated / self.capacity


def _write_rows(rows: Mapping[str, UsageAmounts]) -> dict[str, Any]:
    return {
        name: {"allocated": amount(name, row.allocated), "capacity": amount(name, row.capacity)}
        for name, row in rows.items()
    }


def _read_rows(found: object, path: str) -> dict[str, UsageAmounts]:
    return {name: UsageAmounts.from_fields(row, f"{path}.{name}") for name, row in read_mapping(found, path).items()}


@dataclass(frozen=True, slots=True)
class UsagePoint(Value):
    """What a pool had at the end of an interval, and how many requests it granted and denied within it.

    `at` is the end of the interval by the pool's clock; of the last one, which is not over, the instant of the reading.
    `seconds` is the length of the interval, 60 or 3600.  `allocations` counts the live ones, `waiting` the requests in
    line.  `capacity` of a resource is what the pool gave out of it at most.
    """

    FORMAT: ClassVar = (
        field("at", "at", _AT),
        field("seconds", "seconds", INTEGER),
        field("resources", "resources", Codec(_write_rows, _read_rows)),
        field("allocations", "allocations", INTEGER),
        field("waiting", "waiting", INTEGER),
        field("grants", "grants", INTEGER),
        field("denials", "denials", INTEGER),
    )

    at: datetime
    seconds: int
    resources: Mapping[str, UsageAmounts]
    allocations: int
    waiting: int
    grants: int
    denials: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "resources", read_only(self.resources))


@dataclass(frozen=True, slots=True)
class UsageHistory(Value):
    """The points of a pool, oldest first, one for each interval, also where nothing changed; at least one.

    `since` is where the first interval begins: what was before is not kept, or was not asked for.
    """

    KIND: ClassVar = "UsageHistory"
    FORMAT: ClassVar = (
        field("pool", "pool", checked(pool_name)),
        field("since", "since", _AT),
        field("points", "points", many(value(UsagePoint))),
    )

    pool: str
    points: tuple[UsagePoint, ...]
    since: datetime

"""Quotas: the limits of scopes, and what is allocated within them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from allocator.models.read_only import ReadOnlyMapping, read_only
from allocator.quantity import Quantity
from allocator.resources import RESOURCES, Resources
from allocator.serialization import (
    INTEGER,
    OPTIONAL_INTEGER,
    QUANTITY,
    Codec,
    Field,
    Value,
    amount,
    checked,
    derived,
    field,
    optional,
    read_amount,
    read_mapping,
    value,
)
from allocator.validation import pool_name, scope_name


@dataclass(frozen=True, slots=True)
class Limit(Value):
    """What a scope may have of one resource.

    Attributes:
        nominal: Its share; None: no limit of its own, what is above it decides.
        borrowing_limit: How far above its share it may go while others leave room; None: as far as there is room, 0:
            not at all.
        lending_limit: How much of its share others may have while it does not use it; None: all, 0: nothing.  What is
            not lent is guaranteed: the scope can always have it.
    """

    FORMAT: ClassVar = (
        field("nominal", "nominal", QUANTITY),
        field("borrowing_limit", "borrowingLimit", QUANTITY),
        field("lending_limit", "lendingLimit", QUANTITY),
    )

    nominal: Quantity | None = None
    borrowing_limit: Quantity | None = None
    lending_limit: Quantity | None = None


def _exact(attribute: str, name: str, *, signed: bool = False) -> Field:
    return Field(
        name, lambda row: {"amount": getattr(row, attribute)}, attribute, _read_signed if signed else read_amount
    )


def _read_signed(found: object, path: str) -> int:
    """An amount, or a negative difference."""
    entry = read_mapping(found, path)
    number = entry.get("amount")
    if isinstance(number, int) and not isinstance(number, bool) and number < 0:
        return number
    return read_amount(found, path)


def _optional(attribute: str, name: str) -> Field:
    def write(row: Any) -> dict[str, int] | None:
        number = getattr(row, attribute)
        return None if number is None else {"amount": number}

    return Field(name, write, attribute, lambda found, path: None if found is None else read_amount(found, path))


@dataclass(frozen=True, slots=True)
class QuotaUsage(Value):
    """One resource of one scope, in exact amounts.

    Its dict names no resource, so each amount is an integer without a quantity.  Within a `Quota` it has both.
    `allocated` is charged to the scope and those below it; `kept` is guaranteed to those below it and not used;
    `available` is what a request of this scope may have now.  Limits are None where there is none.
    """

    FORMAT: ClassVar = (
        _exact("allocated", "allocated"),
        _exact("kept", "kept"),
        _exact("available", "available", signed=True),
        _optional("nominal", "nominal"),
        _optional("borrowing_limit", "borrowingLimit"),
        _optional("lending_limit", "lendingLimit"),
        derived("used", lambda row: {"amount": row.used}),
        derived("borrowed", lambda row: {"amount": row.borrowed}),
        derived("lent", lambda row: {"amount": row.lent}),
    )

    allocated: int
    kept: int
    available: int
    nominal: int | None = None
    borrowing_limit: int | None = None
    lending_limit: int | None = None

    @property
    def used(self) -> int:
        """What counts against its limits: allocated and kept."""
        return self.allocated + self.kept

    @property
    def guaranteed(self) -> int:
        """The part of its share that is not lent."""
        return 0 if self.lending_limit is None else max(0, (self.nominal or 0) - self.lending_limit)

    @property
    def borrowed(self) -> int:
        """How far it is above its share; 0 without one."""
        return 0 if self.nominal is None else max(0, self.used - self.nominal)

    @property
    def lent(self) -> int:
        """What it lacks of its share now, because others have it."""
        return 0 if self.nominal is None else max(0, self.nominal - self.used - max(0, self.available))

    @property
    def maximum(self) -> int | None:
        """The most that it may ever have: share and borrowing limit; None: as much as there is."""
        return None if self.borrowing_limit is None else (self.nominal or 0) + self.borrowing_limit

    @property
    def above(self) -> int:
        """How far it is above its maximum, as after a limit was lowered; 0 otherwise."""
        return 0 if self.maximum is None else max(0, self.used - self.maximum)


def _row_fields(resource: str, row: QuotaUsage) -> dict[str, Any]:
    """The dict of a row whose resource is known: each amount as quantity and integer."""
    read = row.to_fields()
    return {name: amount(resource, found["amount"]) if found else None for name, found in read.items()}


def _read_rows(found: object, path: str) -> Mapping[str, QuotaUsage]:
    rows = read_mapping(found, path)
    return read_only({name: QuotaUsage.from_fields(row, f"{path}.{name}") for name, row in rows.items()})


def _read_over(found: object, path: str) -> Mapping[str, Resources]:
    levels = read_mapping(found, path)
    return read_only({scope: RESOURCES.read(amounts, f"{path}.{scope}") for scope, amounts in levels.items()})


_ROWS: Final = Codec(lambda rows: {name: _row_fields(name, row) for name, row in rows.items()}, _read_rows)
_OVER: Final = Codec(lambda over: {scope: RESOURCES.write(amounts) for scope, amounts in over.items()}, _read_over)
_NONE_OVER: Final[Mapping[str, Resources]] = ReadOnlyMapping({})


@dataclass(frozen=True, slots=True)
class FairShare(Value):
    """What places the requests of a scope in line, where scopes have weights; `docs/policies.md` has the rule.

    Attributes:
        weight: Its weight; None: it has had one, and has allocations from then.
        live: The sum of the dominant shares of its allocations, in millionths of the pool.
        used: What it has had: the mean of `live`, where an instant weighs half as much as one a half-life later.
    """

    FORMAT: ClassVar = (
        field("weight", "weight", OPTIONAL_INTEGER),
        field("live", "livePpm", INTEGER),
        field("used", "usedPpm", INTEGER),
    )

    weight: int | None
    live: int
    used: int


@dataclass(frozen=True, slots=True)
class Quota(Value):
    """A scope of a pool.  `generation` grows with each change of its limits.

    `resources` has each resource with a limit or an amount; `allocations` counts live allocations, of those below it
    too, and may be limited like a resource.  `over`, where limits were just changed: the scopes of the chain that are
    above their maximum now ("" is the pool), and by how much.  `share` is None where it has no weight.
    """

    KIND: ClassVar = "Quota"
    FORMAT: ClassVar = (
        field("scope", "scope", checked(scope_name)),
        field("pool", "pool", checked(pool_name)),
        field("generation", "generation", INTEGER),
        field("resources", "resources", _ROWS),
        field("over", "over", _OVER),
        field("share", "share", optional(value(FairShare))),
    )

    scope: str
    pool: str
    generation: int
    resources: Mapping[str, QuotaUsage]
    over: Mapping[str, Resources] = _NONE_OVER
    share: FairShare | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "resources", read_only(self.resources))
        object.__setattr__(self, "over", read_only(self.over))

    @property
    def parent(self) -> str:
        """The scope above it; "" for the pool."""
        return self.scope.rpartition("/")[0]

    @property
    def depth(self) -> int:
        """How many scopes are above it."""
        return self.scope.count("/")

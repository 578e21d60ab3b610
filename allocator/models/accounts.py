"""Accounts: capacity and allocated amount of each resource."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from allocator.models.resource_units import limit_of
from allocator.serialization import INTEGER, Field, Value, amount, derived, field, read_amount


@dataclass(frozen=True, slots=True)
class ResourceUsage(Value):
    """One resource of one account, in exact amounts.

    Its dict names no resource, so each amount is an integer without a quantity.  Within a `Usage` it has both.
    """

    FORMAT: ClassVar = (
        Field("allocated", lambda row: {"amount": row.allocated}, "allocated", read_amount),
        Field("capacity", lambda row: {"amount": row.capacity}, "capacity", read_amount),
        Field("kept", lambda row: {"amount": row.kept}, "kept", read_amount),
        Field("reserved", lambda row: {"amount": row.reserved}, "reserved", read_amount),
        field("overcommit_permille", "overcommitPermille", INTEGER),
        derived("limit", lambda row: {"amount": row.limit}),
        derived("available", lambda row: {"amount": row.available}),
        derived("utilizationPercent", lambda row: int(row.utilization)),
        derived("overcommitted", lambda row: row.overcommitted),
    )

    capacity: int
    allocated: int
    kept: int = 0
    """What is guaranteed to scopes and not used."""
    reserved: int = 0
    """What is never given out."""
    overcommit_permille: int = 0
    """How many thousandths more than what is not reserved may be given out."""

    @property
    def limit(self) -> int:
        """What may be given out: the capacity, unless some of it is reserved, or more than it may be given out."""
        return limit_of(self.capacity, self.reserved, self.overcommit_permille)

    @property
    def available(self) -> int:
        """The free amount for a request without a scope; 0 where overcommitted."""
        return max(0, self.limit - self.allocated - self.kept)

    @property
    def overcommitted(self) -> bool:
        """True where the limit was lowered below what is allocated."""
        return self.allocated > self.limit

    @property
    def utilization(self) -> float:
        """Allocated in per cent of the limit; 0.0 for a limit of 0 with nothing allocated, else 100.0."""
        if self.limit == 0:
            return 100.0 if self.allocated else 0.0
        return 100.0 * self.allocated / self.limit


_AMOUNTS: Final = ("allocated", "capacity", "kept", "reserved", "limit", "available")


def usage_fields(resource: str, row: ResourceUsage) -> dict[str, Any]:
    """The dict of a row whose resource is known: each amount as quantity and integer."""
    read = row.to_fields()
    return {**read, **{name: amount(resource, read[name]["amount"]) for name in _AMOUNTS}}

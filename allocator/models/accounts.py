"""Accounts: capacity and allocated amount of each resource."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from allocator.serialization import Field, Value, amount, derived, read_amount


@dataclass(frozen=True, slots=True)
class ResourceUsage(Value):
    """One resource of one account, in exact amounts.

    Its dict names no resource, so each amount is an integer without a quantity.  Within a `Usage` it has both.
    """

    FORMAT: ClassVar = (
        Field("allocated", lambda row: {"amount": row.allocated}, "allocated", read_amount),
        Field("capacity", lambda row: {"amount": row.capacity}, "capacity", read_amount),
        Field("kept", lambda row: {"amount": row.kept}, "kept", read_amount),
        derived("available", lambda row: {"amount": row.available}),
        derived("utilizationPercent", lambda row: int(row.utilization)),
        derived("overcommitted", lambda row: row.overcommitted),
    )

    capacity: int
    allocated: int
    kept: int = 0
    """What is guaranteed to scopes and not used."""

    @property
    def available(self) -> int:
        """The free amount for a request without a scope; 0 where overcommitted."""
        return max(0, self.capacity - self.allocated - self.kept)

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


_AMOUNTS: Final = ("allocated", "capacity", "kept", "available")


def usage_fields(resource: str, row: ResourceUsage) -> dict[str, Any]:
    """The dict of a row whose resource is known: each amount as quantity and integer."""
    read = row.to_fields()
    return {**read, **{name: amount(resource, read[name]["amount"]) for name in _AMOUNTS}}

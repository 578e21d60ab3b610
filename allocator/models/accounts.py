"""Accounts: capacity and allocated amount of each resource."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """One resource of one account, in exact amounts."""

    capacity: int
    allocated: int

    @property
    def available(self) -> int:
        """The free amount; 0 where overcommitted."""
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

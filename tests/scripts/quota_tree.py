"""What a tree of quotas allows, as a recursive sum over the whole tree: shares no code with the scripts.

`used` of a scope = what is allocated in it and below it, and what it keeps; `kept` = what is guaranteed to the scopes
below it and not used.  (Kueue's rule, docs/policies.md.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

UNLIMITED = 2**53 - 1


@dataclass
class Limit:
    """Of one resource: None is no limit."""

    nominal: int | None = None
    borrowing: int | None = None
    lending: int | None = None

    @property
    def guaranteed(self) -> int:
        return 0 if self.lending is None else max(0, (self.nominal or 0) - self.lending)


@dataclass
class Tree:
    """A pool and its scopes; `live` has (scope, amounts) of each allocation."""

    capacity: dict[str, int]
    limits: dict[str, dict[str, Limit]] = field(default_factory=dict)
    live: dict[str, tuple[str, dict[str, int]]] = field(default_factory=dict)

    def children(self, scope: str) -> Iterator[str]:
        """The scopes directly below; those of the pool for ''."""
        for other in self.limits:
            if other.rpartition("/")[0] == scope and other != scope:
                yield other

    def limit(self, scope: str, resource: str) -> Limit:
        return self.limits[scope].get(resource, Limit())

    def allocated(self, scope: str, resource: str) -> int:
        return sum(
            1000 if resource == "allocations" else amounts.get(resource, 0)
            for where, amounts in self.live.values()
            if not scope or where == scope or where.startswith(f"{scope}/")
        )

    def kept(self, scope: str, resource: str) -> int:
        total = 0
        for child in self.children(scope):
            unused = self.limit(child, resource).guaranteed - self.used(child, resource)
            total += self.kept(child, resource) + max(0, unused)
        return total

    def used(self, scope: str, resource: str) -> int:
        return self.allocated(scope, resource) + self.kept(scope, resource)

    def available(self, scope: str, resource: str) -> int:
        if not scope:
            return self.capacity[resource] - self.used("", resource) if resource in self.capacity else UNLIMITED
        limit, used = self.limit(scope, resource), self.used(scope, resource)
        from_parent = self.available(scope.rpartition("/")[0], resource)
        if limit.borrowing is not None:
            bound = (limit.nominal or 0) - limit.guaranteed + limit.borrowing
            from_parent = min(from_parent, bound - max(0, used - limit.guaranteed))
        return max(0, limit.guaranteed - used) + from_parent

    def fits(self, scope: str, amounts: dict[str, int]) -> bool:
        whole = {**amounts, "allocations": 1000} if scope else amounts
        return all(amount <= self.available(scope, resource) for resource, amount in whole.items())

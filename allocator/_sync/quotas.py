"""`Quotas`: the limits of scopes."""

from __future__ import annotations

from collections.abc import Mapping
from types import EllipsisType

from allocator import settings
from allocator._engine.operations import quotas
from allocator._sync.namespace import Namespace
from allocator.models.quotas import Limit, Quota
from allocator.quantity import Quantity

__all__ = ["Quotas"]


class Quotas(Namespace):
    """Limits on scopes such as `team-a/alice`; in Python `allocator.quotas`.

    A request with `scope=` is charged to that scope, to each scope above it and to the pool, all or none.
    docs/policies.md has the rule.
    """

    def get(self, scope: str) -> Quota | None:
        """The scope's limits and amounts, or None.  One round trip."""
        return self._run(quotas.get(self._defaults, scope), "quotas.get")

    def tree(self, scope: str | None = None) -> dict[str, Quota]:
        """The scopes of the pool by name, each after those above it; with `scope`, it and those below it.

        One round trip for 500 scopes.
        """
        return {one.scope: one for one in self._run(quotas.list_quotas(self._defaults, scope), "quotas.tree")}

    def delete(self, scope: str) -> bool:
        """Delete a scope.

        Returns:
            False if there was none.

        Raises:
            PoolConflict: Something is charged to it, or it has scopes below it.  Nothing was changed.  One round trip.
        """
        return self._run(quotas.delete(self._defaults, scope), "quotas.delete")

    def set(
        self,
        scope: str,
        limits: Mapping[str, Limit | Quantity] | None = None,
        *,
        weight: int | EllipsisType | None = ...,
        generation: int | None = None,
        dry_run: bool = False,
    ) -> Quota:
        """Create a scope, or change its limits of the named resources; others stay.

        Missing scopes above it are made, without limits.  Lowering a limit below what is allocated ends nothing.

        Args:
            scope: Up to 8 names with a slash between them, 128 characters in all.
            limits: Resource -> `Limit`, or a quantity: the most that it may have (`Limit(quantity, 0)`), rounded down.
                `allocations` limits how many allocations are live.  `Limit()` removes the limits of a resource.
                None: no limit is changed; then there is a weight.
            weight: Its weight in fair share, 1 to 1000: among equal priorities, the scope with the least use over its
                weight goes first.  None removes it; without it, it stays.
            generation: Change only if this is the quota's generation.
            dry_run: Return what would be, and change nothing.

        Returns:
            The quota; `over` has the scopes that are above their maximum then.  One round trip.

        Raises:
            InvalidRequest: The pool does not count the resource, the weight is out of its bounds, a share is above that
                of the scope above it, or more would be guaranteed than there is.
            PoolConflict: Of another generation.  Nothing was changed.
        """
        work = quotas.set_quota(self._defaults, scope, limits, weight=weight, generation=generation, dry_run=dry_run)
        return self._run(work, "quotas.set")

    def list(self, scope: str | None = None, *, limit: int = settings.QUOTAS_MAX) -> list[Quota]:
        """The scopes of the pool, each after those above it; with `scope`, it and those below it.

        At most `limit`, in the order of their names.  One round trip for 500 scopes.
        """
        return self._run(quotas.list_quotas(self._defaults, scope, limit), "quotas.list")

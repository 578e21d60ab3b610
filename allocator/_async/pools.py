"""`AsyncPools`: create, change, read and delete pools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from allocator._async.namespace import AsyncNamespace
from allocator._base import warn_of_pool
from allocator._engine.operations import pool_creation, pool_deletion, pool_usage, pools, usage_history
from allocator._engine.operations.pool_creation import PoolSpec
from allocator._engine.operations.pools import PoolOptions
from allocator.models.pools import Pool, Usage
from allocator.models.preemption import PreemptionPolicy
from allocator.models.queue import QueuePolicy
from allocator.models.resource_units import ResourceUnits
from allocator.models.usage_history import UsageHistory
from allocator.quantity import Quantity

__all__ = ["AsyncPools"]


class AsyncPools(AsyncNamespace):
    """Creates, changes, reads and deletes pools; in Python `allocator.pools`."""

    async def create(
        self,
        name: str,
        capacity: Mapping[str, Quantity],
        *,
        whole_units: Iterable[str] = (),
        recovery_grace: float | timedelta | None = None,
        max_ttl: float | timedelta | None = None,
        durability: str | None = None,
        default_scope: str | None = None,
        require_scope: bool | None = None,
        max_lifetime: float | timedelta | None = None,
        units: Mapping[str, ResourceUnits] | None = None,
        queue: QueuePolicy | None = None,
        preemption: PreemptionPolicy | None = None,
        new: bool = False,
        update: bool = False,
    ) -> Pool:
        """Create a pool if there is none of that name; an existing one is returned as it is (`created=False`).

        Where an existing one differs in what is given here, a warning of the logger `allocator.pools` says in what,
        once in a process for each state of the pool.  With `update` it is changed, as by `update` with its generation.

        Args:
            name: 1 to 64 of `[A-Za-z0-9._-]`.
            capacity: Resource -> Kubernetes quantity, rounded down to the resource's unit; 1 to 32 of them.
            whole_units: Resources of which only whole ones are granted, such as `nvidia.com/gpu`.
            recovery_grace: Seconds, up to an hour, for which the pool grants nothing new once its server may have lost
                data (another server, or unknown fences or leases); None: it continues at once.  Safe if it is 5 s
                longer than the longest ttl; docs/reliability.md has its cost.
            max_ttl: The longest ttl granted, in seconds; with one, nothing is pinned.  None: 5 s less than
                `recovery_grace`, where there is one, which is at least 6 s then.
            durability: The durability of each grant: `memory`, `replicated:N`, `fsynced`, `fsynced+replicated:N`.
            default_scope: The scope that is charged by requests which name none (`quotas.set` makes scopes).
            require_scope: Refuse requests that name no scope, if there is no default.
            max_lifetime: The longest time from a grant to its hard end, in seconds: a request for more, or for none,
                gets this.  It counts for grants from now on.
            units: Resource -> `ResourceUnits`: how much of it is given out, and in which amounts.  docs/policies.md has
                the rule.
            queue: Who may pass those who wait in line, and how many may wait; what is None in it has its default.
            preemption: Whether requests may take room from lower priorities, and how; likewise.
            new: Asserts that no pool of this name existed whose holders may still be active.  Without it a pool that is
                created with a recovery grace begins recovering, as the server may just have lost it.
            update: Change an existing one to what is given here.  Of replicas that start with different values the
                last one counts.

        Returns:
            The pool.  One round trip; two where it is changed.

        Raises:
            PoolConflict: With `update`: it was changed again and again meanwhile, or a setting does not allow for it.
        """
        options = PoolOptions(
            recovery_grace, max_ttl, durability, default_scope, require_scope, max_lifetime, units, queue, preemption
        )
        spec = PoolSpec(capacity, whole_units, options, is_new=new)
        return await self._run(
            pool_creation.create(self._defaults, name, spec, update=update, warn=warn_of_pool), "pools.create"
        )

    async def get(self, name: str | None = None) -> Pool:
        """The pool as configured, and its counters; None: the client's.  One round trip."""
        return await self._run(pool_usage.get(self._defaults, name), "pools.get")

    async def update(
        self,
        name: str | None = None,
        capacity: Mapping[str, Quantity] | None = None,
        *,
        remove: Iterable[str] = (),
        whole_units: Iterable[str] | None = None,
        strict: bool = False,
        generation: int | None = None,
        recovery_grace: float | timedelta | None = None,
        max_ttl: float | timedelta | None = None,
        durability: str | None = None,
        default_scope: str | None = None,
        require_scope: bool | None = None,
        max_lifetime: float | timedelta | None = None,
        units: Mapping[str, ResourceUnits] | None = None,
        queue: QueuePolicy | None = None,
        preemption: PreemptionPolicy | None = None,
    ) -> Pool:
        """Change a pool: the named resources are merged into it.

        Lowering a capacity, or what is given out of it, below what is allocated marks the pool overcommitted in that
        resource: no allocation ends, and requests for it are refused until enough is released.

        Args:
            name: Its name; None: the client's pool.
            capacity: Resource -> quantity, rounded down.
            remove: Resources that are no longer counted; refused while in use.
            whole_units: All resources that are granted in whole units only; None: unchanged.
            strict: Refuse to lower below what is allocated.
            generation: Change only if this is the pool's generation.
            recovery_grace, max_ttl, durability, default_scope, require_scope, max_lifetime: As for `create`; 0,
                `memory`, "" or False removes one.
            units: As for `create`; of a resource named, the parts that are None stay, and 0 removes one.
            queue, preemption: As for `create`; what is None in it is unchanged.  What was granted before preemption was
                permitted is taken by nobody until `maintenance.audit(repair=True)` has ranked it.

        Raises:
            PoolConflict: In use, or of another generation.  Nothing was changed.  One round trip.
        """
        options = PoolOptions(
            recovery_grace, max_ttl, durability, default_scope, require_scope, max_lifetime, units, queue, preemption
        )
        work = pools.update(
            self._defaults,
            name,
            capacity,
            remove=remove,
            whole_units=whole_units,
            strict=strict,
            generation=generation,
            options=options,
        )
        return await self._run(work, "pools.update")

    async def delete(self, name: str, *, force: bool = False) -> bool:
        """Delete a pool.

        Args:
            name: Its name.
            force: End its live allocations first, 200 a round trip; it grants nothing from then on.

        Returns:
            False if there was none.

        Raises:
            PoolConflict: It has live allocations, and `force` was not given.
        """
        return await self._run(pool_deletion.delete(self._defaults, name, force=force), "pools.delete")

    async def usage(self, name: str | None = None) -> Usage:
        """A pool's counters, read atomically.  One round trip, for any number of allocations."""
        return await self._run(pool_usage.usage(self._defaults, name), "pools.usage")

    async def usage_history(
        self, name: str | None = None, *, since: datetime | float | timedelta = 3600, resolution: int | None = None
    ) -> UsageHistory:
        """What a pool had over time, and how many requests it granted and denied: a point for each interval.

        The pool keeps a point a minute for a day, and one an hour for 31 days.  What it had in between is not kept.

        Args:
            name: Its name; None: the client's pool.
            since: Where the history begins: an aware datetime, or how long before now, in seconds.
            resolution: The length of an interval: 60 or 3600 seconds; None: 60 up to a day, else 3600.

        Returns:
            The points, at most 1440 by minutes, 744 by hours; fewer where less is kept.  One round trip for 240 points
            that changes have written.

        Raises:
            InvalidRequest: `since` or `resolution` is none.
        """
        return await self._run(
            usage_history.usage_history(self._defaults, name, since, resolution), "pools.usage_history"
        )

    async def upgrade(self, name: str | None = None) -> Pool:
        """Allow only versions with this one's schema, or newer, to write to the pool; for after a rolling upgrade."""
        return await self._run(pools.upgrade(self._defaults, name), "pools.upgrade")

    async def recover(self, lost: Pool) -> Pool:
        """Create a pool again that the server has lost, with its epoch and settings; it begins recovering.

        Any number of replicas may do so at once.  Holders then adopt their allocations; each `hold` does so by itself.

        Args:
            lost: The pool as `create` or `get` returned it before; it has a `recovery_grace`.

        Raises:
            UnknownPool: Another pool of that name exists (`code="epoch"`), or this one was deleted in the last two
                minutes (`"deleted"`).  One round trip.
        """
        return await self._run(pools.recover(self._defaults, lost), "pools.recover")

    async def end_recovery(self, name: str | None = None) -> Pool:
        """Grant again at once; the caller must be sure that all holders have adopted theirs.  One round trip."""
        return await self._run(pools.end_recovery(self._defaults, name), "pools.end_recovery")

    async def list(self) -> list[str]:
        """The names of all pools under the client's prefix, sorted; a SCAN of the server."""
        return await self._run(pools.names(self._defaults), "pools.list")

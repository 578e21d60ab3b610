"""`PoolClient`: the blocking client's methods for pools as a whole; `allocator.async_pool_client` has the twin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from allocator._client import Client, local_ms
from allocator._engine.execution.driver import Driver
from allocator._engine.operations.pools import PoolOptions
from allocator.models.allocations import Ttl
from allocator.models.events import Event
from allocator.models.maintenance import Audit, DoctorReport, Reclaimed, Reconciled
from allocator.models.pools import Pool, Usage
from allocator.quantity import Quantity

__all__ = ["PoolClient"]


class PoolClient(Client[Driver]):
    """Makes, changes, reads and mends pools."""

    def create_pool(
        self,
        name: str,
        capacity: Mapping[str, Quantity],
        *,
        whole_units: Iterable[str] = (),
        recovery_grace: float | timedelta | None = None,
        max_ttl: float | timedelta | None = None,
        durability: str | None = None,
        new: bool = False,
    ) -> Pool:
        """Create a pool if there is none of that name; an existing one comes back unchanged (`created=False`).

        Args:
            name: 1 to 64 of `[A-Za-z0-9._-]`.
            capacity: Resource -> Kubernetes quantity, rounded down to the resource's unit; 1 to 32 of them.
            whole_units: Resources of which only whole ones are granted, such as `nvidia.com/gpu`.
            recovery_grace: Seconds, up to an hour, for which the pool grants nothing new once its store may have lost
                data (another server, fences or leases that it does not know); None: it goes on at once.  Safe where
                it is 5 s longer than the longest ttl; docs/reliability.md has what it costs.
            max_ttl: The longest ttl granted, in seconds; pinned allocations are not, then.  None: 5 s less than
                `recovery_grace`, which is at least 6 s then, where there is one.
            durability: How safe each grant is made: `memory`, `replicated:N`, `fsynced`, `fsynced+replicated:N`.
            new: There has never been a pool of this name whose holders may still go on.  Without it a pool that is
                created with a recovery grace begins recovering, for the store may just have lost it.

        Returns:
            The pool as it is.  One round trip.
        """
        promises = PoolOptions(recovery_grace, max_ttl, durability)
        return self._driver.run(self._verbs.create_pool(name, capacity, whole_units, promises, is_new=new))

    def pool(self, name: str | None = None) -> Pool:
        """The pool as configured, and its counters.  One round trip."""
        return self._driver.run(self._verbs.pool(name))

    def pools(self) -> list[str]:
        """The names of all pools under the client's prefix, sorted; a SCAN of the server."""
        return self._driver.run(self._verbs.pools())

    def configure(
        self,
        capacity: Mapping[str, Quantity] | None = None,
        *,
        remove: Iterable[str] = (),
        whole_units: Iterable[str] | None = None,
        strict: bool = False,
        generation: int | None = None,
        recovery_grace: float | timedelta | None = None,
        max_ttl: float | timedelta | None = None,
        durability: str | None = None,
        pool: str | None = None,
    ) -> Pool:
        """Change a pool: the resources named are merged into it.

        Lowering a capacity below what is allocated marks the pool overcommitted in that resource: nothing is taken
        away, and requests for it are refused until enough was given back.

        Args:
            capacity: Resource -> quantity, rounded down.
            remove: Resources to count no more; refused while in use.
            whole_units: All that are granted in whole units only; None: as they are.
            strict: Refuse to lower below what is allocated.
            generation: Change only if this is the pool's generation.
            recovery_grace, max_ttl, durability: As for `create_pool`; 0, or `memory`, takes one away.

        Raises:
            PoolConflict: In use, or of another generation.  Nothing was changed.  One round trip.
        """
        promises = PoolOptions(recovery_grace, max_ttl, durability)
        work = self._verbs.configure(capacity, remove, whole_units, strict, generation, pool, promises)
        return self._driver.run(work)

    def upgrade_pool(self, name: str | None = None) -> Pool:
        """Let only versions with this one's schema, or newer ones, write to the pool: after a rolling upgrade."""
        return self._driver.run(self._verbs.upgrade_pool(name))

    def recover_pool(self, lost: Pool) -> Pool:
        """Make a pool again that an emptied store has lost, with its epoch and settings; it begins recovering.

        Any number of replicas may do so at once.  Holders then adopt what they have: every `hold` by itself.

        Args:
            lost: The pool as `create_pool` or `pool` returned it before; it has a `recovery_grace`.

        Raises:
            UnknownPool: Another pool of that name is there (`code="epoch"`), or somebody deleted this one in the last
                two minutes (`"deleted"`).  One round trip.
        """
        return self._driver.run(self._verbs.recover_pool(lost))

    def end_recovery(self, *, pool: str | None = None) -> Pool:
        """Grant again at once: somebody has made sure that all holders are back.  One round trip."""
        return self._driver.run(self._verbs.end_recovery(pool))

    def delete_pool(self, name: str, *, force: bool = False) -> bool:
        """End a pool.

        Args:
            name: Its name.
            force: End its live allocations first, 200 a round trip; it grants nothing from then on.

        Returns:
            False where there was none.

        Raises:
            PoolConflict: It has live allocations, and `force` was not given.
        """
        return self._driver.run(self._verbs.delete_pool(name, force=force))

    def usage(self, *, pool: str | None = None) -> Usage:
        """One atomic reading of a pool's counters.  One round trip, whatever is allocated."""
        return self._driver.run(self._verbs.usage(pool))

    def events(self, *, limit: int = 50, pool: str | None = None) -> list[Event]:
        """The latest changes, newest first; at most 500 of about 10,000 that are kept.  One round trip."""
        return self._driver.run(self._verbs.events(limit, pool))

    def reclaim(
        self,
        *,
        older_than: Ttl = None,
        include_live: bool = False,
        limit: int | None = None,
        pool: str | None = None,
    ) -> Reclaimed:
        """Take back what is past its deadline; 200 a round trip, until done, `limit` or the client's deadline.

        Args:
            older_than: Also pinned allocations granted at least so many seconds ago.
            include_live: Also leases of that age, although their holders keep renewing them.
            limit: At most so many; None: 10,000.
        """
        return self._driver.run(self._verbs.reclaim(older_than, limit, pool, include_live=include_live))

    def audit(self, *, repair: bool = False, offline: bool = False, pool: str | None = None) -> Audit:
        """Check every invariant of a pool; truthy when clean.

        One script up to 1,600 allocations of two resources (16,000 fields); above, pages guarded by the pool's
        revision, and `inconclusive` where it would not stand still.

        Args:
            repair: Mend what is found; records count, counters follow.
            offline: Grant nothing meanwhile; needed to repair more than one script may read.
        """
        return self._driver.run(self._verbs.audit(pool, repair=repair, offline=offline))

    def reconcile(
        self,
        live_ids: Iterable[str],
        as_of: int | datetime,
        *,
        owner: str,
        dry_run: bool = False,
        max_released: int | None = None,
        pool: str | None = None,
    ) -> Reconciled:
        """Release what the ledger has of an owner and the owner does not have in truth.

        What is exactly this owner's, older than `as_of` and not among `live_ids` is released, 100 a round trip; owner,
        fence and age are checked again in the script that releases.

        Args:
            live_ids: The allocation ids that the owner sees, at most 100,000.
            as_of: `usage().read_ms`, read before they were listed; or that instant as an aware datetime.
            owner: The owner, or what owners begin with and a `*`: `team-a/*`.
            dry_run: Only say what would be released.
            max_released: Refuse to release more; None: half of what the owner has.

        Raises:
            ReconcileRefused: It would release more.  Nothing was released.
            InvalidRequest: `as_of` is later than the server's time.
        """
        work = self._verbs.reconcile(live_ids, as_of, owner, max_released, pool, dry_run=dry_run)
        return self._driver.run(work)

    def doctor(self) -> DoctorReport:
        """Examine the server, and try every script with this client's rights on a scratch pool, which is deleted again.

        About thirty round trips.

        Returns:
            Findings with what to change; truthy when nothing is bad.
        """
        return self._driver.run(self._verbs.doctor(local_ms))
